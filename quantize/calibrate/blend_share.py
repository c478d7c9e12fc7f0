"""Which blend of min/max and mean extremes a network wants, from the errors of a few of them.

The error is a smooth function of the share, but every file that is measured adds rounding noise of its own (about 3 % of the error,
measured on MobileNetV2 by making each range 1.5 % wider or narrower). A curve through a few shares evens that out; the lowest of
them would be the luckiest. How far the curve's lowest point is to be believed is seen by drawing the images again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .output_error import Floats

SHARES = (1.0, 0.5, 0.2, 0.1, 0.05)
"""The shares that are measured: from min/max to hardly more than the mean extremes, each about half of the one before."""

_DEGREE = 3
_DRAWS = 200
_PRIOR_SPREAD = math.log(2)  # of the best share around what is expected: twice as much and half of it are common
_GRID = np.linspace(math.log(SHARES[-1]), 0.0, 121)


def best_share(errors: Mapping[float, Floats], expected: float) -> float:
    """Return the share (of min/max in the blend, 0 to 1) where the curve through the mean errors is lowest, drawn to ``expected``.

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


def _lowest(shares: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithms of the shares where the cubics through the relative errors are lowest. errors: ``(shares, draws)``."""
    means = errors.mean(axis=0)
    relative = errors / np.where(means > 0, means, 1.0)
    curves = np.polynomial.polynomial.polyfit(shares, relative, min(_DEGREE, len(shares) - 1))
    lowest = _GRID[np.argmin(np.polynomial.polynomial.polyval(_GRID, curves), axis=1)]
    return np.where(means > 0, lowest, 0.0)
