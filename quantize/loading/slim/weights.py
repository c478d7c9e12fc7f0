"""The weights of each convolution and dense layer of a TF-slim network by slim's own names, from its constants or a checkpoint.

A frozen graph may have its batch normalisation as one op, spelled out, or folded into weights and biases under whatever names the
tool that folded chose. So convolutions are found by the scope of the op, and their weights by following its inputs and readers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LoadError
from ...quiet import import_tensorflow
from ..graph_view import GraphView

EPSILON = 1e-3
"""Of slim's batch normalisation; one with another is brought to it."""

SCOPE = "InceptionResnetV2/"

_NORMS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_SUMS = frozenset({"Add", "AddV2", "BiasAdd"})
_SAME = frozenset({"Identity", "StopGradient", "Squeeze", "Reshape"})
_MAX_STEPS = 12  # ops between a convolution and its activation


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Weights:
    """``kernel`` (height, width, in, out) or (in, out), and what comes after: ``bias``, or ``norm`` (beta, mean, variance).

    All float32. ``norm`` is for an epsilon of EPSILON and no gamma. Neither: nothing is added.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32] | None = None
    norm: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]] | None = None

    def normalised(self) -> tuple[NDArray[np.float32], tuple[NDArray[np.float32], ...]]:
        """Return the kernel and (beta, mean, variance); a bias becomes the beta of a normalisation that does nothing else."""
        if self.norm is not None:
            return self.kernel, self.norm
        filters = self.kernel.shape[-1]
        beta = self.bias if self.bias is not None else np.zeros(filters, np.float32)
        return self.kernel, (beta, np.zeros(filters, np.float32), np.full(filters, 1 - EPSILON, np.float32))


def from_graph(graph: Any, *, where: str) -> dict[str, Weights]:
    """Return the weights of every convolution and dense layer in a GraphDef of constants, by slim's name without ``InceptionResnetV2/``."""
    reader = _Reader(graph)
    found: dict[str, Weights] = {}
    for node in graph.node:
        if node.op not in ("Conv2D", "MatMul"):
            continue
        name = unit_name(node.name.rpartition("/")[0])
        kernel = reader.constant(node.input[1])
        if kernel is None:
            raise LoadError(
                f"{where}: the weights of {node.name!r} are calculated in the graph, expected constants; freeze it first"
            )
        if node.op == "MatMul" and node.attr["transpose_b"].b:
            kernel = kernel.T
        if name in found:
            raise LoadError(f"{where}: two convolutions are called {name!r}; is it TF-slim's Inception-ResNet-v2?")
        found[name] = reader.weights(node, kernel, name)
    return found


def from_variables(variables: Mapping[str, NDArray[Any]], *, where: str) -> dict[str, Weights]:
    """Return the weights by slim's names from a checkpoint's variables. What is no part of the network (optimizer, step) is left."""
    found: dict[str, Weights] = {}
    for name, value in variables.items():
        scope, _, kind = name.rpartition("/")
        if kind != "weights" or SCOPE not in name:
            continue
        parts = [variables.get(f"{scope}/BatchNorm/{part}") for part in ("beta", "moving_mean", "moving_variance")]
        bias, gamma = variables.get(f"{scope}/biases"), variables.get(f"{scope}/BatchNorm/gamma")
        if all(part is not None for part in parts):
            found[unit_name(scope)] = _with_norm(value, gamma, [np.asarray(part) for part in parts], EPSILON)
        else:
            found[unit_name(scope)] = Weights(kernel=_float32(value), bias=None if bias is None else _float32(bias))
    if not found:
        raise LoadError(
            f"{where}: none of its {len(variables)} variables is in {SCOPE[:-1]}; is it TF-slim's Inception-ResNet-v2?"
        )
    return found


def unit_name(scope: str) -> str:
    """Return a scope without ``InceptionResnetV2/``, which ops' names have twice and variables' once."""
    return scope.rpartition(SCOPE)[2]


