"""The same network for another input size, or in another arithmetic: its op list, worked out from the one that is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ..op_list import FLOAT_TYPES, Network, Op, Operand

_KERNEL_OPS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"})
_VALID = 1  # the schema's Padding
_Size = tuple[int, int]


def side(network: Network) -> int | None:
    """Return the height of a square image input, None for anything else."""
    shape = network.inputs[0].shape if network.inputs else ()
    return shape[1] if len(shape) == 4 and shape[1] == shape[2] else None


def resized(network: Network, pixels: int) -> Network | None:
    """Return ``network`` for a square input of ``pixels``: kernels, strides and padding are followed, weights stay.

    Global pooling stays global. None if the input is no square image, or becomes too small for a kernel.
    """
    if side(network) is None:
        return None
    first = network.inputs[0]
    shapes: dict[int, tuple[int, ...]] = {first.index: (first.shape[0], pixels, pixels, first.shape[3])}
    factors = {}
    for op in network.ops:
        for result in op.outputs:
            size = _size(op, result, shapes)
            if size is not None and min(size) < 1:
                return None
            shapes[result.index] = result.shape if size is None else (result.shape[0], *size, result.shape[3])
        old = op.outputs[0].elements if op.outputs else 0
        new = replace(op.outputs[0], shape=shapes[op.outputs[0].index]).elements if op.outputs else 0
        factors[op.index] = new / old if old else 1.0
    return _changed(network, lambda old: replace(old, shape=shapes.get(old.index, old.shape)), factors, network.file_bytes)


def as_int8(network: Network) -> Network:
    """Return ``network`` with int8 in place of every float. Ops that convert between the two at its ends stay."""

    def operand(old: Operand) -> Operand:
        return replace(old, dtype="int8", is_quantized=True) if old.dtype in FLOAT_TYPES else old

    constants = {item.index: item for op in network.ops for item in op.constants}
    saved = sum(item.bytes - item.elements for item in constants.values() if item.dtype in FLOAT_TYPES)
    return _changed(network, operand, {}, network.file_bytes - saved)


def _size(op: Op, result: Operand, shapes: Mapping[int, tuple[int, ...]]) -> _Size | None:
    """Return the new height and width of ``result``, None where the op's result is no image or does not follow the input."""
    # Of several inputs the largest: a factor per channel (1 x 1) is spread over an image.
    images = [operand for operand in op.activations if len(operand.shape) == 4]
    source = max(images, key=lambda operand: operand.shape[1] * operand.shape[2], default=None)
    if source is None or len(result.shape) != 4 or _is_global(op, source, result):
        return None
    new = shapes.get(source.index, source.shape)[1:3]
    if new == source.shape[1:3]:
        return None
    if op.name in _KERNEL_OPS:
        return _kernel(op, new[0], "h"), _kernel(op, new[1], "w")
    # What pads, enlarges or leaves the size: by as much or as many times as before.
    if op.name == "PAD":
        return new[0] + result.shape[1] - source.shape[1], new[1] + result.shape[2] - source.shape[2]
    return round(new[0] * result.shape[1] / source.shape[1]), round(new[1] * result.shape[2] / source.shape[2])


def _is_global(op: Op, source: Operand, result: Operand) -> bool:
    """Whether the op joins a whole image into one pixel, whatever its size."""
    if result.shape[1:3] != (1, 1) or source.shape[1:3] == (1, 1):
        return False
    if op.name == "AVERAGE_POOL_2D":
        return (op.options.get("filter_h"), op.options.get("filter_w")) == source.shape[1:3]
    return op.name not in _KERNEL_OPS


def _kernel(op: Op, size: int, axis: str) -> int:
    """Return the number of positions of a kernel along one axis."""
    stride = max(1, op.options.get(f"stride_{axis}", 1))
    if op.options.get("padding", 0) != _VALID:
        return -(-size // stride)
    weights = op.inputs[1] if len(op.inputs) > 1 else None
    length = weights.shape[1 if axis == "h" else 2] if weights is not None else op.options.get(f"filter_{axis}", 1)
    return -(-(size - (length - 1) * op.options.get(f"dilation_{axis}", 1)) // stride)


def _changed(network: Network, operand: Callable[[Operand], Operand], factors: Mapping[int, float], file_bytes: int) -> Network:
    ops = tuple(
        replace(
            op,
            inputs=tuple(None if item is None else operand(item) for item in op.inputs),
            outputs=tuple(operand(item) for item in op.outputs),
            macs=round(op.macs * factors.get(op.index, 1.0)),
        )
        for op in network.ops
    )
    return Network(
        ops=ops,
        inputs=tuple(operand(item) for item in network.inputs),
        outputs=tuple(operand(item) for item in network.outputs),
        file_bytes=file_bytes,
    )
