"""The files that may be deployed: what is known of each, and which of them is the one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.numbers.statistics import PASS

from .request import Request

Answers = Mapping[str, Mapping[str, Any] | None]
"""What the steps have found, by their names; None for a step that is still to come and is taken to go well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """``name``: the variant, or the command that made it."""

    name: str
    file: str

    def passes(self, answers: Answers) -> bool:
        """Whether its drop is proven to be within the limit (or taken to be, as nobody has looked yet)."""
        found = answers.get(f"validate {self.name}")
        return found is None or found.get("verdict") == PASS

    def predicted_ms(self, answers: Answers) -> float | None:
        """Milliseconds on the board as predicted."""
        latency = (answers.get(f"check {self.name}") or {}).get("latency_ms")
        return float(latency["expected"]) if latency else None

    def measured_ms(self, answers: Answers) -> float | None:
        """Milliseconds (median) on the board as measured."""
        found = answers.get(f"benchmark {self.name}")
        return None if found is None or found.get("p50_ms") is None else float(found["p50_ms"])

    def fits(self, answers: Answers) -> bool | None:
        """Whether it is predicted to fit the board's memory; None where nobody knows."""
        return (answers.get(f"check {self.name}") or {}).get("fits")

    def is_slow(self, request: Request, answers: Answers, *, measure: bool) -> bool:
        """Whether it takes longer than is allowed, or nobody can predict it. measure: only what was measured counts, as it can be."""
        if request.max_ms is None:
            return False
        found = self.measured_ms(answers) if measure else self.predicted_ms(answers)
        if found is None:
            return not measure and answers.get(f"check {self.name}") is not None
        return found > request.max_ms


def quantized(request: Request) -> tuple[Candidate, ...]:
    """Return the variants that are to be proven: all but the reference."""
    return tuple(Candidate(name=name, file=request.made(name)) for name in request.variants if name != "float32")


def rescued(kind: str, found: Mapping[str, Any] | None, request: Request) -> Candidate | None:
    """Return the file that a rescue made, None where it made none. Of one that is to come: the file that it is to make."""
    key, file = {
        "tune": ("file", f"{request.name}.tuned.tflite"),
        "qat": ("trained", f"{request.name}.int8-qat.tflite"),
        "shrink": ("int8", f"{request.name}.shrunk.int8.tflite"),
    }[kind]
    if found is None:
        return Candidate(name=kind, file=request.place(kind, file))
    # shrink counts its looks at the photos of --test and has wider intervals for them: what it does not pass is none.
    proven = kind != "shrink" or found.get("verdict") == PASS
    return Candidate(name=kind, file=str(found[key])) if proven and found.get(key) else None


def choose(
    candidates: Sequence[Candidate], request: Request, answers: Answers, *, measure: bool
) -> tuple[Candidate | None, Candidate | None]:
    """Return what is to be deployed, and what would be if it were fast enough; None for none.

    Among those that pass: the fastest on the board, where that is predicted for all of them, else the smallest.
    """
    passing = [each for each in candidates if each.passes(answers)]
    times = {each.name: each.predicted_ms(answers) for each in passing}
    timed = all(time is not None for time in times.values())

    def order(each: Candidate) -> tuple[float, int]:
        place = Path(each.file)
        return (times[each.name] or 0.0) if timed else 0.0, place.stat().st_size if place.exists() else 0

    ranked = sorted(passing, key=order)
    slow = [each for each in ranked if each.is_slow(request, answers, measure=measure)]
    # What is behind a slow one is slower still; only a smaller network is another matter.
    fast = [each for each in ranked if each not in slow and (not slow or not measure or each.name == "shrink")]
    return (fast[0] if fast else None), (ranked[0] if ranked else None)
