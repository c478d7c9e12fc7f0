"""Reads a ``.tflite`` into plain data, checking everything that the interpreter will rely on.

The interpreter trusts the file: a wrong index there is a crash. So this reader is also the gate before it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import ArtefactError
from . import operands, outline
from .flatbuffer import Buffer, Table
from .opcodes import BUILTIN_OPS, CUSTOM, FLOAT_TYPES, TENSOR_TYPES, TYPE_BITS
from .tensors import QuantParams, is_stated

_MAX_TENSOR_BYTES = 1 << 31
_MAX_ZERO_POINT = 1 << 16

_STRIDED = {0: ("padding", "b"), 1: ("stride_w", "i"), 2: ("stride_h", "i")}
_CONV_2D = {**_STRIDED, 3: ("activation", "b"), 4: ("dilation_w", "i"), 5: ("dilation_h", "i")}
_DEPTHWISE = {**_STRIDED, 3: ("depth_multiplier", "i"), 4: ("activation", "b"), 5: ("dilation_w", "i"), 6: ("dilation_h", "i")}
_POOL_2D = {**_STRIDED, 3: ("filter_w", "i"), 4: ("filter_h", "i"), 5: ("activation", "b")}
# The options that our checks and latency figures use: op -> field of its options table -> name, type.
_OPTIONS: dict[str, dict[int, tuple[str, str]]] = {
    "CONV_2D": _CONV_2D,
    "DEPTHWISE_CONV_2D": _DEPTHWISE,
    "TRANSPOSE_CONV": _STRIDED,
    "AVERAGE_POOL_2D": _POOL_2D,
    "MAX_POOL_2D": _POOL_2D,
    "L2_POOL_2D": _POOL_2D,
    "FULLY_CONNECTED": {0: ("activation", "b"), 1: ("weights_format", "b"), 2: ("keep_num_dims", "?")},
    "CONCATENATION": {0: ("axis", "i"), 1: ("activation", "b")},
    "ADD": {0: ("activation", "b")},
    "SUB": {0: ("activation", "b")},
    "MUL": {0: ("activation", "b")},
    "RESIZE_BILINEAR": {2: ("align_corners", "?"), 3: ("half_pixel_centers", "?")},
    "RESIZE_NEAREST_NEIGHBOR": {0: ("align_corners", "?"), 1: ("half_pixel_centers", "?")},
    "STRIDED_SLICE": {2: ("ellipsis_mask", "i"), 3: ("new_axis_mask", "i")},
    "PACK": {1: ("axis", "i")},
}
_DEFAULTS = {"dilation_w": 1, "dilation_h": 1}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensor:
    """``buffer_bytes`` is above 0 for constants only, which lie in the file from ``buffer_start`` on.

    ``shape_signature`` has -1 where the size is open, and is often empty.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    quant: QuantParams | None
    buffer: int
    buffer_bytes: int
    buffer_start: int = 0
    is_variable: bool = False
    shape_signature: tuple[int, ...] = ()

    @property
    def is_constant(self) -> bool:
        return self.buffer_bytes > 0

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOAT_TYPES

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Op:
    """One op. ``inputs`` may hold -1 for an optional operand that is absent; ``name`` is the custom code of a custom op."""

    index: int
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int] = field(default_factory=dict)
    is_custom: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subgraph:
    """Ops in order of execution. ``inputs`` and ``outputs`` are tensor indices."""

    name: str
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Signature:
    """A named entry: argument and result names to tensor indices of ``subgraph``."""

    key: str
    subgraph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graph:
    """A whole file. ``metadata`` maps the names of its metadata entries to ``(start, bytes)`` within the file."""

    description: str
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[Signature, ...]
    metadata: Mapping[str, tuple[int, int]]

    @property
    def main(self) -> Subgraph:
        return self.subgraphs[0]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.main.tensors

    @property
    def ops(self) -> tuple[Op, ...]:
        return self.main.ops


def read(data: Buffer, *, size: int | None = None, where: str | os.PathLike[str] = "model") -> Graph:
    """Return the graph of the flatbuffer ``data[:size]``. ``where`` names the file in messages.

    Raises ArtefactError for anything that is not a complete, consistent model: wrong identifier, offsets outside of the file,
    indices that name nothing, constants whose size is not their shape's, an op that runs before its inputs exist.
    """
    try:
        return _graph(outline.open_model(data, size), len(data) if size is None else size)
    except ArtefactError as error:
        raise outline.damaged(where, error) from error


