"""Where quantization-aware training starts: at the post-training quantized file of the same network.

Its ranges were chosen by measuring, biases may have been corrected and coarse weights rounded adaptively. Training that starts from
the float weights and from minimum and maximum would first have to win that back. The file was converted from the original model, the
network in training is rebuilt from it: both have the same ops in the same order, which is checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge.artefact import graph
from edge.artefact.graph import Graph, Op
from edge.artefact.graph_facts import WEIGHTED_OPS

from ..tflite.calibrated import Range
from ..tflite.int8_file import Int8File

if TYPE_CHECKING:
    from .export import Exporter

_BOUNDARY = ("QUANTIZE", "DEQUANTIZE")  # of uint8 or float inputs and outputs
_ROUNDED_OTHERWISE = 0.01  # share of a kernel's weights; float arithmetic alone rounds one in a thousand to the other side
_CORRECTED = 1.5  # steps of a bias; rounding alone moves it by half a step


class StartingPoint:
    """An int8 file beside the exporter's float flatbuffer. ``matches``: whether they have the same ops, so that it can be used."""

    def __init__(self, flatbuffer: bytes, exporter: Exporter) -> None:
        self._file = Int8File(flatbuffer)
        self._exporter = exporter
        self._float = graph.read(exporter.base)
        ours, theirs = _ops(self._float), _ops(self._file.graph)
        self.matches = [_signature(self._float, op) for op in ours] == [_signature(self._file.graph, op) for op in theirs]
        self._pairs = list(zip(ours, theirs, strict=True)) if self.matches else []

    def ranges(self) -> dict[str, Range]:
        """Return the range (minimum, maximum) of each layer whose tensor the file holds in int8, by layer name."""
        layer_of = {tensor: layer for layer, tensor in self._exporter.tensor_of.items()}
        found = {}
        for ours, theirs in self._pairs:
            for mine, its in zip(ours.outputs, theirs.outputs, strict=True):
                layer = layer_of.get(self._float.tensors[mine].name)
                if layer is not None and self._file.graph.tensors[its].dtype == "int8":
                    found[layer] = self._file.limits(its)
        return found

    def adopt(self) -> tuple[str, ...]:
        """Give the exporter's network the weights and biases that were edited in the file, and return the layers changed.

        Rounded to the nearest step again, an adopted kernel is the file's.
        """
        start_of = {end: start for start, end in self._exporter.places.end_of.items()}
        layer_of = {tensor: start_of.get(layer) for layer, tensor in self._exporter.tensor_of.items()}
        weighted = {op.index for op in self._file.weighted}
        changed = []
        for ours, theirs in self._pairs:
            layer = layer_of.get(self._float.tensors[ours.outputs[0]].name)
            if layer is None or theirs.index not in weighted:
                continue
            kernel, bias = self._exporter.folded(layer)
            new_kernel, new_bias = self._kernel(theirs, kernel), self._bias(theirs, bias)
            if new_kernel is not None or new_bias is not None:
                self._exporter.set_folded(layer, new_kernel, new_bias)
                changed.append(layer)
        return tuple(changed)

    def _kernel(self, op: Op, kernel: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """The file's kernel in real values, or None where it is the float one rounded to the nearest step."""
        steps = self._file.weights(op).astype(np.float64)
        axis = 3 if op.name == "DEPTHWISE_CONV_2D" else 0
        scale = self._file.scale(op.inputs[1]).astype(np.float64)
        along = tuple(-1 if i == axis else 1 for i in range(steps.ndim))
        if np.mean(np.rint(kernel / scale.reshape(along)) != steps) <= _ROUNDED_OTHERWISE:
            return None
        # A scale is set anew by the largest weight: it must stay on the outermost step.
        for part in _parts(steps, axis, len(scale)):
            largest = np.unravel_index(np.argmax(np.abs(part)), part.shape)
            part[largest] = np.copysign(127.0, part[largest])
        return steps * scale.reshape(along)

    def _bias(self, op: Op, bias: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """The file's bias in real values, or None where it is the float one rounded."""
        theirs = self._file.bias(op)
        if theirs is None or np.all(np.abs(theirs - bias) <= _CORRECTED * self._file.bias_scale(op)):
            return None
        return theirs


def _parts(values: NDArray[np.float64], axis: int, scales: int) -> Iterator[NDArray[np.float64]]:
    """Views of what shares one scale: all, or each channel."""
    yield from [values] if scales == 1 else np.moveaxis(values, axis, 0)


def _ops(model: Graph) -> list[Op]:
    return [op for op in model.ops if op.name not in _BOUNDARY]


def _signature(model: Graph, op: Op) -> tuple[Any, ...]:
    weights = tuple(model.tensors[op.inputs[1]].shape) if op.name in WEIGHTED_OPS else ()
    return (op.name, weights, *(tuple(model.tensors[index].shape) for index in op.outputs))
