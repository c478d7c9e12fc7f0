"""What a difference measured on a sample of images says about all images: intervals, an exact test, and sample sizes.

The same images go through reference and candidate, so the data are paired. Only images on which exactly one of the two is right
carry information: ``lost`` (reference right, candidate wrong) and ``won`` (the other way round). The drop is
``(lost - won) / images``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from . import large_numbers

CONFIDENCE = 0.95
POWER = 0.8
PASS, FAIL, UNDECIDED = "pass", "fail", "undecided"

_MOST_EXACT = 1_000_000  # beyond this the normal approximation is as good, and much faster
MOST_IMAGES = 100_000_000  # beyond this a plan is no plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many images decide whether the drop is at most ``max_drop``, and what was assumed.

    ``drop`` and ``discordant`` are the assumed true rates; ``power`` is the probability that this many images give a verdict.
    ``images`` is None where no number would do.
    """

    max_drop: float
    drop: float
    discordant: float
    power: float
    confidence: float
    images: int | None


def paired_interval(lost: int, won: int, images: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the two-sided interval of the true drop, for a sample of ``images`` with the given discordant counts.

    Tango's score interval: all drops that the score test for paired proportions does not reject. T. Tango, "Equivalence test and
    confidence interval for the difference in proportions for the paired-sample design", Statistics in Medicine 17 (1998) 891-908,
    equations 24-26. It stays inside [-1, 1] and keeps its coverage with few or no discordant images, where the usual (Wald)
    interval collapses to a point; compared by R. Newcombe, Statistics in Medicine 17 (1998) 2635-2650.
    """
    _check_counts(lost, won, images)
    z = _quantile(confidence)
    centre = (lost - won) / images
    return _solve(lost, won, images, z, -1.0, centre), _solve(lost, won, images, -z, centre, 1.0)


def wilson_interval(rate: float, images: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the two-sided interval of the true rate, where ``rate`` was seen on ``images``.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927) 209-212.
    """
    if images < 1 or not 0.0 <= rate <= 1.0:
        raise ValueError(f"a rate of {rate} over {images} images: expected a fraction of at least one")
    z = _quantile(confidence)
    spread = z * math.sqrt(rate * (1 - rate) / images + z * z / (4 * images * images))
    centre, total = rate + z * z / (2 * images), 1 + z * z / images
    return max(0.0, (centre - spread) / total), min(1.0, (centre + spread) / total)


def independent_interval(
    first: float, first_images: int, second: float, second_images: int | None, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Return the interval of ``first - second``, two rates seen on images that have nothing to do with each other.

    Both Wilson intervals put together: R. Newcombe, "Interval estimation for the difference between independent proportions",
    Statistics in Medicine 17 (1998) 873-890, method 10. second_images None: the second rate is exact.
    """
    low, high = wilson_interval(first, first_images, confidence)
    other_low, other_high = (second, second) if second_images is None else wilson_interval(second, second_images, confidence)
    difference = first - second
    below = math.hypot(first - low, other_high - second)
    above = math.hypot(high - first, second - other_low)
    return difference - below, difference + above


def score_statistic(lost: int, won: int, images: int, drop: float) -> float:
    """Return Tango's statistic for the hypothesis that the true drop is ``drop``; it falls as ``drop`` rises.

    ``(lost - won - n d) / sqrt(n (2 q + d (1 - d)))``, with ``q`` the maximum-likelihood probability of a won image under that
    hypothesis: the positive root of ``2 n q^2 + (2 n d - lost - won - (lost - won) d) q - won d (1 - d) = 0``.
    """
    return float(_score(np.array([float(lost)]), np.array([float(won)]), images, drop)[0])


def mcnemar_exact(lost: int, won: int) -> float:
    """Return the two-sided exact p-value for "the candidate is neither better nor worse".

    Under that hypothesis each discordant image is a fair coin: ``min(1, 2 P(X <= min(lost, won)))`` for X of
    Binomial(lost + won, 1/2). Q. McNemar, Psychometrika 12 (1947) 153-157, in its exact form. In whole numbers, or in 50 decimal
    digits where there are very many images: no tail is lost to rounding.
    """
    _check_counts(lost, won, max(lost + won, 1))
    trials, fewer = lost + won, min(lost, won)
    if trials - 2 * fewer <= 1:
        return 1.0  # half of all outcomes or more, on either side
    return min(1.0, large_numbers.twice_tail(trials, fewer))


def mean_interval(differences: NDArray[np.floating], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval of the mean of paired ``differences`` (N,): ``mean +- t s / sqrt(N)``, t of N - 1 degrees of freedom.

    Student (W. S. Gosset), "The probable error of a mean", Biometrika 6 (1908) 1-25. NaN for fewer than two differences.
    """
    count = differences.size
    if count < 2:
        return math.nan, math.nan
    values = differences.astype(np.float64)
    half = student_quantile((1 + confidence) / 2, count - 1) * float(np.std(values, ddof=1)) / math.sqrt(count)
    mean = float(np.mean(values))
    return mean - half, mean + half


def verdict(interval: tuple[float, float], max_drop: float, *, unproven: bool = False) -> str:
    """Return pass (the whole interval is at most ``max_drop``), fail (all of it is above) or undecided.

    unproven: the interval is not about the two models (see `edge.validation.findings.unproven`), so it lets nothing pass.
    """
    low, high = interval
    if high <= max_drop and not unproven:
        return PASS
    return FAIL if low > max_drop else UNDECIDED


def plan(
    max_drop: float, *, drop: float = 0.0, discordant: float = 0.03, power: float = POWER, confidence: float = CONFIDENCE
) -> Plan:
    """Return how many images give a verdict with probability ``power``, if the true rates are ``drop`` and ``discordant``.

    The counts of lost and won images are then trinomial, and the probability that their interval lies on the right side of
    ``max_drop`` is summed exactly; the number is the smallest found by bisection. ``discordant`` is the share of images on which
    exactly one of the two networks is right; it is at least ``|drop|``.
    """
    if not 0.0 < max_drop < 1.0:
        raise ValueError(f"max_drop is {max_drop}, expected a fraction above 0 and below 1 (0.01 is one point)")
    if not abs(drop) <= discordant <= 1.0:
        raise ValueError(f"discordant is {discordant}, expected at least the drop ({drop}) and at most 1")
    if not 0.0 < power < 1.0:
        raise ValueError(f"power is {power}, expected a fraction above 0 and below 1")
    z = _quantile(confidence)
    images = None if math.isclose(drop, max_drop) else _search(max_drop, drop, discordant, power, z)
    return Plan(max_drop=max_drop, drop=drop, discordant=discordant, power=power, confidence=confidence, images=images)


def images_to_decide(lost: int, won: int, images: int, max_drop: float) -> int | None:
    """Return how many images would probably (``POWER``) decide what ``images`` did not, or None where no number would.

    The observed rates are taken as the true ones; with nothing discordant yet, one image in twice the sample is assumed to be.
    """
    drop = (lost - won) / images
    found = plan(max_drop, drop=drop, discordant=max(lost + won, 0.5) / images).images
    return None if found is None else max(found, images + 1)


def student_quantile(probability: float, freedom: int) -> float:
    """Return t with ``P(T <= t) = probability`` for Student's distribution with ``freedom`` degrees of freedom.

    The finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4, inverted by bisection; above 200 degrees of freedom the
    expansion 26.7.5 around the normal quantile, whose error is then below 1e-9.
    """
    if probability < 0.5:
        return -student_quantile(1.0 - probability, freedom)
    if freedom > 200:
        x = NormalDist().inv_cdf(probability)
        first = (x**3 + x) / 4
        second = (5 * x**5 + 16 * x**3 + 3 * x) / 96
        third = (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384
        return x + first / freedom + second / freedom**2 + third / freedom**3
    low, high = 0.0, math.pi / 2  # the angle whose tangent is t / sqrt(freedom)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_within(middle, freedom) < 2 * probability - 1 else (low, middle)
    return math.tan((low + high) / 2) * math.sqrt(freedom)


def _student_within(angle: float, freedom: int) -> float:
    """Return ``P(|T| <= tan(angle) sqrt(freedom))``."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    if freedom == 1:
        return 2 * angle / math.pi
    term = cosine if odd else 1.0
    total = term
    for k in range(2 + odd, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def _check_counts(lost: int, won: int, images: int) -> None:
    if images < 1 or lost < 0 or won < 0 or lost + won > images:
        raise ValueError(f"{lost} lost and {won} won of {images} images: expected counts that add up to at most all images")


def _quantile(confidence: float) -> float:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}, expected a fraction above 0 and below 1")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _score(lost: NDArray[np.float64], won: NDArray[np.float64], images: int, drop: float) -> NDArray[np.float64]:
    if drop < 0.0:
        return -_score(won, lost, images, -drop)
    linear = 2 * images * drop - lost - won - (lost - won) * drop
    spread = won * drop * (1.0 - drop)
    root = np.sqrt(linear * linear + 8 * images * spread)
    # Two forms of the same root: each cancels where the other does not.
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(linear > 0.0, 2 * spread / (linear + root), (root - linear) / (4 * images))
        variance = images * (2 * rate + drop * (1.0 - drop))
        distance = lost - won - images * drop
        # No discordant image and no drop: nothing speaks against the hypothesis.
        result: NDArray[np.float64] = np.where(distance == 0.0, 0.0, distance / np.sqrt(variance))
    return result


def _solve(lost: int, won: int, images: int, level: float, low: float, high: float) -> float:
    """Return the drop in [low, high] where the statistic, which falls, passes ``level``."""
    if low == high:
        return low
    for _ in range(45):  # to 1e-13
        middle = (low + high) / 2
        if score_statistic(lost, won, images, middle) > level:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _search(max_drop: float, drop: float, discordant: float, power: float, z: float) -> int | None:
    # The normal approximation is the first guess (Connett, Smith, McHugh, Statistics in Medicine 6 (1987) 163-169).
    variance = max(discordant - drop * drop, max_drop * (1 - max_drop) / 10)
    guess = (z + max(NormalDist().inv_cdf(power), 0.0)) ** 2 * variance / (max_drop - drop) ** 2
    if guess > _MOST_EXACT:
        return math.ceil(guess) if guess <= MOST_IMAGES else None
    low, high = 0, max(8, math.ceil(guess))
    while _probability(high, max_drop, drop, discordant, z) < power:
        low, high = high, 2 * high
    while high - low > max(1, high // 500):  # the probability is a saw-tooth in the last digits; so is the answer
        middle = (low + high) // 2
        if _probability(middle, max_drop, drop, discordant, z) < power:
            low = middle
        else:
            high = middle
    return high


def _probability(images: int, max_drop: float, drop: float, discordant: float, z: float) -> float:
    """Return the probability that ``images`` give the verdict which the true ``drop`` deserves."""
    mean, deviation = images * discordant, math.sqrt(images * discordant * (1 - discordant))
    first, last = max(0, math.floor(mean - 7 * deviation)), min(images, math.ceil(mean + 7 * deviation + 7))
    totals = np.arange(first, last + 1, max(1, (last - first) // 400))  # at most about 400 terms, evenly spread
    weights = np.exp(large_numbers.log_binomial(np.full(totals.shape, images), totals, discordant))
    weights /= weights.sum()
    passes = drop < max_drop
    # The most lost images that still pass, or one less than the fewest that fail; -1 where none do.
    low, high = np.full(totals.shape, -1), totals.copy()
    while np.any(low < high):
        middle = (low + high + 1) // 2
        statistic = _score(middle.astype(np.float64), (totals - middle).astype(np.float64), images, max_drop)
        inside = statistic <= -z if passes else statistic < z
        low, high = np.where(inside, middle, low), np.where(inside, high, middle - 1)
    share_lost = (discordant + drop) / (2 * discordant) if discordant else 0.5
    below = large_numbers.binomial_cdf(totals, low, share_lost)
    return float(np.sum(weights * (below if passes else 1.0 - below)))
