"""Limits of the single ops of the Edge TPU: the documented ones, and those that logs and compiled models show.

A rule returns what is wrong and the way out, or None. Each limit names where it is seen.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from ..op_list import EIGHT_BIT, Op, Operand

# Largest tensors (bytes) that layout-changing ops still map with; each limit lies between two observations.
# TRANSPOSE: 24x24x144 maps (YOLOv8n at 192 px, jveitchmichaelis/edgetpu-yolo), 28x28x144 does not (the same at 224 px), and
# 32x32x144 maps again (at 256 px, two public reports of "all 256 ops"). So sizes that are multiples of 8 may be larger.
TRANSPOSE_BYTES = 96 << 10
TRANSPOSE_STEP, TRANSPOSE_IN_STEP_BYTES = 8, 160 << 10
# RESHAPE that changes the innermost size: 32x32x255 maps, 48x48x255 does not (YOLOv5s at 256 and 384 px,
# google-coral/edgetpu#512).
RESHAPE_BYTES = 384 << 10
# CONCATENATION across positions: 1917x91 maps (SSD MobileNet v1), 3087x85 does not (YOLOv5s at 224 px).
CONCATENATION_BYTES = 208 << 10
# RESIZE: 128x128x32 maps, 512x512x32 does not (google-coral/edgetpu#31).
RESIZE_BYTES = 2 << 20
# Coral's table says 16,000; 128 x 128 = 16,384 maps (libredgetpu/tracker/templates, ricardodeazambuja/LibrEdgeTPU).
SOFTMAX_LENGTH = 16_384
# MEAN: over 64x128 positions maps, over 256x128 does not (google-coral/edgetpu#461).
MEAN_POSITIONS = 16_384

_Found = tuple[str, str] | None


def _main(op: Op) -> Operand:
    return op.activations[0] if op.activations else op.outputs[0]


_WITH_WEIGHTS = frozenset(["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"])


def not_constant(op: Op) -> tuple[str, str] | None:
    """Return which parameter of ``op`` the compiler does not know, and the way out; None if it knows all of them."""
    if op.name == "PRELU":
        alpha = op.inputs[1] if len(op.inputs) > 1 else None
        return None if alpha is not None and alpha.is_constant else ("its alpha is not constant", "use a constant alpha")
    if op.name not in _WITH_WEIGHTS:
        return None
    # TRANSPOSE_CONV has (output shape, weights, input); the others (input, weights, bias).
    weights = op.inputs[1] if len(op.inputs) > 1 else None
    if weights is None or not weights.is_constant:
        return "its weights are not constant at compile time", "fold what computes them into constants"
    bias = op.inputs[2] if len(op.inputs) > 2 and op.name != "TRANSPOSE_CONV" else None
    if bias is not None and not bias.is_constant:
        return "its bias is not constant at compile time", "fold what computes it into a constant"
    return None


def _convolution(op: Op) -> _Found:
    if op.options.get("dilation_w", 1) != op.options.get("dilation_h", 1):
        return "its dilation differs in x and y", "use the same dilation in both directions"
    return _weights(op)


def _weights(op: Op) -> _Found:
    weights = op.inputs[1]
    if weights is not None and weights.dtype not in EIGHT_BIT:
        return f"its weights are {weights.dtype}", "convert with full-integer quantization"
    return None


def _dense(op: Op) -> _Found:
    if op.options.get("weights_format", 0) != 0:
        return "its weights are shuffled", "convert with the default weight format"
    if any(size != 1 for size in op.outputs[0].shape[:-1]):
        return f"its output {list(op.outputs[0].shape)} is not one-dimensional", "use a 1x1 convolution instead"
    return _weights(op)


def _no_activation(op: Op) -> _Found:
    return ("it has a fused activation", "put the activation into an op of its own") if op.options.get("activation", 0) else None


def _concatenation(op: Op) -> _Found:
    fused = _no_activation(op)
    if fused:
        return fused
    if op.constants:
        if len(op.inputs) != 2:
            return "one of more than two inputs is a constant", "concatenate the constant in an op of its own"
        if op.constants[0].is_zero is False:
            return "its constant input is not all zeros", "add the constant behind the network"
    shape = op.outputs[0].shape
    axis = op.options.get("axis", -1) % len(shape) if shape else 0
    if axis < len(shape) - 1 and op.outputs[0].bytes > CONCATENATION_BYTES:
        return _too_large(
            "joins positions into", op.outputs[0], CONCATENATION_BYTES, "end the network before it, or use a smaller input"
        )
    return None


def _reduction(op: Op) -> _Found:
    image, axes = _main(op), _axes(op)
    if axes is None:
        return None
    rank = len(image.shape)
    if rank == 4 and 0 in axes:
        return "it reduces over the batch", "reduce over y, x or channels only"
    if op.name == "MEAN" and rank - 1 in axes and image.shape[-1] % 4:
        return f"it averages {image.shape[-1]} channels, no multiple of 4", "pad the channels to a multiple of 4"
    positions = math.prod(image.shape[axis] for axis in axes if axis != rank - 1)
    if op.name == "MEAN" and positions > MEAN_POSITIONS:
        return (
            f"it averages {positions} positions (up to about {MEAN_POSITIONS} map)",
            "average in two steps: AVERAGE_POOL_2D first, or parts of the image that SPLIT makes",
        )
    return None


def _axes(op: Op) -> tuple[int, ...] | None:
    """The axes of a reduction, counted from the front; None where they are not known."""
    axes, rank = (op.constants[0].values if op.constants else None), len(_main(op).shape)
    return None if axes is None or not rank else tuple(axis % rank for axis in axes)


def _not_in_batch(op: Op) -> _Found:
    source, result = _main(op), op.outputs[0]
    if op.name == "PAD" and len(source.shape) == 4 and source.shape[0] != result.shape[0]:
        return "it pads the batch", "pad y, x or channels only"
    if op.name == "PACK" and len(result.shape) == 4 and op.options.get("axis", 0) in (0, -4):
        return "it packs along the batch", "pack along another axis"
    if op.name == "SPLIT" and len(source.shape) == 4 and op.constants and op.constants[0].values in ((0,), (-4,)):
        return "it splits the batch", "split along another axis"
    return None


def _prelu(op: Op) -> _Found:
    alpha = op.inputs[1]
    if alpha is not None and any(size != 1 for size in alpha.shape[:-1]):
        return f"its alpha has the shape {list(alpha.shape)}", "Keras: PReLU(shared_axes=[1, 2])"
    return None


def _reshape(op: Op) -> _Found:
    source, result = _main(op), op.outputs[0]
    moves = source.shape[-1:] != result.shape[-1:]
    if moves and source.bytes > RESHAPE_BYTES:
        return _too_large("re-arranges", source, RESHAPE_BYTES, "end the network before it, or use a smaller input")
    return None


def _resize(op: Op) -> _Found:
    source, result = _main(op), op.outputs[0]
    if len(source.shape) == 4 and op.name == "RESIZE_BILINEAR" and source.shape[1:3] == (1, 1) and result.shape[1:3] != (1, 1):
        # DeepLab v3's image-level branch: google-coral/test_data, deeplabv3_mnv2_dm05_pascal_quant.
        return "it interpolates a single pixel", "use TILE, which maps"
    if result.bytes > RESIZE_BYTES:
        return _too_large("enlarges to", result, RESIZE_BYTES, "enlarge in smaller steps, or after the network")
    return None


def _softmax(op: Op) -> _Found:
    length = _main(op).shape[-1] if _main(op).shape else 1
    if length > SOFTMAX_LENGTH:
        return f"it spans {length} values, more than {SOFTMAX_LENGTH}", "export logits and apply softmax outside"
    return None


def _strided_slice(op: Op) -> _Found:
    strides = op.inputs[3] if len(op.inputs) > 3 else None
    if strides is not None and strides.values is not None and any(stride != 1 for stride in strides.values):
        return f"its strides are {list(strides.values)}", "use SPACE_TO_DEPTH, pooling or a strided convolution instead"
    if op.options.get("ellipsis_mask", 0) or op.options.get("new_axis_mask", 0):
        return "it has an ellipsis or a new axis", "slice every axis explicitly"
    return None


def _transpose(op: Op) -> _Found:
    source = _main(op)
    order = op.constants[0].values if op.constants else None
    if order is not None and sorted(order) == list(range(len(source.shape))):
        moved = [axis for axis in order if source.shape[axis] != 1]
        if moved == sorted(moved):
            return None  # only sizes of 1 move: nothing is re-arranged
    in_step = all(size == 1 or size % TRANSPOSE_STEP == 0 for size in source.shape)
    limit = TRANSPOSE_IN_STEP_BYTES if in_step else TRANSPOSE_BYTES
    if source.bytes > limit:
        return _too_large("re-arranges", source, limit, "export the network in NHWC, or use a smaller input")
    return None


def _tile(op: Op) -> _Found:
    # Observed mapped for one pixel spread over an image (google-coral/test_data, deeplab_mobilenet_edgetpu_slim), nothing else.
    source = _main(op)
    if all(size == 1 for size in source.shape[:-1]):
        return None
    return "it repeats more than one pixel", "use RESIZE_NEAREST_NEIGHBOR, or CONCATENATION of the parts"


# What runtimes up to 12 lack of ops that they have.


def _old_depthwise(op: Op) -> _Found:
    if max(op.options.get("dilation_w", 1), op.options.get("dilation_h", 1)) > 1:
        return "runtimes up to 12 have no dilated depthwise convolution", "use one without dilation"
    return None


def _old_mean(op: Op) -> _Found:
    axes = _axes(op)
    if axes is not None and len(_main(op).shape) - 1 in axes:
        return "runtimes up to 12 average over x and y only", "reduce over y and x only"
    return None


def _old_pad(op: Op) -> _Found:
    if _main(op).shape[-1:] != op.outputs[0].shape[-1:]:
        return "runtimes up to 12 pad x and y only", "pad y and x only"
    return None


def _old_squeeze(op: Op) -> _Found:
    shape = _main(op).shape
    leading = len(shape) - len(tuple(itertools.dropwhile(lambda size: size == 1, shape)))
    if 1 in shape[leading:]:
        return "runtimes up to 12 squeeze leading sizes of 1 only", "use RESHAPE"
    return None


def _too_large(what: str, operand: Operand, limit: int, way_out: str) -> tuple[str, str]:
    return f"it {what} {list(operand.shape)} ({operand.bytes / 1024:.0f} KiB; up to about {limit / 1024:.0f} KiB map)", way_out


OLD_RULES: dict[str, Callable[[Op], _Found]] = {
    "DEPTHWISE_CONV_2D": _old_depthwise,
    "MEAN": _old_mean,
    "PAD": _old_pad,
    "SQUEEZE": _old_squeeze,
}
RULES: dict[str, Callable[[Op], _Found]] = {
    "AVERAGE_POOL_2D": _no_activation,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "FULLY_CONNECTED": _dense,
    "MAX_POOL_2D": _no_activation,
    "MEAN": _reduction,
    "PACK": _not_in_batch,
    "PAD": _not_in_batch,
    "PRELU": _prelu,
    "REDUCE_MAX": _reduction,
    "REDUCE_MIN": _reduction,
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "SOFTMAX": _softmax,
    "SPLIT": _not_in_batch,
    "STRIDED_SLICE": _strided_slice,
    "SUM": _reduction,
    "TILE": _tile,
    "TRANSPOSE": _transpose,
    "TRANSPOSE_CONV": _weights,
}
