"""Which tensors of a network must share one range: TensorFlow's quantizer gives operands and result of some ops one scale.

Concatenation, pooling and everything that only moves values copy integers; they cannot rescale. A residual add can (its kernel
rescales both operands), so its tensors are free of each other.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from edge.artefact import graph
from edge.artefact.graph import Graph

from ..tflite import calibrated

Member = TypeVar("Member", bound=Hashable)

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
    free, tied = set(order), Groups[int]()
    for op in model.ops:
        if op.name in SAME_RANGE_OPS:
            same = [index for index in (*op.inputs, *op.outputs) if index in free]
            for index in same[1:]:
                tied.join(index, same[0])
    fixed = {index for op in model.ops if op.name in FIXED_RANGE_OPS for index in op.outputs}
    members: dict[int, list[int]] = {}
    for index in order:
        members.setdefault(tied.root(index), []).append(index)
    return tuple(RangeGroup(tensors=tuple(m), fixed=not fixed.isdisjoint(m)) for m in members.values())


def unified(flatbuffer: bytes) -> bytes:
    """Return a calibrated flatbuffer in which the tensors of a group have one range, that holds all of theirs."""
    found, model = calibrated.read_ranges(flatbuffer), graph.read(flatbuffer)
    shared: dict[str, calibrated.Range] = {}
    for group in groups(model):
        names = [name for index in group.tensors if (name := model.tensors[index].name) in found]
        if len(names) > 1:
            lows, highs = zip(*(found[name] for name in names), strict=True)
            shared |= dict.fromkeys(names, (min(lows), max(highs)))
    return calibrated.write_ranges(flatbuffer, shared)


class Groups(Generic[Member]):
    """What belongs together (disjoint-set forest); each member is alone until it is joined to another."""

    def __init__(self) -> None:
        self._parent: dict[Member, Member] = {}

    def root(self, member: Member) -> Member:
        """Return the member that stands for the group."""
        while (parent := self._parent.get(member, member)) != member:
            self._parent[member] = self._parent.get(parent, parent)  # halves the way for the next one
            member = parent
        return member

    def join(self, member: Member, other: Member) -> None:
        """Make one group of two; the second one's root stands for it."""
        self._parent[self.root(member)] = self.root(other)
