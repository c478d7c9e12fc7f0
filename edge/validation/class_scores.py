"""What is kept of an output with classes for one image, and what follows from it for all images.

Per image: the five best class ids and the confidence of the first, of candidate and reference, how far the probabilities moved, and
how sure the reference was. That is some 60 bytes, however many classes there are.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artefact.contract import OutputSpec
from ..errors import ContractError
from ..numbers import metrics, statistics
from ..runtime.classify import class_count, is_two_class, scores

RANKS = 5
NEAR_TIE = 0.25  # margin of the reference; above it a changed answer needs a probability shift of more than half of this
METHOD = "Tango 1998 score interval for paired proportions; exact McNemar test"

MOST_CELLS = 50_000  # of a confusion matrix that is given as cells: those with the most images

_MOST_CONFUSION = 100  # classes; beyond that the matrix is given as its cells that are not zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Fractions 0..1. ``ece`` is the expected calibration error in 15 bins."""

    top1: float
    top5: float
    ece: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Reference minus candidate, on the same images. ``lost`` and ``won``: positions of the images that only one has right."""

    top1: float
    ci95: tuple[float, float]
    p_value: float
    lost: tuple[int, ...]
    won: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """One class. ``reference`` and ``candidate`` are the share of its images that are right; None without reference."""

    class_id: int
    label: str
    images: int
    reference: float | None
    candidate: float
    lost: int
    won: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassSummary:
    """Everything about one output with classes. What needs labels, or a reference, is None without them.

    ``changed``: positions of the images whose first answer differs between reference and candidate; ``margins``: of each image
    ``(images,)``, how sure the reference was, the probability of its first class minus that of its second.
    """

    spec: OutputSpec
    images: int
    candidate: Accuracy | None
    reference: Accuracy | None
    drop: Drop | None
    agreement: float | None
    probability_shift: float | None
    changed: tuple[int, ...]
    margins: NDArray[np.float32] | None
    per_class: tuple[ClassRow, ...]
    confusion: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.spec.kind,
            "images": self.images,
            "reference": accuracy_dict(self.reference),
            "candidate": accuracy_dict(self.candidate),
            "drop": drop_dict(self.drop),
            "agreement": self.agreement,
            "probability_shift": self.probability_shift,
            "changed": len(self.changed),
            "changed_by_margin": self.changed_by_margin,
            "mean_recall": self.mean_recall,
            "per_class": [dataclasses.asdict(row) for row in self.per_class],
        }

    @property
    def changed_by_margin(self) -> dict[str, Any] | None:
        """How sure the reference was of the answers that changed: their largest margin, and how many are no near ties."""
        if self.margins is None:
            return None
        of_changed = self.margins[list(self.changed)]
        of_changed = of_changed[np.isfinite(of_changed)]
        return {
            "bound": NEAR_TIE,
            "above": int(np.sum(of_changed > NEAR_TIE)),
            "largest": float(of_changed.max()) if of_changed.size else None,
        }

    @property
    def mean_recall(self) -> dict[str, float | None] | None:
        """The mean over classes of the share of their images that are right, per side: what counts where classes are imbalanced."""
        if not self.per_class:
            return None
        before = [row.reference for row in self.per_class if row.reference is not None]
        return {
            "reference": sum(before) / len(before) if before else None,
            "candidate": sum(row.candidate for row in self.per_class) / len(self.per_class),
        }


class ClassScorer:
    """Measures one output of kind ``probabilities`` or ``logits``. A reference's classes are put in the candidate's order."""

    def __init__(self, spec: OutputSpec, size: int, *, reference: OutputSpec | None, reference_size: int) -> None:
        self.spec = spec
        self.size = class_count(spec, size)
        self._reference = reference
        classes = self.size if reference is None else class_count(reference, reference_size)
        self._order = None if reference is None else align(spec, self.size, reference, classes)
        side = [("top", "<i4", RANKS), ("confidence", "<f4")]
        self.dtype = np.dtype(
            [("candidate", side)]
            if reference is None
            else [("candidate", side), ("reference", side), ("shift", "<f4"), ("margin", "<f4")]
        )

    def measure(self, candidate: NDArray[np.float32], reference: NDArray[np.float32] | None) -> NDArray[Any]:
        """Return the record of one image from the real values of the output, float32 (classes,)."""
        record = np.zeros((), self.dtype)
        found = scores(candidate.reshape(-1), self.spec)
        self._rank(record["candidate"], found, self.spec if is_two_class(self.spec, candidate.size) else None)
        if reference is not None and self._reference is not None:
            expected = scores(reference.reshape(-1), self._reference)
            if self._order is not None:
                expected = np.where(self._order >= 0, expected[self._order], np.float32(0.0))
            single = is_two_class(self._reference, reference.size) and self._order is None
            best = self._rank(record["reference"], expected, self._reference if single else None)
            shift = metrics.total_variation(found, expected)
            record["shift"] = shift if np.isfinite(shift) else 1.0  # as far apart as can be
            record["margin"] = metrics.margin(expected, best)
        return record

    def summary(self, records: NDArray[Any], labels: NDArray[np.int32] | None) -> ClassSummary:
        """Return what the records (N,) say. labels: class ids (N,), or None where they are not known."""
        found = records["candidate"]["top"]
        expected = records["reference"]["top"] if self._reference is not None else None
        right = found[:, 0] == labels if labels is not None else None
        right_before = expected[:, 0] == labels if labels is not None and expected is not None else None
        # Two answers that are not numbers do not agree: nobody knows what they would have been.
        same = (found[:, 0] == expected[:, 0]) & (found[:, 0] >= 0) if expected is not None else None
        changed = np.flatnonzero(~same) if same is not None else np.zeros(0, np.int64)
        return ClassSummary(
            spec=self.spec,
            images=len(records),
            candidate=_accuracy(records["candidate"], labels),
            reference=_accuracy(records["reference"], labels) if expected is not None else None,
            drop=_drop(right_before, right),
            agreement=float(np.mean(same)) if same is not None else None,
            probability_shift=float(np.mean(records["shift"], dtype=np.float64)) if expected is not None else None,
            changed=tuple(int(i) for i in changed),
            margins=records["margin"] if expected is not None else None,
            per_class=self._rows(labels, right, right_before),
            confusion=self._confusion(labels, found[:, 0], None if expected is None else expected[:, 0]),
        )

    def _rank(self, side: NDArray[Any], values: NDArray[np.float32], decides: OutputSpec | None) -> NDArray[np.int32]:
        """Enter the best of ``values``, one per class, and return their ids.

        decides: whose threshold does it, where one value speaks of two classes.
        """
        ids = metrics.top_k(values, RANKS, background=self.spec.background_index)
        if decides is not None and ids[0] != metrics.NO_CLASS:
            ids[:2] = [1, 0] if values[1] >= decides.threshold else [0, 1]
        side["top"] = ids
        side["confidence"] = values[ids[0]] if ids[0] >= 0 else np.nan
        return ids

    def _rows(
        self, labels: NDArray[np.int32] | None, right: NDArray[np.bool_] | None, before: NDArray[np.bool_] | None
    ) -> tuple[ClassRow, ...]:
        if labels is None or right is None:
            return ()

        def count(of: NDArray[np.bool_]) -> NDArray[np.int64]:
            return np.bincount(labels[of], minlength=self.size)

        images, hits = np.bincount(labels, minlength=self.size), count(right)
        hits_before = count(before) if before is not None else None
        lost = count(before & ~right) if before is not None else np.zeros_like(images)
        won = count(~before & right) if before is not None else np.zeros_like(images)
        return tuple(
            ClassRow(
                class_id=int(i),
                label=class_name(self.spec, int(i)),
                images=int(images[i]),
                reference=float(hits_before[i] / images[i]) if hits_before is not None else None,
                candidate=float(hits[i] / images[i]),
                lost=int(lost[i]),
                won=int(won[i]),
            )
            for i in np.flatnonzero(images)
        )

    def _confusion(
        self, labels: NDArray[np.int32] | None, found: NDArray[np.int32], expected: NDArray[np.int32] | None
    ) -> dict[str, Any] | None:
        """Return rows = true class, columns = answer; a list of [true, answer, images] where there are many classes."""
        if labels is None:
            return None
        sides = {"reference": expected, "candidate": found}
        return {name: None if side is None else _cells(labels, side, self.size) for name, side in sides.items()}


def align(candidate: OutputSpec, size: int, reference: OutputSpec, reference_size: int) -> NDArray[np.intp] | None:
    """Return for each class of the candidate its position in the reference's output, or -1; None where both are the same.

    By label, so that a background class or another order does no harm. Raises ContractError where labels do not settle it.
    """
    if size == reference_size and (candidate.labels == reference.labels or not candidate.labels or not reference.labels):
        return None
    sizes = f"output {candidate.name!r} has {size} classes, the reference's {reference.name!r} {reference_size}"
    if not candidate.labels or not reference.labels:
        raise ContractError(f"{sizes}, and without labels on both it is not known which belong together; give labels to both")
    position = {label: i for i, label in enumerate(reference.labels)}
    order = np.array([position.get(label, -1) for label in candidate.labels], np.intp)
    unknown = [
        label for i, label in enumerate(candidate.labels) if label not in position and i != candidate.background_index
    ] or [label for i, label in enumerate(reference.labels) if label not in candidate.labels and i != reference.background_index]
    if unknown or len(position) < reference_size:
        named = f"only one has {unknown[0]!r}" if unknown else "the reference's labels repeat"
        raise ContractError(f"{sizes}, and their labels do not match ({named}); compare models of the same classes")
    return order


def class_name(spec: OutputSpec, class_id: int) -> str:
    """Return the label of a class, its number where there are no labels."""
    if class_id < 0:
        return "not a number"
    return spec.labels[class_id] if spec.labels else str(class_id)


def accuracy_dict(accuracy: Accuracy | None) -> dict[str, Any] | None:
    """Return ``accuracy`` as plain data."""
    return None if accuracy is None else {"top1": accuracy.top1, "top5": accuracy.top5, "ece": accuracy.ece}


def drop_dict(drop: Drop | None) -> dict[str, Any] | None:
    """Return ``drop`` as plain data, with the number of images where it has their positions."""
    if drop is None:
        return None
    return {
        "top1": drop.top1,
        "ci95": list(drop.ci95),
        "flips_lost": len(drop.lost),
        "flips_won": len(drop.won),
        "p_value": drop.p_value,
        "method": METHOD,
    }


def _accuracy(side: NDArray[Any], labels: NDArray[np.int32] | None) -> Accuracy | None:
    if labels is None:
        return None
    right = side["top"][:, 0] == labels
    return Accuracy(
        top1=metrics.hit_rate(side["top"][:, :1], labels),
        top5=metrics.hit_rate(side["top"], labels),
        ece=metrics.expected_calibration_error(side["confidence"], right),
    )


def _drop(before: NDArray[np.bool_] | None, after: NDArray[np.bool_] | None) -> Drop | None:
    if before is None or after is None:
        return None
    lost, won = np.flatnonzero(before & ~after), np.flatnonzero(~before & after)
    return Drop(
        top1=(lost.size - won.size) / before.size,
        ci95=statistics.paired_interval(lost.size, won.size, before.size),
        p_value=statistics.mcnemar_exact(lost.size, won.size),
        lost=tuple(int(i) for i in lost),
        won=tuple(int(i) for i in won),
    )


def _cells(labels: NDArray[np.int32], found: NDArray[np.int32], classes: int) -> list[list[int]]:
    if classes <= _MOST_CONFUSION:
        whole: list[list[int]] = metrics.confusion_matrix(labels, found, classes).tolist()
        return whole
    cells = metrics.confusion_cells(labels, found, classes)
    if len(cells) > MOST_CELLS:
        cells = cells[np.sort(np.argsort(-cells[:, 2], kind="stable")[:MOST_CELLS])]
    rows: list[list[int]] = cells.tolist()
    return rows
