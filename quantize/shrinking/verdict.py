"""Whether a shrunk int8 file is within the budget, on photos that neither ranked, nor repaired, nor trained, nor chose.

Against the original network in float, picture by picture. Classes: top-1, Tango's interval; independent labels: pictures with every label
right; numbers: the mean absolute error in their own unit, Student's interval of the paired differences. A verdict is given by the bound.

Whoever looks at the same photos again and again finds a file that passes by chance. So look number k at them (in one folder) gets the
share ``6 / (pi k)^2`` of the 5 % of error: all shares together are 5 %, however often somebody tries.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.artefact.contract import Contract, OutputSpec
from edge.data.dataset import LabelledImages
from edge.files import atomic_write_text
from edge.numbers import statistics
from edge.runtime.classify import best_ids
from edge.validation.journal import key

from ..qat.data import read_truth

LOOKS = "looks.json"

Answers = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``figure``: ``top1``, ``exact_match`` (fractions) or ``mae`` (in the output's unit), or ``agreement`` where no truth is known.

    ``original``, ``shrunk``: the figure of each. ``drop``: what is lost, positive where the shrunk file is worse; ``interval``: of
    it, at ``confidence``. ``look``: the how manieth at these photos. ``lost``, ``won``: pictures that only the one or the
    other has right. ``enough``: how many photos would decide it with the rates seen here, None where it is decided or nobody knows.
    """

    output: str
    figure: str
    images: int
    original: float | None
    shrunk: float | None
    drop: float | None
    interval: tuple[float, float] | None
    confidence: float
    look: int
    max_drop: float
    agreement: float | None
    lost: int | None = None
    won: int | None = None
    enough: int | None = None
    verdict: str = statistics.UNDECIDED

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {**plain, "interval": None if self.interval is None else list(self.interval)}


def judge(
    contract: Contract, images: LabelledImages, original: Answers, shrunk: Answers, *, max_drop: float, look: int = 1
) -> Verdict:
    """Return the verdict on answers ``(images, ...)`` by output name. The first output whose truth is known decides; classes go first."""
    sizes = [math.prod(original[spec.name].shape[1:]) for spec in contract.outputs]
    truth = read_truth(images, contract, sizes)
    order = sorted(contract.outputs, key=lambda spec: (spec.name not in truth, not spec.is_classes, spec.kind == "regression"))
    spec = order[0]
    confidence = confidence_of(look)
    same = _same(spec, original[spec.name], shrunk[spec.name])
    common: dict[str, Any] = {
        "output": spec.name,
        "images": len(images),
        "confidence": confidence,
        "look": look,
        "max_drop": max_drop,
    }
    if spec.name not in truth:
        return Verdict(**common, figure="agreement", original=None, shrunk=same, drop=None, interval=None, agreement=same)
    known = truth[spec.name]
    if spec.kind == "regression":
        before, after = (_errors(answers[spec.name], known) for answers in (original, shrunk))
        interval = statistics.mean_interval(after - before, confidence)
        found = float(np.mean(before)), float(np.mean(after))
        verdict = statistics.verdict(interval, max_drop)
        return Verdict(
            **common,
            figure="mae",
            original=found[0],
            shrunk=found[1],
            drop=found[1] - found[0],
            interval=interval,
            agreement=None,
            verdict=verdict,
        )
    right = [_right(spec, answers[spec.name], known) for answers in (original, shrunk)]
    lost, won = int(np.sum(right[0] & ~right[1])), int(np.sum(~right[0] & right[1]))
    interval = statistics.paired_interval(lost, won, len(images), confidence)
    verdict = statistics.verdict(interval, max_drop)
    undecided = verdict == statistics.UNDECIDED
    return Verdict(
        **common,
        figure="top1" if spec.is_classes else "exact_match",
        original=float(np.mean(right[0])),
        shrunk=float(np.mean(right[1])),
        drop=(lost - won) / len(images),
        interval=interval,
        agreement=same,
        lost=lost,
        won=won,
        enough=statistics.images_to_decide(lost, won, len(images), max_drop) if undecided else None,
        verdict=verdict,
    )


def confidence_of(look: int) -> float:
    """Return the confidence of the interval of look number ``look`` (from 1)."""
    return 1.0 - (1.0 - statistics.CONFIDENCE) * 6.0 / (math.pi * look) ** 2


def look_number(folder: Path, images: LabelledImages, sha256: str) -> int:
    """Remember in ``folder`` that a file looks at ``images``, and return the how manieth it is; the same file again is no new look."""
    path = folder / LOOKS
    photos = key([[item.id, item.label, list(item.targets)] for item in images])[:32]
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    files = known.setdefault(photos, [])
    if sha256 not in files:
        files.append(sha256)
        atomic_write_text(path, json.dumps(known, indent=1) + "\n")
    return 1 + int(files.index(sha256))


def _right(spec: OutputSpec, values: NDArray[np.float32], truth: NDArray[Any]) -> NDArray[np.bool_]:
    if spec.is_classes:
        found: NDArray[np.bool_] = np.array([best_ids(row, spec)[0] for row in values]) == truth
        return found
    flat = values.reshape(len(values), -1)
    return np.asarray(np.all((flat >= spec.threshold) == truth.reshape(flat.shape), axis=1))


def _same(spec: OutputSpec, one: NDArray[np.float32], other: NDArray[np.float32]) -> float | None:
    """Return the share of pictures with the same answer, None for numbers."""
    if spec.is_classes:
        pairs = zip(one, other, strict=True)
        return float(np.mean([best_ids(a, spec)[0] == best_ids(b, spec)[0] for a, b in pairs]))
    if spec.kind == "multilabel":
        axes = tuple(range(1, one.ndim))
        return float(np.mean(np.all((one >= spec.threshold) == (other >= spec.threshold), axis=axes)))
    return None


def _errors(values: NDArray[np.float32], truth: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean absolute error of each picture, ``(pictures,)``."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    errors: NDArray[np.float64] = np.mean(np.abs(flat - truth.reshape(flat.shape)), axis=1)
    return errors
