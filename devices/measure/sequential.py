"""Is the drop below a limit? Asked again after every batch of images, and stopped as soon as it is decided.

Every image is lost (reference right, candidate wrong), won, or neither; the drop is the share lost minus the share won. Wald's
sequential probability ratio test between a drop of ``limit`` and none. The share of images lost or won is not known beforehand, so
each hypothesis speaks with the share that suits it best (the ratio of the profile likelihoods):

    llr = max log L(drop = 0) - max log L(drop = limit)     pass at llr >= ln(1 / bound), give up at llr <= ln(beta)

A. Wald, "Sequential tests of statistical hypotheses", Annals of Mathematical Statistics 16 (1945) 117-186; the share that suits a
given drop best: T. Tango, Statistics in Medicine 17 (1998) 891-908. With an estimated share Wald's bounds hold approximately, and
looking only after every `BATCH` images passes over them by a step; so the bound stands a little below alpha, and
tests/devices/measure/test_sequential.py measures the error rates. alpha: a model that loses ``limit`` passes. beta: one that loses nothing
is given up. Giving up is no proof of a loss: the verdict is then undecided.

What is estimated is the population that the images were drawn from, not the folder; they must come in random order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

ALPHA, BETA = 0.025, 0.1  # alpha: as the lower half of the 95 % interval that a verdict of a fixed number of images comes from
BATCH = 25  # images between two looks
_BOUND = 0.02375
_FIRST = 2.0  # over the limit: 200 images at one point; a pass without any loss needs 373


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
        if ratio >= -math.log(_BOUND):
            self.verdict = "pass"
        elif ratio <= math.log(BETA):
            self.verdict = "undecided"

    def wanted(self) -> int:
        """Return how many images to look at next: `BATCH`, at the beginning as many as a pass needs at the very least."""
        return BATCH if self.images else max(BATCH, int(_FIRST / self.limit) // BATCH * BATCH)

    @property
    def log_likelihood_ratio(self) -> float:
        """How much better a drop of 0 explains what was seen than a drop of ``limit`` does."""
        return self._best(0.0) - self._best(self.limit)

    def _best(self, drop: float) -> float:
        """Return the largest log-likelihood of what was seen, of all shares of lost and won images that lie ``drop`` apart.

        The share won is the positive root of ``-2 n x^2 + b x + c``, where the derivative of the likelihood is zero.
        """
        same = self.images - self.lost - self.won
        b = (self.lost + self.won) * (1 - drop) - 2 * drop * (self.won + same)
        c = self.won * drop * (1 - drop)
        won = (b + math.sqrt(b * b + 8 * self.images * c)) / (4 * self.images) if self.images else 0.0
        won = max(won, 0.0)
        return _term(self.lost, won + drop) + _term(self.won, won) + _term(same, 1 - 2 * won - drop)


def fixed_plan(limit: float, discordance: float) -> int:
    """Return how many images a test with a fixed number needs at a true drop of 0: ``(z_alpha + z_beta)^2 q / limit^2``."""
    z = NormalDist().inv_cdf(1 - ALPHA) + NormalDist().inv_cdf(1 - BETA)
    return math.ceil(z * z * discordance / limit**2)


def _term(count: int, share: float) -> float:
    if count == 0:
        return 0.0
    return count * math.log(share) if share > 0.0 else -math.inf
