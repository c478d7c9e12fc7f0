"""The ranges (minimum and maximum of each activation tensor) in a float flatbuffer: read, and written.

TensorFlow's quantizer makes scales and zero points from the ``min`` and ``max`` that a calibrated flatbuffer carries, whoever put
them there: the calibrator, a search, or training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from edge.artefact import graph
from edge.artefact.contract import InputSpec

from ..errors import ConversionError
from . import edit

Range = tuple[float, float]

_FLOAT32 = 0  # TensorType.FLOAT32 of the schema
PIXELS = (0.0, 255.0)  # what photos happen to hold (3..251, say) would give a step of other than one, and round every pixel


def read_ranges(flatbuffer: bytes) -> dict[str, Range]:
    """Return ``(minimum, maximum)`` of every tensor that has them, by tensor name, in the order of the file.

    Raises ConversionError if two tensors with ranges have the same name.
    """
    model = edit.classes().ModelT.InitFromPackedBuf(flatbuffer, 0)
    ranges: dict[str, Range] = {}
    for tensor in _tensors(model):
        quantization = tensor.quantization
        if quantization is None or _empty(quantization.min) or _empty(quantization.max):
            continue
        name = edit.text_of(tensor.name)
        if name in ranges:
            raise ConversionError(f"two tensors are called {name!r}, so their ranges cannot be told apart")
        ranges[name] = (float(quantization.min[0]), float(quantization.max[0]))
    return ranges


def activation_names(flatbuffer: bytes) -> tuple[str, ...]:
    """Return the names of the float tensors that are computed (inputs first, then op by op): those that need a range."""
    model = edit.classes().ModelT.InitFromPackedBuf(flatbuffer, 0)
    subgraph = model.subgraphs[0]
    computed = [int(i) for i in subgraph.inputs] + [int(i) for op in subgraph.operators for i in op.outputs]
    return tuple(edit.text_of(subgraph.tensors[i].name) for i in computed if subgraph.tensors[i].type == _FLOAT32)


def write_ranges(flatbuffer: bytes, ranges: Mapping[str, Range]) -> bytes:
    """Return ``flatbuffer`` with ``ranges`` (tensor name to minimum and maximum); every other tensor keeps what it has.

    A range that leaves out zero is widened to hold it, as the converter does: padding and ReLU need an exact zero.
    Raises ConversionError for an unknown or ambiguous name, a tensor that is not float32, and a range that is empty or not finite.
    """
    model = edit.classes().ModelT.InitFromPackedBuf(flatbuffer, 0)
    by_name: dict[str, list[Any]] = {}
    for tensor in _tensors(model):
        by_name.setdefault(edit.text_of(tensor.name), []).append(tensor)
    for name, (low, high) in ranges.items():
        found = by_name.get(name, [])
        if len(found) != 1:
            raise ConversionError(f"a range for tensor {name!r}: {'two tensors have' if found else 'no tensor has'} this name")
        if found[0].type != _FLOAT32:
            raise ConversionError(f"a range for tensor {name!r}, which is not float32; write ranges before quantizing")
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ConversionError(
                f"the range of tensor {name!r} is {low} to {high}, expected two finite numbers, the lower one first"
            )
        _set(found[0], min(low, 0.0), max(high, 0.0))
    return edit.pack(edit.classes(), model)


def _tensors(model: Any) -> list[Any]:
    if len(model.subgraphs) != 1:
        raise ConversionError(f"the network has {len(model.subgraphs)} subgraphs, expected 1 (control flow is not supported)")
    return list(model.subgraphs[0].tensors)


def _set(tensor: Any, low: float, high: float) -> None:
    if tensor.quantization is None:
        tensor.quantization = edit.classes().QuantizationParametersT()
    tensor.quantization.min = np.array([low], np.float32)
    tensor.quantization.max = np.array([high], np.float32)


def _empty(values: Any) -> bool:
    return values is None or len(values) == 0


def write_pixel_range(calibrated: bytes, spec: InputSpec) -> bytes:
    """Return the calibrated flatbuffer with the range 0..255 for its only input, where ``spec`` feeds plain pixels."""
    if any(spec.mean) or any(value != 1.0 for value in spec.scale):
        return calibrated
    model = graph.read(calibrated)
    if len(model.main.inputs) != 1:
        return calibrated
    return write_ranges(calibrated, {model.tensors[model.main.inputs[0]].name: PIXELS})
