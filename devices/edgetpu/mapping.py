"""Predicts what the Edge TPU compiler does with a network: which ops it maps, in how many subgraphs, and why not the others.

The way the ops are grouped is TensorFlow Lite's own (``tensorflow/lite/graph_info.cc``): by dependency, not by position in the
file. The compiler keeps the first group that it can map, or all of them with ``-a``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..op_list import EIGHT_BIT, Network, Op
from . import ops as edgetpu_ops
from . import seen
from .ops import MAPPED, NEWEST_RUNTIME, ONE_SUBGRAPH, Rejection

NEWEST_COMPILER = "16.0"
NOT_QUANTIZED = "Model not quantized"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerLimits:
    """What one version of the compiler does not take.

    ``first_refused``: op -> first version that it cannot read, which ends the compilation. ``first_unmapped``: op -> first
    version that it reads but leaves to the CPU. ``missing``: ops that it does not map at all.
    """

    version: str
    first_refused: Mapping[str, int]
    first_unmapped: Mapping[str, int]
    missing: frozenset[str]


# First versions that TensorFlow 2.9's kernels do not have (tensorflow/lite/kernels/register.cc): compiler 16.0 is older.
_NEWER_THAN_2_9 = {
    **dict.fromkeys(
        ["AVERAGE_POOL_2D", "CONCATENATION", "LOGISTIC", "MAX_POOL_2D", "MEAN", "RELU", "RELU6", "SOFTMAX", "TANH", "TILE"], 4
    ),
    **dict.fromkeys(
        ["ADD", "MAXIMUM", "MINIMUM", "PAD", "PADV2", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SPLIT", "UNPACK"], 5
    ),
    **dict.fromkeys(["DEQUANTIZE", "GATHER", "MUL", "SLICE", "SUB", "TRANSPOSE"], 6),
    **dict.fromkeys(["L2_NORMALIZATION", "LEAKY_RELU", "RSQRT", "SPACE_TO_DEPTH", "SQUARED_DIFFERENCE", "SQUEEZE", "SUM"], 3),
    **dict.fromkeys(["EXPAND_DIMS", "HARD_SWISH", "PRELU", "RESHAPE"], 2),
    **dict.fromkeys(["PACK", "REDUCE_MAX", "REDUCE_MIN", "UNIDIRECTIONAL_SEQUENCE_LSTM"], 4),
    "DEPTHWISE_CONV_2D": 7,
    "FULLY_CONNECTED": 10,
    "STRIDED_SLICE": 7,
}
# google-coral/edgetpu#631, #845, #879, google-coral/libedgetpu#71.
_REFUSED_16 = {**_NEWER_THAN_2_9, "CONV_2D": 6, "EXP": 2, "QUANTIZE": 3, "TRANSPOSE_CONV": 4}
_REFUSED_15 = {**_REFUSED_16, "FILL": 3}  # #434
_UNMAPPED_15 = {"RESIZE_NEAREST_NEIGHBOR": 3, "RESIZE_BILINEAR": 3}  # logs of 14.1 and 15.0; #396, #420
# A log of 14.1 says so of dense layers that keep their dimensions (version 5 and up); of 15.0 and 16.0 there is none.
_UNMAPPED_14 = {**_UNMAPPED_15, "FULLY_CONNECTED": 5}
_TRANSPOSE = frozenset({"TRANSPOSE"})  # #193, #242: since 16.0
COMPILERS = {
    limits.version: limits
    for limits in (
        CompilerLimits(version="16.0", first_refused=_REFUSED_16, first_unmapped={}, missing=frozenset()),
        CompilerLimits(version="15.0", first_refused=_REFUSED_15, first_unmapped=_UNMAPPED_15, missing=_TRANSPOSE),
        CompilerLimits(
            version="14.1", first_refused={**_REFUSED_15, "CONV_2D": 5}, first_unmapped=_UNMAPPED_14, missing=_TRANSPOSE
        ),  # #210
        CompilerLimits(
            version="2.1",
            first_refused={**_REFUSED_15, "CONV_2D": 5, "RESIZE_NEAREST_NEIGHBOR": 3, "TRANSPOSE_CONV": 3},  # #147, #152
            first_unmapped=_UNMAPPED_14,
            missing=_TRANSPOSE | {"REDUCE_MAX", "REDUCE_MIN", "RSQRT", "SQUARED_DIFFERENCE", "UNIDIRECTIONAL_SEQUENCE_LSTM"},
        ),
    )
}
# What makes a converter write an older version: google-coral/edgetpu#631, #845, #210.
_OLDER = {
    "CONV_2D": "TensorFlow 2.8 does; for compilers before 15.0 TensorFlow 2.2",
    "TRANSPOSE_CONV": "converter.experimental_new_converter = False does",
}
# Op codes from 150 on: "Op builtin_code out of range". Codes below are older than compiler 16.0.
_OUT_OF_RANGE = ("BUILTIN_", "STABLEHLO_", "UNSORTED_SEGMENT_", "BITWISE_")
_OUT_OF_RANGE_NAMES = frozenset(
    ["GELU", "DYNAMIC_UPDATE_SLICE", "RELU_0_TO_1", "ATAN2", "SIGN", "BITCAST", "RIGHT_SHIFT", "DILATE", "REDUCE_WINDOW"]
)
# Operands that set the size of the result: constant in a network of fixed size.
_SIZE_OPERANDS = {
    **dict.fromkeys(["BROADCAST_TO", "PAD", "PADV2", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "TILE"], (1,)),
    **dict.fromkeys(["FILL", "TRANSPOSE_CONV"], (0,)),
    "SLICE": (2,),
    "STRIDED_SLICE": (1, 2, 3),
}
_SIZE_FROM_VALUES = frozenset(["NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "RANGE", "UNIQUE", "WHERE"])
_QUANTIZED = EIGHT_BIT | {"int16"}
# (op, version) seen fully mapped in public pairs of a model and its compiled form. Others are allowed by the rules, but unproven.
PROVEN = {
    **dict.fromkeys(["ADD", "AVERAGE_POOL_2D", "CONCATENATION", "MEAN", "PAD", "SOFTMAX", "SPLIT"], (1, 2)),
    **dict.fromkeys(["LOGISTIC", "MAX_POOL_2D", "MUL", "STRIDED_SLICE", "SUB", "TRANSPOSE"], (2,)),
    **dict.fromkeys(["QUANTIZE", "RESHAPE", "TILE", "UNIDIRECTIONAL_SEQUENCE_LSTM"], (1,)),
    "CONV_2D": (1, 3),
    "DEPTHWISE_CONV_2D": (1, 2, 3),
    "FULLY_CONNECTED": (1, 4),
    "RESIZE_BILINEAR": (3,),
    "RESIZE_NEAREST_NEIGHBOR": (2, 3),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpMapping:
    """What becomes of one op. ``reason`` is the compiler's status; ``detail`` and ``way_out`` are ours, empty for what is mapped.

    ``subgraph`` numbers the Edge TPU's groups from 0, None on the CPU. ``proven``: this op and version is known to map. ``doubt``:
    of a mapped op, why that is not sure (`seen`), empty where it is.
    """

    index: int
    op: str
    version: int
    is_custom: bool
    mapped: bool
    reason: str
    detail: str
    way_out: str
    subgraph: int | None
    proven: bool
    doubt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Predicted result of one compilation. With ``failure`` set there is no compiled model at all, and every op is on the CPU.

    ``first_rejected`` is the op to look at first: on the CPU for a reason of its own, and if any op is stranded there, behind an op
    that is mapped. Conversions between float and integers only count where there is no other: they are there because of others.
    """

    compiler: str
    per_op: tuple[OpMapping, ...]
    subgraphs: int
    failure: str | None
    failure_way_out: str
    first_rejected: OpMapping | None

    @property
    def mapped(self) -> int:
        return sum(op.mapped for op in self.per_op)

    @property
    def cpu(self) -> int:
        return len(self.per_op) - self.mapped


