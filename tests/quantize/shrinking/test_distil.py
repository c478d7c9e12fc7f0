"""Training to answer as the original: nearer than before, statistics untouched, and the same after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.data.dataset import LabelledImages
from quantize.errors import TrainingError
from quantize.shrinking import networks, surgery
from quantize.shrinking.answers import Judge
from quantize.shrinking.config import ShrinkConfig
from quantize.shrinking.distil import Mimicry
from quantize.shrinking.pictures import batches, divide
from quantize.shrinking.structure import look
from quantize.shrinking.surgery import Cut

pytestmark = pytest.mark.converts

LONG = 1e6  # seconds: the steps end the training


def _mimicry(
    residual: Any, photos: Path, folder: Path, *, steps: int, size: tuple[int, int] | None = None, **options: Any
) -> Mimicry:
    parts = divide(LabelledImages.open(photos, unlabelled=True))
    names = [block.name for block in look(residual.model).blocks]
    cut = Cut(blocks=frozenset(names[1:2]), kept={}, size=size)
    shrunk = networks.with_model(residual, surgery.apply(residual.model, cut))
    judge = Judge.of(residual.contract.outputs, networks.answers(residual, batches(parts.choice, residual.contract, 16)))
    config = ShrinkConfig(steps=steps, batch_size=16, **options)
    return Mimicry(residual, shrunk, parts.learning, parts.choice, judge, config, folder, {"seed": config.seed})


def test_it_comes_nearer_and_batch_norm_statistics_stand_still(residual: Any, few_digits: Path, tmp_path: Path) -> None:
    mimicry = _mimicry(residual, few_digits / "train", tmp_path, steps=40, learning_rate=1e-3)
    before = {v.path: np.array(v) for v in mimicry.shrunk.model.non_trainable_variables}
    original = [np.array(v) for v in residual.model.variables]
    mimicry.train(LONG)
    first, best = mimicry.looks[0], mimicry.best
    assert best.divergence < 0.7 * first.divergence
    assert best.error < first.error
    assert all(np.array_equal(before[v.path], np.array(v)) for v in mimicry.shrunk.model.non_trainable_variables)
    assert all(np.array_equal(a, np.array(b)) for a, b in zip(original, residual.model.variables, strict=True))
    mimicry._look(None)  # the network has the best weights, not the last
    assert mimicry.looks[-1].error == pytest.approx(best.error, abs=1e-5)


def test_an_interrupted_training_ends_where_one_without_a_break_does(residual: Any, few_digits: Path, tmp_path: Path) -> None:
    whole = _mimicry(residual, few_digits / "train", tmp_path / "whole", steps=9)
    whole.train(LONG)
    broken = _mimicry(residual, few_digits / "train", tmp_path / "broken", steps=9)
    update, done = broken._update, list[int]()

    def breaks(*batch: Any) -> Any:
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(1)
        return update(*batch)

    broken._update = breaks
    with pytest.raises(KeyboardInterrupt):
        broken.train(LONG)
    resumed = _mimicry(residual, few_digits / "train", tmp_path / "broken", steps=9)
    assert resumed.resume()
    resumed.train(LONG)
    assert [look.step for look in resumed.looks][-1] == 9
    for one, other in zip(whole._weights(), resumed._weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_state_of_other_settings_is_refused(residual: Any, few_digits: Path, tmp_path: Path) -> None:
    first = _mimicry(residual, few_digits / "train", tmp_path, steps=1)
    first.train(LONG)
    with pytest.raises(TrainingError, match="had seed 0, this one has 1"):
        _mimicry(residual, few_digits / "train", tmp_path, steps=1, seed=1).resume()


def test_a_smaller_input_sees_the_same_augmented_photo(residual: Any, few_digits: Path, tmp_path: Path) -> None:
    mimicry = _mimicry(residual, few_digits / "train", tmp_path, steps=2, size=(24, 24))
    theirs, ours = next(mimicry._stream())
    assert theirs.shape[1:3] == (32, 32)
    assert ours.shape[1:3] == (24, 24)
    likeness = [
        np.corrcoef(a[:, :, 0][::4, ::4].ravel(), b[:, :, 0][::3, ::3].ravel())[0, 1] for a, b in zip(theirs, ours, strict=True)
    ]
    assert np.mean(likeness) > 0.8
    mimicry.train(LONG)
    assert mimicry.looks[-1].step == 2
