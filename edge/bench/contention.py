"""Whether something else kept this machine's cores busy while a measurement ran.

Linux tells it three ways. ``/proc/self/task/*/schedstat`` has how long each of our threads ran and how long it was ready but waited
for a core. ``/proc/pressure/cpu`` has how long any thread of the machine waited (where the kernel was started with ``psi=1``, as on
Debian, and not on Raspberry Pi OS). ``/proc/stat`` has what a hypervisor gave to its other guests (steal).
"""

from __future__ import annotations

import os
import re
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Above these shares a median is no longer this machine's own. An idle machine, as many threads as cores: 0 to 1 %.
MOST_WAITED = 0.05  # of our threads' running and waiting time
MOST_STALLED = 0.15  # of the elapsed time; the rest of the system may wait now and then without touching us
MOST_STOLEN = 0.05  # of all cores' time

_STEAL = 7  # of the figures behind "cpu" in /proc/stat, proc(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Counters since the process or the machine began, in seconds; None where the kernel does not tell."""

    at_s: float
    ran_s: float | None
    waited_s: float | None
    stalled_s: float | None
    stolen_s: float | None
    total_s: float | None
    involuntary_switches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contention:
    """What happened between two looks. Shares are fractions 0..1; None where the kernel does not tell.

    ``waited``: of our threads' time, waiting for a core. ``stalled``: of the elapsed time, in which some thread of the machine waited.
    ``stolen``: of the cores' time, given to other guests of a hypervisor. ``load``: runnable threads in the last minute (1-minute
    load average). ``involuntary_switches``: how often our threads were put off a core.
    """

    waited: float | None
    stalled: float | None
    stolen: float | None
    load: float | None
    involuntary_switches: int

    @property
    def objections(self) -> tuple[str, ...]:
        """Why a time measured meanwhile is not this machine's speed."""
        found = []
        if self.waited is not None:
            if self.waited > MOST_WAITED:
                found.append(f"its threads waited for a core {self.waited:.0%} of the time: other programs were running")
        # Of the whole machine: without our own figure the best there is, beside it nothing that touched us.
        elif self.stalled is not None and self.stalled > MOST_STALLED:
            found.append(f"other programs competed for the cores {self.stalled:.0%} of the time")
        if self.stolen is not None and self.stolen > MOST_STOLEN:
            found.append(f"the hypervisor took {self.stolen:.0%} of the cores' time away")
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


def look(proc: Path = Path("/proc")) -> Usage:
    """Return the counters of now. proc: another folder than ``/proc`` in tests only."""
    ran, waited = _threads(proc)
    pressure = re.search(r"^some .*total=(\d+)", _text(proc / "pressure/cpu"), re.MULTILINE)
    ticks = [int(word) for word in _text(proc / "stat").partition("\n")[0].split()[1:] if word.isdigit()]
    per_second = os.sysconf("SC_CLK_TCK")
    return Usage(
        at_s=time.perf_counter(),
        ran_s=ran,
        waited_s=waited,
        stalled_s=int(pressure[1]) / 1e6 if pressure else None,
        stolen_s=ticks[_STEAL] / per_second if len(ticks) > _STEAL else None,
        # guest and guest_nice, behind steal, are counted in user and nice already.
        total_s=sum(ticks[: _STEAL + 1]) / per_second if len(ticks) > _STEAL else None,
        involuntary_switches=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
    )


def between(first: Usage, last: Usage) -> Contention:
    """Return the contention from ``first`` to ``last``."""
    ran, waited = _grown(first.ran_s, last.ran_s), _grown(first.waited_s, last.waited_s)
    return Contention(
        waited=_share(waited, None if ran is None or waited is None else ran + waited),
        stalled=_share(_grown(first.stalled_s, last.stalled_s), last.at_s - first.at_s),
        stolen=_share(_grown(first.stolen_s, last.stolen_s), _grown(first.total_s, last.total_s)),
        load=_load(),
        involuntary_switches=max(0, last.involuntary_switches - first.involuntary_switches),
    )


def _threads(proc: Path) -> tuple[float | None, float | None]:
    """Seconds that our threads ran, and waited for a core; a thread that has ended takes its own along."""
    found = list(_schedstats(proc))
    if not found:
        return None, None
    return sum(ran for ran, _ in found) / 1e9, sum(waited for _, waited in found) / 1e9


def _schedstats(proc: Path) -> Iterator[tuple[int, int]]:
    for file in sorted((proc / "self/task").glob("*/schedstat")):
        words = _text(file).split()
        if len(words) == 3 and all(word.isdigit() for word in words):
            yield int(words[0]), int(words[1])


def _grown(first: float | None, last: float | None) -> float | None:
    return None if first is None or last is None else max(0.0, last - first)


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole or whole <= 0.0 else min(1.0, part / whole)


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
