"""Which ops no interpreter for boards has: Flex ops, custom ops of others, and names of the format without a kernel.

Measured by offering ai-edge-litert 2.3.0 a model of one op at a time (2026-11-30) and, for built-in ops, tflite-runtime 2.14.0 too
(``quantize/runtimes``). Custom ops are looked up when the model is prepared: "Encountered unresolved custom op".
"""

from __future__ import annotations

from collections.abc import Iterable

from ..op_list import Network, Op

# Registered by the interpreters themselves (tensorflow/lite/core/kernels/register.cc).
CUSTOM_OPS = frozenset({"AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess"})
# Taken by XNNPACK before the interpreter looks them up; whether it takes them depends on their operands.
_DELEGATED = frozenset({"Convolution2DTransposeBias", "MaxPoolingWithArgmax2D", "MaxUnpooling2D"})
_FLEX = "Flex"
_STABLEHLO = """
ABS BROADCAST_IN_DIM CBRT CLAMP COMPARE CONCATENATE CONVERT CONVOLUTION COSINE CUSTOM_CALL DIVIDE DOT_GENERAL DYNAMIC_SLICE
DYNAMIC_UPDATE_SLICE EXPONENTIAL FLOOR IOTA LOG LOGISTIC NEGATE OR POWER REDUCE REMAINDER RESHAPE RSQRT SELECT SLICE SORT SUBTRACT
TANH TRANSPOSE WHILE
"""
WITHOUT_KERNEL = frozenset(
    {"CALL", "CONCAT_EMBEDDINGS", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES", *(f"STABLEHLO_{n}" for n in _STABLEHLO.split())}
)


def missing(network: Network) -> list[tuple[Op, str]]:
    """Return the first op of every name that no interpreter has, in order of execution, with the way out."""
    found: dict[str, tuple[Op, str]] = {}
    for op in _unknown(network.ops):
        if op.is_custom and op.name.startswith(_FLEX):
            way_out = "convert with TFLite's built-in ops only (edgekit quantize does), without SELECT_TF_OPS"
        elif op.is_custom:
            way_out = "build the network without it, or end it before and compute the rest yourself"
        else:
            way_out = "convert with a TensorFlow that writes built-in ops for it"
        found.setdefault(op.name, (op, way_out))
    return list(found.values())


def _unknown(ops: Iterable[Op]) -> Iterable[Op]:
    for op in ops:
        if op.name not in CUSTOM_OPS | _DELEGATED if op.is_custom else op.name in WITHOUT_KERNEL:
            yield op
