from __future__ import annotations

import functools
import itertools
import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest

from edge.numbers import statistics


def test_interval_reproduces_the_published_example() -> None:
    # Tango 1998, section 6.1: 44 pairs, none won by the new system, one by the standard; margin 0.1, 90 % interval.
    assert statistics.score_statistic(0, 1, 44, -0.1) == pytest.approx(1.709, abs=5e-4)
    assert statistics.paired_interval(0, 1, 44, confidence=0.9)[0] == pytest.approx(-0.096, abs=5e-4)


@pytest.mark.parametrize(
    ("lost", "won", "images", "confidence", "low", "high", "decimals"),
    [
        # R, PropCIs::scoreci.mp, as published by its users.
        (60, 20, 1000, 0.95, 0.0231, 0.0584, 4),
        (28, 25, 618, 0.90, -0.0148, 0.0247, 4),
        (48, 41, 549, 0.90, -0.0157, 0.0414, 4),
        # Fagerland, Lydersen, Laake, Statistics in Medicine 33 (2014) 2850-2875: airway hyper-responsiveness, 21 pairs.
        (1, 7, 21, 0.95, -0.517, -0.026, 3),
    ],
)
def test_interval_agrees_with_other_implementations(
    lost: int, won: int, images: int, confidence: float, low: float, high: float, decimals: int
) -> None:
    found = statistics.paired_interval(lost, won, images, confidence)
    assert list(found) == pytest.approx([low, high], abs=0.6 * 10**-decimals)


@pytest.mark.parametrize(("lost", "won", "images"), [(0, 0, 50), (1, 0, 50), (5, 2, 600), (50, 0, 50), (0, 7, 7), (3, 3, 10)])
def test_interval_is_where_the_score_test_turns(lost: int, won: int, images: int) -> None:
    low, high = statistics.paired_interval(lost, won, images)
    assert -1.0 <= low <= (lost - won) / images <= high <= 1.0
    assert high > low
    if low > -1.0 and lost < images:
        assert statistics.score_statistic(lost, won, images, low) == pytest.approx(1.959964, abs=1e-3)
    if high < 1.0 and won < images:
        assert statistics.score_statistic(lost, won, images, high) == pytest.approx(-1.959964, abs=1e-3)
    assert list(statistics.paired_interval(won, lost, images)) == pytest.approx([-high, -low])


@pytest.mark.parametrize(
    ("lost", "won", "images", "drop"), [(5, 2, 60, 0.1), (0, 3, 40, 0.05), (4, 0, 30, -0.2), (2, 2, 20, 0.0)]
)
def test_statistic_uses_the_most_likely_rate_under_the_hypothesis(lost: int, won: int, images: int, drop: float) -> None:
    def log_likelihood(won_rate: float) -> float:
        lost_rate, same = won_rate + drop, 1 - 2 * won_rate - drop
        pairs = ((lost, lost_rate), (won, won_rate), (images - lost - won, same))
        return sum(count * math.log(rate) for count, rate in pairs if count)

    grid = np.linspace(max(0.0, -drop), (1 - drop) / 2, 20_001)[1:-1]
    best = max(grid, key=log_likelihood)
    expected = (lost - won - images * drop) / math.sqrt(images * (2 * best + drop * (1 - drop)))
    assert statistics.score_statistic(lost, won, images, drop) == pytest.approx(expected, rel=1e-3)


interval = functools.cache(statistics.paired_interval)


def coverage(images: int, lost_rate: float, won_rate: float) -> float:
    """The exact probability that the interval of a sample contains the true drop."""
    drop, same, total = lost_rate - won_rate, 1 - lost_rate - won_rate, 0.0
    for lost, won in itertools.product(range(images + 1), repeat=2):
        if lost + won > images:
            continue
        ways = math.comb(images, lost) * math.comb(images - lost, won)
        chance = ways * lost_rate**lost * won_rate**won * same ** (images - lost - won)
        low, high = interval(lost, won, images) if chance > 1e-6 else (1.0, -1.0)
        total += chance if low <= drop <= high else 0.0
    return total


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    rates = [(0.02, 0.01), (0.05, 0.05), (0.1, 0.02), (0.2, 0.1), (0.03, 0.0)]
    found = [coverage(40, lost, won) for lost, won in rates]
    assert min(found) > 0.92  # the Wald interval: at most 0.7 for the first and the last
    assert np.mean(found) > 0.945


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 0), (0, 6), (9, 3), (40, 20), (17, 17)])
def test_mcnemar_is_the_sum_over_all_outcomes_as_unlikely(lost: int, won: int) -> None:
    trials = lost + won
    tail = sum(Fraction(math.comb(trials, k), 2**trials) for k in range(min(lost, won) + 1))
    assert statistics.mcnemar_exact(lost, won) == float(min(Fraction(1), 2 * tail))


