"""Ranges in training: how they follow what is observed, move, and start at the post-training file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from quantize.errors import ConversionError
from quantize.tflite import calibrated
from tests.quantize.qat.conftest import Prepared


def test_fake_quantization_is_tensorflows_with_the_straight_through_gradient() -> None:
    import tensorflow as tf

    from quantize.qat.scheme import fake_quantize, round_symmetric

    values = tf.constant(np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(values)
        ours = fake_quantize(values, tf.constant(-1.0), tf.constant(0.9))
        theirs = tf.quantization.fake_quant_with_min_max_vars(values, -1.0, 0.9)
        kernel = round_symmetric(values, (0,))
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(tape.gradient(ours, values) != 0, np.abs(values - -0.05) <= 0.95)
    steps = kernel / (np.abs(values).max(axis=0) / 127)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
    assert np.abs(steps).max() == pytest.approx(127)
    np.testing.assert_array_equal(tape.gradient(kernel, values), np.ones(values.shape))


def test_ranges_follow_what_is_observed_and_groups_take_the_union(prepared: Prepared) -> None:
    from quantize.qat.ranges import DECAY, RangeTable

    table = RangeTable(prepared.places)
    observed = prepared.places.observed
    table.set_observed({place.layer: (-1.0, float(i)) for i, place in enumerate(observed)})
    shared = next(g for g in range(prepared.places.groups) if sum(p.group == g for p in observed) > 1)
    members = [i for i, place in enumerate(observed) if place.group == shared]
    assert table.read()[observed[members[0]].layer] == (-1.0, max(members))
    with table.step(observe=True):
        for place in observed:
            table.observe(place, np.array([-3.0, 5.0], np.float32))
    table.update()
    last = members[-1]
    assert float(table.high[last]) == pytest.approx(DECAY * last + (1 - DECAY) * 5.0)
    with table.step(observe=False):
        table.observe(observed[last], np.array([100.0], np.float32))
    table.update()
    assert float(table.high[last]) < 100 * (1 - DECAY) + last


def test_chosen_ranges_cut_off_as_much_while_the_extremes_move(prepared: Prepared) -> None:
    from quantize.qat.ranges import DECAY, RangeTable

    table = RangeTable(prepared.places)
    observed = prepared.places.observed
    table.set_observed({place.layer: (-1.0, 4.0) for place in observed})
    chosen = {place.layer: (-0.5, 3.0) for place in observed[1:]}
    table.set_chosen(chosen)
    ranges = table.read()
    alone = [place for place in observed[1:] if place.group != observed[0].group]
    assert all(ranges[place.layer] == pytest.approx((-0.5, 3.0)) for place in alone)
    with table.step(observe=True):
        for place in observed:
            table.observe(dataclasses.replace(place, from_zero=False), np.array([-2.0, 8.0], np.float32))
    table.update()
    high = 0.75 * (DECAY * 4.0 + (1 - DECAY) * 8.0)
    assert table.read()[alone[-1].layer][1] == pytest.approx(high)
    again = RangeTable(prepared.places)
    for name, variable in again.state().items():
        variable.assign(table.state()[name])
    assert again.read() == table.read()


@pytest.mark.parametrize("per_channel", [True, False])
def test_training_starts_at_the_post_training_file(prepared: Prepared, per_channel: bool) -> None:
    from quantize.qat.ranges import RangeTable
    from quantize.qat.start import StartingPoint
    from quantize.tflite.int8_file import Int8File

    file = Int8File(prepared.exporter.int8(prepared.table.read(), per_channel=per_channel))
    rounded_otherwise, corrected = file.weighted[1], file.weighted[-1]
    kernel = file.weights(rounded_otherwise)
    kernel[..., ::3] = np.clip(kernel[..., ::3].astype(int) + 1, -126, 126)
    file.set_weights(rounded_otherwise, kernel)
    bias = file.bias(corrected)
    assert bias is not None
    file.set_bias(corrected, bias + 40 * file.bias_scale(corrected))
    weights = prepared.network.get_weights()
    try:
        start = StartingPoint(file.pack(), prepared.exporter)
        assert start.matches
        changed = start.adopt()
        table = RangeTable(prepared.places)
        table.set_observed({place.layer: (-2.0, 2.0) for place in prepared.places.observed})
        table.set_chosen(start.ranges())
        made = Int8File(prepared.exporter.int8(table.read(), per_channel=per_channel))
    finally:
        prepared.network.set_weights(weights)
    assert len(changed) == 2
    assert all(made.scale(i) == pytest.approx(file.scale(i)) for op in file.graph.ops for i in op.outputs)
    for ours, theirs in zip(made.weighted, file.weighted, strict=True):
        # Each channel's largest weight goes back to the outermost step, and nothing else moves.
        moved = np.mean(made.weights(ours) != file.weights(theirs))
        assert moved < (0.05 if theirs is rounded_otherwise else 0.002)
        mine, its = made.bias(ours), file.bias(theirs)
        assert mine is not None and its is not None
        assert np.all(np.abs(mine - its) <= 2 * file.bias_scale(theirs))


def test_ranges_of_a_flatbuffer_are_read_and_written(prepared: Prepared) -> None:
    flatbuffer = prepared.exporter.float32()
    names = calibrated.activation_names(flatbuffer)
    assert calibrated.read_ranges(flatbuffer) == {}
    ranges = {name: (-float(i), float(i + 1)) for i, name in enumerate(names)}
    written = calibrated.write_ranges(flatbuffer, ranges)
    assert calibrated.read_ranges(written) == ranges
    again = calibrated.write_ranges(written, {names[0]: (0.5, 2.0)})
    assert calibrated.read_ranges(again) == ranges | {names[0]: (0.0, 2.0)}  # widened to hold zero


@pytest.mark.parametrize(("name", "limits", "message"), [
    ("nothing", (0.0, 1.0), "no tensor has this name"),
    (None, (1.0, 0.0), "the lower one first"),
    (None, (0.0, float("nan")), "two finite numbers"),
])  # fmt: skip
def test_a_wrong_range_is_refused(prepared: Prepared, name: str | None, limits: tuple[float, float], message: str) -> None:
    flatbuffer = prepared.exporter.float32()
    tensor = name or calibrated.activation_names(flatbuffer)[0]
    with pytest.raises(ConversionError, match=message):
        calibrated.write_ranges(flatbuffer, {tensor: limits})
