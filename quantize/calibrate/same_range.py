"""Which tensors of a network must share one range: TensorFlow's quantizer gives operands and result of some ops one scale.

Concatenation, pooling and everything that only moves values copy integers; they cannot rescale. A residual add can (its kernel
rescales both operands), so its tensors are free of each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.artefact.graph import Graph

# Ops whose int8 kernels copy integers, so that the schema's "same scales" rule holds between operands and result.
SAME_RANGE_OPS = frozenset(
    {
        "AVERAGE_POOL_2D",
        "BATCH_TO_SPACE_ND",
        "CONCATENATION",
        "DEPTH_TO_SPACE",
        "EXPAND_DIMS",
        "GATHER",
        "MAX_POOL_2D",
        "MAXIMUM",
        "MINIMUM",
        "MIRROR_PAD",
        "PACK",
        "PAD",
        "PADV2",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "RELU",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "REVERSE_V2",
        "SELECT",
        "SLICE",
        "SPACE_TO_BATCH_ND",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SPLIT_V",
        "SQUEEZE",
        "STRIDED_SLICE",
        "TILE",
        "TRANSPOSE",
        "UNPACK",
    }
)
# Results whose range the format fixes, whatever was calibrated: the kernels are made for these scales.
FIXED_RANGE_OPS = frozenset({"SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeGroup:
    """Tensors (indices, in order of execution) that share one range. ``fixed``: the format sets it."""

    tensors: tuple[int, ...]
    fixed: bool

    @property
    def first(self) -> int:
        return self.tensors[0]


def activations(model: Graph) -> tuple[int, ...]:
    """Return the float tensors that are computed: inputs first, then op by op."""
    computed = [*model.main.inputs, *(index for op in model.ops for index in op.outputs)]
    return tuple(index for index in computed if model.tensors[index].dtype == "float32")


def groups(model: Graph) -> tuple[RangeGroup, ...]:
    """Return every activation of a float network in exactly one group, in order of execution."""
    order = activations(model)
    leader = {index: index for index in order}

    def find(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    for op in model.ops:
        if op.name in SAME_RANGE_OPS:
            tied = [index for index in (*op.inputs, *op.outputs) if index in leader]
            for index in tied[1:]:
                leader[find(index)] = find(tied[0])
    fixed = {index for op in model.ops if op.name in FIXED_RANGE_OPS for index in op.outputs}
    members: dict[int, list[int]] = {}
    for index in order:
        members.setdefault(find(index), []).append(index)
    return tuple(RangeGroup(tensors=tuple(m), fixed=not fixed.isdisjoint(m)) for m in members.values())
