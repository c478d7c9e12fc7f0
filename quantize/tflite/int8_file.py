"""An int8 ``.tflite`` taken apart for editing: new ranges, new biases, new weights, without the converter.

Editing takes a fraction of a second, where TensorFlow's quantizer takes several: that makes a search over ranges affordable. What
comes out is an ordinary int8 file with the same ops.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.artefact import graph
from edge.artefact.graph import Op, Tensor
from edge.artefact.graph_facts import WEIGHTED_OPS

from ..errors import ConversionError
from . import edit
from .calibrated import Range

INT8_LEVELS = 255
_BIAS_LIMIT = (1 << 31) - 1


class Int8File:
    """An int8 network in parts. The flatbuffer that it came from is never changed; ``pack`` gives the edited one.

    float_flatbuffer: the network that it was made of, for biases that are rounded once and not twice.
    """

    def __init__(self, flatbuffer: bytes, float_flatbuffer: bytes | None = None) -> None:
        self.graph = graph.read(flatbuffer)
        self._model = edit.classes().ModelT.InitFromPackedBuf(flatbuffer, 0)
        self._own: set[int] = set()
        self._packed: bytearray | None = None
        self._changed: set[int] = set()  # tensors whose numbers are not those in ``_packed``
        self.by_name = {self.graph.tensors[i].name: i for op in self.graph.ops for i in op.outputs}
        self.by_name |= {self.graph.tensors[i].name: i for i in self.graph.main.inputs}
        self.weighted = tuple(op for op in self.graph.ops if op.name in WEIGHTED_OPS and self._is_int8(op))
        # By op: real values, so that rounding to the steps of one range after the other adds up to nothing.
        self._biases = {} if float_flatbuffer is None else self._biases_of(float_flatbuffer)

    def pack(self) -> bytes:
        """Return the edited flatbuffer. The second time, and with no new buffer, only numbers are written over."""
        if self._packed is None or not all(self._written_over(self._packed, index) for index in self._changed):
            self._packed = bytearray(edit.pack(edit.classes(), self._model))
        self._changed.clear()
        return bytes(self._packed)

    def scale(self, index: int) -> NDArray[np.float32]:
        """Return the scales of a tensor: float32 ``(1,)`` or one for each channel."""
        return np.asarray(self._quantization(index).scale, np.float32)

    def zero_point(self, index: int) -> int:
        """Return the zero point of a tensor with one scale."""
        return int(self._quantization(index).zeroPoint[0])

    def limits(self, index: int) -> Range:
        """Return the (minimum, maximum) that an int8 tensor with one scale can hold."""
        scale, zero_point = float(self.scale(index)[0]), self.zero_point(index)
        return (-128 - zero_point) * scale, (127 - zero_point) * scale

    def weights(self, op: Op) -> NDArray[np.int8]:
        """Return a copy: ``(out, height, width, in)``, depthwise ``(1, height, width, out)``, dense ``(out, in)``."""
        tensor = self.graph.tensors[op.inputs[1]]
        return np.array(self._bytes(tensor), np.uint8).view(np.int8).reshape(tensor.shape)

    def set_weights(self, op: Op, values: NDArray[np.int8]) -> None:
        """Replace the weights of ``op``; the same shape."""
        self._replace(self.graph.tensors[op.inputs[1]], values)

    def bias(self, op: Op) -> NDArray[np.float64] | None:
        """Return the real values of the bias, ``(out,)``; None where the op has none."""
        index = bias_index(op)
        if index is None:
            return None
        quantized = np.array(self._bytes(self.graph.tensors[index]), np.uint8).view(np.int32)
        return quantized.astype(np.float64) * self.bias_scale(op)

    def bias_scale(self, op: Op) -> NDArray[np.float64]:
        """Return ``input scale x weight scale``, ``(1,)`` or ``(out,)``: what one step of the bias is worth."""
        return self.scale(op.inputs[0]).astype(np.float64) * self.scale(op.inputs[1])

    def set_bias(self, op: Op, real: NDArray[np.float64]) -> None:
        """Write ``real`` ``(out,)`` rounded to steps of ``bias_scale``, and that scale."""
        index = bias_index(op)
        if index is None:
            raise ConversionError(f"op {op.index} ({op.name}) has no bias to write to")
        scale = self.bias_scale(op)
        steps = np.clip(np.rint(real / scale), -_BIAS_LIMIT, _BIAS_LIMIT).astype(np.int32)
        self._replace(self.graph.tensors[index], steps)
        self._biases[op.index] = real
        self._quantization(index).scale = scale.astype(np.float32)
        self._changed.add(index)

    def set_ranges(self, ranges: Mapping[str, Range]) -> None:
        """Give activations (by name) the scale and zero point of ``(minimum, maximum)``; biases keep their real values.

        As in TensorFlow's quantizer, ``scale = (max - min) / 255`` after widening to hold zero, and zero falls on a whole step.
        Every member of a same-range group must be named with the same range.
        """
        for op in self.weighted:
            known = self._biases.get(op.index)
            real = self.bias(op) if known is None else known
            if real is not None:
                self._biases[op.index] = real
        for name, (low, high) in ranges.items():
            index = self.by_name[name]
            if self.graph.tensors[index].dtype != "int8":
                continue
            scale, zero_point = affine(low, high)
            quantization = self._quantization(index)
            quantization.scale, quantization.zeroPoint = np.array([scale], np.float32), np.array([zero_point], np.int64)
            self._changed.add(index)
        for op in self.weighted:
            if op.index in self._biases:
                self.set_bias(op, self._biases[op.index])

    def _biases_of(self, float_flatbuffer: bytes) -> dict[int, NDArray[np.float64]]:
        """Return the biases of the float network's tensors that are called as here."""
        parent = graph.read(float_flatbuffer)
        named = {tensor.name: tensor for tensor in parent.tensors if tensor.is_constant and tensor.dtype == "float32"}
        found = {}
        for op in self.weighted:
            index = bias_index(op)
            own = None if index is None else self.graph.tensors[index]
            tensor = None if own is None else named.get(own.name)
            if own is not None and tensor is not None and tensor.elements == own.elements:
                values = np.frombuffer(float_flatbuffer, np.float32, tensor.elements, tensor.buffer_start)
                found[op.index] = values.astype(np.float64)
        return found

    def _is_int8(self, op: Op) -> bool:
        values, weights = (self.graph.tensors[index] for index in op.inputs[:2])
        return values.dtype == "int8" and weights.dtype == "int8" and weights.is_constant

    def _quantization(self, index: int) -> Any:
        return self._model.subgraphs[0].tensors[index].quantization

    def _bytes(self, tensor: Tensor) -> Any:
        return self._model.buffers[self._model.subgraphs[0].tensors[tensor.index].buffer].data

    def _replace(self, tensor: Tensor, values: NDArray[Any]) -> None:
        # Equal constants share a buffer in a finished file: an edited one gets its own.
        entry = self._model.subgraphs[0].tensors[tensor.index]
        if tensor.index not in self._own:
            entry.buffer = len(self._model.buffers)
            self._model.buffers.append(edit.classes().BufferT())
            self._own.add(tensor.index)
            self._packed = None
        self._model.buffers[entry.buffer].data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self._changed.add(tensor.index)

    def _written_over(self, packed: bytearray, index: int) -> bool:
        """Write the numbers of a tensor where they stand in ``packed``; False where they have another length than there."""
        model = edit.classes().Model.GetRootAs(packed)
        tensor, entry = model.Subgraphs(0).Tensors(index), self._model.subgraphs[0].tensors[index]
        pairs = [
            (tensor.Quantization().ScaleAsNumpy(), entry.quantization.scale),
            (tensor.Quantization().ZeroPointAsNumpy(), entry.quantization.zeroPoint),
        ]
        if index in self._own:
            pairs.append((model.Buffers(entry.buffer).DataAsNumpy(), self._model.buffers[entry.buffer].data))
        for there, values in pairs:
            if np.size(there) != np.size(values):
                return False
            if np.size(values):
                there[:] = values
        return True


def bias_index(op: Op) -> int | None:
    """Return the tensor that holds the bias of a weighted op, or None."""
    return op.inputs[2] if len(op.inputs) > 2 and op.inputs[2] >= 0 else None


def affine(low: float, high: float) -> tuple[float, int]:
    """Return (scale, zero point) of int8 for a range, widened to hold zero; a range of one point gets the scale 1.

    Bit for bit as TensorFlow's quantizer does (``DownCastScale`` in tensorflow/compiler/mlir/lite/quantization/common/quantization_lib):
    the scale is reckoned in float32, the zero point is float32 before it is rounded, and a half is rounded away from zero. It matters:
    the input range -1 to 1 has it at -0.5.
    """
    least, most = np.float32(min(low, 0.0)), np.float32(max(high, 0.0))
    if most == least:
        return 1.0, 0
    scale = float((most - least) / np.float32(INT8_LEVELS))
    exact = float(np.float32(-128 - float(least) / scale))
    return scale, int(np.clip(math.copysign(math.floor(abs(exact) + 0.5), exact), -128, 127))