def _graph(model: Table, size: int) -> Graph:
    codes = [_op_code(code) for code in model.tables(1)]
    buffers = [_buffer(buffer, size) for buffer in model.tables(4)]
    _check(model.count(9) == 0, "its weights lie in files of their own (external buffers), which edgekit does not read")
    subgraphs = tuple(_subgraph(table, codes, buffers) for table in model.tables(2))
    _check(bool(subgraphs), "it has no subgraph")
    metadata = {}
    for entry in model.tables(6):
        index = entry.integer(1, "I")
        _check(index < len(buffers), f"metadata entry {entry.text(0)!r} names buffer {index} of {len(buffers)}")
        metadata[entry.text(0)] = buffers[index]
    signatures = tuple(_signature(table, subgraphs) for table in model.tables(7))
    return Graph(description=model.text(3), subgraphs=subgraphs, signatures=signatures, metadata=metadata)


def _op_code(table: Table) -> tuple[str, int, bool]:
    # Codes up to 127 used to be a byte of their own; newer writers fill both fields, old ones the first only.
    code = max(table.integer(0, "b"), table.integer(3, "i"))
    _check(code >= 0, f"op code {code}")
    name = BUILTIN_OPS[code] if code < len(BUILTIN_OPS) else f"BUILTIN_{code}"
    version = table.integer(2, "i", 1)
    _check(1 <= version <= 1000, f"{name} has version {version}")
    return (table.text(1) or "CUSTOM", version, True) if code == CUSTOM else (name, version, False)


def _buffer(table: Table, size: int) -> tuple[int, int]:
    # Models above 2 GB, and all that litert-quantizer writes, keep weights behind the flatbuffer; fields 1 and 2 say where.
    start, count = table.integer(1, "Q"), table.integer(2, "Q")
    if start <= 1:
        return table.span(0)
    _check(start + count <= size, f"weights of {count} bytes at {start} lie outside of the file ({size} bytes)")
    return start, count


def _subgraph(table: Table, codes: Sequence[tuple[str, int, bool]], buffers: Sequence[tuple[int, int]]) -> Subgraph:
    tensors = tuple(_tensor(tensor, i, buffers) for i, tensor in enumerate(table.tables(0)))
    inputs, outputs = table.numbers(1, "i", outline.MAX_OPERANDS), table.numbers(2, "i", outline.MAX_OPERANDS)
    for index in (*inputs, *outputs):
        _check(0 <= index < len(tensors), f"the graph's inputs and outputs name tensor {index} of {len(tensors)}")
    ops = tuple(_op(op, i, codes, len(tensors)) for i, op in enumerate(table.tables(3)))
    subgraph = Subgraph(name=table.text(4), tensors=tensors, inputs=inputs, outputs=outputs, ops=ops)
    _check_order(subgraph)
    return subgraph


def _tensor(table: Table, index: int, buffers: Sequence[tuple[int, int]]) -> Tensor:
    text = table.text(3)
    name = f"tensor {index} ({text})"
    shape = table.numbers(0, "i", outline.MAX_RANK)
    kind = table.integer(1, "b")
    buffer = table.integer(2, "I")
    if shape and min(shape) < 0:
        raise ArtefactError(f"{name} has the shape {list(shape)}")
    if not 0 <= kind < len(TENSOR_TYPES):
        raise ArtefactError(f"{name} has the unknown type {kind}")
    if buffer >= len(buffers):
        raise ArtefactError(f"{name} names buffer {buffer} of {len(buffers)}")
    if table.integer(10, "I"):
        raise ArtefactError(f"{name} lies in an external buffer, which edgekit does not read")
    dtype, stored = TENSOR_TYPES[kind], buffers[buffer][1]
    if dtype in TYPE_BITS:
        expected = (math.prod(shape) * TYPE_BITS[dtype] + 7) // 8
        is_sparse = table.field(6, 4) != 0
        if expected > _MAX_TENSOR_BYTES:
            raise ArtefactError(f"{name} has the shape {list(shape)}: more than 2 GiB")
        if stored and stored != expected and not is_sparse:
            raise ArtefactError(f"{name} holds {stored} bytes, expected {expected} for {dtype} {list(shape)}")
    quant = table.table(4)
    return Tensor(
        index=index,
        name=text,
        shape=shape,
        dtype=dtype,
        quant=None if quant is None else _quant(quant, shape, name),
        buffer=buffer,
        buffer_bytes=stored,
        buffer_start=buffers[buffer][0],
        is_variable=bool(table.integer(5, "B")),
        shape_signature=table.numbers(7, "i", outline.MAX_RANK),
    )


