"""How long one run takes here: warm-up, then percentiles over single runs, with what the machine was doing meanwhile."""

from __future__ import annotations

import math
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from ..numbers import markup
from ..runtime import golden
from ..runtime.interpreter import RuntimeInfo
from ..runtime.loading import load
from ..runtime.model import Model
from ..runtime.pool import cores
from . import host
from .energy import IDLE_SECONDS, Energy, EnergyMeter, EnergyReport, said
from .gauges import Conditions, Recorder

if TYPE_CHECKING:
    from .op_times import OpTimes

# At least so many runs and so long, as MLPerf's loadgen asks of a single stream (100 queries and 10 s in its test settings).
MIN_RUNS = 100
MIN_SECONDS = 10.0
WARMUP_SECONDS = 1.0
MOST_THREADS = 8  # of a sweep; no interpreter gains from more on a board
PER_OP_NOTE = "not measured; --per-op does"

_MIN_WARMUP_RUNS = 3
_TRACE_POINTS = 120
_FASTER = 0.98  # more threads are worth having from here on
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
class TracePoint:
    """A stretch of the measurement that ends ``t_s`` seconds after its start: its median, and the temperature then."""

    t_s: float
    p50_ms: float
    celsius: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRow:
    """One number of threads in a sweep; ``objections`` says why it is not this machine's speed."""

    threads: int
    latency: LatencyStats
    after_c: float | None
    objections: tuple[str, ...]
    energy: Energy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkReport:
    """One model on one machine. ``peak_memory_mib`` is the process's peak resident size, the Python interpreter included.

    ``percentiles_ms``: the 0th to the 100th, each a run that was measured. ``trace``: how time and heat went on, at most 120 points.
    ``sweep``: every number of threads that was tried; the rest of the report then is about the best of them. ``energy``: where something
    measures power.
    """

    file: str
    model_sha256: str
    runtime: RuntimeInfo
    machine: str
    load_s: float | None
    latency: LatencyStats
    peak_memory_mib: float
    conditions: Conditions
    percentiles_ms: tuple[float, ...] = ()
    trace: tuple[TracePoint, ...] = ()
    sweep: tuple[SweepRow, ...] = ()
    energy: EnergyReport = field(default_factory=EnergyReport)
    per_op: OpTimes | None = None

    def __repr__(self) -> str:
        times = self.latency
        return (
            f"<BenchmarkReport {self.file}: p50 {times.p50_ms:.2f} ms, p99 {times.p99_ms:.2f} ms, {self.peak_memory_mib:.0f} MiB>"
        )

    def _repr_html_(self) -> str:
        times = self.latency
        rows = [(name, f"{ms:.2f} ms") for name, ms in (("p50", times.p50_ms), ("p90", times.p90_ms), ("p99", times.p99_ms))]
        spoilt = [("not this machine's speed", text) for text in self.conditions.objections]
        return markup.table([*rows, ("peak memory", f"{self.peak_memory_mib:.0f} MiB"), *spoilt], caption=self.file)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the keys of the latency stand at the top."""
        return {
            **asdict(self.latency),
            "threads": self.runtime.threads,
            "file": self.file,
            "model_sha256": self.model_sha256,
            "runtime": self.runtime.to_dict(),
            "machine": self.machine,
            "load_s": self.load_s,
            "peak_memory_mib": self.peak_memory_mib,
            "thermal": self.conditions.to_dict(),
            "quotable": self.conditions.quotable,
            "not_quotable_because": list(self.conditions.objections),
            "percentiles_ms": list(self.percentiles_ms),
            "trace": [asdict(point) for point in self.trace],
            "sweep": [_sweep_entry(row) for row in self.sweep],
            **self.energy.to_dict(),
            "per_op": None if self.per_op is None else self.per_op.to_dict(),
            "per_op_note": PER_OP_NOTE if self.per_op is None else None,
            "host": host.describe(),
        }

    def to_text(self) -> str:
        times, thermal = self.latency, self.conditions.to_dict()
        loaded = "" if self.load_s is None else f"load {self.load_s:.2f} s   "
        lines = [
            f"{self.file} on {self.runtime.describe()}, {self.machine}",
            f"  p50 {times.p50_ms:.2f} ms   p90 {times.p90_ms:.2f} ms   p99 {times.p99_ms:.2f} ms   ({times.runs} runs,"
            f" {times.warmup_runs} to warm up)",
            f"  {loaded}peak memory {self.peak_memory_mib:.0f} MiB   {describe(thermal)}",
            *self.energy.lines(),
        ]
        for row in self.sweep:
            mark = "  <- best" if row.threads == self.runtime.threads else ""
            spoilt = f"  NOT this machine's speed: {'; '.join(row.objections)}" if row.objections else ""
            lines.append(
                f"  {row.threads} thread{' ' if row.threads == 1 else 's'}  p50 {row.latency.p50_ms:9.2f} ms"
                f"   p99 {row.latency.p99_ms:9.2f} ms{'' if row.energy is None else f'   {said(row.energy.joules)}'}{mark}{spoilt}"
            )
        lines += objection_lines(self.conditions)
        if self.per_op is not None:
            lines.append(self.per_op.to_text())
        return "\n".join(lines)


def benchmark(
    model: Model | str | os.PathLike[str],
    *,
    threads: int | None = None,
    kernels: str = "optimized",
    min_runs: int = MIN_RUNS,
    min_seconds: float = MIN_SECONDS,
    load_s: float | None = None,
    recorder: Recorder | None = None,
    meter: EnergyMeter | None = None,
) -> BenchmarkReport:
    """Time single runs of ``model`` (pixels are not prepared meanwhile) until both minima are reached.

    threads and kernels count only if ``model`` is a path. load_s: how long the loading of a Model took, for the report. recorder:
    looks at temperature, clock and flags meanwhile; default one that looks every second, in a thread of its own. meter: looks at
    power; default one that looks at all that measures it here, and then the machine rests for two seconds before and after.
    """
    if min_runs < 1 or not 0.0 <= min_seconds < math.inf:
        raise UsageError(
            f"{min_runs} runs in {min_seconds} s is nothing to measure, expected at least 1 run and a time of 0 s or more, with an end"
        )
    if not isinstance(model, Model):
        start = time.perf_counter()
        model = load(model, threads=threads, kernels=kernels)
        load_s = time.perf_counter() - start
    times_ns: list[int] = []
    with meter or EnergyMeter() as metered:
        rest_s = min(IDLE_SECONDS, min_seconds)
        metered.rest(rest_s)
        with recorder or Recorder() as watched:
            begin = time.perf_counter()
            warmup_runs = 0
            for warmup_runs, time_ns in timed_runs(model, min_runs, min_seconds):  # noqa: B007 - the last one is kept
                times_ns.append(time_ns)
            end = time.perf_counter()
            warm_s = end - begin - sum(times_ns) / 1e9
        metered.rest(rest_s)
    conditions = watched.conditions()
    return BenchmarkReport(
        file=str(model.path),
        model_sha256=model.container.model_sha256,
        runtime=model.runtime,
        machine=platform.machine(),
        load_s=load_s,
        latency=latency_stats(times_ns, warmup_runs),
        peak_memory_mib=peak_memory_mib(),
        conditions=conditions,
        percentiles_ms=_percentiles_ms(times_ns),
        trace=trace_of(times_ns, [(at_s - warm_s, celsius) for at_s, celsius in conditions.heat()]),
        energy=metered.report(begin + warm_s, end, len(times_ns)),
    )


def sweep(
    open_model: Callable[[int], Model],
    *,
    threads: Sequence[int] = (),
    min_runs: int = MIN_RUNS,
    min_seconds: float = MIN_SECONDS,
    advance: Callable[[str], None] = lambda _: None,
) -> BenchmarkReport:
    """Measure one number of threads after the other and return the report of the best, with all of them in ``sweep``.

    open_model: loads the model for a number of threads. threads: default 1 to the usable cores, at most 8. More threads are the
    best only if they are 2 % faster: they take the cores from everything else on the board. advance: is told each result.
    """
    rows: list[SweepRow] = []
    best: BenchmarkReport | None = None
    for count in threads or range(1, min(cores(), MOST_THREADS) + 1):
        start = time.perf_counter()
        model = open_model(count)
        found = benchmark(model, min_runs=min_runs, min_seconds=min_seconds, load_s=time.perf_counter() - start)
        row = SweepRow(
            threads=count,
            latency=found.latency,
            after_c=found.conditions.samples[-1].celsius,
            objections=found.conditions.objections,
            energy=found.energy.first,
        )
        rows.append(row)
        advance(f"threads {count}: p50 {found.latency.p50_ms:.2f} ms")
        if best is None or found.latency.p50_ms < _FASTER * best.latency.p50_ms:
            best = found
    assert best is not None
    return replace(best, sweep=tuple(rows))


def timed_runs(model: Model, min_runs: int, min_seconds: float) -> Iterator[tuple[int, int]]:
    """Warm up, then yield (runs to warm up, nanoseconds) for one run after the other until both minima are reached."""
    tensors = golden.inputs("noise-1", model.contract, model.inputs)
    with model.exclusive() as loaded:
        for position, tensor in enumerate(tensors):
            loaded.set_input(tensor, position)
        warmup_runs = sum(1 for _ in _runs(_MIN_WARMUP_RUNS, min(WARMUP_SECONDS, min_seconds), loaded.invoke))
        for time_ns in _runs(min_runs, min_seconds, loaded.invoke):
            yield warmup_runs, time_ns


def _sweep_entry(row: SweepRow) -> dict[str, Any]:
    energy = None if row.energy is None else row.energy.to_dict()
    return {
        "threads": row.threads,
        **asdict(row.latency),
        "after_c": row.after_c,
        "quotable": not row.objections,
        "energy": energy,
    }


def describe(thermal: dict[str, Any]) -> str:
    """Return temperature, clock and governor in words."""
    before, after = ("?" if c is None else f"{c:.0f}" for c in (thermal["before_c"], thermal["after_c"]))
    clock = "" if thermal["clock_median_mhz"] is None else f", clock {thermal['clock_median_mhz']:.0f} MHz"
    return f"{before} -> {after} degrees Celsius{clock}, governor {thermal['governor'] or 'unknown'}"


def objection_lines(conditions: Conditions) -> list[str]:
    """Return the line that says why a measurement is not this machine's speed, if it is not."""
    return [f"  NOT this machine's speed: {'; '.join(conditions.objections)}"] if conditions.objections else []


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


