"""What the Edge TPU compiler takes, op by op: the documented limits, and those that its logs and compiled models show.

Statuses are the compiler's own words; ``detail`` and the way out are ours. Each limit names where it is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .network import EIGHT_BIT, FLOAT_TYPES, Op, Operand

MAPPED = "Mapped to Edge TPU"
ONE_SUBGRAPH = "More than one subgraph is not supported"
UNSPECIFIED = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
DATA_TYPE = "Operation is working on an unsupported data type"
NOT_SUPPORTED = "Operation not supported"
VERSION = "Operation version not supported"
RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
STRIDED = "Only Strided-Slice with unitary strides supported"
# Seen once, with compiler 2.0 (google-coral/edgetpu#63); never predicted.
INTERPOLATION = "Image-interpolation layer won't run precisely enough on Edge TPU"
# What the compiler puts in place of the ops that it maps.
COMPILED = "edgetpu-custom-op"
STATUSES = (MAPPED, ONE_SUBGRAPH, UNSPECIFIED, DATA_TYPE, NOT_SUPPORTED, VERSION, RANK, STRIDED, INTERPOLATION)

# Op -> first Edge TPU runtime that has it: coral.ai/docs/edgetpu/models-intro; google-coral/edgetpu, CHANGES.md.
FIRST_RUNTIME = {
    **dict.fromkeys(
        [
            "ADD",
            "AVERAGE_POOL_2D",
            "CONCATENATION",
            "CONV_2D",
            "DEPTHWISE_CONV_2D",
            "FULLY_CONNECTED",
            "L2_NORMALIZATION",
            "LOGISTIC",
        ],
        10,
    ),
    **dict.fromkeys(
        [
            "MAXIMUM",
            "MAX_POOL_2D",
            "MEAN",
            "MINIMUM",
            "MUL",
            "PAD",
            "RELU",
            "RELU6",
            "RELU_N1_TO_1",
            "RESHAPE",
            "RESIZE_BILINEAR",
        ],
        10,
    ),
    **dict.fromkeys(
        [
            "RESIZE_NEAREST_NEIGHBOR",
            "SLICE",
            "SOFTMAX",
            "SPACE_TO_DEPTH",
            "SPLIT",
            "SQUEEZE",
            "STRIDED_SLICE",
            "SUB",
            "TANH",
            "TILE",
        ],
        10,
    ),
    **dict.fromkeys(["EXPAND_DIMS", "PACK", "PRELU", "QUANTIZE", "SUM", "TRANSPOSE_CONV"], 13),
    **dict.fromkeys(["REDUCE_MAX", "REDUCE_MIN", "RSQRT", "SQUARED_DIFFERENCE", "TRANSPOSE", "UNIDIRECTIONAL_SEQUENCE_LSTM"], 14),
}
INT8_RUNTIME = 12  # kWithInt8HostDataTypeSupport, google-coral/libedgetpu api/runtime_version.h
NEWEST_RUNTIME = 14

# Largest tensors (bytes) that layout-changing ops still map with; each limit lies between two observations.
# TRANSPOSE: 24x24x144 maps (YOLOv8n at 192 px, jveitchmichaelis/edgetpu-yolo), 28x28x144 does not (the same at 224 px).
TRANSPOSE_BYTES = 96 << 10
# RESHAPE that changes the innermost size: 32x32x255 maps, 48x48x255 does not (YOLOv5s at 256 and 384 px,
# google-coral/edgetpu#512).
RESHAPE_BYTES = 384 << 10
# CONCATENATION across positions: 1917x91 maps (SSD MobileNet v1), 3087x85 does not (YOLOv5s at 224 px).
CONCATENATION_BYTES = 208 << 10
# RESIZE: 128x128x32 maps, 512x512x32 does not (google-coral/edgetpu#31).
RESIZE_BYTES = 2 << 20
SOFTMAX_LENGTH = 16_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why an op stays on the CPU: in the compiler's words, in ours, and what to do about it (may be empty)."""

    status: str
    detail: str
    way_out: str


