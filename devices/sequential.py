"""Is the drop below a limit? Asked again after every batch of images, and stopped as soon as it is decided.

Every image gives ``x``: 1 lost (reference right, candidate wrong), -1 won, 0 otherwise; the drop is the mean of ``x``. Wald's
sequential probability ratio test between a drop of ``limit`` and none, on the sum of ``x`` in its normal approximation:

    llr = limit * sum(limit / 2 - x) / q        pass at llr >= ln(1 / alpha), give up at llr <= ln(beta)

A. Wald, "Sequential tests of statistical hypotheses", Annals of Mathematical Statistics 16 (1945) 117-186. The variance ``q`` is the
share of discordant images, estimated on the way (it begins at 3 % with the weight of 100 images), so the error rates hold
approximately; tests/devices/test_sequential.py measures them. alpha: a model that loses ``limit`` passes. beta: one that loses nothing
is given up. Giving up is no proof of a loss: the verdict is then undecided.

What is estimated is the population that the images were drawn from, not the folder; they must come in random order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

ALPHA, BETA = 0.05, 0.1
_GUESSED_DISCORDANCE, _GUESS_WEIGHT = 0.03, 100


@dataclass(slots=True, kw_only=True)
class Sequential:
    """The state of one test. Feed batches with `add`, in random order; stop when `verdict` is not None (pass or undecided)."""

    limit: float
    images: int = 0
    lost: int = 0
    won: int = 0
    verdict: str | None = None

    def add(self, images: int, lost: int, won: int) -> None:
        """Take a batch in. Raises ValueError for counts that cannot be."""
        if min(lost, won, images - lost - won) < 0:
            raise ValueError(f"{lost} lost and {won} won of {images} images cannot be")
        self.images += images
        self.lost += lost
        self.won += won
        ratio = self.log_likelihood_ratio
        if ratio >= -math.log(ALPHA):
            self.verdict = "pass"
        elif ratio <= math.log(BETA):
            self.verdict = "undecided"

    @property
    def log_likelihood_ratio(self) -> float:
        """How much better a drop of 0 explains what was seen than a drop of ``limit`` does."""
        seen = self.lost + self.won + _GUESS_WEIGHT * _GUESSED_DISCORDANCE
        discordance = seen / (self.images + _GUESS_WEIGHT)
        return self.limit * (self.limit / 2 * self.images - (self.lost - self.won)) / discordance


def fixed_plan(limit: float, discordance: float) -> int:
    """Return how many images a test with a fixed number needs at a true drop of 0: ``(z_alpha + z_beta)^2 q / limit^2``."""
    z = NormalDist().inv_cdf(1 - ALPHA) + NormalDist().inv_cdf(1 - BETA)
    return math.ceil(z * z * discordance / limit**2)
