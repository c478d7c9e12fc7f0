"""What the board hears and says: requests on stdin, answers on stdout."""

from __future__ import annotations

import errno
import json
import os
import select
from collections.abc import Iterator
from typing import Any

SILENCE_S = 60.0  # the workstation sends a blank line every ten seconds
MAX_LINE_BYTES = 1 << 20
PIECE_BYTES = 1 << 20

Answer = dict[str, Any]


class Refused(Exception):
    """The request cannot be carried out; ``kind`` tells the workstation which error it is."""

    def __init__(self, message: str, kind: str = "refused") -> None:
        super().__init__(message)
        self.kind = kind


class Gone(Exception):
    """The workstation is no longer there."""


class Link:
    """Requests from the workstation: lines, and the bytes that follow some of them."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._pending = b""

    def line(self) -> bytes:
        """Return the next line that is not blank."""
        while True:
            head, found, rest = self._pending.partition(b"\n")
            if found:
                self._pending = rest
                if head:
                    return head
            elif len(self._pending) > MAX_LINE_BYTES:
                raise Gone("a line without end")
            else:
                self._pending += self._read(PIECE_BYTES)

    def exactly(self, count: int) -> Iterator[bytes]:
        """Yield the next ``count`` bytes in pieces."""
        while count:
            piece = self._pending[:count] or self._read(min(count, PIECE_BYTES))
            self._pending = self._pending[len(piece) :] if self._pending else b""
            count -= len(piece)
            yield piece

    def listen(self) -> None:
        """Take in what has arrived (while a command runs)."""
        self._pending += self._read(PIECE_BYTES)

    def _read(self, count: int) -> bytes:
        if not select.select([self.descriptor], [], [], SILENCE_S)[0]:
            raise Gone("silence")
        data = os.read(self.descriptor, count)
        if not data:
            raise Gone("end of the connection")
        return data


def failure(error: Exception) -> Answer:
    """Return the answer for an error."""
    if isinstance(error, Refused):
        return {"ok": False, "kind": error.kind, "message": str(error)}
    if isinstance(error, OSError):
        kind = "full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "os"
        return {"ok": False, "kind": kind, "message": f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")}
    return {"ok": False, "kind": "bug", "message": f"{type(error).__name__}: {error}"}


def send(answer: Answer) -> None:
    """Write one answer."""
    data = json.dumps(answer).encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]
