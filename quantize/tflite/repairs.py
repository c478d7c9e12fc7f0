"""Two defects of TensorFlow's quantizer made good in the flatbuffer: it has no NEG, and gives an int8 LSTM's output a wrong scale."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from . import edit

_LSTM_OP, _QUANTIZE = 44, 114  # BuiltinOperator of the schema
_STATE = 18  # operand: output_state
_INT8 = 9  # TensorType


def negations_as_products(flatbuffer: bytes) -> bytes:
    """Return a float32 flatbuffer with each NEG as MUL by -1; the same bytes where there is none, or one of whole numbers.

    Equal in float to the last bit. A layer normalisation is written with one (``-mean * factor``), hence every ConvNeXt.
    """
    schema = edit.classes()
    listed = schema.Model.GetRootAs(flatbuffer, 0)  # unpacking copies every weight: only for a network that has one
    if all(listed.OperatorCodes(at).BuiltinCode() != schema.BuiltinOperator.NEG for at in range(listed.OperatorCodesLength())):
        return flatbuffer
    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    codes = [code for code in model.operatorCodes if code.builtinCode == schema.BuiltinOperator.NEG]
    found = [
        (graph, op)
        for graph in model.subgraphs
        for op in graph.operators
        if model.operatorCodes[op.opcodeIndex].builtinCode == schema.BuiltinOperator.NEG
    ]
    if not found or any(graph.tensors[op.inputs[0]].type != schema.TensorType.FLOAT32 for graph, op in found):
        return flatbuffer
    for code in codes:  # in place: TensorFlow's calibrator does not take a file that only lists NEG either
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.MUL
        code.version = 1
    for graph, op in found:
        op.inputs = np.array([op.inputs[0], _minus_one(schema, model, graph)], np.int32)
        op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.MulOptions, schema.MulOptionsT()
    return edit.pack(schema, model)


def _minus_one(schema: Any, model: Any, graph: Any) -> int:
    """Add the number -1 to a subgraph and return its tensor's index."""
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.array([-1.0], np.float32).view(np.uint8)
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.buffer = np.array([], np.int32), schema.TensorType.FLOAT32, len(model.buffers) - 1
    tensor.name = f"minus_one_{len(graph.tensors)}".encode()
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def scales_of_lstms(flatbuffer: bytes) -> bytes:
    """Return an int8 ``flatbuffer`` in which every LSTM's output has the scale of its state; the same bytes where all have.

    The kernel writes its hidden state and its output with one scale. Where a CONCATENATION follows, which wants one scale for all
    that it joins, the quantizer gives that scale to the LSTM's output and leaves the state's as it was: every answer is then off by
    the ratio of the two (TensorFlow 2.21; a test shows it). So the output gets the state's scale back, and a QUANTIZE op after it
    makes the other one.
    """
    schema = edit.classes()
    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    changed = False
    for subgraph in model.subgraphs:
        for op in [op for op in subgraph.operators if model.operatorCodes[op.opcodeIndex].builtinCode == _LSTM_OP]:
            state, output = subgraph.tensors[op.inputs[_STATE]], subgraph.tensors[op.outputs[0]]
            if output.type == _INT8 and not _same(state.quantization, output.quantization):
                _requantize(schema, model, subgraph, op, state)
                changed = True
    return edit.pack(schema, model) if changed else flatbuffer


def _same(one: Any, other: Any) -> bool:
    scales = np.array_equal(np.ravel(one.scale), np.ravel(other.scale))
    return scales and np.array_equal(np.ravel(one.zeroPoint), np.ravel(other.zeroPoint))


def _requantize(schema: Any, model: Any, subgraph: Any, op: Any, state: Any) -> None:
    """Let ``op`` write a new tensor with the state's scale, and a QUANTIZE op make the old one of it."""
    old = int(op.outputs[0])
    own = copy.copy(subgraph.tensors[old])
    own.quantization = copy.copy(state.quantization)
    own.name = edit.text_of(own.name).encode() + b"/own_scale"
    subgraph.tensors.append(own)
    op.outputs = [len(subgraph.tensors) - 1]
    requantize = schema.OperatorT()
    requantize.opcodeIndex = _quantize_code(schema, model)
    requantize.inputs, requantize.outputs = [len(subgraph.tensors) - 1], [old]
    subgraph.operators.insert(subgraph.operators.index(op) + 1, requantize)


def _quantize_code(schema: Any, model: Any) -> int:
    for i, code in enumerate(model.operatorCodes):
        if code.builtinCode == _QUANTIZE:
            return i
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = _QUANTIZE, _QUANTIZE, 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