def predict(
    network: Network, *, compiler: str = NEWEST_COMPILER, min_runtime: int = NEWEST_RUNTIME, all_subgraphs: bool = False
) -> Prediction:
    """Return the mapping that ``edgetpu_compiler`` would log for ``network``.

    compiler: a key of COMPILERS. min_runtime: its ``-m``. all_subgraphs: its ``-a``.
    """
    limits = COMPILERS[compiler]
    failure, way_out = _failure(network, limits)
    readers = {operand.index: op for op in reversed(network.ops) for operand in op.activations}
    rejections = [
        _version(op, limits) or edgetpu_ops.examine(op, min_runtime=min_runtime, reader=_reader(op, readers))
        for op in network.ops
    ]
    groups = _groups(network.ops, [rejection is None for rejection in rejections])
    kept = [] if failure else groups if all_subgraphs else groups[:1]
    home = {index: number for number, group in enumerate(kept) for index in group}
    per_op = tuple(
        _op_mapping(op, rejection, home, failure, way_out) for op, rejection in zip(network.ops, rejections, strict=True)
    )
    return Prediction(
        compiler=compiler,
        per_op=per_op,
        subgraphs=len(kept),
        failure=failure,
        failure_way_out=way_out,
        first_rejected=_first_rejected(network.ops, per_op),
    )


def _first_rejected(ops: Sequence[Op], per_op: Sequence[OpMapping]) -> OpMapping | None:
    own = [op for op in per_op if not op.mapped and op.reason != ONE_SUBGRAPH]
    if any(op.reason == ONE_SUBGRAPH for op in per_op):
        behind: set[int] = set()  # tensors that a mapped op has written, or an op behind one
        late = set()
        for op, found in zip(ops, per_op, strict=True):
            if any(operand.index in behind for operand in op.activations):
                late.add(op.index)
            if found.mapped or op.index in late:
                behind.update(operand.index for operand in op.outputs)
        own = [op for op in own if op.index in late] or own
    return next((op for op in own if op.op not in ("QUANTIZE", "DEQUANTIZE")), own[0] if own else None)


