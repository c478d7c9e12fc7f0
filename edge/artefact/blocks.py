"""The groups of ops that a person thinks in: the stem, each residual block, what lies between them, the head."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .graph import Graph
from .graph_facts import WEIGHTED_OPS

_NAMED = re.compile(r"(?:^|[/;])((?:block|mixed|conv|stem|layer|stage|features)[a-z0-9]*(?:_[0-9]+[a-z]?)?)(?=[_/;])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Ops ``first`` to ``last`` (positions in the float network). ``name``: what it is, and the layer it ends in where known.

    Several blocks may have one name ("reduction"): what keeps them apart is ``id``.
    """

    name: str
    first: int
    last: int

    @property
    def ops(self) -> range:
        return range(self.first, self.last + 1)

    @property
    def id(self) -> str:
        return f"{self.first}-{self.last}"

    @property
    def title(self) -> str:
        """The name, and which ops: what tells it from others of that name."""
        return f"{self.name}, ops {self.id}" if self.last > self.first else f"{self.name}, op {self.first}"


def blocks(model: Graph) -> tuple[Block, ...]:
    """Return the ops of ``model`` in consecutive groups, cut at residual additions and where their streams begin."""
    made_by = {index: op.index for op in model.ops for index in op.outputs}
    found: list[Block] = []
    start = 0
    for op in model.ops:
        operands = [made_by[index] for index in op.inputs if index in made_by]
        if op.name != "ADD" or len(operands) != 2:
            continue
        stream = min(operands)
        if stream >= start:  # something between the last block and where this one's stream begins
            found.append(_block(model, "stem" if not found else "reduction", start, stream))
            start = stream + 1
        found.append(_block(model, f"block {1 + sum(b.name.startswith('block') for b in found)}", start, op.index))
        start = op.index + 1
    if start < len(model.ops):
        found.append(_block(model, "head" if found else "network", start, len(model.ops) - 1))
    return tuple(found)


def tensor_names(model: Graph, ops: range) -> tuple[str, ...]:
    """Return the names of what the ops compute: how TensorFlow's quantizer is told to leave them in float."""
    return tuple(model.tensors[index].name for position in ops for index in model.ops[position].outputs)


def _block(model: Graph, kind: str, first: int, last: int) -> Block:
    names = [model.tensors[model.ops[i].outputs[0]].name for i in range(first, last + 1) if model.ops[i].name in WEIGHTED_OPS]
    layer = next((match.group(1) for name in reversed(names) for match in _NAMED.finditer(name)), "")
    return Block(name=f"{kind} ({layer})" if layer and kind not in ("stem", "head", "network") else kind, first=first, last=last)
