"""Least squares from running sums: what is left of an error when one more linear function of known inputs may be added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

RIDGES = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
"""Strengths that are tried, relative to the mean of the diagonal of the normal equations."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Solved:
    """``weights`` (inputs, outputs) and ``shift`` (outputs,) to add. ``before``, ``after``: mean squared error on the held-out rows.

    ``ridge``: infinite where the shift alone is best, None where nothing is better than before; both are zero then.
    """

    weights: Matrix
    shift: Matrix
    before: float
    after: float
    ridge: float | None


class _Sums:
    """``xx`` (inputs, inputs), ``xy`` (inputs, outputs), sums of both and of squares, of all rows that were added."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.count = 0
        self.xx = np.zeros((inputs, inputs))
        self.xy = np.zeros((inputs, outputs))
        self.x, self.y, self.yy = np.zeros(inputs), np.zeros(outputs), 0.0

    def add(self, x: Matrix, y: Matrix) -> None:
        self.count += len(x)
        self.xx += x.T @ x
        self.xy += x.T @ y
        self.x += x.sum(0)
        self.y += y.sum(0)
        self.yy += float((y * y).sum())

    def error(self, weights: Matrix, shift: Matrix) -> float:
        """Return the mean of ``|y - x @ weights - shift|^2``, from the sums alone."""
        explained = 2.0 * float((weights * self.xy).sum()) + 2.0 * float(shift @ self.y)
        squared = float((weights * (self.xx @ weights)).sum()) + 2.0 * float((self.x @ weights) @ shift)
        return (self.yy - explained + squared + self.count * float(shift @ shift)) / max(1, self.count)


class Problem:
    """Takes rows, those that are fitted and those that judge; memory is that of the sums. ``shift``: whether a constant may be added."""

    def __init__(self, inputs: int, outputs: int, *, shift: bool) -> None:
        self._shift = shift
        self._fitted, self._held = _Sums(inputs, outputs), _Sums(inputs, outputs)

    def add(self, x: NDArray[Any], y: NDArray[Any], *, held_out: bool) -> None:
        """Add rows ``x`` (rows, inputs) and what is to be explained of each, ``y`` (rows, outputs)."""
        (self._held if held_out else self._fitted).add(x.astype(np.float64), y.astype(np.float64))

    def solve(self) -> Solved | None:
        """Return what explains most of the held-out rows; None where there are no rows of both kinds."""
        from scipy.linalg import LinAlgError, cho_factor, cho_solve

        sums = self._fitted
        if not sums.count or not self._held.count:
            return None
        nothing, zero = np.zeros_like(sums.xy), np.zeros_like(sums.y)
        before = self._held.error(nothing, zero)
        best = Solved(weights=nothing, shift=zero, before=before, after=before, ridge=None)
        mean_x, mean_y = (sums.x / sums.count, sums.y / sums.count) if self._shift else (0.0 * sums.x, zero)
        centred = sums.xx - sums.count * np.outer(mean_x, mean_x)
        crossed = sums.xy - sums.count * np.outer(mean_x, mean_y)
        unit = float(np.trace(centred)) / len(centred)
        tried = [(float("inf"), nothing)] if self._shift else []
        for ridge in RIDGES if unit > 0 else ():
            try:
                factor = cho_factor(centred + ridge * unit * np.eye(len(centred)), lower=True, check_finite=False)
            except LinAlgError:
                continue  # a larger ridge makes it positive
            tried.append((ridge, cho_solve(factor, crossed, check_finite=False)))
        for ridge, weights in tried:
            shift = mean_y - mean_x @ weights
            after = self._held.error(weights, shift)
            if after < best.after:
                best = Solved(weights=weights, shift=shift, before=before, after=after, ridge=ridge)
        return best
