"""The same as `edge.validation.class_scores` for outputs that do not name one class: multi-label, regression, features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artefact.contract import OutputSpec
from ..numbers import metrics, statistics

_STEPS = 65535  # scores 0..1 are kept in this many steps
_WORST = 10  # images named


class MultilabelScorer:
    """Measures independent sigmoids. Kept per image: each score in 65,535 steps, placed so that no decision is altered."""

    def __init__(self, spec: OutputSpec, size: int, *, paired: bool) -> None:
        self.spec = spec
        self._cut = int(np.ceil(spec.threshold * _STEPS))
        sides = ("candidate", "reference") if paired else ("candidate",)
        self._sides = sides
        self.dtype = np.dtype([(side, "<u2", (size,)) for side in sides] + [(f"{side}_finite", "?") for side in sides])

    def measure(self, candidate: NDArray[np.float32], reference: NDArray[np.float32] | None) -> NDArray[Any]:
        """Return the record of one image from its scores, float32 (labels,)."""
        record = np.zeros((), self.dtype)
        for side, scores in (("candidate", candidate), ("reference", reference)):
            if scores is not None:
                record[side] = self._steps(scores)
                record[f"{side}_finite"] = np.all(np.isfinite(scores))
        return record

    def summary(self, records: NDArray[Any], truth: NDArray[np.bool_] | None) -> dict[str, Any]:
        """Return precision, recall, F1 and threshold shift per label. truth: (N, labels), or None where it is not known.

        Their means are over the labels that have one (`edge.numbers.metrics.precision_recall`): a label that is never decided for
        counts as 0.
        ``exact_match`` is the share of images with every label right; ``exact_match_drop`` is reference minus candidate, paired.
        The threshold shift of a label is how far the candidate's threshold would have to move to decide most like the reference.
        """
        sides = self._sides
        rows: list[dict[str, Any]] = []
        agreements, shifts = [], []
        # What is not a number is right nowhere: it decides for the opposite of the truth, and agrees with nothing.
        finite = {side: np.asarray(records[f"{side}_finite"], np.bool_) for side in sides}
        both = np.logical_and.reduce(list(finite.values()))
        right = {side: finite[side].copy() for side in sides}
        # Label by label: the records may be a mapped file larger than the memory.
        for i in range(self.dtype["candidate"].shape[0]):
            steps = {side: np.asarray(records[side][:, i], np.int32) for side in sides}
            row: dict[str, Any] = {"label": self.spec.labels[i] if self.spec.labels else str(i)}
            if truth is not None:
                row["positives"] = int(truth[:, i].sum())
                for side, values in steps.items():
                    decided = np.where(finite[side], values >= self._cut, ~truth[:, i])
                    right[side] &= decided == truth[:, i]
                    precision, recall = metrics.precision_recall(decided[:, None], truth[:, i, None])
                    f1 = metrics.f1_score(decided[:, None], truth[:, i, None])
                    row[side] = {"precision": float(precision[0]), "recall": float(recall[0]), "f1": float(f1[0])}
            if "reference" in steps:
                decided = steps["reference"] >= self._cut
                row["agreement"] = float(np.mean(((steps["candidate"] >= self._cut) == decided) & both))
                matching = metrics.matching_threshold(steps["candidate"], decided, float(self._cut))
                row["threshold_shift"] = (matching - self._cut) / _STEPS
                agreements.append(row["agreement"])
                shifts.append(float(np.mean(np.abs(steps["candidate"] - steps["reference"]))) / _STEPS)
            rows.append(row)
        result: dict[str, Any] = {"kind": self.spec.kind, "images": len(records), "threshold": self.spec.threshold}
        if truth is not None:
            for side in sides:
                means = {what: _mean(np.array([row[side][what] for row in rows])) for what in ("precision", "recall", "f1")}
                result[side] = {**means, "exact_match": float(np.mean(right[side]))}
            if "reference" in sides:
                before, after = right["reference"], right["candidate"]
                lost, won = int(np.sum(before & ~after)), int(np.sum(~before & after))
                result["exact_match_drop"] = {
                    "mean": (lost - won) / len(records),
                    "ci95": list(statistics.paired_interval(lost, won, len(records))),
                    "lost": lost,
                    "won": won,
                }
        if agreements:
            result |= {"agreement": float(np.mean(agreements)), "score_shift": float(np.mean(shifts))}
        return result | {"per_label": rows}

    def _steps(self, scores: NDArray[np.float32]) -> NDArray[np.uint16]:
        flat = np.nan_to_num(scores.reshape(-1).astype(np.float64), nan=0.0)
        steps = np.clip(np.floor(flat * _STEPS), 0, _STEPS)
        positive = flat >= self.spec.threshold
        placed = np.where(positive, np.maximum(steps, self._cut), np.minimum(steps, self._cut - 1))
        return np.asarray(placed, np.uint16)


class RegressionScorer:
    """Measures numbers. Kept per image: the numbers."""

    def __init__(self, spec: OutputSpec, size: int, *, paired: bool) -> None:
        self.spec = spec
        sides = ("candidate", "reference") if paired else ("candidate",)
        self.dtype = np.dtype([(side, "<f4", (size,)) for side in sides])

    def measure(self, candidate: NDArray[np.float32], reference: NDArray[np.float32] | None) -> NDArray[Any]:
        """Return the record of one image from its values, float32 (values,)."""
        record = np.zeros((), self.dtype)
        record["candidate"] = candidate.reshape(-1)
        if reference is not None:
            record["reference"] = reference.reshape(-1)
        return record

    def summary(self, records: NDArray[Any], truth: NDArray[np.float64] | None, images: Sequence[str] = ()) -> dict[str, Any]:
        """Return MAE, RMSE and R2 per side and what the candidate adds to the error. truth: (N, values), or None.

        R2 of several values is the mean of theirs; ``sign_agreement`` is there for targets of both signs, such as steering.
        ``mae_increase`` is candidate minus reference, paired image by image, with the interval of the mean of paired differences
        (Student's t). ``worst`` lists the images (N ids, in the order of the records) with the largest error, ``moved`` those
        whose answer is farthest from the reference's.
        """
        values: dict[str, NDArray[np.float64]] = {side: np.asarray(records[side], np.float64) for side in self.dtype.names or ()}
        result: dict[str, Any] = {"kind": self.spec.kind, "images": len(records)}
        if truth is not None:
            for side, found in values.items():
                result[side] = {
                    "mae": metrics.mean_absolute_error(found, truth),
                    "rmse": metrics.root_mean_square_error(found, truth),
                    "r2": _mean(np.array([metrics.r_squared(found[:, i], truth[:, i]) for i in range(truth.shape[1])])),
                }
                if np.any(truth > 0) and np.any(truth < 0):
                    result[side]["sign_agreement"] = metrics.sign_agreement(found, truth)
            if images:
                result["worst"] = _worst(values, truth, truth, images)
        if "reference" in values:
            apart = np.abs(values["candidate"] - values["reference"])
            result["difference"] = {"mean_absolute": float(np.mean(apart)), "max_absolute": float(np.max(apart))}
            if images:
                result["moved"] = _worst(values, values["reference"], truth, images)
            if truth is not None:
                errors = {side: np.mean(np.abs(found - truth), axis=1) for side, found in values.items()}
                increase = errors["candidate"] - errors["reference"]
                result["mae_increase"] = {
                    "mean": float(np.mean(increase)),
                    "ci95": list(statistics.mean_interval(increase)),
                    "method": "paired t interval",
                }
        return result


def _worst(
    values: dict[str, NDArray[np.float64]], against: NDArray[np.float64], truth: NDArray[np.float64] | None, images: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the images whose candidate is farthest from ``against``, the worst first; NaN is worse than any number."""
    error = np.abs(values["candidate"] - against).max(axis=1)
    error = np.where(np.isnan(error), np.inf, error)
    rows = []
    for i in np.argsort(-error, kind="stable")[:_WORST]:
        row = {"image": images[i], "error": float(error[i])} | {side: found[i].tolist() for side, found in values.items()}
        rows.append(row if truth is None else row | {"target": truth[i].tolist()})
    return rows


class FeatureScorer:
    """Measures an embedding against the reference's. Kept per image: cosine and the two powers that SQNR is made of."""

    def __init__(self, spec: OutputSpec) -> None:
        self.spec = spec
        self.dtype = np.dtype([("cosine", "<f8"), ("signal", "<f8"), ("noise", "<f8"), ("max_absolute", "<f4")])

    def measure(self, candidate: NDArray[np.float32], reference: NDArray[np.float32] | None) -> NDArray[Any]:
        """Return the record of one image from the values, float32 of any shape."""
        record = np.zeros((), self.dtype)
        if reference is not None:
            noise = candidate.reshape(-1).astype(np.float64) - reference.reshape(-1)
            record["cosine"] = metrics.cosine(candidate, reference)
            record["signal"], record["noise"] = metrics.power(reference), metrics.power(noise)
            record["max_absolute"] = np.max(np.abs(noise))
        return record

    def summary(self, records: NDArray[Any], *, paired: bool) -> dict[str, Any]:
        """Return the mean and lowest cosine, SQNR over all images in dB, the largest difference; nothing without reference."""
        result = {"kind": self.spec.kind, "images": len(records)}
        if not paired:
            return result
        return result | {
            "cosine": float(np.mean(records["cosine"])),
            "cosine_min": float(np.min(records["cosine"])),
            "sqnr_db": metrics.sqnr_db(float(np.sum(records["signal"])), float(np.sum(records["noise"]))),
            "max_absolute": float(np.max(records["max_absolute"])),
        }


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of what is defined; NaN where nothing is."""
    defined = values[np.isfinite(values)]
    return float(np.mean(defined)) if defined.size else float("nan")
