"""The sequential verdict keeps its promises, by simulation over seeds and discordance rates; and rests on a reference that answers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices.measure.sequential import ALPHA, BATCH, BETA, Sequential, fixed_plan
from edge.artefact import container
from edge.cli import main
from edge.data.dataset import LabelledImages
from edge.runtime.extra_inputs import identity
from edge.validation.reference import ReferenceWriter

LIMIT, MOST, RUNS = 0.01, 12_000, 1000
NOISE = 3 * (0.1 * 0.9 / RUNS) ** 0.5  # three standard errors


def simulate(drop: float, discordance: float) -> list[Sequential]:
    random = np.random.default_rng(7)
    lose = (discordance + drop) / 2
    tests = []
    for _ in range(RUNS):
        test = Sequential(limit=LIMIT)
        while test.verdict is None and test.images < MOST:
            count = test.wanted()
            lost, won, _ = random.multinomial(count, [lose, discordance - lose, 1 - discordance]).tolist()
            test.add(count, lost, won)
        tests.append(test)
    return tests


@pytest.mark.parametrize("discordance", [0.0101, 0.015, 0.03, 0.055, 0.1])
def test_a_model_that_loses_the_limit_passes_no_more_often_than_promised(discordance: float) -> None:
    passed = [test.verdict == "pass" for test in simulate(LIMIT, discordance)]
    assert np.mean(passed) <= ALPHA + 2 * (ALPHA * (1 - ALPHA) / RUNS) ** 0.5  # two standard errors
    assert not all(passed)


@pytest.mark.parametrize("discordance", [0.015, 0.02, 0.03, 0.055])
def test_a_model_that_loses_nothing_passes_with_fewer_images_than_a_fixed_plan(discordance: float) -> None:
    tests = simulate(0.0, discordance)
    assert np.mean([test.verdict == "pass" for test in tests]) >= 1 - BETA - NOISE
    share = np.median([test.images for test in tests]) / fixed_plan(LIMIT, discordance)
    assert share <= 0.61


def test_a_pass_means_the_same_whether_the_images_were_counted_beforehand_or_not() -> None:
    """A verdict of a fixed number comes from the 95 % interval: its lower half is what may pass wrongly."""
    assert pytest.approx((1 - 0.95) / 2) == ALPHA


def test_a_large_loss_never_passes() -> None:
    assert {test.verdict for test in simulate(0.05, 0.07)} == {"undecided"}


def test_the_fixed_plan_is_the_textbooks() -> None:
    assert fixed_plan(0.01, 0.015) == pytest.approx(1577, abs=3)
    assert fixed_plan(0.01, 0.055) == pytest.approx(5780, abs=5)


def test_images_that_are_all_right_need_the_rule_of_three() -> None:
    test = Sequential(limit=LIMIT)
    while test.verdict is None:
        test.add(1, 0, 0)
    # Of 373 images without a loss: a model that loses 1 % would manage that with probability 0.99 ** 373 = 0.0235.
    assert (test.verdict, test.images) == ("pass", 373)
    test.add(1, 1, 0)
    assert np.isfinite(test.log_likelihood_ratio)


def test_the_first_batch_is_as_large_as_no_pass_can_be_earlier() -> None:
    test = Sequential(limit=LIMIT)
    assert test.wanted() == 200
    test.add(test.wanted(), 5, 3)
    assert test.verdict is None and test.wanted() == BATCH
    assert Sequential(limit=0.5).wanted() == BATCH


def test_the_likelihood_is_the_largest_there_is() -> None:
    test = Sequential(limit=LIMIT, images=500, lost=9, won=3)
    won = np.linspace(1e-6, 0.4, 400_001)
    for drop in (0.0, LIMIT):
        values = 9 * np.log(won + drop) + 3 * np.log(won) + 488 * np.log(1 - 2 * won - drop)
        assert test._best(drop) == pytest.approx(values.max(), abs=1e-4)
        assert test._best(drop) >= values.max() - 1e-9


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be"):
        Sequential(limit=0.01).add(10, 6, 5)


@pytest.mark.targets("local", why="the counts are looked at on this machine, whatever the board is")
def test_a_reference_without_answers_decides_nothing(
    target: Any, first: Path, few_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every image that the reference answers with NaN is won, and a sequential test would pass at once."""
    contract = container.read(first).contract
    assert contract is not None
    with ReferenceWriter(tmp_path / "silent.npz", contract) as writer:
        for item in LabelledImages.open(few_digits / "test", unlabelled=True):
            writer.add(identity(item.read(), item, None), {contract.outputs[0].name: np.full(10, np.nan, np.float32)})
    if not target.place("silent").exists():
        target.copy("silent").shell.close()
    where = ["--on", *target.flags, "--folder", f"{target.there}/silent"]
    data = ["--images", str(few_digits / "test"), "--reference", str(tmp_path / "silent.npz")]
    assert main(["validate", str(first), *where, *data, "--sequential", "--max-drop", "0.1"]) == 2
    assert "the reference answers" in (said := capsys.readouterr().err) and "make the reference anew" in said


@pytest.mark.targets("local", why="the finding is made by the same code, whatever the board is")
def test_nothing_passes_while_both_models_are_labelled_wrongly(
    target: Any, first: Path, few_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both are wrong about nearly every image, so neither loses anything against the other."""
    folders = sorted(folder for folder in (few_digits / "test").iterdir() if folder.is_dir())
    for folder, named in zip(folders, [*folders[1:], folders[0]], strict=True):
        shutil.copytree(folder, tmp_path / "turned" / named.name)
    if not target.place("turned").exists():
        target.copy("turned").shell.close()
    where = ["--on", *target.flags, "--folder", f"{target.there}/turned"]
    data = ["--images", str(tmp_path / "turned"), "--reference", str(first)]
    assert main(["validate", str(first), *where, *data, "--sequential", "--max-drop", "0.1"]) == 2
    assert "put that right first" in capsys.readouterr().err
