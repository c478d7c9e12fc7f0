"""The weights of the float network, found for the ops of its int8 file: both have the same tensor names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge.artefact import graph
from edge.artefact.graph import Op
from edge.artefact.graph_facts import WEIGHTED_OPS
from edge.artefact.tensors import dequantize

from . import edit
from .int8_file import Int8File, bias_index


class FloatWeights:
    """Weights of a float32 flatbuffer by the name of the tensor that their op computes."""

    def __init__(self, flatbuffer: bytes) -> None:
        model = graph.read(flatbuffer)
        unpacked = edit.classes().ModelT.InitFromPackedBuf(flatbuffer, 0)
        self._weights: dict[str, NDArray[np.float32]] = {}
        self._model = unpacked
        self._places: dict[str, tuple[int, int | None]] = {}
        for op in model.ops:
            if op.name not in WEIGHTED_OPS:
                continue
            tensor = model.tensors[op.inputs[1]]
            if tensor.dtype == "float32" and tensor.is_constant:
                data = np.asarray(unpacked.buffers[tensor.buffer].data, np.uint8)
                name = model.tensors[op.outputs[0]].name
                self._weights[name] = data.view(np.float32).reshape(tensor.shape)
                self._places[name] = (tensor.index, bias_index(op))

    def has(self, file: Int8File, op: Op) -> bool:
        """Whether the float network has weights of the same shape for ``op`` of ``file``."""
        found = self._weights.get(file.graph.tensors[op.outputs[0]].name)
        return found is not None and found.shape == file.graph.tensors[op.inputs[1]].shape

    def weights(self, file: Int8File, op: Op) -> NDArray[np.float32]:
        """Return the float weights of ``op`` of ``file``, in the layout of the int8 ones."""
        return self._weights[file.graph.tensors[op.outputs[0]].name]

    def as_float16(self) -> bytes:
        """Return the float network with every weight and bias rounded to float16, in float32: what a float16 file computes."""
        return self._replaced(lambda values: values.astype(np.float16).astype(np.float32))

    def with_weights_of(self, file: Int8File) -> bytes:
        """Return the float network with the weights and biases that ``file`` has, as real values: its weights alone are int8."""
        known = {file.graph.tensors[op.outputs[0]].name: op for op in file.weighted if self.has(file, op)}
        schema = edit.classes()
        for name, op in known.items():
            params = file.graph.tensors[op.inputs[1]].quant
            bias = file.bias(op)
            place, bias_place = self._places[name]
            assert params is not None
            self._put(place, dequantize(file.weights(op), params))
            if bias is not None and bias_place is not None:
                self._put(bias_place, bias.astype(np.float32))
        return edit.pack(schema, self._model)

    def _replaced(self, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> bytes:
        schema = edit.classes()
        for place, bias_place in self._places.values():
            for index in (place, bias_place):
                if index is not None:
                    tensor = self._model.subgraphs[0].tensors[index]
                    data = np.asarray(self._model.buffers[tensor.buffer].data, np.uint8).view(np.float32)
                    self._put(index, change(data))
        return edit.pack(schema, self._model)

    def _put(self, index: int, values: NDArray[np.float32]) -> None:
        tensor = self._model.subgraphs[0].tensors[index]
        tensor.buffer = len(self._model.buffers)
        self._model.buffers.append(edit.classes().BufferT())
        self._model.buffers[-1].data = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint8)