class _Reader:
    def __init__(self, graph: Any) -> None:
        self._tf = import_tensorflow()
        self._view = GraphView.of(graph)
        self._readers: dict[str, list[tuple[Any, int]]] = {}
        self._constants: dict[str, NDArray[np.float64]] = {}
        for node in graph.node:
            for position, tensor in enumerate(node.input):
                self._readers.setdefault(tensor.split(":")[0], []).append((node, position))
            if node.op == "Const" and SCOPE in node.name:
                self._constants[node.name.rpartition(SCOPE)[2]] = self._value(node)

    def constant(self, tensor: str, depth: int = 0) -> NDArray[np.float64] | None:
        """Return the value of a tensor that depends on constants only, None for any other."""
        found = self._view.producer(tensor)
        if found is None or depth > _MAX_STEPS:
            return None
        node = found[0]
        if node.op == "Const":
            return self._value(node)
        values = [self.constant(name, depth + 1) for name in node.input]
        if node.op not in _ARITHMETIC or any(value is None for value in values):
            return None
        answer: NDArray[np.float64] = _ARITHMETIC[node.op](*values)
        return answer

    def weights(self, node: Any, kernel: NDArray[np.float64], name: str) -> Weights:
        """Follow what is done to a convolution's answer, channel by channel, up to its activation."""
        reader = self._only_reader(node)
        if reader is not None and reader[0].op in _NORMS:
            gamma, beta, mean, variance = (self.constant(tensor) for tensor in reader[0].input[1:5])
            if beta is not None and mean is not None and variance is not None and mean.size:
                return _with_norm(kernel, gamma, [beta, mean, variance], float(reader[0].attr["epsilon"].f))
        stored = [self._constants.get(f"{name}/BatchNorm/{part}") for part in ("beta", "moving_mean", "moving_variance")]
        if all(part is not None for part in stored):
            gamma = self._constants.get(f"{name}/BatchNorm/gamma")
            return _with_norm(kernel, gamma, [np.asarray(part) for part in stored], EPSILON)
        scale, offset = self._affine(node, kernel.shape[-1])
        return Weights(kernel=_float32(kernel * scale), bias=_float32(offset))

    def _affine(self, node: Any, filters: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (scale, offset) of the additions and multiplications by constants that follow, one for each filter."""
        scale, offset = np.ones(filters), np.zeros(filters)
        for _ in range(_MAX_STEPS):
            reader = self._only_reader(node)
            if reader is None:
                break
            node, position = reader
            if node.op in _SAME:
                continue
            other = self.constant(node.input[1 - position]) if len(node.input) == 2 else None
            # A number for all filters at once is the scale of a residual block, no part of the convolution.
            if other is None or other.size != filters or (node.op == "Sub" and position == 1):
                break
            if node.op == "Mul":
                scale, offset = scale * other.reshape(-1), offset * other.reshape(-1)
            elif node.op in _SUMS:
                offset = offset + other.reshape(-1)
            elif node.op == "Sub":
                offset = offset - other.reshape(-1)
            else:
                break
        return scale, offset

    def _only_reader(self, node: Any) -> tuple[Any, int] | None:
        readers = self._readers.get(node.name, [])
        return readers[0] if len(readers) == 1 else None

    def _value(self, node: Any) -> NDArray[np.float64]:
        return np.asarray(self._tf.make_ndarray(node.attr["value"].tensor), np.float64)


_ARITHMETIC: Mapping[str, Any] = {
    "Add": np.add,
    "AddV2": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "RealDiv": np.divide,
    "Neg": np.negative,
    "Sqrt": np.sqrt,
    "Rsqrt": lambda value: 1 / np.sqrt(value),
}


def _with_norm(kernel: NDArray[Any], gamma: NDArray[Any] | None, statistics: Sequence[NDArray[Any]], epsilon: float) -> Weights:
    """Bring gamma into kernel and mean, and another epsilon into the variance: the same function. statistics: beta, mean, variance."""
    beta, mean, variance = statistics
    if gamma is not None and not np.all(gamma == 1):
        kernel, mean = kernel * gamma, mean * gamma
    if abs(epsilon - EPSILON) > 1e-9:
        variance = variance + (epsilon - EPSILON)
    return Weights(kernel=_float32(kernel), norm=(_float32(beta), _float32(mean), _float32(variance)))


def _float32(value: Any) -> NDArray[np.float32]:
    return np.ascontiguousarray(value, np.float32)
