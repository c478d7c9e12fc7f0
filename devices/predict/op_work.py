"""What the ops of a network take from a processor: MACs, activations that are moved, weights, and work that is neither."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ..op_list import Network, Op, Operand
from .core_costs import FLOAT, INT8, INT16

# An SSD's post-processing, per class and box, on one core: google-coral/edgetpu benchmarks/reference has 91 classes against the one
# of the face detector 5.8 ms slower on a Pi 4 and 7.1 ms on the Dev Board, both at 1500 MHz, for 1917 boxes.
POSTPROCESS = "TFLite_Detection_PostProcess"
POSTPROCESS_CYCLES = 55


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one op takes: MACs, activations moved, bytes of weights, and cycles of one core that are neither."""

    arithmetic: str
    macs: int
    elements: int
    weight_bytes: int
    cycles: float
    is_hybrid: bool


def works(network: Network, only: Collection[int] | None) -> Iterable[Work]:
    """Yield the work of the ops (in ``only``) that run every time.

    Those on constants alone (float16 weights that are made float32) run once, while loading.
    """
    loaded = {operand.index for op in network.ops if not op.activations for operand in op.outputs}
    seen: set[int] = set()

    def is_weight(operand: Operand) -> bool:
        return operand.is_constant or operand.index in loaded

    for op in network.ops:
        if (only is not None and op.index not in only) or not op.activations:
            continue
        operands = [operand for operand in op.inputs if operand is not None]
        weights = [operand for operand in operands if is_weight(operand) and operand.index not in seen]
        seen.update(operand.index for operand in weights)
        moved = [*(operand for operand in operands if not is_weight(operand)), *op.outputs]
        scores = op.activations[1].elements if op.name == POSTPROCESS and len(op.activations) > 1 else 0
        arithmetic = kind(op)
        yield Work(
            arithmetic=arithmetic,
            macs=op.macs,
            elements=sum(operand.elements for operand in moved),
            weight_bytes=sum(operand.bytes for operand in weights),
            cycles=scores * POSTPROCESS_CYCLES,
            is_hybrid=arithmetic == FLOAT and any(operand.dtype == "int8" for operand in op.constants),
        )


def kind(op: Op) -> str:
    """Return the arithmetic of an op, by its activations."""
    if op.is_float:
        return FLOAT
    return INT16 if any(operand.dtype == "int16" for operand in op.outputs) else INT8
