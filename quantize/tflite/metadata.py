"""Standard TFLite Metadata, so that Android, MediaPipe and Netron read an artefact too.

Written with ``flatbuffers`` from the public schema (``metadata_schema.fbs``, root ``ModelMetadata``, identifier ``M001``). The
slot numbers below are that schema's field order; it is frozen, as old files must stay readable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flatbuffers
import numpy as np

from edge.artefact.contract import Contract, InputSpec, OutputSpec

IDENTIFIER = b"M001"
MIN_PARSER_VERSION = "1.0.0"

_TENSOR_AXIS_LABELS = 2
_RGB, _GRAYSCALE = 1, 2
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2
_NORMALIZATION_OPTIONS = 1


def build(contract: Contract, label_files: dict[str, str]) -> bytes:
    """Return the metadata flatbuffer. ``label_files`` maps an output's name to the name of its packed label file.

    An output with labels and without a file is one value for two classes: its description says of which it speaks.
    """
    builder = flatbuffers.Builder(1024)
    subgraph = _table(
        builder,
        {
            2: _vector(builder, _inputs(builder, contract)),
            3: _vector(builder, [_output_tensor(builder, o, label_files.get(o.name)) for o in contract.outputs]),
        },
    )
    root = _table(
        builder,
        {
            0: builder.CreateString(contract.name),
            1: builder.CreateString(f"{contract.source.architecture} {contract.quantization.variant}".strip()),
            3: _vector(builder, [subgraph]),
            4: builder.CreateString(contract.written_by),
            7: builder.CreateString(MIN_PARSER_VERSION),
        },
    )
    builder.Finish(root, IDENTIFIER)
    return bytes(builder.Output())


def _inputs(builder: Any, contract: Contract) -> list[int]:
    spec = contract.input
    # Standard readers know pictures of 1 or 3 channels; stacked frames are plain features to them.
    picture = [_input_tensor(builder, spec)] if spec.frames == 1 else []
    if spec.frames > 1:
        picture = [_feature(builder, "image", f"{spec.frames} frames of {spec.width} x {spec.height} {spec.color}")]
    return [*picture, *(_feature(builder, extra.name, extra.meaning) for extra in contract.extra_inputs)]


def _feature(builder: Any, name: str, description: str) -> int:
    feature = _table(builder, {})
    content = _table(builder, {1: feature}, numbers={0: ("Uint8", _FEATURE_PROPERTIES)})
    return _table(builder, {0: builder.CreateString(name), 1: builder.CreateString(description), 3: content})


def _input_tensor(builder: Any, spec: InputSpec) -> int:
    # The schema has no word for BGR: leaving the colour space unknown is the only true thing to write.
    color = {"rgb": _RGB, "gray": _GRAYSCALE}.get(spec.color, 0)
    size = _table(builder, {}, numbers={0: ("Uint32", spec.width), 1: ("Uint32", spec.height)})
    image = _table(builder, {1: size}, numbers={0: ("Int8", color)})
    content = _table(builder, {1: image}, numbers={0: ("Uint8", _IMAGE_PROPERTIES)})
    mean, scale = np.array(spec.mean, np.float32), np.array(spec.scale, np.float32)
    options = _table(builder, {0: builder.CreateNumpyVector(mean), 1: builder.CreateNumpyVector(scale)})
    unit = _table(builder, {1: options}, numbers={0: ("Uint8", _NORMALIZATION_OPTIONS)})
    low, high = (np.float32(0) - mean) / scale, (np.float32(255) - mean) / scale
    stats = _table(builder, {0: builder.CreateNumpyVector(high), 1: builder.CreateNumpyVector(low)})
    return _table(
        builder,
        {
            0: builder.CreateString("image"),
            1: builder.CreateString(f"{spec.width} x {spec.height} {spec.color} image"),
            3: content,
            4: _vector(builder, [unit]),
            5: stats,
        },
    )


def _output_tensor(builder: Any, spec: OutputSpec, label_file: str | None) -> int:
    feature = _table(builder, {})
    two_class = f" of {spec.labels[1]!r} against {spec.labels[0]!r}" if label_file is None and len(spec.labels) == 2 else ""
    fields = {
        0: builder.CreateString(spec.name),
        1: builder.CreateString(f"{spec.kind}{two_class}"),
        3: _table(builder, {1: feature}, numbers={0: ("Uint8", _FEATURE_PROPERTIES)}),
    }
    if spec.kind in ("probabilities", "multilabel"):
        one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
        fields[5] = _table(builder, {0: builder.CreateNumpyVector(one), 1: builder.CreateNumpyVector(zero)})
    if label_file is not None:
        names = {0: builder.CreateString(label_file), 1: builder.CreateString("one class name a line")}
        fields[6] = _vector(builder, [_table(builder, names, numbers={2: ("Int8", _TENSOR_AXIS_LABELS)})])
    return _table(builder, fields)


def _table(builder: Any, offsets: dict[int, int], *, numbers: dict[int, tuple[str, int]] | None = None) -> int:
    numbers = numbers or {}
    builder.StartObject(max([*offsets, *numbers], default=-1) + 1)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, (kind, value) in numbers.items():
        prepend: Callable[[int, int, int], None] = getattr(builder, f"Prepend{kind}Slot")
        prepend(slot, value, 0)
    return int(builder.EndObject())


def _vector(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
