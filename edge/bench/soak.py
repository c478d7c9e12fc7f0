"""What one run takes once the machine is as warm as it gets: run after run for minutes, in windows with their temperature."""

from __future__ import annotations

import platform
import re
import time
from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import UsageError
from ..runtime.interpreter import RuntimeInfo
from ..runtime.model import Model
from . import host
from .energy import IDLE_SECONDS, EnergyMeter, EnergyReport
from .gauges import Conditions, Recorder
from .latency import LatencyStats, describe, latency_stats, objection_lines, peak_memory_mib, timed_runs

WINDOWS = 30
LONGEST_S = 12 * 3600.0

_STEADY = 1.05  # the windows of the last third lie within this factor
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)?")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch that ends ``t_s`` seconds after the start; heat and clock are those seen last in it."""

    t_s: float
    runs: int
    p50_ms: float
    p90_ms: float
    celsius: float | None
    clock_mhz: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakReport:
    """``cold`` is the first window, ``sustained`` the last third; ``steady`` says whether it had settled by then.

    ``energy``: of the last third, where something measures power.
    """

    file: str
    model_sha256: str
    runtime: RuntimeInfo
    machine: str
    seconds: float
    cold: LatencyStats
    sustained: LatencyStats
    windows: tuple[Window, ...]
    conditions: Conditions
    peak_memory_mib: float
    energy: EnergyReport

    @property
    def slowdown(self) -> float:
        """Sustained over cold, of the medians."""
        return self.sustained.p50_ms / self.cold.p50_ms

    @property
    def steady(self) -> bool:
        last = [window.p50_ms for window in _last_third(self.windows)]
        return max(last) <= _STEADY * min(last)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the keys of the sustained latency stand at the top, as those of a benchmark do."""
        return {
            **asdict(self.sustained),
            "threads": self.runtime.threads,
            "file": self.file,
            "model_sha256": self.model_sha256,
            "runtime": self.runtime.to_dict(),
            "machine": self.machine,
            "peak_memory_mib": self.peak_memory_mib,
            "thermal": self.conditions.to_dict(),
            "quotable": self.conditions.quotable,
            "not_quotable_because": list(self.conditions.objections),
            **self.energy.to_dict(),
            "trace": [{"t_s": w.t_s, "p50_ms": w.p50_ms, "celsius": w.celsius} for w in self.windows],
            "soak": {
                "seconds": self.seconds,
                "cold": asdict(self.cold),
                "sustained": asdict(self.sustained),
                "slowdown": self.slowdown,
                "steady": self.steady,
                "windows": [asdict(window) for window in self.windows],
            },
            "host": host.describe(),
        }

    def to_text(self) -> str:
        cold, warm = self.cold, self.sustained
        runs = sum(window.runs for window in self.windows)
        lines = [
            f"{self.file} on {self.runtime.describe()}, {self.machine}",
            f"  sustained p50 {warm.p50_ms:.2f} ms   p90 {warm.p90_ms:.2f} ms   p99 {warm.p99_ms:.2f} ms"
            f"   (the last third of {self.seconds:.0f} s, {runs} runs)",
            f"  at first  p50 {cold.p50_ms:.2f} ms   p90 {cold.p90_ms:.2f} ms   p99 {cold.p99_ms:.2f} ms"
            f"   ({(self.slowdown - 1) * 100:+.1f} % since)",
            f"  peak memory {self.peak_memory_mib:.0f} MiB   {describe(self.conditions.to_dict())}",
            *self.energy.lines(),
        ]
        if not self.steady:
            lines.append("  still changing at the end: let it soak longer")
        # A soak is there to meet the throttling; it is the sustained speed, and not the best.
        return "\n".join([*lines, *objection_lines(self.conditions)])


def parse_duration(text: str) -> float:
    """Return the seconds in ``90``, ``90s``, ``10m`` or ``1.5h``. Raises UsageError."""
    match = _DURATION.fullmatch(text.strip().lower())
    seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else 0.0
    if not 0.0 < seconds <= LONGEST_S:
        raise UsageError(f"{text!r} is no duration, expected such as 90s, 10m or 1h, at most {LONGEST_S / 3600:g} h")
    return seconds


def soak(
    model: Model,
    seconds: float,
    *,
    recorder: Recorder | None = None,
    meter: EnergyMeter | None = None,
    advance: Callable[[str], None] = lambda _: None,
) -> SoakReport:
    """Run ``model`` for ``seconds`` after the warm-up. recorder, meter: as of `benchmark`. advance: is told each window."""
    if not 0.0 < seconds <= LONGEST_S:
        raise UsageError(f"{seconds} s is no time to soak, expected more than 0 and at most {LONGEST_S:g}")
    times = array("q")  # hours of short runs fit into memory
    windows: list[Window] = []
    begun, end_s = 0, seconds / WINDOWS

    def close(elapsed_s: float) -> None:
        windows.append(_window(times[begun:], elapsed_s, watched))
        advance(_shown(windows[-1]))

    with meter or EnergyMeter() as metered:
        metered.rest(min(IDLE_SECONDS, seconds))
        with recorder or Recorder() as watched:
            start = time.perf_counter()
            for _, time_ns in timed_runs(model, 1, seconds):
                if not times:
                    start = time.perf_counter() - time_ns / 1e9  # the warm-up is over
                times.append(time_ns)
                elapsed = time.perf_counter() - start
                if elapsed >= end_s:
                    close(elapsed)
                    begun = len(times)
                    end_s = (int(elapsed * WINDOWS / seconds) + 1) * seconds / WINDOWS
            if begun < len(times):
                close(time.perf_counter() - start)
            end = time.perf_counter()
        metered.rest(min(IDLE_SECONDS, seconds))
    late = sum(window.runs for window in _last_third(windows))
    late_s = sum(times[len(times) - late :]) / 1e9
    return SoakReport(
        file=str(model.path),
        model_sha256=model.container.model_sha256,
        runtime=model.runtime,
        machine=platform.machine(),
        seconds=seconds,
        cold=latency_stats(list(times[: windows[0].runs]), 0),
        sustained=latency_stats(list(times[len(times) - late :]), 0),
        windows=tuple(windows),
        conditions=watched.conditions(),
        peak_memory_mib=peak_memory_mib(),
        energy=metered.report(end - late_s, end, late),
    )


def _window(times_ns: array[int], t_s: float, watched: Recorder) -> Window:
    milliseconds = np.frombuffer(times_ns, np.int64) / 1e6
    p50, p90 = (float(value) for value in np.percentile(milliseconds, (50, 90), method="inverted_cdf"))
    seen = watched.samples[-1]
    return Window(t_s=round(t_s, 3), runs=len(times_ns), p50_ms=p50, p90_ms=p90, celsius=seen.celsius, clock_mhz=seen.clock_mhz)


def _last_third(windows: list[Window] | tuple[Window, ...]) -> list[Window]:
    return list(windows[-max(1, len(windows) // 3) :])


def _shown(window: Window) -> str:
    heat = "" if window.celsius is None else f", {window.celsius:.0f} degrees Celsius"
    clock = "" if window.clock_mhz is None else f", {window.clock_mhz:.0f} MHz"
    return f"{window.t_s:.0f} s: p50 {window.p50_ms:.2f} ms{heat}{clock}"
