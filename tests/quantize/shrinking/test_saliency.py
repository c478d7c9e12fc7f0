"""What single channels are worth: nothing where nothing comes out, and the real divergence where a channel is weak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize.shrinking import networks
from quantize.shrinking.answers import Judge
from quantize.shrinking.ranking import saliencies
from quantize.shrinking.structure import Channels
from tests.quantize.shrinking.residual_digits import digit_tensors

pytestmark = pytest.mark.converts

GROUPS = [Channels(name=f"narrow_{i}", count=32, consumers=(f"wide_{i}",)) for i in range(5)]


@pytest.fixture(scope="module")
def tensors(digits_folder: Path) -> Any:
    return digit_tensors(digits_folder / "test")[0][:96]


def _scaled(residual: Any, number: int, channel: int, factor: float) -> None:
    """Multiply what a channel passes on: convolution and batch normalisation behind it, before the ReLU."""
    norm = residual.model.get_layer(f"norm_{number}")
    gamma, beta, *rest = norm.get_weights()
    gamma[channel] *= factor
    beta[channel] *= factor
    norm.set_weights([gamma, beta, *rest])


def test_a_channel_without_effect_is_worth_nothing_and_every_other_something(residual: Any, tensors: Any) -> None:
    layer = residual.model.get_layer("wide_2")
    kernel, bias = layer.get_weights()
    kernel[:, :, 7] = 0.0  # nobody reads channel 7
    layer.set_weights([kernel, bias])
    judge = Judge.of(residual.contract.outputs, networks.answers(residual, [tensors]))
    found = saliencies(residual, GROUPS, judge, [tensors[i : i + 8] for i in range(0, 96, 8)])
    assert found["narrow_2"][7] == pytest.approx(0.0, abs=1e-9)
    assert {name: values.shape for name, values in found.items()} == {group.name: (32,) for group in GROUPS}
    assert np.median(found["narrow_2"]) > 1e-6


def test_it_is_the_divergence_that_a_smaller_channel_makes(residual: Any, tensors: Any) -> None:
    """Over several channels: what a channel turned down by a tenth does, against the saliency times the tenth squared."""
    answers = networks.answers(residual, [tensors])
    judge = Judge.of(residual.contract.outputs, answers)
    found = saliencies(residual, GROUPS, judge, [tensors[i : i + 4] for i in range(0, 96, 4)])["narrow_1"]
    chosen = np.argsort(found)[-12:]
    real = []
    for channel in chosen:
        _scaled(residual, 1, int(channel), 0.9)
        real.append(float(np.mean(judge.divergence(networks.answers(residual, [tensors]), answers))))
        _scaled(residual, 1, int(channel), 1 / 0.9)
    expected = found[chosen] * 0.1**2
    assert np.sum(real) == pytest.approx(np.sum(expected), rel=0.35)
    assert np.corrcoef(real, expected)[0, 1] > 0.6