def test_what_is_said_about_further_looks_at_the_same_growing_data_is_true() -> None:
    """`report_text.ANOTHER_LOOK` and docs/validation.md: how often a model that loses exactly the limit passes at last."""
    limit, each, runs, looks = 0.01, 1000, 3000, 5
    random, z = np.random.default_rng(0), NormalDist().inv_cdf(0.975)
    chances = [0.02, 0.01, 0.97]  # lost, won, neither: a drop of the limit
    counts = np.cumsum(random.multinomial(each, chances, (runs, looks)), axis=1)
    passes = np.zeros(looks)
    for run in counts.tolist():
        for look, (lost, won, _) in enumerate(run):
            score = statistics.score_statistic(lost, won, each * (look + 1), limit)
            if abs(score) > z:  # decided: the limit is outside of the interval
                passes[look:] += score < 0
                break
    error = 2 * (0.05 * 0.95 / runs) ** 0.5
    assert passes[0] / runs <= 0.025 + error
    assert 0.04 - error <= passes[1] / runs <= 0.05 + error
    assert passes[4] / runs == pytest.approx(0.067, abs=error)


def test_mcnemar_does_not_underflow_or_overflow() -> None:
    assert statistics.mcnemar_exact(20_000, 20_000) == 1.0
    assert 0.0 < statistics.mcnemar_exact(1000, 0) < 1e-300


def test_student_quantile_is_the_printed_table() -> None:
    # Two-sided 95 %, from any table of Student's distribution.
    table = {1: 12.7062, 2: 4.3027, 3: 3.1824, 10: 2.2281, 30: 2.0423, 120: 1.9799, 1000: 1.9623}
    assert {freedom: round(statistics.student_quantile(0.975, freedom), 4) for freedom in table} == table
    assert statistics.student_quantile(0.025, 10) == -statistics.student_quantile(0.975, 10)
    # The series and the expansion meet.
    assert statistics.student_quantile(0.975, 200) == pytest.approx(statistics.student_quantile(0.975, 201), abs=1e-4)


def test_mean_interval_by_hand() -> None:
    # Differences 1, 2, 3, 4: mean 2.5, s = 1.2910, t(3) = 3.1824, half width 3.1824 * 1.2910 / 2.
    found = statistics.mean_interval(np.array([1.0, 2.0, 3.0, 4.0]))
    assert list(found) == pytest.approx([2.5 - 2.0542, 2.5 + 2.0542], abs=1e-4)
    assert all(math.isnan(bound) for bound in statistics.mean_interval(np.array([1.0])))


def test_verdict_comes_from_the_interval() -> None:
    assert statistics.verdict((-0.01, 0.01), 0.01) == "pass"
    assert statistics.verdict((-0.001, 0.02), 0.01) == "undecided"
    assert statistics.verdict((0.011, 0.02), 0.01) == "fail"


def power_by_enumeration(images: int, max_drop: float, drop: float, discordant: float) -> float:
    """The probability of ``pass``, outcome by outcome."""
    lost_rate, total = (discordant + drop) / 2, 0.0
    won_rate = discordant - lost_rate
    for lost, won in itertools.product(range(40), repeat=2):
        ways = math.comb(images, lost) * math.comb(images - lost, won)
        chance = ways * lost_rate**lost * won_rate**won * (1 - discordant) ** (images - lost - won)
        if chance > 1e-5 and interval(lost, won, images)[1] <= max_drop:
            total += chance
    return total


@pytest.mark.parametrize(("drop", "discordant"), [(0.0, 0.05), (0.01, 0.03)])
def test_plan_is_the_number_that_reaches_the_power(drop: float, discordant: float) -> None:
    images = statistics.plan(0.05, drop=drop, discordant=discordant, power=0.8).images
    assert images is not None
    assert power_by_enumeration(images, 0.05, drop, discordant) > 0.79
    assert power_by_enumeration(int(images * 0.85), 0.05, drop, discordant) < 0.8


def test_plan_without_any_discordant_image_follows_from_the_formula() -> None:
    # Upper bound z^2 / (n + z^2) <= 0.01.
    assert statistics.plan(0.01, discordant=0.0).images == math.ceil(1.959964**2 * 99)


def test_plan_grows_with_what_makes_it_hard() -> None:
    easy = statistics.plan(0.01, discordant=0.01).images
    harder = statistics.plan(0.01, discordant=0.05).images
    close = statistics.plan(0.01, drop=0.008, discordant=0.05).images
    surer = statistics.plan(0.01, discordant=0.05, power=0.95).images
    above = statistics.plan(0.01, drop=0.02, discordant=0.05).images
    assert None not in (easy, harder, close, surer, above)
    assert easy < harder < surer < close  # type: ignore[operator]
    assert statistics.plan(0.01, drop=0.01, discordant=0.05).images is None


def test_plan_beyond_exact_summing_is_still_answered() -> None:
    images = statistics.plan(0.0001, discordant=0.03).images
    assert images is not None and images > 1_000_000


@pytest.mark.parametrize("arguments", [{"max_drop": 0.0}, {"drop": 0.05, "discordant": 0.01}, {"power": 1.0}])
def test_plan_refuses_what_cannot_be(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        statistics.plan(**{"max_drop": 0.01, **arguments})


def test_images_to_decide_is_more_than_there_are() -> None:
    more = statistics.images_to_decide(3, 1, 300, 0.01)
    assert more is not None and more > 300
    assert statistics.images_to_decide(6, 0, 600, 0.01) is None
    assert statistics.images_to_decide(0, 0, 100, 0.01) is not None


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="add up"):
        statistics.paired_interval(30, 30, 50)
