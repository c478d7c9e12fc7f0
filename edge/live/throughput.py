"""How many frames a second this machine answers on several streams at once, and how long each one waits for its answer.

Every stream has an interpreter of its own in a thread of its own, as in `edge.runtime.pool`. Streams from files run as fast as they
can, over and over; live streams (cameras, files played at a rate) answer their newest frame and drop the others.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..bench.latency import peak_memory_mib
from ..errors import DatasetError, UsageError
from ..runtime import pool
from ..runtime.model import Model
from .frame import Frame, FrameSource
from .frame_model import pictures_of, warm_up, window_of
from .latest import CaptureCounts, LatestFrames, every
from .timings import Timings

MAX_STREAMS = 64

Windows = Generator[tuple[Frame, ...], None, None]


@dataclass(slots=True, kw_only=True)
class StreamResult:
    """One stream. reading: fetching and decoding a frame (of files); latency: preprocessing and model; age: of live frames."""

    source: str
    live: bool
    frames: int = 0
    broken: int = 0
    dropped: int = 0
    reading: Timings = field(default_factory=Timings)
    latency: Timings = field(default_factory=Timings)
    age: Timings = field(default_factory=Timings)
    error: Exception | None = None

    def to_dict(self, seconds: float) -> dict[str, Any]:
        return {
            "source": self.source,
            "live": self.live,
            "frames": self.frames,
            "frames_per_second": self.frames / seconds,
            "broken": self.broken,
            "dropped": self.dropped,
            "reading": self.reading.to_dict(),
            "latency": self.latency.to_dict(),
            "age": self.age.to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputReport:
    """All streams over the same ``seconds``. ``peak_memory_mib`` is the process's peak resident size."""

    file: str
    model_sha256: str
    runtime: dict[str, Any]
    cores: int
    seconds: float
    interrupted: bool
    streams: tuple[StreamResult, ...]
    peak_memory_mib: float

    @property
    def frames_per_second(self) -> float:
        return sum(stream.frames for stream in self.streams) / self.seconds

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "model_sha256": self.model_sha256,
            "runtime": self.runtime,
            "cores": self.cores,
            "seconds": self.seconds,
            "interrupted": self.interrupted,
            "frames_per_second": self.frames_per_second,
            "peak_memory_mib": self.peak_memory_mib,
            "streams": [stream.to_dict(self.seconds) for stream in self.streams],
        }

    def to_text(self) -> str:
        threads = self.runtime["threads"]
        lines = [
            f"{self.file}: {len(self.streams)} streams on {self.cores} cores, {threads} thread{'' if threads == 1 else 's'} each,"
            f" {self.seconds:.1f} s",
            f"{'stream':>6}  {'frames/s':>8}  {'p50 ms':>7}  {'p90 ms':>7}  {'p99 ms':>7}  {'dropped':>7}  {'broken':>6}  source",
        ]
        for number, stream in enumerate(self.streams, 1):
            times = stream.latency.to_dict() or {}
            shown = "  ".join(f"{times.get(key, float('nan')):7.1f}" for key in ("p50_ms", "p90_ms", "p99_ms"))
            rate = stream.frames / self.seconds
            lines.append(f"{number:>6}  {rate:8.1f}  {shown}  {stream.dropped:7}  {stream.broken:6}  {stream.source}")
        lines.append(f"in all  {self.frames_per_second:6.1f} frames/s   peak memory {self.peak_memory_mib:.0f} MiB")
        return "\n".join(lines)


def measure(
    path: str | os.PathLike[str],
    sources: Sequence[FrameSource],
    *,
    seconds: float = 10.0,
    load: Callable[[], Model],
) -> ThroughputReport:
    """Run one stream per source for ``seconds``, all from the same moment on. load: makes the model of one stream.

    Models are loaded and warmed up before the clock starts. Ctrl-C ends it early, with a report. Raises UsageError for no or too
    many streams, and what a stream raised.
    """
    if not 1 <= len(sources) <= MAX_STREAMS:
        raise UsageError(f"{len(sources)} streams, expected 1 to {MAX_STREAMS}")
    models = [load() for _ in sources]
    for model in models:
        warm_up(model)
    results = tuple(StreamResult(source=source.name, live=source.live) for source in sources)
    go, stop = threading.Event(), threading.Event()
    crew = [
        threading.Thread(target=_serve, args=(model, source, result, go, stop), name=f"stream {result.source}", daemon=True)
        for model, source, result in zip(models, sources, results, strict=True)
    ]
    for thread in crew:
        thread.start()
    began = time.perf_counter()
    go.set()
    interrupted = False
    try:
        # Ends early where every stream has: a live file that was played once.
        while (left := began + seconds - time.perf_counter()) > 0.0 and any(thread.is_alive() for thread in crew):
            stop.wait(min(left, 0.1))
    except KeyboardInterrupt:
        interrupted = True
    finally:
        stop.set()
        for source in sources:
            source.stop()
        for thread in crew:
            thread.join()
    took = time.perf_counter() - began
    for result in results:
        if result.error is not None:
            raise result.error
    return ThroughputReport(
        file=os.fspath(path),
        model_sha256=models[0].container.model_sha256,
        runtime=models[0].runtime.to_dict(),
        cores=pool.cores(),
        seconds=took,
        interrupted=interrupted,
        streams=results,
        peak_memory_mib=peak_memory_mib(),
    )


def _serve(model: Model, source: FrameSource, result: StreamResult, go: threading.Event, stop: threading.Event) -> None:
    go.wait()
    try:
        size = window_of(model.contract)
        windows = _newest(source, size, result, stop) if source.live else _over_and_over(source, size, result, stop)
        with contextlib.closing(windows):
            for window in windows:
                frame = window[-1]
                if frame.pixels is None:
                    result.broken += 1
                    continue
                start = time.perf_counter()
                model.predict(pictures_of(model.contract, window))
                result.latency.add((time.perf_counter() - start) * 1e3)
                result.frames += 1
                if source.live:
                    result.age.add((time.monotonic() - frame.captured_at) * 1e3)
    except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
        result.error = error
        stop.set()


def _over_and_over(source: FrameSource, window: int, result: StreamResult, stop: threading.Event) -> Windows:
    while not stop.is_set():
        before = result.frames
        windows = every(source, window=window)
        while not stop.is_set():
            start = time.perf_counter()
            frames = next(windows, None)
            if frames is None:
                break
            result.reading.add((time.perf_counter() - start) * 1e3)
            yield frames
        if result.frames == before and not stop.is_set():
            raise DatasetError(f"{source.name}: none of its frames can be read")


def _newest(source: FrameSource, window: int, result: StreamResult, stop: threading.Event) -> Windows:
    with LatestFrames(source, window=window) as latest:
        try:
            while not stop.is_set() and (frames := latest.take()) is not None:
                yield frames
        finally:
            counts: CaptureCounts = latest.counts
            result.broken, result.dropped = counts.broken, counts.dropped
