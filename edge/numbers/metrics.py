"""Metrics as pure functions of arrays: classification, multi-label, regression and feature outputs.

Shapes: N images, C classes, L labels, K ranks. All rates are fractions 0..1. Sums are made in float64. Nothing is repaired: a
score that is not finite never counts as right.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

NO_CLASS = -1  # the prediction where the scores are not finite: no class has this id, so it is never right


def top_k(scores: Floats, k: int, *, background: int | None = None) -> NDArray[np.int32]:
    """Return the ids of the ``k`` highest of ``scores`` (C,), best first; equal scores by class id, lowest first.

    ``background`` is left out. Fewer classes than ``k``, or scores that are not finite: the rest is ``NO_CLASS``.
    """
    ids = np.full(k, NO_CLASS, np.int32)
    if not np.all(np.isfinite(scores)):
        return ids
    order = leading(scores, k if background is None else k + 1)
    if background is not None:
        order = order[order != background]
    ids[: min(k, order.size)] = order[:k]
    return ids


def leading(scores: Floats, k: int) -> NDArray[np.intp]:
    """Return the positions of the ``k`` highest of ``scores`` (C,), best first (all of them for fewer); NaN is the lowest.

    Equal scores come by position, lowest first, whatever the sorting algorithm: int8 scores tie often. Only the ``k`` are sorted:
    with ten thousand classes a sort of all takes longer than a small network.
    """
    if 0 < k < scores.size and not np.any(np.isnan(scores)):
        least = np.partition(scores, scores.size - k)[scores.size - k]
        above = np.flatnonzero(scores > least)
        ties = np.flatnonzero(scores == least)[: k - above.size]
        return np.concatenate([above[np.argsort(-scores[above], kind="stable")], ties])
    return np.argsort(-scores, kind="stable")[: max(0, k)]


def margin(scores: Floats, ids: Integers) -> float:
    """Return how sure an answer is: the highest of ``scores`` (C,) minus the second. ids: the best two or more, as of `top_k`.

    NaN without two finite scores.
    """
    first, second = (int(i) for i in ids[:2])
    return math.nan if NO_CLASS in (first, second) else abs(float(scores[first]) - float(scores[second]))


def hit_rate(ids: Integers, labels: Integers) -> float:
    """Return the share of rows of ``ids`` (N, K) that contain their label (N,): top-1 for K = 1, top-5 for K = 5."""
    return float(np.mean(np.any(ids == labels[:, None], axis=1)))


def confusion_matrix(labels: Integers, predicted: Integers, classes: int) -> NDArray[np.int64]:
    """Return counts (C, C): row = true class, column = predicted class. ``NO_CLASS`` predictions are in no cell."""
    matrix = np.zeros((classes, classes), np.int64)
    true, answer, images = confusion_cells(labels, predicted, classes).T
    matrix[true, answer] = images
    return matrix


def confusion_cells(labels: Integers, predicted: Integers, classes: int) -> NDArray[np.int64]:
    """Return the cells of `confusion_matrix` that are not zero, (cells, 3): true class, predicted class, images; sorted.

    Memory follows the images, not the square of the classes: 10,000 classes are 100 million cells.
    """
    valid = predicted >= 0
    cells, images = np.unique(labels[valid].astype(np.int64) * classes + predicted[valid], return_counts=True)
    return np.stack([cells // classes, cells % classes, images.astype(np.int64)], axis=1)


def expected_calibration_error(confidence: Floats, correct: NDArray[np.bool_], bins: int = 15) -> float:
    """Return ``sum over bins of share * |accuracy - mean confidence|``, for ``bins`` bins of equal width on (0, 1].

    Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015; 15 bins as in Guo
    et al., "On calibration of modern neural networks", ICML 2017. Rows whose confidence is not finite are left out.
    """
    finite = np.isfinite(confidence)
    if not np.any(finite):
        return math.nan
    sure = confidence[finite].astype(np.float64)
    index = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(index, weights=correct[finite], minlength=bins) - np.bincount(index, weights=sure, minlength=bins)
    return float(np.sum(np.abs(gap)) / sure.size)


def total_variation(p: Floats, q: Floats) -> float:
    """Return ``sum |p - q| / 2``: the largest difference in probability that any set of classes sees. 0 equal, 1 disjoint."""
    return float(np.sum(np.abs(p.astype(np.float64) - q.astype(np.float64))) / 2)


def precision_recall(positive: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (precision (L,), recall (L,)) of decisions (N, L) against the truth (N, L).

    A label that is in the truth and never decided for has precision 0, so that a mean over labels cannot rise when one is lost; one
    that is in neither has NaN. Recall is NaN where the label is not in the truth.
    """
    hits = np.sum(positive & truth, axis=0, dtype=np.float64)
    decided, true = np.sum(positive, axis=0), np.sum(truth, axis=0)
    with np.errstate(invalid="ignore"):
        return np.where((decided == 0) & (true > 0), 0.0, hits / decided), hits / true


