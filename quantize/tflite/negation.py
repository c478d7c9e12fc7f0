"""NEG as a product with -1: equal in float to the last bit. TensorFlow's calibrator and quantizer have no NEG, and refuse the network.

A layer normalisation is written with one (``-mean * factor``), hence every ConvNeXt.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import edit


def as_products(flatbuffer: bytes) -> bytes:
    """Return a float32 flatbuffer with each NEG as MUL by -1; the same bytes where there is none, or one of whole numbers."""
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
        op.inputs = np.array([op.inputs[0], _constant(schema, model, graph)], np.int32)
        op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.MulOptions, schema.MulOptionsT()
    return edit.pack(schema, model)


def _constant(schema: Any, model: Any, graph: Any) -> int:
    """Add the number -1 to a subgraph and return its tensor's index."""
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.array([-1.0], np.float32).view(np.uint8)
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.buffer = np.array([], np.int32), schema.TensorType.FLOAT32, len(model.buffers) - 1
    tensor.name = f"minus_one_{len(graph.tensors)}".encode()
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
