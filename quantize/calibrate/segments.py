"""A network's range groups sorted into a few segments: what a tensor is, and in which part of the network it lies.

Residual sums carry the signal of the whole network, branches are small and two-sided, what lies inside a block is one-sided: each
wants another trade between clipping and rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.artefact.graph import Graph
from edge.artefact.graph_facts import WEIGHTED_OPS

from .same_range import RangeGroup

_PARTS = 3  # of the network, by depth
_HEAD_DEPTH = 2  # weighted ops before an output whose results count as the head


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """``kind`` is input, head, sums, branches or inner; ``positions`` are those of its groups."""

    name: str
    kind: str
    positions: tuple[int, ...]


def segments(model: Graph, groups: tuple[RangeGroup, ...]) -> tuple[Segment, ...]:
    """Return every group whose range is free in exactly one segment, in order of execution."""
    kind_of = _kinds(model)
    found: dict[str, list[int]] = {}
    kinds: dict[str, str] = {}
    free = [position for position, group in enumerate(groups) if not group.fixed]
    for rank, position in enumerate(free):
        tied = {kind_of.get(index, "inner") for index in groups[position].tensors}
        kind = next(k for k in ("input", "head", "sums", "branches", "inner") if k in tied)
        name = kind if kind in ("input", "head") else f"{kind} {1 + rank * _PARTS // len(free)}/{_PARTS}"
        found.setdefault(name, []).append(position)
        kinds[name] = kind
    return tuple(Segment(name=name, kind=kinds[name], positions=tuple(p)) for name, p in found.items())


def head(model: Graph) -> set[int]:
    """Return the tensors from the last but one weighted op to the outputs: their clipping is the answer's."""
    made_by = {index: op for op in model.ops for index in op.outputs}
    found: set[int] = set()
    todo = [(index, 0) for index in model.main.outputs]
    while todo:
        index, depth = todo.pop()
        op = made_by.get(index)
        if op is None or index in found or depth >= _HEAD_DEPTH:
            continue
        found.add(index)
        deeper = depth + (op.name in WEIGHTED_OPS)
        todo += [(i, deeper) for i in op.inputs if i in made_by]
    return found


def _kinds(model: Graph) -> dict[int, str]:
    made_by = {index: op for op in model.ops for index in op.outputs}
    kinds: dict[int, str] = {}
    for op in model.ops:
        if op.name != "ADD":
            continue
        operands = [index for index in op.inputs if index in made_by or index in model.main.inputs]
        if len(operands) == 2:
            kinds[op.outputs[0]] = "sums"
            for index in operands:
                producer = made_by.get(index)
                if producer is not None and producer.name in WEIGHTED_OPS and not producer.options.get("activation", 0):
                    kinds[index] = "branches"
    kinds |= dict.fromkeys(head(model), "head")
    kinds |= dict.fromkeys(model.main.inputs, "input")
    return kinds
