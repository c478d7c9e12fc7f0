"""What the layers behind a cut make good: exactly where they can, only where it helps, and in little memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from quantize.quiet import import_keras
from quantize.shrinking import least, repair
from quantize.shrinking.structure import look
from quantize.shrinking.surgery import Cut, apply
from tests.quantize.shrinking.test_blocks import difference, pictures

pytestmark = pytest.mark.converts

Network = Callable[[str], Any]


def batches(model: Any, count: int = 6, size: int = 16, *, at: tuple[int, int] | None = None) -> list[np.ndarray[Any, Any]]:
    shape = (*(at or model.inputs[0].shape[1:3]), model.inputs[0].shape[-1])
    rng = np.random.default_rng(11)
    return [rng.uniform(-1, 1, (size, *shape)).astype(np.float32) for _ in range(count)]


def error(one: Any, other: Any) -> float:
    """Return the squared difference of two networks' answers, relative to how the first one's vary."""
    tensors = pictures(one, 16)
    answers = [np.asarray(import_keras().tree.flatten(model(tensors, training=False))[0]) for model in (one, other)]
    return float(((answers[0] - answers[1]) ** 2).sum() / ((answers[0] - answers[0].mean(0)) ** 2).sum())


def test_what_linear_layers_can_make_good_is_made_good() -> None:
    """Two of four channels are copies, one is a sum of others and a constant: the 3x3 convolution that reads them does not need them.

    Between that and the sum stands a batch normalisation, which takes the shift.
    """
    layers = import_keras().layers
    picture = import_keras().Input((10, 10, 3))
    x = layers.Conv2D(4, 1, name="four")(picture)
    x = layers.Conv2D(6, 3, strides=2, use_bias=False, name="reads")(layers.AveragePooling2D(2)(x))
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    model = import_keras().Model(picture, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    kernel, bias = (np.array(weight) for weight in model.get_layer("four").get_weights())
    kernel[..., 1], bias[1] = kernel[..., 0], bias[0]
    kernel[..., 3], bias[3] = kernel[..., 0] - 2 * kernel[..., 2], 0.7
    model.get_layer("four").set_weights([kernel, bias])
    cut = Cut(kept={"four": (0, 2)})
    smaller = apply(model, cut)
    unrepaired = error(model, smaller)
    (fit,) = repair.least_squares(model, smaller, cut, batches(model))
    assert (fit.name, fit.ridge) == ("reads", least.RIDGES[0])
    assert fit.left < 1e-6
    assert error(model, smaller) < 1e-5 < 1e-2 < unrepaired
    assert not np.allclose(smaller.get_layer("norm").get_weights()[1], model.get_layer("norm").get_weights()[1])
    assert smaller.get_layer("reads").use_bias is False


@pytest.mark.parametrize(
    ("name", "blocks", "channels", "gain"),
    [("two heads", [0], [], 2), ("two heads", [], [1], 20), ("RegNet", [0], [], 1.5), ("RegNet", [1], [0, 2], 1.2)],
)
def test_answers_come_closer_to_the_original(
    network: Network, name: str, blocks: list[int], channels: list[int], gain: float
) -> None:
    model, found = network(name), look(network(name))
    before = model.get_weights()
    kept = {found.channels[i].name: tuple(range(0, found.channels[i].count, 2)) for i in channels}
    cut = Cut(blocks=frozenset(found.blocks[i].name for i in blocks), kept=kept)
    smaller = apply(model, cut)
    unrepaired = error(model, smaller)
    fits = repair.least_squares(model, smaller, cut, batches(model))
    assert fits
    assert all(fit.left <= 1 and (fit.left == 1) == (fit.ridge is None) for fit in fits)
    assert error(model, smaller) < unrepaired / gain
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


def test_the_layer_in_front_of_what_is_gone_stands_for_it_and_no_other_is_touched(network: Network) -> None:
    model, found = network("RegNet"), look(network("RegNet"))
    cut = Cut(blocks=frozenset(block.name for block in found.blocks[-2:]))
    smaller = apply(model, cut)
    before = {layer.name: layer.get_weights() for layer in smaller.layers}
    unrepaired = error(model, smaller)
    fits = repair.least_squares(model, smaller, cut, batches(model))
    assert [fit.name for fit in fits] == ["s2b1_c"]  # in front of two blocks, and nothing but the head is behind them
    assert fits[0].left < 0.5
    assert error(model, smaller) < unrepaired / 2
    touched = {
        name
        for name, weights in before.items()
        for a, b in zip(weights, smaller.get_layer(name).get_weights(), strict=True)
        if (a != b).any()
    }
    assert touched == {"s2b1_c", "s2b1_c_bn"}
    assert repair.least_squares(model, apply(model, Cut()), Cut(), batches(model, 1)) == ()


def test_a_layer_that_others_read_too_does_not_stand_for_what_is_gone() -> None:
    """A second head reads the value in front of the block that goes, or it is an output: it has to stay as it was."""
    layers = import_keras().layers
    picture = import_keras().Input((8, 8, 4))
    first = layers.Add(name="first")([picture, layers.Conv2D(4, 1, name="one")(picture)])
    x = layers.Add(name="second")([first, layers.Conv2D(4, 1, name="two")(first)])
    ends = [layers.Dense(2, name=f"end_{i}")(layers.GlobalAveragePooling2D()(value)) for i, value in enumerate((x, first))]
    one, both, bare = (import_keras().Model(picture, outputs) for outputs in (ends[0], ends, [ends[0], first]))
    cut = Cut(blocks=frozenset({"second"}))
    assert [fit.name for fit in repair.least_squares(one, apply(one, cut), cut, batches(one, 2))] == ["one"]
    assert repair.least_squares(both, apply(both, cut), cut, batches(both, 2)) == ()
    assert repair.least_squares(bare, apply(bare, cut), cut, batches(bare, 2)) == ()


def test_what_does_not_help_on_held_out_rows_is_not_kept() -> None:
    x = np.random.default_rng(6).normal(size=(200, 3))
    problem = least.Problem(3, 1, shift=True)
    problem.add(x[:150], x[:150, :1] + 1.0, held_out=False)
    problem.add(x[150:], -x[150:, :1] - 1.0, held_out=True)
    solved = problem.solve()
    assert solved is not None
    assert (solved.ridge, solved.after) == (None, solved.before)
    assert not solved.weights.any()
    assert not solved.shift.any()


def test_a_smaller_input_is_repaired_too(network: Network) -> None:
    """The photos come as pairs, each network's own, or are resized here."""
    model = network("two heads")
    found = look(model)
    cut = Cut(blocks=frozenset({found.blocks[0].name}), size=(24, 24))
    import tensorflow as tf

    large = [np.cumsum(np.cumsum(batch, 1), 2) for batch in batches(model)]  # smooth, as photos are
    small = [np.asarray(tf.image.resize(batch, (24, 24), antialias=True)) for batch in large]
    given, alone = apply(model, cut), apply(model, cut)
    fits = repair.least_squares(model, given, cut, zip(large, small, strict=True))
    assert fits == repair.least_squares(model, alone, cut, large)
    assert [fit.name for fit in fits] == ["backbone/b1_out", "backbone/b2_out"]
    assert all(fit.left < 0.9 for fit in fits)
    assert difference(given(small[0], training=False), alone(small[0], training=False)) < 1e-5