def f1_score(positive: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return ``2 TP / (2 TP + FP + FN)`` (L,) of decisions (N, L) against the truth; NaN for a label that is in neither."""
    hits = np.sum(positive & truth, axis=0, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = 2.0 * hits / (np.sum(positive, axis=0) + np.sum(truth, axis=0))
        return found


def matching_threshold(scores: Integers | Floats, decisions: NDArray[np.bool_], threshold: float) -> float:
    """Return the threshold on ``scores`` (N,) whose decisions ``score >= threshold`` differ least from ``decisions`` (N,).

    Of all that are equally good the one nearest to ``threshold`` is taken, so that equal decisions give ``threshold`` itself.
    """
    values, inverse = np.unique(scores, return_inverse=True)
    positive = np.bincount(inverse, weights=decisions, minlength=values.size)
    negative = np.bincount(inverse, weights=~decisions, minlength=values.size)
    # Cutting before value i: wrong are the positives below i and the negatives from i on. The last cut is above all values.
    wrong = np.concatenate(([0.0], np.cumsum(positive))) + np.concatenate((np.cumsum(negative[::-1])[::-1], [0.0]))
    cuts = np.concatenate((values.astype(np.float64), [np.inf]))
    lowest = np.concatenate(([-np.inf], values.astype(np.float64)))
    best = math.nan
    for i in np.flatnonzero(wrong == wrong.min()):
        # Every threshold in (value below, value i] makes the same decisions.
        if lowest[i] < threshold <= cuts[i]:
            return threshold
        edge = cuts[i] if cuts[i] < threshold else np.nextafter(lowest[i], np.inf)
        if math.isnan(best) or abs(edge - threshold) < abs(best - threshold):
            best = float(edge)
    return best


def mean_absolute_error(predicted: Floats, target: Floats) -> float:
    """Return ``mean |predicted - target|``, in the target's unit."""
    return float(np.mean(np.abs(predicted.astype(np.float64) - target)))


def root_mean_square_error(predicted: Floats, target: Floats) -> float:
    """Return ``sqrt(mean (predicted - target)^2)``, in the target's unit."""
    return float(np.sqrt(np.mean(np.square(predicted.astype(np.float64) - target))))


def r_squared(predicted: Floats, target: Floats) -> float:
    """Return ``1 - sum (target - predicted)^2 / sum (target - mean target)^2``; NaN where the target never changes."""
    real = target.astype(np.float64)
    spread = float(np.sum(np.square(real - np.mean(real))))
    return 1.0 - float(np.sum(np.square(real - predicted))) / spread if spread > 0.0 else math.nan


def sign_agreement(predicted: Floats, target: Floats) -> float:
    """Return the share of values whose sign is the target's, among those whose target is not zero; NaN where all are.

    A steering angle of the wrong sign is worse than one of the wrong size.
    """
    turning = target != 0
    return float(np.mean(np.sign(predicted[turning]) == np.sign(target[turning]))) if np.any(turning) else math.nan


def cosine(a: Floats, b: Floats) -> float:
    """Return ``a . b / (|a| |b|)``; 1 for two zero vectors, 0 where only one is zero."""
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    length = float(np.linalg.norm(x)) * float(np.linalg.norm(y))
    if length == 0.0:
        return 1.0 if not np.any(x) and not np.any(y) else 0.0
    return float(np.dot(x, y)) / length


def power(values: Floats) -> float:
    """Return ``sum values^2``."""
    return float(np.sum(np.square(values.astype(np.float64))))


def sqnr_db(signal: float, noise: float) -> float:
    """Return ``10 log10(signal / noise)`` in dB for two powers; infinite without noise, NaN without signal."""
    if signal <= 0.0:
        return math.nan
    return math.inf if noise <= 0.0 else 10.0 * math.log10(signal / noise)