def _quant(table: Table, shape: tuple[int, ...], name: str) -> QuantParams | None:
    scale = table.array(2, "<f4")
    if not is_stated(scale):
        return None
    values = scale.tolist()
    # The sum is not finite if any scale is not.
    if min(values) < 0 or not math.isfinite(sum(values)):
        raise ArtefactError(f"{name} has a scale that is negative or not a number")
    points = table.array(3, "<i8")
    if points.size != scale.size:
        if points.size > 1:
            raise ArtefactError(f"{name} has {scale.size} scales and {points.size} zero points")
        points = np.full(scale.shape, points[0] if points.size else 0)
    offsets = points.tolist()
    if min(offsets) < -_MAX_ZERO_POINT or max(offsets) > _MAX_ZERO_POINT:
        raise ArtefactError(f"{name} has a zero point beyond 16 bits")
    axis: int | None = None
    if scale.size > 1:
        axis = table.integer(6, "i")
        if not (0 <= axis < len(shape) and shape[axis] == scale.size):
            raise ArtefactError(f"{name} has {scale.size} scales on axis {axis} of the shape {list(shape)}")
    return QuantParams(scale=scale, zero_point=points.astype(np.int32), quantized_dimension=axis)


def _op(table: Table, index: int, codes: Sequence[tuple[str, int, bool]], tensors: int) -> Op:
    code = table.integer(0, "I")
    if code >= len(codes):
        raise ArtefactError(f"op {index} names op code {code} of {len(codes)}")
    name, version, is_custom = codes[code]
    inputs, outputs = table.numbers(1, "i", outline.MAX_OPERANDS), table.numbers(2, "i", outline.MAX_OPERANDS)
    # -1 stands for an optional operand that is absent.
    if inputs and not -1 <= min(inputs) <= max(inputs) < tensors:
        raise ArtefactError(f"op {index} ({name}) reads a tensor that does not exist")
    if outputs and not 0 <= min(outputs) <= max(outputs) < tensors:
        raise ArtefactError(f"op {index} ({name}) writes a tensor that does not exist")
    if not is_custom:
        operands.check(index, name, inputs, outputs)
    options, values = table.table(4), {}
    if options is not None and name in _OPTIONS and not is_custom:
        values = {key: options.integer(slot, kind, _DEFAULTS.get(key, 0)) for slot, (key, kind) in _OPTIONS[name].items()}
    return Op(index=index, name=name, version=version, inputs=inputs, outputs=outputs, options=values, is_custom=is_custom)


def _check_order(subgraph: Subgraph) -> None:
    """Every operand must exist when its op runs: a constant, a variable, an input, or written before, and by one op only."""
    is_constant = [tensor.buffer_bytes > 0 for tensor in subgraph.tensors]
    ready = [constant or t.is_variable or 0 in t.shape for constant, t in zip(is_constant, subgraph.tensors, strict=True)]
    for index in subgraph.inputs:
        if is_constant[index]:
            raise ArtefactError(f"input tensor {index} is a constant")
        ready[index] = True
    written = [False] * len(ready)
    for op in subgraph.ops:
        for index in op.inputs:
            if index >= 0 and not ready[index]:
                raise ArtefactError(f"op {op.index} ({op.name}) reads tensor {index} before it is written")
        for index in op.outputs:
            if is_constant[index] or written[index]:
                raise ArtefactError(f"op {op.index} ({op.name}) writes tensor {index}, which has its values already")
            ready[index] = written[index] = True
    for index in subgraph.outputs:
        if not ready[index]:
            raise ArtefactError(f"output tensor {index} is never written")


def _signature(table: Table, subgraphs: Sequence[Subgraph]) -> Signature:
    index = table.integer(4, "I")
    _check(index < len(subgraphs), f"a signature names subgraph {index} of {len(subgraphs)}")
    maps = []
    for slot in (0, 1):
        entries = {entry.text(0): entry.integer(1, "I") for entry in table.tables(slot)}
        _check(all(i < len(subgraphs[index].tensors) for i in entries.values()), "a signature names a tensor that does not exist")
        maps.append(entries)
    return Signature(key=table.text(2), subgraph=index, inputs=maps[0], outputs=maps[1])


def _check(fits: bool, message: str) -> None:
    if not fits:
        raise ArtefactError(message)
