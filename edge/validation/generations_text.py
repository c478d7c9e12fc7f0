"""What `edge.compare` found, as data, as JSON and as text."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bench.energy import Energy, said
from ..numbers import statistics

SCHEMA_VERSION = 1
_SHOWN = 10  # regressions named in the text; --json has them all


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One artefact. ``score``: the share of images that are right, or the mean absolute error of an output of numbers.

    ``not_quotable_because``: what spoilt the time. ``energy``: None where nothing measures power.
    """

    file: str
    name: str
    variant: str
    bytes: int
    sha256: str
    p50_ms: float | None
    score: float
    metrics: Mapping[str, float]
    not_quotable_because: tuple[str, ...] = ()
    energy: Energy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """An image that the newer artefact answers worse. ``growth``: of its error (1 for classes)."""

    image: str
    truth: str
    before: str
    after: str
    growth: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Artefact number ``new`` against number ``old``, paired. ``error_growth`` is the mean; above zero is worse."""

    old: int
    new: int
    error_growth: float
    ci95: tuple[float, float]
    better_images: int
    regressions: tuple[Regression, ...]

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, or ``undecided`` where the interval holds zero."""
        return "worse" if self.ci95[0] > 0 else "better" if self.ci95[1] < 0 else "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareReport:
    """``generations`` in the order given; ``best`` is the position of the most accurate. ``steps``: each against the one before.

    ``against_reference``: each of the others against the one that was named as such, with a verdict where ``max_drop`` was given.
    ``host`` and ``runtime``: the machine and the interpreter that all figures come from.
    """

    output: str
    kind: str
    images: int
    generations: tuple[Generation, ...]
    best: int
    against_best: tuple[Step, ...]
    steps: tuple[Step, ...]
    tolerance: float
    host: Mapping[str, Any]
    runtime: Mapping[str, Any]
    against_reference: tuple[Step, ...] = ()
    max_drop: float | None = None

    @property
    def verdicts(self) -> dict[int, str]:
        """``pass``, ``fail`` or ``undecided`` by position, of all but the reference; empty without ``max_drop``.

        Each is by its own 95 % interval, so of twenty files that lose too much one may pass by chance.
        """
        limit = self.max_drop
        return {} if limit is None else {step.new: statistics.verdict(step.ci95, limit) for step in self.against_reference}

    @property
    def exit_code(self) -> int:
        """0 where every verdict is ``pass`` or none was asked for, else 1."""
        return 0 if set(self.verdicts.values()) <= {statistics.PASS} else 1

    def ranking(self, by: str) -> tuple[int, ...]:
        """Return the positions of the artefacts, the best first, by ``accuracy``, ``bytes`` or ``p50_ms``."""
        sign = 1 if self.kind == "regression" else -1

        def place(i: int) -> float:
            one = self.generations[i]
            if by == "accuracy":
                return sign * one.score
            return float(one.bytes) if by == "bytes" else math.inf if one.p50_ms is None else one.p50_ms

        return tuple(sorted(range(len(self.generations)), key=lambda i: (place(i), i)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        steps = {
            key: [{**dataclasses.asdict(step), "ci95": list(step.ci95), "verdict": step.verdict} for step in found]
            for key, found in (
                ("against_best", self.against_best),
                ("steps", self.steps),
                ("against_reference", self.against_reference),
            )
        }
        return {
            "schema_version": SCHEMA_VERSION,
            "output": self.output,
            "kind": self.kind,
            "images": self.images,
            "tolerance": self.tolerance,
            "artefacts": [
                {
                    **dataclasses.asdict(one),
                    "metrics": dict(one.metrics),
                    "not_quotable_because": list(one.not_quotable_because),
                    "energy": None if one.energy is None else one.energy.to_dict(),
                }
                for one in self.generations
            ],
            "best": self.best,
            "ranking": {by: list(self.ranking(by)) for by in ("accuracy", "bytes", "p50_ms")},
            **steps,
            "max_drop": self.max_drop,
            "verdicts": [self.verdicts.get(i) for i in range(len(self.generations))],
            "host": dict(self.host),
            "runtime": dict(self.runtime),
        }

    def to_text(self) -> str:
        """Return the report for people."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"output {self.output} ({self.kind}), {self.images:,} images, the most accurate first"
        yield ""
        names = list(self.generations[0].metrics)
        width = max(len(Path(one.file).name) for one in self.generations)
        title = "".join(f"{name:>15}" for name in names)
        metered = next((one.energy for one in self.generations if one.energy is not None), None)
        column = "" if metered is None else f"{'energy':>22}"
        yield f"  {'':{width}}{title}{'MiB':>9}{'p50 ms':>9}{column}  against the most accurate"
        against = {step.new: step for step in self.against_best}
        for i in self.ranking("accuracy"):
            one = self.generations[i]
            figures = "".join(f"{one.metrics[name]:15.4f}" for name in names)
            latency = "" if one.p50_ms is None else f"{one.p50_ms:.2f}"
            taken = "" if metered is None else f"{_energy(one.energy):>22}"
            row = f"  {Path(one.file).name:{width}}{figures}{one.bytes / 2**20:9.2f}{latency:>9}{taken}"
            yield row if i not in against else f"{row}  {_paired(against[i])}"
        smallest, fastest = (Path(self.generations[self.ranking(by)[0]].file).name for by in ("bytes", "p50_ms"))
        timed = "" if self.generations[0].p50_ms is None else f"; fastest: {fastest}"
        yield f"  smallest: {smallest}{timed}; all run on {self.host.get('processor') or 'this machine'}"
        if metered is not None:
            yield f"  energy: a run above rest, 95 %; {metered.meter}: {metered.scope}"
        for one in self.generations:
            if one.not_quotable_because:
                yield f"  {Path(one.file).name}: NOT this machine's speed: {'; '.join(one.not_quotable_because)}"
        yield from self._table()
        for step in self.steps:
            old, new = (Path(self.generations[i].file).name for i in (step.old, step.new))
            yield ""
            yield f"  {old} -> {new}: {_paired(step)}; {len(step.regressions)} images worse, {step.better_images} better"
            for found in step.regressions[:_SHOWN]:
                yield f"    {found.image}: {found.before} -> {found.after} (true: {found.truth})"
            if len(step.regressions) > _SHOWN:
                yield f"    and {len(step.regressions) - _SHOWN:,} more (--json has them all)"

    def _table(self) -> Iterator[str]:
        """Yield what each loses against the reference, in points where it is a share."""
        if not self.against_reference:
            return
        named = {i: Path(one.file).name for i, one in enumerate(self.generations)}
        width = max(map(len, named.values()))
        limit = "" if self.max_drop is None else f", at most {100 * self.max_drop:g} points may be lost"
        yield ""
        yield f"  against {named[self.against_reference[0].old]}, 95 % intervals{limit}"
        for step in self.against_reference:
            low, high = step.ci95
            lost, won = len(step.regressions), step.better_images
            if self.kind == "regression":
                said = f"error {step.error_growth:+.4f} ({low:+.4f} to {high:+.4f})"
            else:
                said = f"drop {100 * step.error_growth:+.2f} points ({100 * low:+.2f} to {100 * high:+.2f})"
            verdict = f"  {self.verdicts[step.new]}" if step.new in self.verdicts else ""
            yield f"  {named[step.new]:{width}}  {said}  lost {lost}, won {won}{verdict}"


def _energy(found: Energy | None) -> str:
    return "-" if found is None else f"{said(found.joules)} +- {said(found.uncertainty_j)}"


def _paired(step: Step) -> str:
    low, high = step.ci95
    return f"error {step.error_growth:+.4f} ({low:+.4f} to {high:+.4f}, 95 %): {step.verdict}"
