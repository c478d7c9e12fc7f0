"""A model at work on frames: each one answered, drawn and passed on, with what it took."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artefact.contract import OutputSpec
from ..errors import DatasetError
from ..interrupt import Terminated
from ..runtime.classify import rank
from ..runtime.model import Model
from .drawing import draw
from .frame import Frame, FrameSource
from .frame_model import numbers_of, pictures_of, warm_up, window_of
from .latest import CaptureCounts, LatestFrames, every
from .timings import Timings

KEPT_ANSWERS = 10_000  # the newest in the report: a camera may run for days

Answers = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of one frame. answer: plain data. lines: the same for people. drawn: the frame with it, None if not asked for."""

    frame: Frame
    answer: dict[str, Any]
    lines: tuple[str, ...]
    drawn: NDArray[np.uint8] | None


@dataclass(slots=True, kw_only=True)
class WatchReport:
    """All of it. interrupted: by Ctrl-C or, if also ``terminated``, by SIGTERM. latency: preprocessing and model. age: from a live
    frame's capture to its answer. best: how often each class came first. error: what ended a camera. reconnects: how often a camera
    had gone and came back.
    """

    source: str
    live: bool
    seconds: float = 0.0
    interrupted: bool = False
    terminated: bool = False
    error: str = ""
    reconnects: int = 0
    answered: int = 0
    counts: CaptureCounts = field(default_factory=lambda: CaptureCounts(captured=0, broken=0, dropped=0, taken=0))
    latency: Timings = field(default_factory=Timings)
    age: Timings = field(default_factory=Timings)
    best: Counter[str] = field(default_factory=Counter)
    answers: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_ANSWERS))

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "live": self.live,
            "seconds": self.seconds,
            "interrupted": self.interrupted,
            "error": self.error,
            "reconnects": self.reconnects,
            "answered": self.answered,
            "frames": self.counts.to_dict(),
            "frames_per_second": self.per_second,
            "latency": self.latency.to_dict(),
            "age": self.age.to_dict(),
            "best": dict(self.best.most_common()),
            "answers": list(self.answers),
        }

    def to_text(self) -> str:
        lines = [
            f"{self.source}: {self.answered} frames in {self.seconds:.1f} s ({self.per_second:.1f} a second),"
            f" {self.counts.dropped} dropped, {self.counts.broken} broken"
            + (f", connected again {self.reconnects} times" if self.reconnects else ""),
            f"  latency  {self.latency.to_text()}",
        ]
        if self.live:
            lines.append(f"  age      {self.age.to_text()}")
        if self.best:
            lines.append("  " + ", ".join(f"{label} {count}" for label, count in self.best.most_common(8)))
        return "\n".join(lines)


def watch(
    model: Model,
    source: FrameSource,
    show: Callable[[Seen], bool],
    *,
    top: int = 1,
    output: str | None = None,
    drawing: bool = True,
    frames: int | None = None,
    seconds: float | None = None,
) -> WatchReport:
    """Answer frame after frame until the source ends, so many ``frames`` or ``seconds`` are over, or Ctrl-C (no exception then).

    Of a live source the newest frame is taken each time, of any other every one. show: called for each, broken ones of a source
    that is not live included; returns False to end it. top: how many classes. output: the name of the one to read, where the
    model has several with classes.

    A camera that has gone ends it too, with ``error`` in the report. Raises DatasetError if not a single frame could be read,
    ContractError if the model has no such output.
    """
    if not any(spec.is_classes or spec.kind in ("multilabel", "regression") for spec in model.contract.outputs):
        model.class_output(output)  # says what it has instead
    warm_up(model)
    report = WatchReport(source=source.name, live=source.live)
    began = time.monotonic()
    try:
        until = None if seconds is None else began + seconds
        # Closed at once, also when it is left early: that frees the camera and completes the counts.
        with contextlib.closing(_windows(source, window_of(model.contract), report, until)) as windows:
            for window in windows:
                seen = _seen(model, window, report, top=top, output=output, drawing=drawing, began=began)
                if not show(seen) or report.answered == frames:
                    break
    except KeyboardInterrupt as interrupt:
        report.interrupted, report.terminated = True, isinstance(interrupt, Terminated)
    except DatasetError as error:
        if not report.answered:
            raise
        report.error = str(error)
    report.seconds = time.monotonic() - began
    report.reconnects = getattr(source, "reconnects", 0)
    if report.counts.captured and report.counts.broken == report.counts.captured:
        raise DatasetError(f"{source.name}: none of its {report.counts.captured} frames can be read ({_last_error(report)})")
    return report


