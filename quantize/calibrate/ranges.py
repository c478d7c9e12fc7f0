"""From what a tensor did on the representative images to its range: the methods, as pure functions.

Input is what one pass over the images keeps (`quantize.calibrate.sketch`): extremes, their means, those of the latest images, and a
histogram. Every method gives ``(low, high)`` that holds zero, because padding and ReLU need an exact zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import CalibrationError
from ..tflite.calibrated import Range

BINS = 2048  # of a histogram over [-limit, limit)
LEVELS = 255  # steps between the ends of an int8 range
_MOMENTUM = 0.9  # of the moving average, as litert-quantizer's
_SHARE = 0.9999  # of the values that a percentile range holds
_STEPS = 64  # ranges that the searches of MSE and KL try

SHARES = (1.0, 0.5, 0.2, 0.1, 0.05)
"""The shares of a blend that are measured: from min/max to hardly more than the mean extremes, each about half of the one before."""

_DEGREE = 3
_DRAWS = 200
_PRIOR_SPREAD = math.log(2)  # of the best share around what is expected: twice as much and half of it are common
_GRID = np.linspace(math.log(SHARES[-1]), 0.0, 121)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observed:
    """What one tensor, or several that share a range, did.

    ``lows``, ``highs``: float64 ``(images,)``, extremes on each image, of many images the latest. ``counts``: ``(BINS,)``, values
    in equal bins of ``[-limit, limit)``. ``extremes``, ``means``: of lows and highs over all images; None where ``lows`` and
    ``highs`` are all.
    """

    lows: NDArray[np.float64]
    highs: NDArray[np.float64]
    counts: NDArray[np.float64]
    limit: float
    extremes: Range | None = None
    means: Range | None = None


def min_max(seen: Observed) -> Range:
    """The extremes over all images: nothing seen is clipped. One odd image sets the range."""
    return _holding_zero(*(seen.extremes or (float(seen.lows.min()), float(seen.highs.max()))))


def blend(seen: Observed, share: float) -> Range:
    """``share`` x min/max + ``(1 - share)`` x mean of the extremes of each image. 1 is min/max, 0 the mean of extremes."""
    low, high = min_max(seen)
    low_mean, high_mean = _holding_zero(*(seen.means or (float(seen.lows.mean()), float(seen.highs.mean()))))
    return share * low + (1 - share) * low_mean, share * high + (1 - share) * high_mean


def best_share(errors: Mapping[float, NDArray[np.float64]], expected: float) -> float:
    """Return the share (of min/max in the blend, 0 to 1) where the curve through the mean errors is lowest, drawn to ``expected``.

    The error is a smooth function of the share, but every file that is measured adds rounding noise of its own (about 3 % of the
    error, measured on MobileNetV2 by making each range 1.5 % wider or narrower). A curve through a few shares evens that out; the
    lowest of them would be the luckiest. How far the curve's lowest point is to be believed is seen by drawing the images again.

    errors: by share the error of each image, ``(images,)``, the same images for each. The lowest point and ``expected`` are averaged
    by their precision: the spread of the lowest point over images drawn with replacement (B. Efron, "Bootstrap methods: another look
    at the jackknife", 1979) and that of networks, a factor of two.
    """
    shares = np.log(np.array(list(errors)))
    table = np.array(list(errors.values()), np.float64)
    images = table.shape[1]
    drawn = np.random.default_rng(0).integers(0, images, (_DRAWS, images))
    variance = float(np.var(_lowest(shares, table[:, drawn].mean(axis=2))))
    found = float(_lowest(shares, table.mean(axis=1, keepdims=True))[0])
    known, supposed = 1 / max(variance, 1e-6), 1 / _PRIOR_SPREAD**2
    return math.exp((known * found + supposed * math.log(expected)) / (known + supposed))


def moving_average(seen: Observed) -> Range:
    """Extremes averaged over the images in order, each weighing 0.1 of what is left; starts at the first image."""
    low, high = float(seen.lows[0]), float(seen.highs[0])
    for image_low, image_high in zip(seen.lows[1:], seen.highs[1:], strict=True):
        low = _MOMENTUM * low + (1 - _MOMENTUM) * float(image_low)
        high = _MOMENTUM * high + (1 - _MOMENTUM) * float(image_high)
    return _holding_zero(low, high)


def percentile(seen: Observed, share: float = _SHARE) -> Range:
    """The narrowest ends that leave out ``(1 - share) / 2`` of the values on each side, never wider than min/max."""
    cumulative = np.cumsum(seen.counts)
    total = cumulative[-1]
    edges = _edges(seen)
    tail = (1 - share) / 2 * total
    low = edges[int(np.searchsorted(cumulative, tail, side="right"))]
    high = edges[min(int(np.searchsorted(cumulative, total - tail)) + 1, BINS)]
    return _inside(seen, low, high)


def mean_squared_error(seen: Observed) -> Range:
    """The range whose int8 values lie nearest to the real ones: least sum of squared rounding and clipping errors."""
    centres = _centres(seen)
    best, least = min_max(seen), np.inf
    for low, high in _shrunk(seen):
        step = (high - low) / LEVELS
        outside = np.maximum(np.maximum(low - centres, centres - high), 0.0)
        # Within the range rounding errors are uniform: step^2 / 12. An exact zero stays exact.
        inside = (outside == 0.0) & (np.abs(centres) > 2 * seen.limit / BINS)
        error = float(np.sum(seen.counts * (outside**2 + inside * step * step / 12)))
        if error < least:
            best, least = (low, high), error
    return best


def entropy(seen: Observed) -> Range:
    """The range whose 255 levels lose least information: least Kullback-Leibler divergence from the histogram.

    S. Migacz, "8-bit inference with TensorRT", GTC 2017: values outside are counted at the ends, the bins inside are merged to
    the levels of int8 and spread evenly over the bins that were not empty. Zeros are left out: int8 holds them exactly.
    """
    counts = seen.counts.copy()
    counts[BINS // 2 - 1 : BINS // 2 + 1] = 0.0
    if counts.sum() == 0:
        return min_max(seen)
    edges = _edges(seen)
    best, least = min_max(seen), np.inf
    for low, high in _shrunk(seen):
        first = max(int(np.searchsorted(edges, low, side="right")) - 1, 0)
        last = min(int(np.searchsorted(edges, high, side="left")), BINS)
        inside = counts[first:last]
        if inside.sum() == 0:
            continue
        clipped = inside.copy()
        clipped[0] += counts[:first].sum()
        clipped[-1] += counts[last:].sum()
        level = np.minimum(np.arange(inside.size) * (LEVELS + 1) // inside.size, LEVELS)
        filled = inside > 0
        share = np.bincount(level, inside, LEVELS + 1) / np.maximum(np.bincount(level, filled, LEVELS + 1), 1)
        spread = np.where(filled, share[level], 0.0)
        divergence = _divergence(clipped, spread)
        if divergence < least:
            best, least = (low, high), divergence
    return best


METHODS: dict[str, Callable[[Observed], Range]] = {
    "minmax": min_max,
    "mean": lambda seen: blend(seen, 0.0),
    "moving-average": moving_average,
    "percentile": percentile,
    "mse": mean_squared_error,
    "kl": entropy,
}
BLENDS = (0.5, 0.35, 0.2, 0.1, 0.05)


def method(name: str) -> Callable[[Observed], Range]:
    """Return the method called ``name``; ``blend-0.2`` is a blend. Raises CalibrationError listing the names."""
    if name.startswith("blend-"):
        share = float(name.removeprefix("blend-"))
        return lambda seen: blend(seen, share)
    if name not in METHODS:
        raise CalibrationError(f"ranges {name!r} not known, expected auto or one of {', '.join(METHODS)}")
    return METHODS[name]


def merged(parts: list[Observed]) -> Observed:
    """Return several tensors, which share one range, as one: extremes image by image, histograms added."""
    limit = max(part.limit for part in parts)
    return Observed(
        lows=np.min([part.lows for part in parts], axis=0),
        highs=np.max([part.highs for part in parts], axis=0),
        counts=np.sum([widen(part.counts, round(np.log2(limit / part.limit))) for part in parts], axis=0),
        limit=limit,
    )


def widen(counts: NDArray[np.float64], doublings: int) -> NDArray[np.float64]:
    """Return the histogram over a limit ``2 ** doublings`` times as large: neighbouring bins are added, empty ones appended."""
    for _ in range(min(doublings, 12)):
        narrow = counts.reshape(-1, 2).sum(axis=1)
        counts = np.zeros(BINS)
        counts[BINS // 4 : BINS - BINS // 4] = narrow
    return counts


def _lowest(shares: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithms of the shares where the cubics through the relative errors are lowest. errors: ``(shares, draws)``."""
    means = errors.mean(axis=0)
    relative = errors / np.where(means > 0, means, 1.0)
    curves = np.polynomial.polynomial.polyfit(shares, relative, min(_DEGREE, len(shares) - 1))
    lowest = _GRID[np.argmin(np.polynomial.polynomial.polyval(_GRID, curves), axis=1)]
    return np.where(means > 0, lowest, 0.0)


def _shrunk(seen: Observed) -> list[Range]:
    low, high = min_max(seen)
    if high <= low:
        return [(low, high)]
    return [(low * float(share), high * float(share)) for share in np.linspace(1.0, 0.1, _STEPS)]


def _divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    p, q = p / p.sum(), q / q.sum()
    # Mass where the quantized histogram has none would be infinitely bad; a small floor keeps the measure finite.
    mask = p > 0
    return float(np.sum(p[mask] * np.log(p[mask] / np.maximum(q[mask], 1e-9))))


def _edges(seen: Observed) -> NDArray[np.float64]:
    return np.linspace(-seen.limit, seen.limit, BINS + 1)


def _centres(seen: Observed) -> NDArray[np.float64]:
    edges = _edges(seen)
    centres: NDArray[np.float64] = (edges[1:] + edges[:-1]) / 2
    return centres


def _inside(seen: Observed, low: float, high: float) -> Range:
    lowest, highest = min_max(seen)
    return float(max(min(low, 0.0), lowest)), float(min(max(high, 0.0), highest))


def _holding_zero(low: float, high: float) -> Range:
    return min(low, 0.0), max(high, 0.0)