def _op_mapping(op: Op, rejection: Rejection | None, home: Mapping[int, int], failure: str | None, whole: str) -> OpMapping:
    if rejection is None and op.index in home:
        reason, detail, way_out = MAPPED, "", ""
    elif rejection is not None:
        reason, detail, way_out = rejection.status, rejection.detail, rejection.way_out
    elif failure:
        reason, detail, way_out = failure, "the compiler refuses the whole model", whole
    else:
        reason, detail, way_out = ONE_SUBGRAPH, "it depends on an op that is on the CPU", "remedy the first op that is not mapped"
    proven = op.version in PROVEN.get(op.name, ())
    return OpMapping(
        index=op.index,
        op=op.name,
        version=op.version,
        is_custom=op.is_custom,
        mapped=reason == MAPPED,
        reason=reason,
        detail=detail,
        way_out=way_out,
        subgraph=home.get(op.index),
        proven=proven,
        doubt=seen.doubt(op, proven=proven) if reason == MAPPED else "",
    )


def _reader(op: Op, readers: Mapping[int, Op]) -> str | None:
    return next((readers[operand.index].name for operand in op.outputs if operand.index in readers), None)


def _failure(network: Network, limits: CompilerLimits) -> tuple[str | None, str]:
    """Return why the compiler refuses the model as a whole, in its words, and the way out."""
    if not any(operand.dtype in _QUANTIZED for op in network.ops for operand in (*op.activations, *op.outputs)):
        return NOT_QUANTIZED, "convert with full-integer quantization (edgekit quantize --variants int8)"
    for op in network.ops:
        if not op.is_custom and (op.name in _OUT_OF_RANGE_NAMES or op.name.startswith(_OUT_OF_RANGE)):
            return f"Op builtin_code out of range ({op.name})", "the op is newer than the compiler: replace it"
        if op.version >= limits.first_refused.get(op.name, 1 << 30):
            last = limits.first_refused[op.name] - 1
            older = f" ({_OLDER[op.name]})" if op.name in _OLDER else ""
            return (
                f"Didn't find op for builtin opcode '{op.name}' version '{op.version}'",
                f"{op.name} version {op.version}: convert with a TensorFlow that writes version {last} or lower{older}",
            )
    dynamic = next((op for op in network.ops if _is_dynamic(op)), None)
    if dynamic is not None:
        values = dynamic.name in _SIZE_FROM_VALUES
        way_out = "end the network before it" if values else "fix the batch to 1 before conversion"
        return (
            "Attempting to use a delegate that only supports static-sized tensors with a graph that has dynamic-sized tensors.",
            f"op {dynamic.index} ({dynamic.name}) has a size known at run time only: {way_out}",
        )
    return None, ""


def _is_dynamic(op: Op) -> bool:
    """Whether the size of its result follows from computed values. An open batch alone is none: the compiler takes it as 1."""
    if op.name in _SIZE_FROM_VALUES:
        return True
    sizes = [op.inputs[position] for position in _SIZE_OPERANDS.get(op.name, ()) if position < len(op.inputs)]
    return any(operand is not None and not operand.is_constant for operand in sizes)


def _version(op: Op, limits: CompilerLimits) -> Rejection | None:
    if op.is_custom:
        return None
    if op.name in limits.missing:
        return Rejection(
            status=edgetpu_ops.NOT_SUPPORTED, detail=f"compiler {limits.version} has no {op.name}", way_out="use compiler 16.0"
        )
    if op.version >= limits.first_unmapped.get(op.name, 1 << 30):
        return Rejection(
            status=edgetpu_ops.VERSION,
            detail=f"version {op.version} is too new for {limits.version}",
            way_out=f"use compiler 16.0, or convert with a TensorFlow that writes version {limits.first_unmapped[op.name] - 1} or lower",
        )
    return None


def _groups(ops: Sequence[Op], mappable: Sequence[bool]) -> list[list[int]]:
    """Return the groups of mappable ops, in order of execution.

    As TensorFlow Lite does: a group takes every op of its kind whose inputs are all there, again and again until nothing is left
    to take; then the other kind follows.
    """
    waiting = list(range(len(ops)))
    written = {operand.index for op in ops for operand in op.outputs}
    ready: set[int] = set()

    def runs(i: int) -> bool:
        return all(operand.index not in written or operand.index in ready for operand in ops[i].activations)

    groups = []
    while waiting:
        first = next((i for i in waiting if runs(i)), None)
        if first is None:
            break  # a loop, which the reader of the file refuses
        kind, group, rest = mappable[first], list[int](), waiting
        progress = True
        while progress:
            progress, left = False, []
            for i in rest:
                if mappable[i] == kind and runs(i):
                    group.append(ops[i].index)
                    ready.update(operand.index for operand in ops[i].outputs)
                    progress = True
                else:
                    left.append(i)
            rest = left
        waiting = rest
        if kind:
            groups.append(group)
    return groups