def examine(op: Op, *, min_runtime: int = NEWEST_RUNTIME) -> Rejection | None:
    """Return why the compiler does not map ``op`` whatever stands around it, None if it can be mapped."""
    if not op.outputs:
        return Rejection(status=NOT_SUPPORTED, detail="it has no result", way_out="")
    if op.name == "QUANTIZE" and not op.is_custom and op.activations and op.activations[0].dtype in FLOAT_TYPES:
        return Rejection(
            status=UNSPECIFIED,
            detail="it turns float into int8, which is the CPU's work",
            way_out="export with int8 or uint8 input; a QUANTIZE inside the network surrounds a float op, which must become int8",
        )
    return _data_type(op) or _support(op, min_runtime) or _rank(op) or _limits(op)


def _data_type(op: Op) -> Rejection | None:
    touched = (*op.activations, *op.outputs)
    floats = [operand for operand in touched if operand.dtype in FLOAT_TYPES]
    if floats:
        way_out = "convert with full-integer quantization, so that no float is left inside"
        if op.name == "DEQUANTIZE":
            detail, way_out = (
                "it turns int8 into float",
                "this DEQUANTIZE comes from float output: export with int8 or uint8 output",
            )
        elif op.is_custom:
            detail, way_out = f"custom op with {floats[0].dtype} results", "runs on the CPU; cheap if it only post-processes"
        else:
            detail = f"tensor {floats[0].name!r} is {floats[0].dtype}"
        return Rejection(status=DATA_TYPE, detail=detail, way_out=way_out)
    if op.is_custom or op.name not in FIRST_RUNTIME:
        return None  # "not supported" is what the compiler says of these, whatever their integers
    # The cell state of an LSTM is int16 by definition; its first input and its output count.
    checked = (*op.activations[:1], *op.outputs) if op.name == "UNIDIRECTIONAL_SEQUENCE_LSTM" else touched
    wrong = next((operand for operand in checked if operand.dtype not in EIGHT_BIT), None)
    if wrong is None:
        return None
    return Rejection(
        status=DATA_TYPE,
        detail=f"tensor {wrong.name!r} is {wrong.dtype}, and the Edge TPU computes in 8 bits",
        way_out="int16 activations need the CPU" if wrong.dtype == "int16" else "compute indices outside of the network",
    )


_SUBSTITUTES = {
    "LEAKY_RELU": "replace it by ReLU or PReLU and fine-tune",
    "HARD_SWISH": "replace it by ReLU6 and fine-tune",
    "PADV2": "use PAD: with the zero point as its constant the two are the same",
    "ARG_MAX": "take the maximum outside of the network",
    "GATHER": "use SLICE or STRIDED_SLICE where the indices are constant",
    "SPLIT_V": "use equal parts (SPLIT) or SLICE",
    "BATCH_MATMUL": "use a convolution or a dense layer where one side is constant",
}


def _support(op: Op, min_runtime: int) -> Rejection | None:
    if op.is_custom:
        return Rejection(status=NOT_SUPPORTED, detail="custom op", way_out="runs on the CPU; cheap if it only post-processes")
    first = FIRST_RUNTIME.get(op.name)
    if first is None:
        return Rejection(status=NOT_SUPPORTED, detail="the Edge TPU has no such op", way_out=_SUBSTITUTES.get(op.name, ""))
    if any(operand.dtype == "int8" for operand in (*op.activations, *op.outputs)):
        first = max(first, INT8_RUNTIME)
    if min_runtime < first:
        way_out = f"compile without -m {min_runtime}, or with -m {first} or more"
        return Rejection(status=VERSION, detail=f"needs Edge TPU runtime {first}", way_out=way_out)
    return None


def _rank(op: Op) -> Rejection | None:
    # Index operands (axes, paddings) are no tensors to the Edge TPU.
    for operand in (*op.activations, *op.outputs):
        if any(size != 1 for size in operand.shape[:-3]):
            batch = len(operand.shape) == 4
            detail = f"tensor {operand.name!r} has the shape {list(operand.shape)}: only the 3 innermost sizes may differ from 1"
            return Rejection(
                status=RANK, detail=detail, way_out="convert with batch 1" if batch else "reshape to 3 dimensions or fewer"
            )
    return None


