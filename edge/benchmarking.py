"""How long one run takes here: warm-up, then percentiles over single runs, with what the machine was doing meanwhile."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import golden, preprocess
from .errors import UsageError
from .interpreter import RuntimeInfo
from .model import Model, load

# At least so many runs and so long, as MLPerf's loadgen asks of a single stream (100 queries and 10 s in its test settings).
MIN_RUNS = 100
MIN_SECONDS = 10.0
WARMUP_SECONDS = 1.0

_MIN_WARMUP_RUNS = 3
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyStats:
    """Milliseconds of single runs. Each percentile is a run that was measured (nearest rank)."""

    runs: int
    warmup_runs: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    min_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Thermal:
    """Degrees Celsius of the hottest zone before and after, the CPU governor, and the firmware's throttling bits (Raspberry Pi).

    None where the machine does not tell.
    """

    before_c: float | None
    after_c: float | None
    governor: str | None
    throttled: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkReport:
    """One model on one machine. ``peak_memory_mib`` is the process's peak resident size, the Python interpreter included."""

    file: str
    model_sha256: str
    runtime: RuntimeInfo
    machine: str
    load_s: float | None
    latency: LatencyStats
    peak_memory_mib: float
    thermal: Thermal

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the keys of the latency stand at the top."""
        plain = asdict(self)
        return {**plain.pop("latency"), "threads": self.runtime.threads, **plain}

    def to_text(self) -> str:
        times = self.latency
        before, after = (("?" if c is None else f"{c:.0f}") for c in (self.thermal.before_c, self.thermal.after_c))
        loaded = "" if self.load_s is None else f"load {self.load_s:.2f} s   "
        lines = [
            f"{self.file} on {self.runtime.describe()}, {self.machine}",
            f"  p50 {times.p50_ms:.2f} ms   p90 {times.p90_ms:.2f} ms   p99 {times.p99_ms:.2f} ms   ({times.runs} runs,"
            f" {times.warmup_runs} to warm up)",
            f"  {loaded}peak memory {self.peak_memory_mib:.0f} MiB   {before} -> {after} degrees Celsius,"
            f" governor {self.thermal.governor or 'unknown'}",
        ]
        if self.thermal.throttled not in (None, "0", "0x0"):
            lines.append(f"  the firmware has throttled this board (bits {self.thermal.throttled}): the times are not its best")
        return "\n".join(lines)


def benchmark(
    model: Model | str | os.PathLike[str],
    *,
    threads: int | None = None,
    kernels: str = "optimized",
    min_runs: int = MIN_RUNS,
    min_seconds: float = MIN_SECONDS,
    load_s: float | None = None,
) -> BenchmarkReport:
    """Time single runs of ``model`` (pixels are not prepared meanwhile) until both minima are reached.

    threads and kernels count only if ``model`` is a path. load_s: how long the loading of a Model took, for the report.
    """
    if min_runs < 1 or not min_seconds >= 0.0:
        raise UsageError(
            f"{min_runs} runs in {min_seconds} s is nothing to measure, expected at least 1 run and no negative time"
        )
    if not isinstance(model, Model):
        start = time.perf_counter()
        model = load(model, threads=threads, kernels=kernels)
        load_s = time.perf_counter() - start
    before = _hottest()
    stats = _latency(model, min_runs, min_seconds)
    return BenchmarkReport(
        file=str(model.path),
        model_sha256=model.container.model_sha256,
        runtime=model.runtime,
        machine=platform.machine(),
        load_s=load_s,
        latency=stats,
        peak_memory_mib=peak_memory_mib(),
        thermal=Thermal(before_c=before, after_c=_hottest(), governor=_governor(), throttled=_throttled()),
    )


def latency_stats(times_ns: list[int], warmup_runs: int) -> LatencyStats:
    """Return the percentiles of measured runs (nanoseconds)."""
    times_ms = np.array(times_ns, np.float64) / 1e6
    p50, p90, p99 = (float(value) for value in np.percentile(times_ms, (50, 90, 99), method="inverted_cdf"))
    return LatencyStats(
        runs=len(times_ns),
        warmup_runs=warmup_runs,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        mean_ms=float(times_ms.mean()),
        min_ms=float(times_ms.min()),
    )


def peak_memory_mib() -> float:
    """Return the peak resident size of this process."""
    # VmHWM counts from the start of this program; ru_maxrss would begin with the size of whatever started it.
    for line in _read(Path("/proc/self/status")).splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / _MIB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MIB


def _latency(model: Model, min_runs: int, min_seconds: float) -> LatencyStats:
    spec = model.contract.input
    picture = golden.pattern("noise-1", spec.height, spec.width, spec.channels)
    tensor = preprocess.to_tensor(picture, preprocess.lookup_table(spec, model.input))
    with model.exclusive() as loaded:
        loaded.set_input(tensor)
        warmup_runs = sum(1 for _ in _runs(_MIN_WARMUP_RUNS, min(WARMUP_SECONDS, min_seconds), loaded.invoke))
        times = list(_runs(min_runs, min_seconds, loaded.invoke))
    return latency_stats(times, warmup_runs)


def _runs(min_runs: int, min_seconds: float, invoke: Callable[[], None]) -> Iterator[int]:
    """Yield the nanoseconds of one run after the other until both minima are reached."""
    runs, begin = 0, time.perf_counter_ns()
    while runs < min_runs or time.perf_counter_ns() - begin < min_seconds * 1e9:
        start = time.perf_counter_ns()
        invoke()
        yield time.perf_counter_ns() - start
        runs += 1


def _hottest() -> float | None:
    zones = [_read(zone) for zone in Path("/sys/class/thermal").glob("thermal_zone*/temp")]
    degrees = [int(text) / 1000 for text in zones if text.lstrip("-").isdigit()]
    return max(degrees, default=None)


def _governor() -> str | None:
    return _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")) or None


def _throttled() -> str | None:
    return _read(Path("/sys/devices/platform/soc/soc:firmware/get_throttled")) or None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
