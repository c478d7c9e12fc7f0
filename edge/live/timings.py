"""Durations of a run that may last for days: percentiles from the newest ones, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np

KEPT = 100_000


class Timings:
    """Milliseconds, one per event. The percentiles are those of the newest KEPT; ``count`` and ``max_ms`` are of all."""

    def __init__(self, times_ms: Iterable[float] = ()) -> None:
        self._newest: deque[float] = deque(maxlen=KEPT)
        self.count = 0
        self.max_ms = 0.0
        for time_ms in times_ms:
            self.add(time_ms)

    def add(self, time_ms: float) -> None:
        self._newest.append(time_ms)
        self.count += 1
        self.max_ms = max(self.max_ms, time_ms)

    def to_dict(self) -> dict[str, float] | None:
        """Return ``p50_ms``, ``p90_ms``, ``p99_ms`` (each a time that was measured: nearest rank) and ``max_ms``; None without any."""
        if not self._newest:
            return None
        p50, p90, p99 = (float(v) for v in np.percentile(list(self._newest), (50, 90, 99), method="inverted_cdf"))
        return {"p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "max_ms": self.max_ms}

    def to_text(self) -> str:
        found = self.to_dict()
        if found is None:
            return "none"
        return f"p50 {found['p50_ms']:.1f} ms   p99 {found['p99_ms']:.1f} ms   max {found['max_ms']:.1f} ms"
