"""One defect of TensorFlow's quantizer made good: the scale of an int8 LSTM's output.

The kernel writes its hidden state and its output with one scale. Where a CONCATENATION follows, which wants one scale for all that
it joins, the quantizer gives that scale to the LSTM's output and leaves the state's as it was: every answer is then off by the
ratio of the two (TensorFlow 2.21; a test shows it). So the output gets the state's scale back, and a QUANTIZE op after it makes the
other one.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from . import edit

_LSTM, _QUANTIZE = 44, 114  # BuiltinOperator of the schema
_STATE = 18  # operand: output_state
_INT8 = 9  # TensorType


def repair(flatbuffer: bytes) -> bytes:
    """Return an int8 ``flatbuffer`` in which every LSTM's output has the scale of its state; the same bytes where all have."""
    schema = edit.classes()
    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    changed = False
    for subgraph in model.subgraphs:
        for op in [op for op in subgraph.operators if model.operatorCodes[op.opcodeIndex].builtinCode == _LSTM]:
            state, output = subgraph.tensors[op.inputs[_STATE]], subgraph.tensors[op.outputs[0]]
            if output.type == _INT8 and not _same(state.quantization, output.quantization):
                _insert(schema, model, subgraph, op, state)
                changed = True
    return edit.pack(schema, model) if changed else flatbuffer


def _same(one: Any, other: Any) -> bool:
    scales = np.array_equal(np.ravel(one.scale), np.ravel(other.scale))
    return scales and np.array_equal(np.ravel(one.zeroPoint), np.ravel(other.zeroPoint))


def _insert(schema: Any, model: Any, subgraph: Any, op: Any, state: Any) -> None:
    """Let ``op`` write a new tensor with the state's scale, and a QUANTIZE op make the old one of it."""
    old = int(op.outputs[0])
    own = copy.copy(subgraph.tensors[old])
    own.quantization = copy.copy(state.quantization)
    own.name = edit.text_of(own.name).encode() + b"/own_scale"
    subgraph.tensors.append(own)
    op.outputs = [len(subgraph.tensors) - 1]
    requantize = schema.OperatorT()
    requantize.opcodeIndex = _opcode(schema, model)
    requantize.inputs, requantize.outputs = [len(subgraph.tensors) - 1], [old]
    subgraph.operators.insert(subgraph.operators.index(op) + 1, requantize)


def _opcode(schema: Any, model: Any) -> int:
    for i, code in enumerate(model.operatorCodes):
        if code.builtinCode == _QUANTIZE:
            return i
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = _QUANTIZE, _QUANTIZE, 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
