"""What the Edge TPU compiler takes, op by op: the documented limits, and those that its logs and compiled models show.

Statuses are the compiler's own words; ``detail`` and the way out are ours. Each limit names where it is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..op_list import EIGHT_BIT, FLOAT_TYPES, Op
from . import rules

MAPPED = "Mapped to Edge TPU"
ONE_SUBGRAPH = "More than one subgraph is not supported"
UNSPECIFIED = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
DATA_TYPE = "Operation is working on an unsupported data type"
NOT_SUPPORTED = "Operation not supported"
VERSION = "Operation version not supported"
RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
STRIDED = "Only Strided-Slice with unitary strides supported"
NOT_CONSTANT = "Filter, bias, or other param is not constant at compile-time"  # google-coral/edgetpu#25
# Seen once each, with compiler 2.0 (google-coral/edgetpu#63, #27); never predicted. The second is the end of a longer sentence.
INTERPOLATION = "Image-interpolation layer won't run precisely enough on Edge TPU"
TWO_DIMENSIONAL = "For example, a fully-connected or softmax layer with 2D output"
# What the compiler puts in place of the ops that it maps.
COMPILED = "edgetpu-custom-op"
STATUSES = (
    *(MAPPED, ONE_SUBGRAPH, UNSPECIFIED, DATA_TYPE, NOT_SUPPORTED, VERSION, RANK, STRIDED),
    *(NOT_CONSTANT, INTERPOLATION, TWO_DIMENSIONAL),
)

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
_LONGEST_NAME = 48
INT8_RUNTIME = 12  # kWithInt8HostDataTypeSupport, google-coral/libedgetpu api/runtime_version.h
NEWEST_RUNTIME = 14
OLD_RUNTIME = 12  # what had limits until this runtime: coral.ai/docs/edgetpu/models-intro


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why an op stays on the CPU: in the compiler's words, in ours, and what to do about it."""

    status: str
    detail: str
    way_out: str


def examine(op: Op, *, min_runtime: int = NEWEST_RUNTIME, reader: str | None = None) -> Rejection | None:
    """Return why the compiler does not map ``op`` whatever stands around it, None if it can be mapped.

    reader: the op that reads its result, None at the network's output; only the way out depends on it.
    """
    if not op.outputs:
        return Rejection(status=NOT_SUPPORTED, detail="it has no result", way_out="remove it: nothing depends on it")
    if op.name == "QUANTIZE" and not op.is_custom and op.activations and op.activations[0].dtype in FLOAT_TYPES:
        return Rejection(
            status=UNSPECIFIED,
            detail=f"it turns float into {op.outputs[0].dtype}, which is the CPU's work",
            way_out="export with int8 or uint8 input; a QUANTIZE inside the network surrounds a float op, which must become int8",
        )
    return _data_type(op, reader) or _support(op, min_runtime) or _rank(op) or _limits(op, min_runtime)


def _data_type(op: Op, reader: str | None) -> Rejection | None:
    touched = (*op.activations, *op.outputs)
    floats = [operand for operand in touched if operand.dtype in FLOAT_TYPES]
    if floats:
        way_out = "convert with full-integer quantization, so that no float is left inside"
        if op.name == "DEQUANTIZE":
            detail = "it turns int8 into float"
            if reader is None:
                way_out = "this DEQUANTIZE comes from float output: export with int8 or uint8 output"
            else:
                way_out = f"{reader} behind it computes in float: quantize that op, unless it only post-processes"
        elif op.is_custom:
            detail, way_out = f"custom op with {floats[0].dtype} results", "runs on the CPU; cheap if it only post-processes"
        else:
            detail = f"tensor {_short(floats[0].name)!r} is {floats[0].dtype}"
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
        detail=f"tensor {_short(wrong.name)!r} is {wrong.dtype}, and the Edge TPU computes in 8 bits",
        way_out="make the int8 variant instead" if wrong.dtype == "int16" else "compute indices outside of the network",
    )


def _short(name: str) -> str:
    """The first of the names that a converter joins."""
    first = name.partition(";")[0]
    return first if len(first) <= _LONGEST_NAME else f"...{first[-_LONGEST_NAME:]}"


_SUBSTITUTES = {
    "LEAKY_RELU": "replace it by ReLU or PReLU and fine-tune",
    "HARD_SWISH": "replace it by ReLU6 and fine-tune",
    "PADV2": "use PAD: with the zero point as its constant the two are the same",
    "ARG_MAX": "take the maximum outside of the network",
    "GATHER": "use SLICE or STRIDED_SLICE where the indices are constant",
    "SPLIT_V": "use equal parts (SPLIT) or SLICE",
    "BATCH_MATMUL": "use a convolution or a dense layer where one side is constant",
    "DIV": "multiply by the constant's inverse (MUL)",
    "EXP": "end the network before it, or use LOGISTIC or TANH",
    "GATHER_ND": "use SLICE or STRIDED_SLICE where the indices are constant",
    "MIRROR_PAD": "pad with zeros (PAD)",
    "SQRT": "use RSQRT",
    "TOPK_V2": "take the best results outside of the network",
    "UNPACK": "use SPLIT and RESHAPE",
}
_ELSEWHERE = "build the network without it, or end the network before it and compute the rest on the CPU"


def _support(op: Op, min_runtime: int) -> Rejection | None:
    if op.is_custom:
        return Rejection(status=NOT_SUPPORTED, detail="custom op", way_out="runs on the CPU; cheap if it only post-processes")
    first = FIRST_RUNTIME.get(op.name)
    if first is None:
        return Rejection(
            status=NOT_SUPPORTED, detail="the Edge TPU has no such op", way_out=_SUBSTITUTES.get(op.name, _ELSEWHERE)
        )
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
            detail = f"tensor {_short(operand.name)!r} has the shape {list(operand.shape)}: only the 3 innermost sizes may differ from 1"
            return Rejection(
                status=RANK, detail=detail, way_out="convert with batch 1" if batch else "reshape to 3 dimensions or fewer"
            )
    return None


def _limits(op: Op, min_runtime: int) -> Rejection | None:
    unknown = rules.not_constant(op)
    if unknown is not None:
        return Rejection(status=NOT_CONSTANT, detail=unknown[0], way_out=unknown[1])
    old = rules.OLD_RULES.get(op.name) if min_runtime <= OLD_RUNTIME else None
    found = old(op) if old else None
    if found is not None:
        return Rejection(status=VERSION, detail=found[0], way_out=f"compile for runtime 13 or later, or {found[1]}")
    rule = rules.RULES.get(op.name)
    found = rule(op) if rule else None
    if found is None:
        return None
    status = STRIDED if op.name == "STRIDED_SLICE" else UNSPECIFIED
    return Rejection(status=status, detail=found[0], way_out=found[1])
