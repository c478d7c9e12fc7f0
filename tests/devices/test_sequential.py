"""The sequential verdict keeps its promises, by simulation over seeds and discordance rates."""

from __future__ import annotations

import numpy as np
import pytest

from devices.sequential import ALPHA, BETA, Sequential, fixed_plan

LIMIT, BATCH, MOST, RUNS = 0.01, 50, 12_000, 400
NOISE = 3 * (0.1 * 0.9 / RUNS) ** 0.5  # three standard errors


def simulate(drop: float, discordance: float) -> list[Sequential]:
    random = np.random.default_rng(7)
    lose = (discordance + drop) / 2
    tests = []
    for _ in range(RUNS):
        test = Sequential(limit=LIMIT)
        for lost, won, _ in random.multinomial(BATCH, [lose, discordance - lose, 1 - discordance], MOST // BATCH).tolist():
            test.add(BATCH, lost, won)
            if test.verdict is not None:
                break
        tests.append(test)
    return tests


@pytest.mark.parametrize("discordance", [0.0101, 0.015, 0.03, 0.055, 0.1])
def test_a_model_that_loses_the_limit_passes_no_more_often_than_promised(discordance: float) -> None:
    passed = [test.verdict == "pass" for test in simulate(LIMIT, discordance)]
    assert np.mean(passed) <= ALPHA + NOISE * 0.75
    assert not all(passed)


@pytest.mark.parametrize("discordance", [0.015, 0.03, 0.055])
def test_a_model_that_loses_nothing_passes_with_fewer_images_than_a_fixed_plan(discordance: float) -> None:
    tests = simulate(0.0, discordance)
    assert np.mean([test.verdict == "pass" for test in tests]) >= 1 - BETA - NOISE
    share = np.median([test.images for test in tests]) / fixed_plan(LIMIT, discordance)
    assert share <= (0.6 if discordance > 0.02 else 0.63)


def test_a_large_loss_never_passes() -> None:
    assert {test.verdict for test in simulate(0.05, 0.07)} == {"undecided"}


def test_the_fixed_plan_is_the_textbooks() -> None:
    assert fixed_plan(0.01, 0.015) == pytest.approx(1285, abs=3)
    assert fixed_plan(0.01, 0.055) == pytest.approx(4710, abs=5)


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be"):
        Sequential(limit=0.01).add(10, 6, 5)
