"""Which operands each builtin op needs. The interpreter's kernels take what is not there for a tensor, and crash.

From TensorFlow's ``tfl_ops.td`` (which operands are optional) and the kernels' own count of their inputs. An op that is in no table
reads one operand at least, and none of its operands may be absent.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import ArtefactError


def _ops(names: str, count: int) -> Iterable[tuple[str, int]]:
    return ((name, count) for name in names.split())


# Operands that may be absent (-1), by position.
_LSTM = frozenset({1, 5, 9, 10, 11, 12, 16, 17, 20, 21, 22, 23})
_MAY_BE_ABSENT: dict[str, frozenset[int]] = {
    "CONV_2D": frozenset({2}),
    "DEPTHWISE_CONV_2D": frozenset({2}),
    "FULLY_CONNECTED": frozenset({2}),
    "CONV_3D": frozenset({2}),
    "TRANSPOSE_CONV": frozenset({3}),
    "CONV_3D_TRANSPOSE": frozenset({3}),
    "SVDF": frozenset({3}),
    "LSTM": _LSTM,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _LSTM,
    # Forwards 1 to 17, backwards 18 to 34 (each: input gate, peepholes, projection), then the auxiliary input and its weights.
    "BIDIRECTIONAL_SEQUENCE_LSTM": frozenset({1, 5, 9, 10, 11, 12, 16, 17, 18, 22, 26, 27, 28, 29, 33, 34, *range(39, 48)}),
    "BIDIRECTIONAL_SEQUENCE_RNN": frozenset({9, 10, 11}),
}
_LEAST_READ = dict(
    [
        *_ops(
            "ADD SUB MUL DIV MAXIMUM MINIMUM POW SQUARED_DIFFERENCE PRELU FLOOR_DIV FLOOR_MOD ATAN2 BITWISE_XOR RIGHT_SHIFT", 2
        ),
        *_ops("EQUAL NOT_EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND LOGICAL_OR BATCH_MATMUL CUMSUM", 2),
        *_ops("CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED CONV_3D PAD MIRROR_PAD TRANSPOSE TILE EXPAND_DIMS FILL", 2),
        *_ops("MEAN SUM REDUCE_MAX REDUCE_MIN REDUCE_PROD REDUCE_ANY REDUCE_ALL ARG_MAX ARG_MIN REVERSE_V2 TOPK_V2", 2),
        *_ops("RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR BROADCAST_TO BROADCAST_ARGS SPLIT GATHER GATHER_ND RFFT2D", 2),
        *_ops("EMBEDDING_LOOKUP REVERSE_SEQUENCE MATRIX_SET_DIAG SEGMENT_SUM MULTINOMIAL LSH_PROJECTION ASSIGN_VARIABLE", 2),
        *_ops("PADV2 SLICE SELECT SELECT_V2 TRANSPOSE_CONV CONV_3D_TRANSPOSE SPLIT_V RANGE SCATTER_ND DYNAMIC_UPDATE_SLICE", 3),
        *_ops("BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND HASHTABLE_LOOKUP HASHTABLE_FIND HASHTABLE_IMPORT", 3),
        *_ops("UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_MIN UNSORTED_SEGMENT_SUM", 3),
        *_ops("STRIDED_SLICE ONE_HOT SPARSE_TO_DENSE", 4),
        *_ops("SVDF RNN UNIDIRECTIONAL_SEQUENCE_RNN NON_MAX_SUPPRESSION_V4 EMBEDDING_LOOKUP_SPARSE DILATE LSTM", 5),
        *_ops("NON_MAX_SUPPRESSION_V5", 6),
        *_ops("BIDIRECTIONAL_SEQUENCE_RNN", 12),
        *_ops("UNIDIRECTIONAL_SEQUENCE_LSTM", 20),
        *_ops("BIDIRECTIONAL_SEQUENCE_LSTM", 39),
    ]
)
_LEAST_WRITTEN = dict([*_ops("UNIQUE TOPK_V2 NON_MAX_SUPPRESSION_V4 HASHTABLE_LOOKUP", 2), *_ops("NON_MAX_SUPPRESSION_V5", 3)])
# Ops of control flow and of variables, which may read or write nothing.
_MAY_BE_BARE = frozenset({"CALL", "CALL_ONCE", "IF", "WHILE", "VAR_HANDLE", "ASSIGN_VARIABLE", "HASHTABLE", "HASHTABLE_IMPORT"})
# What a compiler passes through, which no kernel of the interpreter reads like the others.
_OTHERS = ("STABLEHLO_", "DELEGATE")


def check(index: int, name: str, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
    """Raise ArtefactError unless the builtin op ``name`` has the operands that its kernel reads. -1: one that is absent."""
    if name.startswith(_OTHERS):
        return
    if -1 in inputs:
        optional = _MAY_BE_ABSENT.get(name, frozenset[int]())
        missing = [place for place, tensor in enumerate(inputs) if tensor < 0 and place not in optional]
        if missing:
            raise ArtefactError(f"op {index} ({name}) has no operand {missing[0]}, which it needs")
    bare = name in _MAY_BE_BARE
    read, written = _LEAST_READ.get(name, 0 if bare else 1), _LEAST_WRITTEN.get(name, 0 if bare else 1)
    if len(inputs) < read or len(outputs) < written:
        raise ArtefactError(
            f"op {index} ({name}) reads {len(inputs)} tensors and writes {len(outputs)}, expected at least {read} and {written}"
        )
