"""Binomial probabilities against SciPy and against whole numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from edge.numbers import large_numbers, statistics


@pytest.mark.parametrize(("lost", "won"), [(4097, 3900), (2500, 2300), (5000, 4998), (6000, 5500), (3000, 2100)])
def test_many_discordant_images_give_the_value_of_whole_numbers_to_the_last_bit(lost: int, won: int) -> None:
    trials = lost + won
    term = tail = 1
    for k in range(won):
        term = term * (trials - k) // (k + 1)
        tail += term
    assert statistics.mcnemar_exact(lost, won) == float(Fraction(2 * tail, 2**trials))


@pytest.mark.parametrize(
    ("lost", "won"), [(1_000_000, 997_000), (10_000_000, 9_999_998), (100_000_000, 99_990_000), (3000, 1100)]
)
def test_a_hundred_million_discordant_images_are_answered(lost: int, won: int) -> None:
    expected = stats.binomtest(lost, lost + won).pvalue
    assert statistics.mcnemar_exact(lost, won) == pytest.approx(expected, rel=1e-9)
    assert statistics.mcnemar_exact(won, lost) == statistics.mcnemar_exact(lost, won)


@pytest.mark.parametrize("trials", [1, 2, 10, 300, 5000, 200_000, 1_000_000])
@pytest.mark.parametrize("rate", [0.0, 1e-4, 0.01, 0.3, 0.5, 0.7, 0.99, 1.0])
def test_distribution_of_a_binomial(trials: int, rate: float) -> None:
    deviation = math.sqrt(trials * rate * (1 - rate) + 1)
    most = np.unique(
        np.clip(np.append(trials * rate + np.arange(-8, 9) * deviation / 2, [-1, 0, trials - 1, trials]), -1, trials)
    )
    counts = most.astype(np.int_)
    every = np.full(counts.shape, trials)

    np.testing.assert_allclose(
        large_numbers.binomial_cdf(every, counts, rate), stats.binom.cdf(counts, trials, rate), rtol=0, atol=2e-9
    )
    inside = counts >= 0
    found = np.exp(large_numbers.log_binomial(every[inside], counts[inside], rate))
    np.testing.assert_allclose(found, stats.binom.pmf(counts[inside], trials, rate), rtol=0, atol=1e-9)


def test_an_estimate_from_many_discordant_images_reaches_the_power() -> None:
    lost, won, images, limit = 5000, 4000, 100_000, 0.011
    needed = statistics.images_to_decide(lost, won, images, limit)
    assert needed is not None and needed > images

    # Drawn, not summed: the share of samples of that size whose interval passes is the power that was promised.
    chance = np.random.default_rng(3)
    rates = [lost / images, won / images, 1 - (lost + won) / images]
    drawn = chance.multinomial(needed, rates, 400)
    passed = [statistics.paired_interval(int(row[0]), int(row[1]), needed)[1] <= limit for row in drawn]
    assert 0.72 < np.mean(passed) < 0.88