def test_more_photos_than_memory_are_not_read(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("two heads")
    cut = Cut(blocks=frozenset({look(model).blocks[0].name}))
    monkeypatch.setattr(repair, "MEMORY_BYTES", 3 * 16 * 16 * 16 * 16 * 4 * 4)
    read = 0

    def counted() -> Any:
        nonlocal read
        for batch in batches(model):
            read += 1
            yield batch

    assert repair.least_squares(model, apply(model, cut), cut, counted())
    assert 1 < read < 6


@pytest.mark.parametrize("shift", [True, False])
def test_sums_alone_give_the_fit_and_its_error(shift: bool) -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(1.0, 1.0, (400, 5))
    y = x @ rng.normal(size=(5, 3)) + (2.0 if shift else 0.0) + 0.1 * rng.normal(size=(400, 3))
    problem = least.Problem(5, 3, shift=shift)
    for part in range(4):
        rows = slice(100 * part, 100 * part + 100)
        problem.add(x[rows], y[rows], held_out=part == 3)
    solved = problem.solve()
    assert solved is not None
    direct = np.linalg.lstsq(np.c_[x[:300], np.ones(300)] if shift else x[:300], y[:300], rcond=None)[0]
    np.testing.assert_allclose(solved.weights, direct[:5], atol=0.01)
    left = y[300:] - x[300:] @ solved.weights - solved.shift
    assert solved.after == pytest.approx(float((left**2).sum(1).mean()))
    assert solved.before == pytest.approx(float((y[300:] ** 2).sum(1).mean()))
    assert bool(solved.shift.any()) == shift


def test_without_photos_to_judge_nothing_is_fitted() -> None:
    problem = least.Problem(2, 1, shift=True)
    problem.add(np.ones((3, 2)), np.ones((3, 1)), held_out=False)
    assert problem.solve() is None