def _limits(op: Op) -> Rejection | None:
    rule = _RULES.get(op.name)
    found = rule(op) if rule else None
    if found is None:
        return None
    status = STRIDED if op.name == "STRIDED_SLICE" else UNSPECIFIED
    return Rejection(status=status, detail=found[0], way_out=found[1])


# A rule returns (what is wrong, the way out), or None.
_Found = tuple[str, str] | None


def _main(op: Op) -> Operand:
    return op.activations[0] if op.activations else op.outputs[0]


def _convolution(op: Op) -> _Found:
    if op.options.get("dilation_w", 1) != op.options.get("dilation_h", 1):
        return "its dilation differs in x and y", "use the same dilation in both directions"
    return _constant_parameters(op)


def _constant_parameters(op: Op) -> _Found:
    # TRANSPOSE_CONV has (output shape, weights, input); the others (input, weights, bias).
    weights = op.inputs[1] if len(op.inputs) > 1 else None
    if weights is None or not weights.is_constant:
        return "its weights are not constant at compile time", "fold what computes them into constants"
    if weights.dtype not in EIGHT_BIT:
        return f"its weights are {weights.dtype}", "convert with full-integer quantization"
    bias = op.inputs[2] if len(op.inputs) > 2 and op.name != "TRANSPOSE_CONV" else None
    if bias is not None and not bias.is_constant:
        return "its bias is not constant at compile time", "fold what computes it into a constant"
    return None


def _dense(op: Op) -> _Found:
    if op.options.get("weights_format", 0) != 0:
        return "its weights are shuffled", "convert with the default weight format"
    if any(size != 1 for size in op.outputs[0].shape[:-1]):
        return f"its output {list(op.outputs[0].shape)} is not one-dimensional", "use a 1x1 convolution instead"
    return _constant_parameters(op)


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
    image = _main(op)
    axes = op.constants[0].values if op.constants else None
    if axes is None:
        return None
    rank = len(image.shape)
    axes = tuple(axis % rank for axis in axes) if rank else ()
    if rank == 4 and 0 in axes:
        return "it reduces over the batch", "reduce over y, x or channels only"
    if op.name == "MEAN" and rank - 1 in axes and image.shape[-1] % 4:
        return f"it averages {image.shape[-1]} channels, no multiple of 4", "pad the channels to a multiple of 4"
    return None


def _not_in_batch(op: Op) -> _Found:
    source, result = _main(op), op.outputs[0]
    if op.name == "PAD" and len(source.shape) == 4 and source.shape[0] != result.shape[0]:
        return "it pads the batch", "pad y, x or channels only"
    if op.name == "PACK" and op.options.get("axis", 0) == 0 and len(result.shape) == 4:
        return "it packs along the batch", "pack along another axis"
    if op.name == "SPLIT" and op.constants and op.constants[0].values == (0,) and len(source.shape) == 4:
        return "it splits the batch", "split along another axis"
    return None


def _prelu(op: Op) -> _Found:
    alpha = op.inputs[1] if len(op.inputs) > 1 else None
    if alpha is None or not alpha.is_constant:
        return "its alpha is not constant", "use a constant alpha"
    if any(size != 1 for size in alpha.shape[:-1]):
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
    if source.bytes > TRANSPOSE_BYTES:
        return _too_large("re-arranges", source, TRANSPOSE_BYTES, "export the network in NHWC, or use a smaller input")
    return None


def _tile(op: Op) -> _Found:
    # Observed mapped for one pixel spread over an image (google-coral/test_data, deeplab_mobilenet_edgetpu_slim), nothing else.
    source = _main(op)
    return None if all(size == 1 for size in source.shape[:-1]) else ("it repeats more than one pixel", "")


def _too_large(what: str, operand: Operand, limit: int, way_out: str) -> tuple[str, str]:
    return f"it {what} {list(operand.shape)} ({operand.bytes / 1024:.0f} KiB; up to about {limit / 1024:.0f} KiB map)", way_out


_RULES: dict[str, Callable[[Op], _Found]] = {
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
    "TRANSPOSE_CONV": _constant_parameters,
}
