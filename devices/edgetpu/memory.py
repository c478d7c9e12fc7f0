"""Estimates the Edge TPU's on-chip memory: which weights are cached, and how many bytes are streamed at every run.

The layout of weights follows from logs of two sweeps (Jorgitou98/EdgeTPU-QuantRL-Evaluation, CONV_MACs and FC_MACs, of single
models and of pipelines): output channels are padded to 64, input channels to 4, and every padded output channel takes 8 bytes
for its bias and scale. The compiler caches whole layers and streams the others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..op_list import Network, Op

MIB = 1 << 20
# Capacity for cached weights, MiB. Logs of compilers 2.0 to 16.0: 7.73 where activations are tiny, 7.5 where the largest op moves
# 2.9 MiB of them, 1.7 where it moves 11.6; networks of a hundred ops that stream have used 6.0 to 7.2.
_CAPACITY_MIB = 7.76
_CAPACITY_LOW_MIB = 6.0
_CAPACITY_HIGH_MIB = 7.9
_COST_BELOW = 0.09
_MANY_ACTIVATIONS_MIB = 5.0
_COST_ABOVE = 0.85
_CAPACITY_LEAST_MIB = 0.5

_LANES = 64
_INPUT_STEP = 4
_PER_OUTPUT = 8
_FEW = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Weights of one model, or of one pipeline segment, on one Edge TPU. ``first`` and ``last`` are op indices."""

    first: int
    last: int
    weight_bytes: int
    cached_bytes: int
    streamed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OnChipMemory:
    """``weight_bytes`` as the Edge TPU lays them out (padding included) = ``cached_bytes`` + ``streamed_bytes``.

    ``streamed_low_bytes`` and ``streamed_high_bytes`` bound the streaming: how much of the 8 MiB is left for weights is not known
    exactly beforehand. ``largest_activation_bytes``: what the op ``largest_activation_op`` reads and writes, the most of all.
    """

    weight_bytes: int
    cached_bytes: int
    streamed_bytes: int
    streamed_low_bytes: int
    streamed_high_bytes: int
    capacity_bytes: int
    segments: tuple[Segment, ...]
    largest_activation_bytes: int
    largest_activation_op: int


def padded_bytes(op: Op) -> int:
    """Return the bytes that the weights of ``op`` take on the Edge TPU, 0 for an op without weights.

    Convolution: kernel height x width x input channels (to 4) x output channels (to 64) + 8 bytes per padded output channel.
    Exact for the logged sweeps. Depthwise: one input channel. Dense: a 1x1 convolution, but up to 16 outputs take 16 lanes with
    some padding of the inputs (within 30 % of the logs).
    """
    weights = op.inputs[1] if len(op.inputs) > 1 else None
    if weights is None or not weights.is_constant:
        return 0
    match op.name, weights.shape:
        case (("CONV_2D" | "TRANSPOSE_CONV"), (outputs, height, width, inputs)):
            return _layer(height * width * _up(inputs, _INPUT_STEP), outputs)
        case "DEPTHWISE_CONV_2D", (_, height, width, outputs):
            return _layer(height * width, outputs)
        case "FULLY_CONNECTED", (outputs, inputs) if outputs <= _FEW:
            return _FEW * (3 * _up(inputs, _INPUT_STEP) // 2 + _FEW)
        case "FULLY_CONNECTED", (outputs, inputs):
            return _layer(_up(inputs, _INPUT_STEP), outputs)
        case "UNIDIRECTIONAL_SEQUENCE_LSTM", _:
            return sum(operand.bytes for operand in op.constants)
    return sum(operand.bytes for operand in op.constants if operand.is_quantized)


def capacity(peak_op_activation_bytes: int) -> tuple[int, int, int]:
    """Return low, expected and high bytes that are left for weights where the largest op moves so many bytes of activations."""
    moved = peak_op_activation_bytes / MIB
    above = max(0.0, moved - _MANY_ACTIVATIONS_MIB) * _COST_ABOVE
    expected = _CAPACITY_MIB - min(moved, _MANY_ACTIVATIONS_MIB) * _COST_BELOW
    low, expected, high = (max(_CAPACITY_LEAST_MIB, value - above) for value in (_CAPACITY_LOW_MIB, expected, _CAPACITY_HIGH_MIB))
    return int(low * MIB), int(expected * MIB), int(high * MIB)


def estimate(network: Network, mapped: Collection[int], *, segments: int = 1, reserved_bytes: int = 0) -> OnChipMemory:
    """Return the memory of the ops whose indices are in ``mapped``.

    segments: the compiler's ``-n``, one Edge TPU each; the ops are cut where the bytes of weights are most nearly equal.
    reserved_bytes: what models before this one have cached already when they are compiled together; the cache is filled in order.
    """
    ops = [op for op in network.ops if op.index in mapped]
    sizes = {op.index: padded_bytes(op) for op in ops}
    largest = max(ops, key=lambda op: op.activation_bytes, default=None)
    moved = largest.activation_bytes if largest else 0
    low, expected, high = (max(0, value - reserved_bytes) for value in capacity(moved))
    parts = [_segment(part, sizes, expected) for part in split(ops, sizes, segments)]
    parts_low = [_segment(part, sizes, high) for part in split(ops, sizes, segments)]
    parts_high = [_segment(part, sizes, low) for part in split(ops, sizes, segments)]
    return OnChipMemory(
        weight_bytes=sum(sizes.values()),
        cached_bytes=sum(part.cached_bytes for part in parts),
        streamed_bytes=sum(part.streamed_bytes for part in parts),
        streamed_low_bytes=sum(part.streamed_bytes for part in parts_low),
        streamed_high_bytes=sum(part.streamed_bytes for part in parts_high),
        capacity_bytes=expected,
        segments=tuple(parts),
        largest_activation_bytes=moved,
        largest_activation_op=largest.index if largest else 0,
    )


def split(ops: Sequence[Op], sizes: dict[int, int], segments: int) -> list[list[Op]]:
    """Return ``ops`` in ``segments`` parts: each takes ops until the next would take it above an equal share of the bytes."""
    share = sum(sizes.values()) / segments
    parts: list[list[Op]] = [[]]
    filled = 0
    for op in ops:
        if parts[-1] and len(parts) < segments and filled + sizes[op.index] > share:
            parts.append([])
            filled = 0
        parts[-1].append(op)
        filled += sizes[op.index]
    return parts


def _segment(ops: Sequence[Op], sizes: dict[int, int], room: int) -> Segment:
    """Cache whole layers, in order, as long as they fit."""
    cached = 0
    for op in ops:
        if cached + sizes[op.index] <= room:
            cached += sizes[op.index]
    total = sum(sizes[op.index] for op in ops)
    return Segment(
        first=ops[0].index if ops else 0,
        last=ops[-1].index if ops else 0,
        weight_bytes=total,
        cached_bytes=cached,
        streamed_bytes=total - cached,
    )


def _layer(per_output: int, outputs: int) -> int:
    return (per_output + _PER_OUTPUT) * _up(outputs, _LANES)


def _up(value: int, step: int) -> int:
    return -(-value // step) * step
