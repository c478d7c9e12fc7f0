"""What makes int8 of a calibrated flatbuffer: TensorFlow's quantizer, or litert-quantizer, given edgekit's own ranges.

The second is a way to the same artefact that TensorFlow's quantizer has no part in: a test holds scales, biases and weights of both
equal, but for a weight in 100,000 that lies halfway between two steps. It is an extra (``edgekit[litert-quantizer]``) and runs where
TensorFlow's does, in a process of its own.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Sequence

from edge.artefact import graph, graph_facts
from edge.errors import MissingExtraError

from ..errors import ConversionError
from ..loading import recurrent
from . import conversion, converter_process, recipe

TENSORFLOW = "tensorflow"
LITERT = recipe.LITERT
NAMES = (TENSORFLOW, LITERT)
_MODULE = "litert_quantizer"


def check(name: str, *, io: str, in_float: Sequence[str]) -> None:
    """Raise ConversionError for an unknown quantizer, or what it cannot do as edgekit calls it; MissingExtraError for one not here."""
    if name not in NAMES:
        raise ConversionError(f"quantizer is {name!r}, expected one of {', '.join(NAMES)}")
    if name == TENSORFLOW:
        return
    if io != "int8":
        raise ConversionError(f"{LITERT} makes int8 inputs and outputs, not {io}; leave --io or --quantizer out")
    if in_float:
        raise ConversionError(f"{LITERT} leaves no op in float as edgekit calls it; leave --keep-float or --quantizer out")
    if importlib.util.find_spec(_MODULE) is None:
        raise MissingExtraError(f"{LITERT} is not installed, and --quantizer {LITERT} needs it: pip install 'edgekit[{LITERT}]'")


def quantize_int8(
    calibrated: bytes, *, name: str = TENSORFLOW, io: str = "int8", per_channel: bool = True, in_float: Sequence[str] = ()
) -> bytes:
    """Return the int8 flatbuffer of a calibrated one; `conversion.quantize_int8` says what the options are.

    Raises ConversionError, and what `check` raises.
    """
    check(name, io=io, in_float=in_float)
    if name == TENSORFLOW:
        return conversion.quantize_int8(calibrated, io=io, per_channel=per_channel, in_float=in_float)
    return converter_process.run(recipe.quantize_by_recipe, {"per_channel": per_channel}, [calibrated])


def notes(name: str) -> tuple[str, ...]:
    """Return what a contract says of the quantizer: nothing of TensorFlow's."""
    return () if name == TENSORFLOW else (f"quantized by {LITERT} {importlib.metadata.version(LITERT)} with these ranges",)


def tensors_of(flatbuffer: bytes, ops: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the tensors that ops make which are to stay in float. Raises ConversionError for an op that is not there."""
    model = graph.read(flatbuffer)
    names: list[str] = []
    for op in ops:
        wanted = recurrent.LSTM_OP if op.lower() == "lstm" else op.upper()
        found = [model.tensors[index].name for each in model.ops if each.name == wanted for index in each.outputs]
        if not found:
            has = ", ".join(sorted(graph_facts.op_counts(model)))
            raise ConversionError(f"keep_float: the network has no op {wanted}, only {has}")
        names += found
    return tuple(names)
