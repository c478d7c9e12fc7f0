"""The pass over the float network: extremes and histograms are those of the network, whatever the order and number of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge.runtime.interpreter import open_interpreter
from quantize.calibrate import activations, auto_ranges, same_range
from quantize.errors import CalibrationError
from quantize.tflite import calibrated


def test_extremes_are_those_of_tensorflows_calibrator_but_where_it_reads_a_sum(steps: Any) -> None:
    seen = activations.gather(steps.reference, lambda: steps.tensors)
    known = calibrated.read_ranges(steps.calibrated)
    added = {index for op in seen.model.ops if op.name == "ADD" for index in op.inputs}
    wider = 0
    for place, index in enumerate(seen.tensors):
        low, high = known[seen.model.tensors[index].name]
        mine = (seen.sketches[0].lowest[place], seen.sketches[0].highest[place])
        if index in added:  # the sum is written over an operand before the calibrator reads that
            wider += (low, high) != pytest.approx(mine, rel=1e-4, abs=1e-4)
        else:
            assert mine == pytest.approx((low, high), rel=1e-4, abs=1e-4)
    assert wider == 1, "the calibrator reads operands of a sum rightly now: see the note in quantize.calibrate.activations"


def test_extremes_are_those_of_the_reference_kernels(steps: Any) -> None:
    seen = activations.gather(steps.reference, lambda: steps.tensors[:2])
    interpreter = open_interpreter(steps.reference, threads=1, kernels="reference", preserve=True)
    for image, tensor in enumerate(steps.tensors[:2]):
        activations.infer(interpreter, tensor)
        for place, index in enumerate(seen.tensors):
            values = interpreter.tensor(index)
            _, lows, highs = seen.sketches[0].latest[image]
            found = (lows[place], highs[place])
            assert found == pytest.approx((values.min(), values.max()), rel=1e-4, abs=1e-4)


def test_histograms_hold_every_value_of_both_parts(steps: Any) -> None:
    seen = activations.gather(steps.reference, lambda: steps.tensors[:6], part=lambda image: image % 2, parts=2)
    for index in seen.tensors:
        both, one = seen.observed((index,), (0, 1)), seen.observed((index,), (1,))
        assert both.counts.sum() == pytest.approx(6 * seen.model.tensors[index].elements)
        assert one.counts.sum() == pytest.approx(3 * seen.model.tensors[index].elements)
        assert both.limit >= max(-both.lows.min(), both.highs.max())
        assert one.highs.size == 3


def test_outputs_are_the_networks(steps: Any) -> None:
    seen = activations.gather(steps.reference, lambda: steps.tensors[:3])
    for a, b in zip(seen.outputs.values(), activations.run(steps.reference, steps.tensors[:3]), strict=True):
        ((name, value),) = a.items()
        np.testing.assert_allclose(value, b[name], atol=1e-6)


def test_answers_are_kept_of_a_stated_number_of_images_and_suffice_for_auto(steps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "ANSWERS", 32)
    seen = auto_ranges.observe(steps.reference, lambda: steps.tensors)
    assert list(seen.outputs) == list(range(0, 60, 2))
    assert len(seen.part_of) == sum(sketch.images for sketch in seen.sketches) == 60
    choice = auto_ranges.choose_ranges(steps.reference, steps.calibrated, lambda: steps.tensors, seen=seen)
    assert choice.held_out == 30
    assert choice.gain is not None
    assert choice.gain.converter.mean() < 0.05, "answers and images belong together"


def test_tensors_that_share_a_range_are_observed_image_by_image(steps: Any) -> None:
    seen = activations.gather(steps.reference, lambda: steps.tensors[:5])
    shared = [group.tensors for group in same_range.groups(seen.model) if len(group.tensors) > 1]
    assert shared
    for group in shared:
        together, each = seen.observed(group, (0,)), [seen.observed((index,), (0,)) for index in group]
        np.testing.assert_array_equal(together.highs, np.max([one.highs for one in each], axis=0))
        np.testing.assert_array_equal(together.lows, np.min([one.lows for one in each], axis=0))
        assert together.means == pytest.approx((together.lows.mean(), together.highs.mean()))
        assert together.counts.sum() == pytest.approx(sum(one.counts.sum() for one in each))


def test_no_image_and_not_a_number_are_errors(steps: Any) -> None:
    with pytest.raises(CalibrationError, match="no representative image"):
        activations.gather(steps.reference, lambda: [])
    broken = np.full_like(steps.tensors[0], np.nan)
    with pytest.raises(CalibrationError, match="image 2"):
        activations.gather(steps.reference, lambda: [steps.tensors[0], broken])
