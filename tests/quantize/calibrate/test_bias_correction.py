"""A bias that is off because of rounded weights comes back, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge.artefact import graph
from quantize.calibrate import activations, adaptive_rounding, bias_correction, output_error, unsaturated
from quantize.calibrate.auto_ranges import held_out
from quantize.calibrate.refine import MOST_HELD_OUT, _divided, refine
from quantize.tflite import conversion
from quantize.tflite.float_weights import FloatWeights
from quantize.tflite.int8_file import Int8File

TOO_HIGH = 20  # steps; so many that on any machine's network, however it was trained, the shift is far above the rounding


def _error(steps: Any, flatbuffer: bytes) -> float:
    expected = activations.run(steps.reference, steps.tensors)
    answers = activations.run(flatbuffer, steps.tensors)
    return float(output_error.per_image(expected, answers, output_error.kinds(graph.read(steps.reference))).mean())


def _spoilt(steps: Any) -> bytes:
    """All weights of a convolution some steps too high: a shift of the mean that correction must find."""
    file = Int8File(steps.int8)
    op = file.weighted[1]
    file.set_weights(op, np.clip(file.weights(op).astype(np.int16) + TOO_HIGH, -127, 127).astype(np.int8))
    return file.pack()


def test_a_shift_of_the_mean_is_taken_back(steps: Any) -> None:
    spoilt = _spoilt(steps)
    file = Int8File(spoilt)
    corrected = bias_correction.correct_biases(file, FloatWeights(steps.reference), steps.tensors)
    assert corrected == len(file.weighted)
    assert _error(steps, file.pack()) < 0.8 * _error(steps, spoilt)


def test_only_biases_change(steps: Any) -> None:
    file = Int8File(steps.int8)
    bias_correction.correct_biases(file, FloatWeights(steps.reference), steps.tensors[:10])
    edited, before = Int8File(file.pack()), Int8File(steps.int8)
    assert [op.name for op in edited.graph.ops] == [op.name for op in before.graph.ops]
    for a, b in zip(edited.weighted, before.weighted, strict=True):
        np.testing.assert_array_equal(edited.weights(a), before.weights(b))
        np.testing.assert_array_equal(edited.scale(a.outputs[0]), before.scale(b.outputs[0]))


def test_refine_keeps_what_helps_and_drops_what_does_not(steps: Any) -> None:
    better = refine(_spoilt(steps), steps.reference, lambda: steps.tensors)
    assert better.kept
    assert _error(steps, better.flatbuffer) < 0.8 * _error(steps, _spoilt(steps))
    graph.read(better.flatbuffer)
    healthy = refine(steps.int8, steps.reference, lambda: steps.tensors)
    assert (healthy.flatbuffer == steps.int8) == (not healthy.kept)  # nothing kept is nothing changed, and the other way about
    assert _error(steps, healthy.flatbuffer) <= 1.1 * _error(steps, steps.int8)


def test_refining_sees_what_saturated_probabilities_hide(steps: Any, louder: Callable[[bytes, float], bytes]) -> None:
    """The same network, surer of everything by far: a bias that is off hardly moves a probability, and is corrected all the same."""
    sure = louder(steps.reference, 30.0)
    file = Int8File(conversion.quantize_int8(conversion.calibrate(sure, steps.tensors)))
    op = file.weighted[1]
    file.set_weights(op, np.clip(file.weights(op).astype(np.int16) + 4, -127, 127).astype(np.int8))
    before = file.pack()
    measure = unsaturated.measure(sure, steps.tensors, output_error.kinds(graph.read(sure)))

    better = refine(before, sure, lambda: steps.tensors)

    assert better.kept
    assert measure.error(better.flatbuffer).mean() < 0.8 * measure.error(before).mean()
    assert better.error["before"] == pytest.approx(
        measure.error(before, [i for i in range(len(steps.tensors)) if held_out(i)]).mean(), rel=0.2
    )


@pytest.mark.parametrize("io", ["uint8", "float32"])
def test_files_with_other_input_and_output_types_are_refined_alike(steps: Any, io: str) -> None:
    file = Int8File(conversion.quantize_int8(steps.calibrated, io=io))
    op = file.weighted[1]
    file.set_weights(op, np.clip(file.weights(op).astype(np.int16) + TOO_HIGH, -127, 127).astype(np.int8))
    before = file.pack()
    better = refine(before, steps.reference, lambda: steps.tensors)
    assert better.kept
    assert _error(steps, better.flatbuffer) < 0.8 * _error(steps, before)
    model = graph.read(better.flatbuffer)
    assert {model.tensors[index].dtype for index in (*model.main.inputs, *model.main.outputs)} == {io}


@pytest.mark.parametrize("io", ["uint8", "float32"])
def test_coarse_weights_are_rounded_adaptively_whatever_the_io(steps: Any, io: str) -> None:
    file = Int8File(conversion.quantize_int8(steps.calibrated, io=io, per_channel=False))
    done = adaptive_rounding.round_adaptively(file, FloatWeights(steps.reference), lambda: steps.tensors[:20], worse_than=0.0)
    assert done == len(file.weighted)
    assert _error(steps, file.pack()) < 0.1


@pytest.mark.parametrize("images", [2, 3, 60, 200, 5000])
def test_refine_holds_a_stated_number_of_images_evenly_spread(images: int) -> None:
    stream = [np.full((1, 1, 1, 1), number, np.float32) for number in range(images)]
    held, fit = _divided(lambda: stream)
    numbers = [int(np.asarray(tensor).item()) for tensor in held]
    assert len(held) <= MOST_HELD_OUT
    assert len(fit) == min(64, sum(not held_out(number) for number in range(images)))
    if images > 2:
        assert all(held_out(number) for number in numbers)
        assert len(held) >= min(MOST_HELD_OUT // 2, images // 5)
        assert numbers[-1] >= images - max(20, images // 20)
