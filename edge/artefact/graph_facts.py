"""What follows from a graph: multiply-accumulates, and which ops compute in float."""

from __future__ import annotations

from collections import Counter

from .graph import Graph, Op, Tensor

# Ops with weights (operand 1) and, in integers, an int32 bias (operand 2) whose scale is input scale x weight scale.
WEIGHTED_OPS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})


def op_counts(graph: Graph) -> dict[str, int]:
    """Return how often each op occurs, the most frequent first."""
    return dict(Counter(op.name for op in graph.ops).most_common())


def op_versions(graph: Graph) -> dict[str, int]:
    """Return the highest version of each op that occurs: what a runtime must know."""
    versions: dict[str, int] = {}
    for op in graph.ops:
        versions[op.name] = max(op.version, versions.get(op.name, 0))
    return dict(sorted(versions.items()))


def arithmetic(graph: Graph) -> str:
    """Return how the model computes: ``integer``, ``dynamic`` (float between ops, integer weights in them) or ``float``."""
    in_float = float_ops(graph)
    if not in_float:
        return "integer"
    weights = [graph.tensors[op.inputs[1]] for op in in_float if op_macs(op, graph.tensors) and op.inputs[1] >= 0]
    return "dynamic" if any(tensor.is_constant and not tensor.is_float for tensor in weights) else "float"


def macs(graph: Graph) -> int:
    """Return the multiply-accumulates of one run, counted over convolutions, dense layers and matrix products."""
    return sum(op_macs(op, graph.tensors) for op in graph.ops)


def op_macs(op: Op, tensors: tuple[Tensor, ...]) -> int:
    """Return the multiply-accumulates of one op, 0 for ops that are not made of them.

    Convolution: output elements times kernel height, width and input channels; depthwise: without the channels; transposed:
    input elements times kernel height, width and output channels; dense and matrix product: output elements times the length
    that is summed over.
    """
    operands = [tensors[i] if i >= 0 else None for i in op.inputs]
    output = tensors[op.outputs[0]].elements if op.outputs else 0
    match op.name, operands:
        case "CONV_2D", [_, Tensor(shape=(_, height, width, depth)), *_]:
            return output * height * width * depth
        case "DEPTHWISE_CONV_2D", [_, Tensor(shape=(_, height, width, _)), *_]:
            return output * height * width
        case "TRANSPOSE_CONV", [_, Tensor(shape=(depth, height, width, _)), Tensor() as image, *_]:
            return image.elements * height * width * depth
        case "FULLY_CONNECTED", [_, Tensor(shape=(_, length)), *_]:
            return output * length
        case "BATCH_MATMUL", [Tensor(shape=(*_, length)), *_]:
            return output * length
    return 0


def float_ops(graph: Graph) -> tuple[Op, ...]:
    """Return the ops that compute in float: those that read or write a float tensor between input and output.

    The conversions at the edges do not count (QUANTIZE of an input, DEQUANTIZE to an output), as float inputs and outputs are a
    choice and no float computation.
    """
    return tuple(op for op in graph.ops if _touches_float(op, graph) and not _is_edge(op, graph))


def _touches_float(op: Op, graph: Graph) -> bool:
    touched = [i for i in (*op.inputs, *op.outputs) if i >= 0]
    return any(graph.tensors[i].is_float for i in touched)


def _is_edge(op: Op, graph: Graph) -> bool:
    if op.name == "QUANTIZE":
        return op.inputs[0] in graph.main.inputs
    return op.name == "DEQUANTIZE" and op.outputs[0] in graph.main.outputs
