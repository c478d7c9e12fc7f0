from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.artefact.tensors import QuantParams, dequantize, quantize
from edge.errors import ShapeError


def _params(scale: float, zero_point: int) -> QuantParams:
    return QuantParams(scale=np.array([scale], np.float32), zero_point=np.array([zero_point], np.int32))


def test_rounding_is_half_away_from_zero() -> None:
    real = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32)
    assert quantize(real, _params(1.0, 0), np.int8).tolist() == [-3, -2, -1, 1, 2, 3]


def test_the_largest_number_below_a_half_rounds_down() -> None:
    below = np.nextafter(np.float32(0.5), np.float32(0))
    assert quantize(np.array([below, -below]), _params(1.0, 0), np.int8).tolist() == [0, 0]


def test_values_saturate() -> None:
    assert quantize(np.array([-1e9, 1e9], np.float32), _params(0.5, 3), np.int8).tolist() == [-128, 127]
    assert quantize(np.array([-1e9, 1e9], np.float32), _params(0.5, 3), np.uint8).tolist() == [0, 255]


def test_dequantize_does_not_wrap() -> None:
    assert dequantize(np.array([-128, 127], np.int8), _params(0.5, 127)).tolist() == [-127.5, 0.0]
    assert dequantize(np.array([0, 255], np.uint8), _params(1.0, 255)).tolist() == [-255.0, 0.0]


def test_dequantize_is_float32() -> None:
    assert dequantize(np.array([1], np.int8), _params(0.1, 0)).dtype == np.float32


def test_per_channel_scales_lie_along_their_axis() -> None:
    params = QuantParams(scale=np.array([1, 10], np.float32), zero_point=np.array([0, 1], np.int32), quantized_dimension=1)
    real = dequantize(np.array([[1, 1], [2, 2]], np.int8), params)
    assert real.tolist() == [[1, 0], [2, 10]]
    assert quantize(real, params, np.int8).tolist() == [[1, 1], [2, 2]]


def test_scales_that_do_not_fit_are_refused() -> None:
    params = QuantParams(scale=np.array([1, 10], np.float32), zero_point=np.array([0, 1], np.int32), quantized_dimension=1)
    with pytest.raises(ShapeError, match="2 scales on axis 1"):
        dequantize(np.zeros((2, 3), np.int8), params)
    with pytest.raises(ShapeError, match="2 scales on axis 1"):
        dequantize(np.zeros(2, np.int8), params)


@given(st.integers(-128, 127), st.floats(2.0**-12, 2.0**8, width=32), st.integers(-128, 127))
def test_quantize_undoes_dequantize(value: int, scale: float, zero_point: int) -> None:
    params = _params(scale, zero_point)
    assert quantize(dequantize(np.array([value], np.int8), params), params, np.int8).tolist() == [value]