def _windows(
    source: FrameSource, window: int, report: WatchReport, until: float | None
) -> Generator[tuple[Frame, ...], None, None]:
    if not source.live:
        broken = taken = 0
        for frames in every(source, window=window):
            if until is not None and time.monotonic() >= until:
                return
            broken += frames[-1].pixels is None
            taken += frames[-1].pixels is not None
            report.counts = CaptureCounts(captured=broken + taken, broken=broken, dropped=0, taken=taken)
            yield frames
        return
    with LatestFrames(source, window=window) as latest:
        try:
            while (newest := _take(latest, until)) is not None:
                yield newest
        finally:
            report.counts = latest.counts


def _take(latest: LatestFrames, until: float | None) -> tuple[Frame, ...] | None:
    if until is None:
        return latest.take()
    try:
        return latest.take(max(0.0, until - time.monotonic()))
    except TimeoutError:
        return None


def _seen(
    model: Model, window: Sequence[Frame], report: WatchReport, *, top: int, output: str | None, drawing: bool, began: float
) -> Seen:
    frame = window[-1]
    answer: dict[str, Any] = {"frame": frame.index, "name": frame.name, "at_s": frame.captured_at - began}
    if frame.pixels is None:
        answer["error"] = frame.error
        report.answers.append(answer)
        return Seen(frame=frame, answer=answer, lines=(frame.error,), drawn=None)
    start = time.perf_counter()
    values = model.predict(pictures_of(model.contract, window))
    latency_ms = (time.perf_counter() - start) * 1e3
    answer["latency_ms"] = latency_ms
    lines = _read(model, values, answer, top, output)
    if report.live:
        answer["age_ms"] = (time.monotonic() - frame.captured_at) * 1e3
        report.age.add(answer["age_ms"])
    report.answered += 1
    report.latency.add(latency_ms)
    if answer.get("classes"):
        first = answer["classes"][0]
        report.best[first["label"] or f"class {first['class_id']}"] += 1
    report.answers.append(answer)
    drawn = draw(frame.pixels, (*lines, f"{latency_ms:.1f} ms")) if drawing else None
    return Seen(frame=frame, answer=answer, lines=lines, drawn=drawn)


def _read(
    model: Model, values: dict[str, NDArray[np.float32]], answer: dict[str, Any], top: int, output: str | None
) -> tuple[str, ...]:
    """Put what the model said into ``answer``, and return it in words: classes, and the numbers of regression outputs."""
    spec = _class_output(model, output)
    lines = []
    if spec is not None:
        found = rank(values[spec.name], spec)
        best = found.top(top) if found.is_finite else []
        if not found.is_finite:
            answer["not_finite"] = True
        answer["classes"] = [{"class_id": item.class_id, "label": item.label, "score": item.score} for item in best]
        lines = (
            [f"{item.label or f'class {item.class_id}'} {item.score:.1%}" for item in best]
            if found.is_finite
            else [f"{spec.name}: not a number"]
        )
    numbers = numbers_of(model.contract, values)
    if numbers:
        answer["values"] = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        if None in answer["values"].values():
            answer["not_finite"] = True
        lines += [f"{name} {value:+.3f}" for name, value in numbers.items()]
    return tuple(lines)


def _class_output(model: Model, output: str | None) -> OutputSpec | None:
    has_classes = any(spec.is_classes or spec.kind == "multilabel" for spec in model.contract.outputs)
    return model.class_output(output) if has_classes or output is not None else None


def _last_error(report: WatchReport) -> str:
    return next((str(answer["error"]) for answer in reversed(report.answers) if "error" in answer), "all were broken")
