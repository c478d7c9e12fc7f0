"""From a graph that was read to the plain op list that `devices` predicts on."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from devices.op_list import Network, Op, Operand

from ..artefact import graph_facts
from ..artefact.graph import Graph, Tensor
from ..artefact.graph import Op as GraphOp

# Axes, strides, paddings, orders: what rules ask for. Weights are not read.
_MOST_VALUES = 32
_INTEGERS = {"int32": np.int32, "int64": np.int64}


def network_of(graph: Graph, path: Path, *, file_bytes: int | None = None) -> Network:
    """Return the main subgraph of ``graph``, which was read from ``path``, as plain data. Reads small constants from the file."""
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        # Zero constants matter to one op only; scanning all weights would read the whole file.
        joined = {i for op in graph.ops if op.name == "CONCATENATION" for i in op.inputs}
        operands = tuple(_operand(tensor, data, look=tensor.index in joined) for tensor in graph.tensors)
        size = len(data)
    return Network(
        ops=tuple(_op(op, graph, operands) for op in graph.ops),
        inputs=tuple(operands[i] for i in graph.main.inputs),
        outputs=tuple(operands[i] for i in graph.main.outputs),
        file_bytes=size if file_bytes is None else file_bytes,
    )


def _op(op: GraphOp, graph: Graph, operands: tuple[Operand, ...]) -> Op:
    return Op(
        index=op.index,
        name=op.name,
        version=op.version,
        inputs=tuple(operands[i] if i >= 0 else None for i in op.inputs),
        outputs=tuple(operands[i] for i in op.outputs),
        options=op.options,
        is_custom=op.is_custom,
        macs=graph_facts.op_macs(op, graph.tensors),
    )


def _operand(tensor: Tensor, data: mmap.mmap, *, look: bool) -> Operand:
    values = zero = None
    if tensor.is_constant and tensor.dtype in _INTEGERS and tensor.elements <= _MOST_VALUES:
        kind = np.dtype(_INTEGERS[tensor.dtype]).newbyteorder("<")
        values = tuple(np.frombuffer(data[tensor.buffer_start : tensor.buffer_start + tensor.buffer_bytes], kind).tolist())
    if look and tensor.is_constant and tensor.dtype in ("int8", "uint8"):
        zero_point = int(tensor.quant.zero_point[0]) if tensor.quant is not None else 0
        content = np.frombuffer(data[tensor.buffer_start : tensor.buffer_start + tensor.buffer_bytes], tensor.dtype)
        zero = bool((content == zero_point).all())
    return Operand(
        index=tensor.index,
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        is_constant=tensor.is_constant,
        is_quantized=tensor.quant is not None,
        is_open=any(size < 0 for size in tensor.shape_signature),
        values=values,
        is_zero=zero,
    )
