"""Estimates the memory that running a model takes, and whether a board has it.

``peak = interpreter + file + packed weights + arena``. XNNPACK keeps a packed copy of the weights beside the file that is mapped
into memory, in the type that it computes with; ops that it does not take (int16 activations) read them from the file. Checked
against the resident size of ai-edge-litert 2.3.0 with InceptionResNetV2 at 96 x 96: float32 455 MiB, float16 382, int8 147,
dynamic 147, int16x8 95.

Where ai-edge-litert runs a large model on a 64-bit CPU, the packed weights lie in a file (`edge.runtime.weight_cache`): pages that several
processes share and that the system can drop. Private is then what Python and the libraries take, and the arena: 21 MiB measured with the
same network, of 72 (int8) and 227 (float32) without the cache.
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
# The part of it that is private: numpy and Pillow imported, a model open (measured: 20 MiB on x86, without the arena).
_PRIVATE_BASE_BYTES = 20 * MIB
_LEAST_CACHED_BYTES = 4 * MIB  # smaller files get no cache
_LEAST_PACKED_SHARE = 4  # nor do files of which less than a quarter is packed
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

    @property
    def can_be_cached(self) -> bool:
        """Whether the runtime keeps the packed weights of such a model in a file, where it can."""
        return self.file_bytes >= _LEAST_CACHED_BYTES and self.packed_bytes * _LEAST_PACKED_SHARE >= self.file_bytes

    @property
    def private_bytes(self) -> int:
        """What the system cannot take back while the model runs, with the packed weights in a file."""
        return _PRIVATE_BASE_BYTES + self.arena_bytes

    @property
    def file_backed_bytes(self) -> int:
        """What is mapped from files then: the model, its packed weights, and the libraries."""
        return self.base_bytes - _PRIVATE_BASE_BYTES + self.file_bytes + self.packed_bytes

    @property
    def cached_bytes(self) -> int:
        """What has to stay in memory then for answers at full speed: all but the model's own weights, which are read once."""
        return self.base_bytes + self.packed_bytes + self.arena_bytes


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
