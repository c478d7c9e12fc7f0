"""What a network does to its input before the first real layer, measured: colours go in, and what reaches that layer is looked at.

Whatever it is written with (layers, operations, a Lambda, casts, a resize), on pictures of one colour it shows as one number and
offset per channel, maybe with red and blue exchanged, or it is not recognised.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import tf_private
from ..quiet import import_tensorflow, quiet
from .contract_check import PIXEL_RANGE, InsideNormalisation

# Where the network proper begins.
_REAL = frozenset(
    {"Conv2D", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2", "Einsum", "MaxPool", "AvgPool", "Relu", "FusedBatchNormV3"}
)
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf", "While", "StatelessWhile"})
_SHAPES = frozenset({"Shape", "ShapeN", "Rank", "Size"})
# What the name of an op begins with that no layer of its own made: models, and calls written out.
_NO_LAYER = re.compile(r"(?:functional|model|sequential|(?:Stateful)?PartitionedCall)(?:_\d+)*")
_CHANGES = frozenset(
    {"Mul", "RealDiv", "Div", "DivNoNan", "AddV2", "Add", "BiasAdd", "Sub", "Neg", "ReverseV2", "GatherV2", "StridedSlice"}
)
_LEVELS = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (30, 120, 210))
_TOLERANCE = 2e-3


def measure(concrete: Any, shape: tuple[int, int, int], read: InsideNormalisation | None) -> InsideNormalisation:
    """Return what the traced function does to its first input, a picture of ``shape``.

    read: what reading the model's layers told (None: it has none to read); it gives the names, and stands where nothing can be
    measured.
    """
    known = read or InsideNormalisation.nothing()
    if shape[2] not in (1, 3) or not concrete.inputs:
        return known
    graph_def = concrete.graph.as_graph_def()
    found = _beginning(graph_def, concrete.inputs[0].op.name)
    if found is None:
        concrete = _written_out(concrete)
        graph_def = None if concrete is None else concrete.graph.as_graph_def()
        found = None if concrete is None else _beginning(graph_def, concrete.inputs[0].op.name)
    if found is None:
        return read or dataclasses.replace(known, opaque="(branches or loops)")
    tensors, changes = found
    if not tensors:
        return known
    names = known.names or tuple(dict.fromkeys(map(_short, changes)))
    measured = [_colours(concrete, graph_def, tensor, shape) for tensor in tensors]
    first = measured[0]
    alike = [each is not None and first is not None and np.allclose(each, first, atol=1e-4) for each in measured]
    opaque = known.opaque or (names[0] if names else _short(tensors[0].split(":")[0]))
    unread = dataclasses.replace(known, opaque=opaque)
    if first is None or not all(alike):
        return unread
    black = first[0]
    effect = (first[1 : 1 + shape[2]] - black) / PIXEL_RANGE if shape[2] == 3 else (first[4:5] - black) / PIXEL_RANGE
    expected = np.array(_LEVELS, np.float64)[:, : shape[2]] @ effect + black
    if not np.allclose(expected, first, atol=_TOLERANCE * max(1e-6, float(np.abs(first - black).max()))):
        return unread
    straight, crossed = np.diag(effect), np.diag(effect[::-1])
    if np.allclose(effect, np.diag(straight), atol=_TOLERANCE * float(np.abs(effect).max())):
        swapped, scale = False, straight
    elif np.allclose(effect[::-1], np.diag(crossed), atol=_TOLERANCE * float(np.abs(effect).max())):
        swapped, scale = True, crossed
    else:
        return unread
    if not swapped and np.allclose(scale, 1.0, rtol=0.01) and np.allclose(black, 0.0, atol=0.5):
        return InsideNormalisation.nothing()
    one = bool(np.allclose(scale, scale[0]) and np.allclose(black, black[0]))
    return InsideNormalisation(
        names=names or (_short(tensors[0].split(":")[0]),),
        scale=scale[:1] if one else scale,
        offset=black[:1] if one else black,
        swapped=swapped,
    )


def _written_out(concrete: Any) -> Any:
    """Return the traced function without calls in its graph, or None where TensorFlow cannot write it like that."""
    with quiet():
        try:
            return tf_private.inlined(concrete)
        except Exception:  # TensorFlow raises many types, and a graph above 2 GiB fits no protocol buffer
            return None


def _beginning(graph_def: Any, start: str) -> tuple[list[str], list[str]] | None:
    """Return the tensors that the first real ops read (maybe none), and the nodes before them that change values; None where calls or
    branches hide them.
    """
    readers: dict[str, list[tuple[Any, str]]] = {}
    for node in graph_def.node:
        for tensor in node.input:
            if not tensor.startswith("^"):  # "^name" only says what runs before
                readers.setdefault(tensor.split(":")[0], []).append((node, tensor))
    tensors: dict[str, None] = {}
    changes: list[str] = []
    seen, waiting = {start}, [start]
    while waiting:
        for node, tensor in readers.get(waiting.pop(0), ()):
            if node.op in _CALLS:
                return None
            if node.op in _REAL:
                tensors[tensor if ":" in tensor else f"{tensor}:0"] = None
            elif node.name not in seen and node.op not in _SHAPES:
                seen.add(node.name)
                waiting.append(node.name)
                changes += [node.name] if node.op in _CHANGES else []
    return list(tensors), changes


def _colours(concrete: Any, graph_def: Any, tensor: str, shape: tuple[int, int, int]) -> NDArray[np.float64] | None:
    """Return what pictures of one colour are at ``tensor``, ``(colours, channels)``; None where it is no picture, or cannot be run."""
    tf = import_tensorflow()
    v1 = tf.compat.v1
    height, width, channels = shape
    with quiet():
        part = v1.graph_util.extract_sub_graph(graph_def, [tensor.split(":")[0]])
        inside = {node.name for node in part.node}
        taken = dict(_captured(concrete, part))  # before there is another graph: variables are only read outside of any
        try:
            with tf.Graph().as_default():
                picture = v1.placeholder(tf.float32, [1, height, width, channels])
                given = {name: tf.constant(value) for name, value in taken.items() if name.split(":")[0] in inside}
                given[concrete.inputs[0].name] = picture
                (wanted,) = tf.import_graph_def(part, input_map=given, return_elements=[tensor], name="")
                with v1.Session() as session:
                    found = [session.run(wanted, {picture: np.full((1, *shape), level[:channels])}) for level in _LEVELS]
        except (tf.errors.OpError, ValueError, TypeError):
            return None
    values = [np.asarray(each, np.float64) for each in found]
    if values[0].ndim == 2 and values[0].size == height * width * channels:
        values = [each.reshape(1, *shape) for each in values]  # a dense layer on all pixels
    if values[0].ndim != 4 or values[0].shape[-1] != channels:
        return None
    return np.array([each[0, each.shape[1] // 2, each.shape[2] // 2] for each in values])


def _captured(concrete: Any, part: Any) -> Iterator[tuple[str, Any]]:
    """Yield (tensor name, value) for what the traced function took from outside: constants, and variables where they are read."""
    handles = {id(variable.handle): variable for variable in concrete.variables}
    variables: dict[str, Any] = {}
    for outer, inner in concrete.graph.captures:
        if id(outer) in handles:
            variables[inner.op.name] = handles[id(outer)]
        elif outer.dtype.name not in ("resource", "variant"):
            yield inner.name, outer.numpy()
    for node in part.node:
        if node.op == "ReadVariableOp" and node.input[0].split(":")[0] in variables:
            yield f"{node.name}:0", variables[node.input[0].split(":")[0]].numpy()


def _short(node: str) -> str:
    """Return the layer that made a node, or the node's own last name where it was made in no layer."""
    parts = node.split("/")
    return parts[-1] if len(parts) == 1 or _NO_LAYER.fullmatch(parts[-2]) else parts[-2]
