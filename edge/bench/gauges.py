"""Temperature, clock and throttling flags of this machine, read before, during and after a measurement.

What a machine does not tell is None. The clock is what the kernel asked for; a Raspberry Pi's firmware may run slower and only say
so in its flags, which is why both are looked at.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from devices.boards import throttling

from . import contention, sensors
from .contention import Contention

PERIOD_S = 1.0  # a look takes well below a millisecond
_FLAGS_EVERY = 10  # looks, where the flags cost starting a program
_SLOW = 0.9  # of the highest clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look, ``at_s`` seconds after the first. ``throttled`` holds the firmware's bits."""

    at_s: float
    celsius: float | None
    clock_mhz: float | None
    throttled: int | None


class Gauges:
    """What can be read here. ``root`` is another folder than ``/`` in tests only."""

    def __init__(self, root: Path = Path("/")) -> None:
        cpu = root / "sys/devices/system/cpu"
        self._zones = sorted((root / "sys/class/thermal").glob("thermal_zone*/temp"))
        self._policies = sorted((cpu / "cpufreq").glob("policy*")) or sorted(cpu.glob("cpu[0-9]*/cpufreq"))
        self._flags = next(iter(sorted((root / "sys/devices/platform").glob("soc*/soc*:firmware/get_throttled"))), None)
        self._firmware = sensors.firmware(root)
        self.governor = sensors.text(self._policies[0] / "scaling_governor") if self._policies else None
        self.clock_max_mhz = _most(self._policies, "cpuinfo_max_freq", 1e3)

    @property
    def costly_flags(self) -> bool:
        """Whether looking at the flags means starting a program."""
        return self._flags is None and self._firmware is not None

    def read(self, at_s: float = 0.0, *, flags: bool = True) -> Sample:
        """Return what is to be seen now. flags: look at the throttling flags too."""
        degrees = [
            int(text) / 1000 for zone in self._zones if (text := sensors.text(zone)) is not None and text.lstrip("-").isdigit()
        ]
        return Sample(
            at_s=at_s,
            celsius=max(degrees, default=None),
            clock_mhz=_most(self._policies, "scaling_cur_freq", 1e3),
            throttled=self._throttled() if flags else None,
        )

    def _throttled(self) -> int | None:
        text = sensors.text(self._flags) if self._flags is not None else None
        if text is None and self._firmware is not None:
            text = self._firmware.ask("get_throttled")
        return throttling.bits(text or "")


class Recorder:
    """Looks at the gauges in a thread of its own while something else is measured: ``with Recorder() as recorder: ...``."""

    def __init__(self, gauges: Gauges | None = None, *, period_s: float = PERIOD_S) -> None:
        self.gauges = Gauges() if gauges is None else gauges
        self.samples: list[Sample] = []
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="gauges", daemon=True)

    def __enter__(self) -> Recorder:
        self._start = time.perf_counter()
        self._before = contention.look()
        self.samples.append(self.gauges.read())
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._after = contention.look()  # before our own thread ends and takes its counters along
        self._stop.set()
        self._thread.join()
        self.samples.append(self.gauges.read(time.perf_counter() - self._start))

    def conditions(self) -> Conditions:
        """Return what was seen, after the end."""
        return Conditions(
            governor=self.gauges.governor,
            clock_max_mhz=self.gauges.clock_max_mhz,
            samples=tuple(self.samples),
            contention=contention.between(self._before, self._after),
        )

    def _look(self) -> None:
        looks = 0
        while not self._stop.wait(self._period_s):
            looks += 1
            flags = not self.gauges.costly_flags or looks % _FLAGS_EVERY == 0
            self.samples.append(self.gauges.read(time.perf_counter() - self._start, flags=flags))


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Under what conditions something was measured: the samples from before to after."""

    governor: str | None
    clock_max_mhz: float | None
    samples: tuple[Sample, ...]
    contention: Contention | None = None

    @property
    def quotable(self) -> bool:
        """Whether nothing speaks against calling the result this machine's speed."""
        return not self.objections

    @property
    def objections(self) -> tuple[str, ...]:
        """What speaks against it: throttling or under-voltage meanwhile, a clock far below the highest, or other programs."""
        found = []
        flags = self.flags
        if flags:
            found.append(f"{', '.join(flags)} while it was measured")
        clock = _median([sample.clock_mhz for sample in self.samples[1:-1]])
        if clock is not None and self.clock_max_mhz is not None and clock < _SLOW * self.clock_max_mhz:
            found.append(f"the clock was at {clock:.0f} of {self.clock_max_mhz:.0f} MHz")
        return (*found, *(() if self.contention is None else self.contention.objections))

    @property
    def flags(self) -> tuple[str, ...]:
        """Throttling flags that were set at a look, or came up since the first one; those of an earlier time do not count."""
        seen = [throttling.names(sample.throttled) for sample in self.samples if sample.throttled is not None]
        if not seen:
            return ()
        before = set(seen[0][1])
        return tuple(sorted({flag for now, since in seen for flag in (*now, *(set(since) - before))}))

    def heat(self) -> list[tuple[float, float]]:
        """Return (seconds, degrees Celsius) of the samples that have a temperature."""
        return [(sample.at_s, sample.celsius) for sample in self.samples if sample.celsius is not None]

    def to_dict(self) -> dict[str, Any]:
        first, last = self.samples[0], self.samples[-1]
        degrees, clocks = _known(s.celsius for s in self.samples), _known(s.clock_mhz for s in self.samples)
        bits = _known(s.throttled for s in self.samples)
        return {
            "before_c": first.celsius,
            "after_c": last.celsius,
            "max_c": max(degrees, default=None),
            "governor": self.governor,
            "clock_before_mhz": first.clock_mhz,
            "clock_median_mhz": _median([sample.clock_mhz for sample in self.samples]),
            "clock_min_mhz": min(clocks, default=None),
            "clock_after_mhz": last.clock_mhz,
            "clock_max_mhz": self.clock_max_mhz,
            "throttled": hex(int(bits[-1])) if bits else None,
            "flags": list(self.flags),
            "samples": len(self.samples),
            "contention": None if self.contention is None else self.contention.to_dict(),
        }


def _known(values: Any) -> list[float]:
    return [value for value in values if value is not None]


def _median(values: Sequence[float | None]) -> float | None:
    known = _known(values)
    return statistics.median(known) if known else None


def _most(folders: Sequence[Path], name: str, unit: float) -> float | None:
    found = [int(text) / unit for folder in folders if (text := sensors.text(folder / name)) is not None and text.isdigit()]
    return max(found, default=None)