def trace_of(times_ns: list[int], heat: Sequence[tuple[float, float]]) -> tuple[TracePoint, ...]:
    """Return at most 120 stretches of about equal length. times_ns: of all runs in order. heat: seconds, degrees Celsius."""
    ends = np.cumsum(np.array(times_ns, np.float64)) / 1e9
    points, start = [], 0
    for end in np.unique(np.linspace(0, len(times_ns), min(_TRACE_POINTS, len(times_ns)) + 1).astype(int))[1:]:
        degrees = [celsius for at_s, celsius in heat if at_s <= ends[end - 1]]
        median = float(np.percentile(times_ns[start:end], 50, method="inverted_cdf")) / 1e6
        points.append(
            TracePoint(t_s=round(float(ends[end - 1]), 3), p50_ms=round(median, 4), celsius=degrees[-1] if degrees else None)
        )
        start = int(end)
    return tuple(points)


def _percentiles_ms(times_ns: list[int]) -> tuple[float, ...]:
    values = np.percentile(np.array(times_ns, np.float64) / 1e6, np.arange(101), method="inverted_cdf")
    return tuple(round(float(value), 4) for value in values)


def _runs(min_runs: int, min_seconds: float, invoke: Callable[[], None]) -> Iterator[int]:
    """Yield the nanoseconds of one run after the other until both minima are reached."""
    runs, begin = 0, time.perf_counter_ns()
    while runs < min_runs or time.perf_counter_ns() - begin < min_seconds * 1e9:
        start = time.perf_counter_ns()
        invoke()
        yield time.perf_counter_ns() - start
        runs += 1


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
