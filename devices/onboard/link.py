"""What the board hears and says: requests on stdin, answers on stdout."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import threading
import time
from collections.abc import Iterator
from typing import Any

MAX_LINE_BYTES = 1 << 20
PIECE_BYTES = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)  # what an OSError says of a full disk
SHORT = (errno.EAGAIN, errno.ENOMEM)  # and of a board without a process or memory to spare
_HELD_BYTES = 2 * PIECE_BYTES  # heard and not yet taken
_GRACE = 1 / 12  # of the silence that is allowed: the time to end in good order
_BEATS = 6  # in that silence: how often we give a sign of life

Answer = dict[str, Any]


class Refused(Exception):
    """The request cannot be carried out; ``kind`` tells the workstation which error it is."""

    def __init__(self, message: str, kind: str = "refused") -> None:
        super().__init__(message)
        self.kind = kind


class Gone(Exception):
    """The workstation is no longer there."""


class Link:
    """Requests from the workstation (lines, and the bytes that follow some of them), and the answers to it.

    The workstation sends a blank line now and then. It is gone where the connection ends or nothing is heard for ``silence_s``. A thread
    of its own hears, so this is noticed whatever is done meanwhile: whoever waits here, or looks at ``descriptor``, gets Gone. What takes
    longer than the grace (hashing, unpacking, ``sync``) is ended with the process, as by a power cut, which everything here survives.

    Another thread sends blank lines back, whatever is done meanwhile, so that the workstation notices a process that is stopped.
    """

    def __init__(self, silence_s: float, *, source: int = 0, sink: int = 1) -> None:
        self._silence_s = silence_s
        self._source, self._sink = source, sink
        self._pending = bytearray()
        self._gone = ""
        self._change = threading.Condition()
        self._sending = threading.Lock()
        self.descriptor, self._alarm = os.pipe()  # readable once the workstation is gone
        os.set_blocking(sink, False)  # over SSH it may be the same socket as the source
        threading.Thread(target=self._hear, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    @property
    def silence_s(self) -> float:
        """How long either side may say nothing."""
        return self._silence_s

    def line(self) -> bytes:
        """Return the next line that is not blank."""
        with self._change:
            while True:
                end = self._pending.find(b"\n")
                if end >= 0:
                    line = self._take(end + 1)[:-1]
                    if line:
                        return line
                elif len(self._pending) > MAX_LINE_BYTES:
                    raise Gone("a line without end")
                else:
                    self._wait()

    def exactly(self, count: int) -> Iterator[bytes]:
        """Yield the next ``count`` bytes in pieces."""
        while count:
            with self._change:
                while not self._pending:
                    self._wait()
                piece = self._take(min(count, PIECE_BYTES))
            count -= len(piece)
            yield piece

    def skip(self, count: int) -> None:
        """Read the rest of a request that cannot be carried out: only then it can be answered."""
        for _ in self.exactly(count):
            pass

    def check(self) -> None:
        """Raise Gone where the workstation is no longer there."""
        with self._change:
            if self._gone:
                raise Gone(self._gone)

    def send(self, answer: Answer) -> None:
        """Write one answer. Raises Gone also where nobody takes it."""
        data = json.dumps(answer).encode() + b"\n"
        with self._sending:
            while data:
                gone, ready, _ = select.select([self.descriptor], [self._sink], [], self._silence_s)
                if gone or not ready:
                    self.check()
                    raise Gone("an answer that nobody takes")
                try:
                    data = data[os.write(self._sink, data) :]
                except BlockingIOError:
                    continue
                except ConnectionError as error:
                    raise Gone("end of the connection") from error

    def _take(self, count: int) -> bytes:
        piece = bytes(self._pending[:count])
        del self._pending[:count]
        self._change.notify_all()  # there is room again
        return piece

    def _wait(self) -> None:
        if self._gone:
            raise Gone(self._gone)
        self._change.wait()

    def _hear(self) -> None:
        """Take in what arrives, until the workstation is gone; then let the others end, and end the process if they do not."""
        while not self._gone:
            # Bytes that nobody takes are no silence: it begins when there is room for the next one.
            with self._change:
                self._change.wait_for(lambda: len(self._pending) < _HELD_BYTES)
            data, gone = b"", "silence"
            with contextlib.suppress(OSError):
                if select.select([self._source], [], [], self._silence_s)[0]:
                    gone = "end of the connection"
                    try:
                        data = os.read(self._source, PIECE_BYTES)
                    except BlockingIOError:
                        continue
            with self._change:
                self._pending += data
                self._gone = "" if data else gone
                self._change.notify_all()
        os.close(self._alarm)
        time.sleep(self._silence_s * _GRACE)
        os._exit(0)

    def _beat(self) -> None:
        while not self._gone:
            time.sleep(self._silence_s / _BEATS)
            # Never waits, and never comes into the middle of an answer: where one is being sent, the workstation hears that.
            if self._sending.acquire(blocking=False):
                with contextlib.suppress(OSError):
                    os.write(self._sink, b"\n")
                self._sending.release()


def failure(error: Exception) -> Answer:
    """Return the answer for an error."""
    if isinstance(error, Refused):
        return {"ok": False, "kind": error.kind, "message": str(error)}
    if isinstance(error, OSError):
        kind = "full" if error.errno in FULL else "short" if error.errno in SHORT else "os"
        return {"ok": False, "kind": kind, "message": f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")}
    return {"ok": False, "kind": "bug", "message": f"{type(error).__name__}: {error}"}
