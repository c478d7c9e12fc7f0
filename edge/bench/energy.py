"""Joules for a run: power looked at while a model runs, less what the machine takes when it rests before and after."""

from __future__ import annotations

import math
import threading
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..numbers.statistics import student_quantile
from . import power

IDLE_SECONDS = 2.0  # of rest before, and again after
LEAST_LOOKS = 5

_BATCHES = 10
_CONFIDENCE = 0.95
_NOTHING = "nothing here measures power"


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What one meter saw. Powers in watts, energies in joules for one run.

    ``joules``: above rest. ``uncertainty_j``: half of its interval of 95 %, from how much the readings varied and how far the rest before
    lies from the rest after; what the sensor itself is wrong by is not in it. ``looks_per_s``: as it went, not as it was meant.
    """

    meter: str
    scope: str
    joules: float
    uncertainty_j: float
    joules_with_rest: float
    load_w: float
    idle_w: float
    looks: int
    idle_looks: int
    looks_per_s: float

    @property
    def shows(self) -> bool:
        """Whether it is more than what the readings vary by."""
        return self.joules > self.uncertainty_j

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "meter": self.meter,
            "scope": self.scope,
            "joules_per_run": self.joules,
            "uncertainty_j": self.uncertainty_j,
            "above_uncertainty": self.shows,
            "joules_per_run_with_rest": self.joules_with_rest,
            "load_w": self.load_w,
            "idle_w": self.idle_w,
            "looks": self.looks,
            "idle_looks": self.idle_looks,
            "looks_per_s": self.looks_per_s,
        }

    def to_text(self) -> str:
        """Return it in two lines."""
        above = f"{said(self.joules)} +- {said(self.uncertainty_j)} a run above rest"
        if not self.shows:
            above = f"not seen above rest, to within {said(self.uncertainty_j)} a run"
        return (
            f"  energy {above}, {said(self.joules_with_rest)} with it ({self.load_w:.2f} W running, {self.idle_w:.2f} W at rest;"
            f" {self.looks} + {self.idle_looks} readings, {self.looks_per_s:.1f} a second)\n    {self.meter}: {self.scope}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyReport:
    """What all meters saw, the first is the one to quote; ``note`` says why there is none."""

    found: tuple[Energy, ...] = ()
    note: str | None = _NOTHING

    @property
    def first(self) -> Energy | None:
        return self.found[0] if self.found else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, to be merged into a report."""
        first, *others = (one.to_dict() for one in self.found) if self.found else (None,)
        return {"energy": first, "energy_others": others, "energy_note": self.note}

    def lines(self) -> list[str]:
        """Return what a person is told: nothing where there is no meter at all."""
        if self.found:
            return [one.to_text() for one in self.found]
        return [] if self.note in (None, _NOTHING) else [f"  energy unknown: {self.note}"]


class EnergyMeter:
    """Looks at all meters in a thread of its own.

    with EnergyMeter() as meter:
        meter.rest(2.0)
        …                       # runs the model
        meter.rest(2.0)
    meter.report(start_s, end_s, runs)

    Where nothing measures there is no thread, and resting takes no time.
    """

    def __init__(self, found: power.Found | None = None, *, period_s: float | None = None) -> None:
        self._found = power.find() if found is None else found
        slowest = max((one.period_s for one in self._found.meters), default=0.0)
        self._period_s = slowest if period_s is None else period_s
        self._times = array("d")
        self._values = [array("d") for _ in self._found.meters]  # not a number where a look told nothing
        self._rests: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="energy", daemon=True)

    def __enter__(self) -> EnergyMeter:
        if self._found.meters:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        if self._found.meters:
            self._thread.join()

    def rest(self, seconds: float) -> None:
        """Do nothing for so long, and call what is measured meanwhile rest."""
        if not self._found.meters:
            return
        start = time.perf_counter()
        time.sleep(seconds)
        self._rests.append((start, time.perf_counter()))

    @property
    def looks(self) -> int:
        """How many looks there were."""
        return len(self._times)

    def report(self, start_s: float, end_s: float, runs: int) -> EnergyReport:
        """Return what ``runs`` runs took that filled the time from ``start_s`` to ``end_s`` (`time.perf_counter`), after the end."""
        if not self._found.meters:
            return EnergyReport(note="; ".join(self._found.notes) or _NOTHING)
        times = np.array(self._times, np.float64)
        found = []
        for meter, values in zip(self._found.meters, self._values, strict=True):
            one = energy_of(
                times,
                np.array(values, np.float64),
                counts=meter.counts,
                load=(start_s, end_s),
                rests=self._rests,
                runs=runs,
                meter=meter.name,
                scope=meter.scope,
            )
            found += [] if one is None else [one]
        first = self._found.meters[0].name
        few = f"{first} told nothing while the model ran, or fewer than {LEAST_LOOKS} times; measure for longer with --seconds"
        return EnergyReport(found=tuple(found), note=None if found else few)

    def _look(self) -> None:
        while True:
            for meter, values in zip(self._found.meters, self._values, strict=True):
                value = meter.read()
                values.append(math.nan if value is None else value)
            self._times.append(time.perf_counter())
            if self._stop.wait(self._period_s):
                return


