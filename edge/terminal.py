"""What a command prints is text, whoever wrote it: labels, notes, file names, a board's answers never steer the terminal.

`guarded` is the one place for it: the command line's root puts it around every command, so that no ``print`` has to think of it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from devices.texts import clean

CLEAR_LINE = "\r\x1b[K"
"""What a progress bar is redrawn with: let through at the beginning of what is written, where it erases the bar only."""


def shown(text: str, encoding: str | None = None) -> str:
    """Return ``text`` as a terminal may have it (`devices.texts.clean`); what ``encoding`` lacks as escapes."""
    own = CLEAR_LINE if text.startswith(CLEAR_LINE) else ""
    text = own + clean(text[len(own) :])
    return text if encoding is None or text.isascii() else text.encode(encoding, "backslashreplace").decode(encoding)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Make ``sys.stdout`` and ``sys.stderr`` print what is safe to print, and nothing that they cannot encode an error."""
    before = sys.stdout, sys.stderr
    guards = _guard(before[0]), _guard(before[1])
    sys.stdout, sys.stderr = guards
    try:
        yield
    finally:
        if sys.stdout is guards[0]:
            sys.stdout = before[0]
        if sys.stderr is guards[1]:
            sys.stderr = before[1]


def _guard(stream: TextIO | None) -> Any:
    return stream if stream is None or isinstance(stream, _Guarded) else _Guarded(stream)


class _Guarded:
    """A text stream that passes on what `shown` makes of it. Everything else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._stream.write(shown(text, getattr(self._stream, "encoding", None)))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)
