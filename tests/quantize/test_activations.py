"""The pass over the float network: extremes and histograms are those of the network, whatever the order and number of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge.interpreter import open_interpreter
from quantize import activations, calibrated
from quantize.errors import CalibrationError


def test_extremes_are_those_of_tensorflows_calibrator_but_where_it_reads_a_sum(steps: Any) -> None:
    seen = activations.gather(steps.reference, lambda: steps.tensors)
    known = calibrated.read_ranges(steps.calibrated)
    added = {index for op in seen.model.ops if op.name == "ADD" for index in op.inputs}
    wider = 0
    for place, index in enumerate(seen.tensors):
        low, high = known[seen.model.tensors[index].name]
        mine = (min(row[place] for row in seen.lows), max(row[place] for row in seen.highs))
        if index in added:  # the sum is written over an operand before the calibrator reads that
            wider += (low, high) != pytest.approx(mine, rel=1e-4, abs=1e-4)
        else:
            assert mine == pytest.approx((low, high), rel=1e-4, abs=1e-4)
    assert wider == 1, "the calibrator reads operands of a sum rightly now: see the note in quantize.activations"


def test_extremes_are_those_of_the_reference_kernels(steps: Any) -> None:
    seen = activations.gather(steps.reference, lambda: steps.tensors[:2])
    interpreter = open_interpreter(steps.reference, threads=1, kernels="reference", preserve=True)
    for image, tensor in enumerate(steps.tensors[:2]):
        activations.infer(interpreter, tensor)
        for place, index in enumerate(seen.tensors):
            values = interpreter.tensor(index)
            found = (seen.lows[image][place], seen.highs[image][place])
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
    for a, b in zip(seen.outputs, activations.run(steps.reference, steps.tensors[:3]), strict=True):
        ((name, value),) = a.items()
        np.testing.assert_allclose(value, b[name], atol=1e-6)


def test_no_image_and_not_a_number_are_errors(steps: Any) -> None:
    with pytest.raises(CalibrationError, match="no representative image"):
        activations.gather(steps.reference, lambda: [])
    broken = np.full_like(steps.tensors[0], np.nan)
    with pytest.raises(CalibrationError, match="image 2"):
        activations.gather(steps.reference, lambda: [steps.tensors[0], broken])
