"""The drive loop: from the newest frame of a camera to a command, with the age of that frame measured and a watchdog beside it.

    report = drive(open_source("0"), predictor(model), send, safe={"steering": 0.0, "throttle": 0.0}, window=window_of(model.contract))

`send` gets every command: a print, a CSV, a serial port. The first and the last one are the safe command; in between the watchdog
gives it whenever no fresh command was delivered for ``deadline_s``, whatever stalls: the camera, the model, or `send` itself. A
command is delivered when `send` has returned, and its frame's age counts until then.

The watchdog does not wait for a `send` that has not returned at the deadline: it calls `send` beside it, from its own thread.
"""

from __future__ import annotations

import contextlib
import csv
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from ..errors import OutputError, UsageError
from .frame import Frame, FrameSource
from .frame_model import Predict
from .latest import CaptureCounts, LatestFrames
from .timings import Timings
from .watchdog import Watchdog

START, STALL, END = "start", "stall", "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What the vehicle is told. ``given_at`` is ``time.monotonic()``.

    frame, age_ms: the frame behind it and how old that was when the command was given; None for a safe command. reason: empty, or
    why it is the safe one (``start``, ``stall``, ``end``).
    """

    values: Mapping[str, float]
    given_at: float
    frame: int | None = None
    age_ms: float | None = None
    reason: str = ""


Send = Callable[[Command], None]


class CsvCommands:
    """Writes commands to a CSV file, a row each and at once, so that they are there after a power failure: a context manager.

    ``names`` are the columns behind time, frame, age and reason. Raises OutputError if the file cannot be written, a full disk
    at any row included.
    """

    def __init__(self, path: str | os.PathLike[str], names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._path = os.fspath(path)
        try:
            self._stream = open(path, "w", newline="", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise self._unwritable(error) from error
        self._rows = csv.writer(self._stream)
        try:
            self._write(["given_at_s", "frame", "age_ms", "reason", *self._names])
        except OutputError:
            with contextlib.suppress(OSError):
                self._stream.close()
            raise

    def __enter__(self) -> CsvCommands:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._stream.close()
        except OSError as problem:
            if error is None:  # what could not be written was said then
                raise self._unwritable(problem) from problem

    def __call__(self, command: Command) -> None:
        frame, age = ("", "") if command.age_ms is None else (command.frame, f"{command.age_ms:.1f}")
        values = [f"{command.values[name]:.6g}" for name in self._names]
        self._write([f"{command.given_at:.4f}", frame, age, command.reason, *values])

    def _write(self, row: Sequence[Any]) -> None:
        try:
            self._rows.writerow(row)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path}: cannot be written ({error.strerror or error}); choose another place")


@dataclass(slots=True, kw_only=True)
class DriveReport:
    """What happened. Rates and times are measured; ``refused`` answers were not finite.

    late: frames that were too old to act on, or too old when `send` had delivered their command. commands: those sent, such late
    ones too. age: from the capture of a frame until its command was delivered. inference: what the model took. gap: between two
    commands that were no safe ones. safe: how many safe commands, by reason. stalls: how often the watchdog had to step in.
    """

    source: str
    deadline_ms: float
    seconds: float = 0.0
    interrupted: bool = False
    commands: int = 0
    late: int = 0
    refused: int = 0
    stalls: int = 0
    safe: dict[str, int] = field(default_factory=lambda: {START: 0, STALL: 0, END: 0})
    frames: CaptureCounts = field(default_factory=lambda: CaptureCounts(captured=0, broken=0, dropped=0, taken=0))
    age: Timings = field(default_factory=Timings)
    inference: Timings = field(default_factory=Timings)
    gap: Timings = field(default_factory=Timings)

    def to_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "seconds": self.seconds,
            "interrupted": self.interrupted,
            "frames": self.frames.to_dict(),
            "commands": self.commands,
            "late": self.late,
            "refused": self.refused,
            "stalls": self.stalls,
            "safe_commands": dict(self.safe),
            "deadline_ms": self.deadline_ms,
            "age": self.age.to_dict(),
            "inference": self.inference.to_dict(),
            "gap": self.gap.to_dict(),
        }

    def to_text(self) -> str:
        rate = self.commands / self.seconds if self.seconds else 0.0
        safe = ", ".join(f"{count} at {reason}" for reason, count in self.safe.items() if count)
        return "\n".join(
            [
                f"{self.source}: {self.frames.captured} frames in {self.seconds:.1f} s, {self.frames.dropped} dropped,"
                f" {self.frames.broken} broken, {self.late} late",
                f"  commands     {self.commands} ({rate:.1f} a second), {self.refused} refused; safe: {safe or 'none'};"
                f" {self.stalls} stalls beyond {self.deadline_ms:.0f} ms",
                f"  frame age    {self.age.to_text()}",
                f"  inference    {self.inference.to_text()}",
                f"  between two  {self.gap.to_text()}",
            ]
        )


class _Outlet:
    """Hands commands over, one at a time as far as `send` returns in time, from the loop and from the watchdog."""

    def __init__(self, send: Send, safe: Mapping[str, float], report: DriveReport, patience_s: float) -> None:
        self._send = send
        self._safe = dict(safe)
        self._report = report
        self._patience_s = patience_s
        self._turn = threading.Lock()
        self._last: float | None = None
        self._ended = False

    def give(self, values: Mapping[str, float], frame: Frame, watchdog: Watchdog, max_age_s: float) -> None:
        """Send a command, unless its frame has become too old meanwhile.

        One that is too old once it is delivered may have come after the watchdog's safe one: it does not feed the watchdog, and
        the safe command follows it at once.
        """
        with self._turn:
            began = time.monotonic()
            age_s = began - frame.captured_at
            if age_s > max_age_s:
                self._report.late += 1
                return
            self._send(Command(values=values, given_at=began, frame=frame.index, age_ms=age_s * 1e3))
            age_s = time.monotonic() - frame.captured_at
            self._report.commands += 1
            self._report.age.add(age_s * 1e3)
            if self._last is not None:
                self._report.gap.add((began - self._last) * 1e3)
            self._last = began
            if age_s > max_age_s:
                self._report.late += 1
                self._send_safe(STALL)
            else:
                watchdog.feed()

    def stop(self, reason: str, still: Callable[[], bool] = lambda: True) -> None:
        """Send the safe command, if it is ``still`` called for when its turn comes.

        A command that is being sent is not waited for at a stall, as the deadline is over by then, and at the start and the end for
        ``patience_s`` only: a receiver that hangs is a stall too.
        """
        mine = self._turn.acquire(timeout=0.0 if reason == STALL else self._patience_s)
        try:
            if still() and not self._ended:
                self._ended = reason == END
                self._send_safe(reason)
        finally:
            if mine:
                self._turn.release()

    def _send_safe(self, reason: str) -> None:
        self._report.safe[reason] += 1
        self._send(Command(values=self._safe, given_at=time.monotonic(), reason=reason))


def drive(
    source: FrameSource,
    predict: Predict,
    send: Send,
    *,
    safe: Mapping[str, float],
    deadline_s: float = 0.5,
    max_age_s: float | None = None,
    window: int = 1,
    limits: Mapping[str, tuple[float, float]] | None = None,
    seconds: float | None = None,
) -> DriveReport:
    """Drive until the source ends, ``seconds`` are over, or Ctrl-C. Whatever ends it, an exception too, the safe command comes last.

    predict: gets the newest ``window`` frames in a row, the oldest first, and returns the command's values by name. safe: the
    command for when there is no other. deadline_s: so long may no fresh command come before the watchdog gives the safe one.
    max_age_s: no command is given on a frame older than that (default: the deadline), and one whose delivery took it past that age is
    followed by the safe command. limits: (low, high) by name; values are held
    within. Values that are not finite are refused: the watchdog steps in if no better ones follow.

    Raises UsageError for limits that make no sense, and what ``source``, ``predict`` or ``send`` raise.
    """
    limits = _checked(limits or {})
    max_age_s = deadline_s if max_age_s is None else max_age_s
    report = DriveReport(source=source.name, deadline_ms=deadline_s * 1e3)
    outlet = _Outlet(send, safe, report, deadline_s)
    latest = LatestFrames(source, window=window)
    watchdog = Watchdog(deadline_s, lambda: outlet.stop(STALL, lambda: watchdog.overdue))
    began = time.monotonic()
    outlet.stop(START)
    with latest, watchdog:
        try:
            while (frames := _next(latest, began, seconds)) is not None:
                if time.monotonic() - frames[-1].captured_at > max_age_s:
                    report.late += 1
                    continue
                start = time.perf_counter()
                values = predict(frames)
                report.inference.add((time.perf_counter() - start) * 1e3)
                if all(math.isfinite(value) for value in values.values()):
                    held = {name: _held(value, limits.get(name)) for name, value in values.items()}
                    outlet.give(held, frames[-1], watchdog, max_age_s)
                else:
                    report.refused += 1
        except KeyboardInterrupt:
            report.interrupted = True  # how a drive with a camera usually ends
        finally:
            # Before anything is closed: a camera may take seconds for that.
            outlet.stop(END)
            report.seconds = time.monotonic() - began
    report.frames, report.stalls = latest.counts, watchdog.stalls
    if watchdog.error is not None:
        raise watchdog.error
    return report


def _next(latest: LatestFrames, began: float, seconds: float | None) -> tuple[Frame, ...] | None:
    if seconds is None:
        return latest.take()
    remaining = began + seconds - time.monotonic()
    try:
        return latest.take(remaining) if remaining > 0.0 else None
    except TimeoutError:
        return None


def _checked(limits: Mapping[str, tuple[float, float]]) -> Mapping[str, tuple[float, float]]:
    for name, (low, high) in limits.items():
        if not low <= high:
            raise UsageError(f"limit of {name}: {low} to {high}, expected the lower value first")
    return limits


def _held(value: float, limit: tuple[float, float] | None) -> float:
    return value if limit is None else min(max(value, limit[0]), limit[1])
