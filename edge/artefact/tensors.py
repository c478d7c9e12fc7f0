"""What a tensor is, and the affine quantization ``real = (quantized - zero_point) * scale``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantParams:
    """``scale``: float32 ``(1,)`` or ``(channels,)``; ``zero_point``: int32, same shape.

    ``quantized_dimension`` is the axis that the channels lie on, or None for one scale per tensor.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int32]
    quantized_dimension: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TensorSpec:
    """A tensor as the interpreter knows it. ``shape`` includes the batch axis; ``quant`` is None for float tensors."""

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    quant: QuantParams | None = None


def is_stated(scale: NDArray[np.float32]) -> bool:
    """Return whether a tensor's ``scale`` says anything: some converters write one scale of 0 for "not quantized"."""
    return scale.size > 1 or bool(scale.any())


def quantize(real: NDArray[Any], params: QuantParams, dtype: np.dtype[Any] | type) -> NDArray[Any]:
    """Return ``real / scale`` rounded half away from zero, plus ``zero_point``, saturated to ``dtype``.

    The division is done in float32 and the rounding half away, as LiteRT's reference QUANTIZE does it
    (``reference/quantize.h``). Raises ShapeError if ``scale`` does not match the quantized dimension.
    """
    limits = np.iinfo(np.dtype(dtype))
    ratio = np.asarray(real, np.float32) / _along(params.scale, params, np.ndim(real), np.shape(real))
    # float64 from here on: adding 0.5 in float32 would round 0.49999997 up.
    wide = ratio.astype(np.float64)
    rounded = np.trunc(wide + np.copysign(0.5, wide)) + _along(params.zero_point, params, np.ndim(real), np.shape(real))
    quantized: NDArray[Any] = np.clip(rounded, limits.min, limits.max).astype(dtype)
    return quantized


def dequantize(quantized: NDArray[Any], params: QuantParams) -> NDArray[np.float32]:
    """Return ``(quantized - zero_point) * scale`` as float32.

    quantized: any integer dtype and shape; widened to int32 before subtracting, so that nothing wraps.
    Raises ShapeError if ``scale`` does not match the quantized dimension.
    """
    zero_point = _along(params.zero_point, params, quantized.ndim, quantized.shape)
    scale = _along(params.scale, params, quantized.ndim, quantized.shape)
    real: NDArray[np.float32] = (quantized.astype(np.int32) - zero_point).astype(np.float32) * scale
    return real


def _along(values: NDArray[Any], params: QuantParams, rank: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Shape ``values`` so that they broadcast along the quantized dimension of an array of ``shape``."""
    axis = params.quantized_dimension
    if axis is None or values.size == 1:
        return values.reshape(())
    if axis >= rank or shape[axis] != values.size:
        raise ShapeError(f"{values.size} scales on axis {axis} do not fit an array of shape {shape}")
    return values.reshape([-1 if i == axis else 1 for i in range(rank)])
