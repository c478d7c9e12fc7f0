"""From the trained network to an int8 flatbuffer with the structure of post-training quantization.

The float network is converted once, before training. After each epoch the trained weights (batch norms folded) and the learned
ranges are written into that flatbuffer, and TensorFlow's quantizer makes int8 of it, as it does of a calibrated one: seconds, where
converting the graph of fake quantizers takes minutes, and no float island can appear. Where a network is not made of
convolutions and dense layers alone, it is converted anew each time. Importing this module imports TensorFlow.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge.artefact import graph
from edge.artefact.graph import Graph, Op
from edge.artefact.graph_facts import WEIGHTED_OPS
from edge.artefact.tensors import QuantParams, dequantize
from edge.runtime.interpreter import open_interpreter

from ..calibrate.activations import infer
from ..errors import ConversionError
from ..loading.source import Source
from ..quiet import import_tf_keras, quiet
from ..tflite import calibrated, conversion
from ..tflite import edit as flatbuffer_edit
from ..tflite.answers import output_names
from ..tflite.int8_file import bias_index
from . import bridge
from . import tensors as qat_tensors
from .bridge import QUANTIZED_INPUT, relative_difference
from .bridge_operations import listed
from .tensors import Places

_SAME = 1e-3  # relative: fused and unfused float arithmetic round differently, another tensor differs by far more
_CALIBRATION_IMAGES = 50

Images = Callable[[], Iterable[np.ndarray]]


class Exporter:
    """Makes int8 flatbuffers of ``network`` (flat tf_keras, float), whose weights may have changed since.

    ``tensor_of``: layer name to the name of its tensor in the flatbuffer; ``grafts``: whether weights are written in place.
    ``places``: the given ones, without those that the converter has taken into the op beside them.
    """

    def __init__(self, source: Source, network: Any, places: Places, images: Images) -> None:
        self.source, self.network, self.places, self._images = source, network, places, images
        self._base = self._convert()
        self._probe = next(iter(images()))
        self._find_tensors(self._base)
        self._grafts = self._graft_targets(graph.read(self._base))

    @property
    def grafts(self) -> bool:
        return self._grafts is not None

    @property
    def base(self) -> bytes:
        """The float32 flatbuffer of the network as it was first."""
        return self._base

    def float32(self) -> bytes:
        """Return the float32 flatbuffer of the network as its weights are now."""
        if self._grafts is None:
            flatbuffer = self._convert()
            self._find_tensors(flatbuffer)  # another file: its tensors may be others by the same names
            return flatbuffer
        return self._graft(self._grafts)

    def int8(self, ranges: Mapping[str, tuple[float, float]], *, io: str = "int8", per_channel: bool = True) -> bytes:
        """Return the int8 flatbuffer. ranges: of every tensor, by the name of the layer that makes it (`RangeTable.read`).

        Tensors inside a layer (a swish is two ops) have no learned range: they are calibrated on the images.
        """
        flatbuffer = self.float32()
        if set(calibrated.activation_names(flatbuffer)) - set(self.tensor_of.values()):
            flatbuffer = conversion.calibrate(flatbuffer, _first(self._images(), _CALIBRATION_IMAGES))
        named = {self.tensor_of[layer]: limits for layer, limits in ranges.items() if layer in self.tensor_of}
        return conversion.quantize_int8(calibrated.write_ranges(flatbuffer, named), io=io, per_channel=per_channel)

    def _convert(self) -> bytes:
        with tempfile.TemporaryDirectory(prefix="edgekit-") as directory:
            conversion.export_saved_model(rebuilt(self.source, self.network), Path(directory))
            return conversion.convert_float(Path(directory), "float32")

    def _find_tensors(self, flatbuffer: bytes) -> None:
        """Set which tensor of this file each layer makes: proposed by names, confirmed by values."""
        self.tensor_of = self._confirmed(self._proposed(graph.read(flatbuffer)), flatbuffer)

    def _proposed(self, model: Graph) -> dict[str, str]:
        """Map layers to tensors by name: the converter calls a tensor ``network/LAYER/Op;...`` after the layers fused into it.

        The last of them comes first behind a convolution, later behind a dense layer.
        """
        layers = {place.layer for place in self.places.tensors()}
        found = {QUANTIZED_INPUT: model.tensors[model.main.inputs[0]].name}
        for op in model.ops:
            for index in op.outputs:
                name = model.tensors[index].name
                named = (part.split("/")[1] for part in name.split(";") if "/" in part)
                # A convolution whose batch norm is folded in can keep its own name.
                ends = (self.places.end_of.get(layer, layer) for layer in named)
                layer = next((layer for layer in ends if layer in layers), None)
                if layer is not None:
                    found[layer] = name  # of several tensors of one layer the last is its output
        found |= self._outputs(model)
        for layer, sources, _ in bridge.nodes(self.network):
            # A mean and the reshape behind it become one op, which is called after the reshape.
            if type(layer).__name__ in ("Reshape", "Flatten") and layer.name in found:
                source = sources[0].node.layer.name
                found.setdefault(self.places.stands_for.get(source, source), found[layer.name])
        return found

    def _outputs(self, model: Graph) -> dict[str, str]:
        """Output tensors have no layer's name: they are found by the signature, whose names are the contract's."""
        index = dict(zip(output_names(model), model.main.outputs, strict=True))
        outputs = {}
        for name, tensor in zip(self.source.output_names, listed(self.network.outputs), strict=True):
            layer = tensor.node.layer.name
            outputs[self.places.stands_for.get(layer, layer)] = model.tensors[index[name]].name
        return outputs

    def _confirmed(self, proposed: Mapping[str, str], flatbuffer: bytes) -> dict[str, str]:
        """Names propose, values decide: each tensor must hold what its layer computes. Those that do not are left out."""
        layers = [layer for layer in proposed if layer != QUANTIZED_INPUT]
        ours = tap(self.network, layers, self._probe)
        theirs = run_all(flatbuffer, self._probe)
        wrong = {layer for layer in layers if not _same(theirs[proposed[layer]], ours[layer])}
        found = {layer: tensor for layer, tensor in proposed.items() if layer not in wrong}
        missing = [place.layer for place in self.places.tensors() if place.observed and place.layer not in found]
        merged = self.places.mergeable.intersection(missing)
        self.places = qat_tensors.without(self.places, merged)
        missing = [layer for layer in missing if layer not in merged]
        if missing:
            raise ConversionError(
                f"the converted network has no tensor that holds what layer {missing[0]!r} computes ({len(missing)} such layers);"
                " its learned range has no place to go"
            )
        return found

    def _graft_targets(self, model: Graph) -> dict[str, Op] | None:
        """Return the op of every weighted layer, or None where weights live elsewhere too or are not stored as expected."""
        if qat_tensors.standalone_batch_norms(self.network, self.places) or qat_tensors.other_weights(self.network, self.places):
            return None
        by_tensor = {tensor: layer for layer, tensor in self.tensor_of.items()}
        start_of = {end: start for start, end in self.places.end_of.items()}
        targets: dict[str, Op] = {}
        for op in model.ops:
            if op.name not in WEIGHTED_OPS:
                continue
            layer = start_of.get(by_tensor.get(model.tensors[op.outputs[0]].name, ""))
            if layer is None:
                return None
            targets[layer] = op
        if set(targets) != set(self.places.end_of):
            return None
        parts = flatbuffer_edit.classes().ModelT.InitFromPackedBuf(self._base, 0)
        for layer, op in targets.items():
            for index, ours in zip((op.inputs[1], bias_index(op)), self.folded(layer), strict=True):
                if index is None:
                    if np.any(ours):
                        return None
                    continue
                data = parts.buffers[parts.subgraphs[0].tensors[index].buffer].data
                theirs = None if data is None else np.asarray(data, np.uint8).view(np.float32)
                if theirs is None or theirs.size != ours.size or relative_difference(ours.reshape(-1), theirs) > _SAME:
                    return None
        return targets

    def _graft(self, targets: Mapping[str, Op]) -> bytes:
        schema = flatbuffer_edit.classes()
        model = schema.ModelT.InitFromPackedBuf(self._base, 0)
        tensors = model.subgraphs[0].tensors
        for layer, op in targets.items():
            for index, values in zip((op.inputs[1], bias_index(op)), self.folded(layer), strict=True):
                if index is None:  # the converter leaves out a bias that is zero everywhere
                    if not np.any(values):
                        continue
                    index = _give_bias(schema, model, op, layer, values.size)
                # Equal constants share a buffer; after training they are not equal any more.
                model.buffers.append(schema.BufferT())
                model.buffers[-1].data = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint8)
                if tensors[index].buffer:  # buffer 0 is the empty one of all tensors without data
                    model.buffers[tensors[index].buffer].data = None
                tensors[index].buffer = len(model.buffers) - 1
        return flatbuffer_edit.pack(schema, model)

    def folded(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """Return kernel and bias of a weighted layer with its batch norm folded in, float32, laid out as TFLite stores them.

        ``kernel * f`` and ``beta + (bias - mean) * f`` with ``f = gamma / sqrt(variance + epsilon)``.
        """
        weighted = self.network.get_layer(layer)
        kernel, *rest = (np.asarray(w, np.float64) for w in weighted.get_weights())
        kind = type(weighted).__name__
        channels = kernel.shape[2] * kernel.shape[3] if kind == "DepthwiseConv2D" else kernel.shape[-1]
        bias = rest[0] if rest else np.zeros(channels)
        norm, factor = self._batch_norm(layer)
        if norm is not None:
            kernel = kernel * (factor.reshape(kernel.shape[2:]) if kind == "DepthwiseConv2D" else factor)
            beta = 0.0 if norm.beta is None else np.asarray(norm.beta, np.float64)
            bias = beta + (bias - np.asarray(norm.moving_mean, np.float64)) * factor
        if kind == "DepthwiseConv2D":
            kernel = kernel.reshape(1, *kernel.shape[:2], channels)
        elif kind == "Dense":
            kernel = kernel.T
        else:
            kernel = kernel.transpose(3, 0, 1, 2)
        return kernel.astype(np.float32), bias.astype(np.float32)

    def set_folded(self, layer: str, kernel: np.ndarray | None, bias: np.ndarray | None) -> None:
        """Give a weighted layer the kernel and bias that ``folded`` is to return (None: as it is).

        What cannot be set stays: a channel that its batch norm multiplies by zero, the bias of a layer that has no place for one.
        """
        weighted = self.network.get_layer(layer)
        kind = type(weighted).__name__
        norm, factor = self._batch_norm(layer)
        if kernel is not None:
            variable = weighted.depthwise_kernel if kind == "DepthwiseConv2D" else weighted.kernel
            shape = tuple(variable.shape)
            unfolded = kernel.T if kind == "Dense" else kernel if kind == "DepthwiseConv2D" else kernel.transpose(1, 2, 3, 0)
            spread = factor.reshape(shape[2:]) if kind == "DepthwiseConv2D" else factor
            with np.errstate(divide="ignore", invalid="ignore"):
                variable.assign(np.where(spread == 0, np.asarray(variable), unfolded.reshape(shape) / spread).astype(np.float32))
        if bias is None:
            return
        change = bias - self.folded(layer)[1]
        if norm is not None and norm.beta is not None:
            norm.beta.assign_add(change.astype(np.float32))
        elif norm is None and weighted.bias is not None:
            weighted.bias.assign_add(change.astype(np.float32))

    def _batch_norm(self, layer: str) -> tuple[Any, np.ndarray]:
        """Return the batch norm that a weighted layer takes in, or None, and what it multiplies channels by, float64."""
        name = self.places.batch_norm_of.get(layer)
        if name is None:
            return None, np.ones(1)
        norm = self.network.get_layer(name)
        factor = 1.0 / np.sqrt(np.asarray(norm.moving_variance, np.float64) + norm.epsilon)
        return norm, factor if norm.gamma is None else factor * np.asarray(norm.gamma, np.float64)


def _give_bias(schema: Any, model: Any, op: Op, layer: str, size: int) -> int:
    """Add a bias tensor, float32 ``(size,)`` without data yet, to an op that has none, and return its index."""
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.buffer = np.array([size], np.int32), schema.TensorType.FLOAT32, 0
    tensor.name = f"{layer}/bias".encode()
    graph = model.subgraphs[0]
    graph.tensors.append(tensor)
    operator = graph.operators[op.index]
    operator.inputs = np.array([*list(operator.inputs)[:2], len(graph.tensors) - 1], np.int32)
    return len(graph.tensors) - 1


def rebuilt(source: Source, network: Any) -> Source:
    """Return ``source`` with ``network`` (of `bridge.bridge`) in place of its model: the same outputs by the same names."""
    names = source.output_names

    def function(image: Any) -> dict[str, Any]:
        answer = network(image, training=False)
        return dict(zip(names, answer if isinstance(answer, list | tuple) else [answer], strict=True))

    return dataclasses.replace(source, function=function, trackables=tuple(network.variables), model=network, _traced={})


def tap(network: Any, layers: Iterable[str], image: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs of named layers of a float network for ``image`` ``(1, H, W, C)``."""
    taps = {layer: network.get_layer(layer).output for layer in layers}
    with quiet():
        values = import_tf_keras().Model(network.input, taps)(image, training=False)
    return {layer: np.asarray(value) for layer, value in values.items()}


def run_all(flatbuffer: bytes, image: np.ndarray) -> dict[str, np.ndarray]:
    """Return every tensor that a float or quantized network computes, by name, after running it on ``image``; real values."""
    model, loaded = graph.read(flatbuffer), open_interpreter(flatbuffer, threads=1, preserve=True)
    infer(loaded, image)
    computed = [model.tensors[index] for index in (*model.main.inputs, *(index for op in model.ops for index in op.outputs))]
    return {tensor.name: _real(loaded.tensor(tensor.index), tensor.quant) for tensor in computed}


def _real(values: np.ndarray, params: QuantParams | None) -> np.ndarray:
    return values if params is None else dequantize(values, params)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.size == other.size and relative_difference(one.reshape(-1), other.reshape(-1)) < _SAME


def _first(items: Iterable[np.ndarray], count: int) -> Iterable[np.ndarray]:
    return (item for _, item in zip(range(count), items, strict=False))
