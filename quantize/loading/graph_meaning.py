"""What the traced graph says about the network's two ends: the op that makes each output.

The graph is what is converted, whichever way a softmax was written in Keras: as an activation, an operation, a Lambda.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from .graph_view import GraphView
from .io_specs import FoundOutput

# They hand values on or give them another shape; what an output holds is what was calculated before.
_RESHAPES = frozenset({"Reshape", "Squeeze", "ExpandDims"})
_ENDINGS = {"Softmax": "softmax", "Sigmoid": "sigmoid", "LogSoftmax": "log-softmax"}
_CERTAIN = frozenset(_ENDINGS.values())
_MAX_STEPS = 1000


def with_endings(found: Iterable[FoundOutput], concrete: Any) -> tuple[FoundOutput, ...]:
    """Return ``found`` with the endings that the traced function proves, and none that it disproves.

    concrete: a concrete function that returns ``{output name: tensor}``.
    """
    view = GraphView.of(concrete.graph.as_graph_def())
    result = []
    for output in found:
        ending = _ending(view, concrete.structured_outputs[output.name].name)
        claimed = "other" if output.ending in _CERTAIN else output.ending
        # Scores per position (a map of classes) are not scores of the image.
        result.append(dataclasses.replace(output, ending=(ending or claimed) if len(output.shape) == 1 else output.ending))
    return tuple(result)


def _ending(view: GraphView, tensor: str) -> str:
    """Return the ending of a tensor, "" where it is made by none of the ops that tell."""
    scope = None
    for _ in range(_MAX_STEPS):
        producer = view.producer(tensor, scope)
        if producer is None:
            return ""
        node, scope = producer
        if node.op not in _RESHAPES:
            return _ENDINGS.get(node.op, "")
        tensor = node.input[0]
    return ""
