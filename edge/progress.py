"""Progress of long work: a bar on a terminal, plain lines with the elapsed time in a log. Always on stderr unless told otherwise.

``with Progress(600, "validate") as progress: ... progress.advance()`` for counted work, ``with stage("export float32"): ...`` for
a piece whose length is not known.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TextIO

from .terminal import CLEAR_LINE

_REDRAW_S = 0.1  # a bar redrawn more often costs more than it tells
_LOG_LINE_S = 10.0  # a log gets a line about this often, whatever the number of items
_BAR = 30


class Progress:
    """Counts ``total`` items. On a terminal one line is redrawn; elsewhere a line appears about every ten seconds.

    ``stream`` is looked up when the object is made (``sys.stderr``), so that a redirection in force then is respected.
    """

    def __init__(self, total: int, label: str, stream: TextIO | None = None) -> None:
        self.total = total
        self.label = label
        self.done = 0
        self._skipped = 0
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._start = time.monotonic()
        self._shown = float("-inf") if self._live else self._start

    def __enter__(self) -> Progress:
        if not self._live:
            self._line(f"{self.label}: {self.total} to do")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        end = "done" if kind is None else "stopped"
        text = f"{self.label}: {self.done}/{self.total} {end} in {seconds(self.elapsed_s)}"
        self._line(f"{CLEAR_LINE}{text}" if self._live else text)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._start

    def skip(self, count: int) -> None:
        """Count ``count`` items as done earlier (a resumed run): they do not enter the estimate of the remaining time."""
        self._skipped += count
        self.done += count

    def advance(self, count: int = 1) -> None:
        """Count ``count`` more items as done."""
        self.done += count
        now = time.monotonic()
        if now - self._shown < (_REDRAW_S if self._live else _LOG_LINE_S):
            return
        self._shown = now
        share = self.done / self.total if self.total else 1.0
        text = f"{self.done}/{self.total} {share:4.0%} {seconds(self.elapsed_s)}{self._remaining()}"
        if self._live:
            filled = min(_BAR, round(share * _BAR))
            self._write(f"{CLEAR_LINE}{self.label} [{'#' * filled}{'.' * (_BAR - filled)}] {text}")
        else:
            self._line(f"{self.label}: {text}")

    def _remaining(self) -> str:
        worked = self.done - self._skipped
        if worked <= 0 or self.done >= self.total:
            return ""
        return f", about {seconds(self.elapsed_s / worked * (self.total - self.done))} left"

    def _line(self, text: str) -> None:
        self._write(text + "\n")

    def _write(self, text: str) -> None:
        # A reader that went away (a closed pipe) must not stop hours of work.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


@contextlib.contextmanager
def stage(label: str, stream: TextIO | None = None) -> Iterator[None]:
    """Announce a piece of work whose length is not known, and its elapsed time when it is over."""
    out = sys.stderr if stream is None else stream
    live = out.isatty()
    start = time.monotonic()
    _put(out, f"{label} ..." if live else f"{label} ...\n")
    end = "stopped after"
    try:
        yield
        end = "done in"
    finally:
        clear = CLEAR_LINE if live else ""
        elapsed = seconds(time.monotonic() - start)
        _put(out, f"{clear}{label}: {end} {elapsed}\n")


def seconds(value: float) -> str:
    """Return ``value`` seconds as people write it: 0.8 s, 12 s, 3 min 05 s, 2 h 10 min."""
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _put(stream: TextIO, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.write(text)
        stream.flush()