def energy_of(
    times_s: NDArray[np.float64],
    values: NDArray[np.float64],
    *,
    counts: bool,
    load: tuple[float, float],
    rests: Sequence[tuple[float, float]],
    runs: int,
    meter: str,
    scope: str,
) -> Energy | None:
    """Return the energy of a run from readings (N,) at ``times_s`` (N,).

    None where there are fewer than 5 of running or of rest, or the meter says that a running machine takes nothing, as one does that
    measures nothing.

    counts: values are joules that add up, and else watts; not a number where a reading failed. load, rests: from when to when.

    The powers are means, P of running and R of rest; a run takes (P - R) t / runs. The interval of a mean comes from the means of up to 10
    batches of neighbours, which follow each other less than single readings do (method of batch means: Law, Simulation Modeling and
    Analysis, 9.5.3), with Student's t. Where the machine rested twice, half of the difference is added for the drift.
    """
    running = _watts(times_s, values, counts, load)
    resting = [_watts(times_s, values, counts, rest) for rest in rests]
    at_rest = np.concatenate([np.empty(0), *resting])
    if min(running.size, at_rest.size) < LEAST_LOOKS or runs < 1:
        return None
    load_w, idle_w = float(running.mean()), float(at_rest.mean())
    if load_w <= 0.0:
        return None
    means = [float(rest.mean()) for rest in resting if rest.size]
    drift_w = (max(means) - min(means)) / 2
    uncertain_w = math.sqrt(_half(running) ** 2 + _half(at_rest) ** 2 + drift_w**2)
    seconds = (load[1] - load[0]) / runs
    return Energy(
        meter=meter,
        scope=scope,
        joules=(load_w - idle_w) * seconds,
        uncertainty_j=uncertain_w * seconds,
        joules_with_rest=load_w * seconds,
        load_w=load_w,
        idle_w=idle_w,
        looks=running.size,
        idle_looks=at_rest.size,
        looks_per_s=running.size / (load[1] - load[0]),
    )


def said(joules: float) -> str:
    """Return an energy in J, mJ or µJ, with three figures."""
    for unit, size in (("J", 1.0), ("mJ", 1e-3)):
        if abs(joules) >= size:
            return f"{joules / size:.3g} {unit}"
    return f"{joules / 1e-6:.3g} µJ"


def _watts(
    times_s: NDArray[np.float64], values: NDArray[np.float64], counts: bool, window: tuple[float, float]
) -> NDArray[np.float64]:
    """Return the readings of a window as watts; of a counter, the rises between neighbours that both lie in it."""
    inside = (times_s >= window[0]) & (times_s <= window[1]) & np.isfinite(values)
    times_s, values = times_s[inside], values[inside]
    if not counts:
        return values
    rises = np.diff(times_s)
    return np.asarray(np.diff(values)[rises > 0] / rises[rises > 0], np.float64)


def _half(watts: NDArray[np.float64]) -> float:
    """Return half of the interval of the mean of readings that follow each other."""
    batches = [batch.mean() for batch in np.array_split(watts, min(_BATCHES, watts.size))]
    quantile = student_quantile((1 + _CONFIDENCE) / 2, len(batches) - 1)
    return quantile * float(np.std(batches, ddof=1)) / math.sqrt(len(batches))
