"""Estimates the memory that running a model takes, and whether a board has it.

``peak = interpreter + file + packed weights + arena``. XNNPACK keeps a packed copy of the weights beside the file that is mapped
into memory, in the type that it computes with; ops that it does not take (int16 activations) read them from the file. Checked
against the resident size of ai-edge-litert 2.3.0 with InceptionResNetV2 at 96 x 96: float32 455 MiB, float16 382, int8 147,
dynamic 147, int16x8 95.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..boards.records import BoardProfile
from ..op_list import Network

MIB = 1 << 20
# Python, numpy, Pillow, the interpreter and edgekit, with nothing loaded: measured 34 MiB without edgekit.
_BASE_BYTES = 45 * MIB
# Linux with the services of a headless image; a desktop takes several hundred MiB more. General knowledge, not measured here.
SYSTEM_BYTES = 130 * MIB
_PACKED_OPS = frozenset(["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Peak resident bytes of one process that runs the model, and their parts."""

    base_bytes: int
    file_bytes: int
    packed_bytes: int
    arena_bytes: int

    @property
    def peak_bytes(self) -> int:
        return self.base_bytes + self.file_bytes + self.packed_bytes + self.arena_bytes


def footprint(network: Network, *, mapped: Collection[int] = ()) -> Footprint:
    """Return the estimate. The weights of ops in ``mapped`` (on an Edge TPU) are not packed for the CPU."""
    by_index = {operand.index: operand for op in network.ops for operand in op.outputs}
    widened = {op.outputs[0].index: op.inputs[0] for op in network.ops if op.name == "DEQUANTIZE" and op.inputs[0] is not None}
    packed: dict[int, int] = {}
    for op in network.ops:
        if op.index in mapped or op.name not in _PACKED_OPS or any(operand.dtype == "int16" for operand in op.outputs):
            continue
        packed.update({operand.index: operand.bytes for operand in op.constants})
        # A float16 model turns its weights into float32 first: those are what is packed.
        packed.update({i: by_index[i].bytes for operand in op.activations[1:] if (i := operand.index) in widened})
    constant_results = {i for i, source in widened.items() if source.is_constant}
    arena = network.peak_activation_bytes
    if constant_results:
        arena = min(arena, max((op.activation_bytes for op in network.ops if op.name != "DEQUANTIZE"), default=0))
    return Footprint(base_bytes=_BASE_BYTES, file_bytes=network.file_bytes, packed_bytes=sum(packed.values()), arena_bytes=arena)


def room(board: BoardProfile) -> tuple[int, int] | None:
    """Return the bytes that the smallest and the largest version of ``board`` leave beside the system; None where unknown."""
    if board.memory_mib is None:
        return None
    sizes = board.memory_mib.value
    return sizes[0] * MIB - SYSTEM_BYTES, sizes[-1] * MIB - SYSTEM_BYTES
