"""Editing a converted .tflite in place of the converter's habits: output order, names, and metadata entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np

from edge.artefact import outline

from .. import tf_private
from ..errors import ConversionError

_BUFFER_ALIGNMENT = 16  # force_align of Buffer.data in the schema; kernels read weights in place
_SIGNATURES = 7  # the place of Model's field signature_defs in the schema


def finish(flatbuffer: bytes, *, output_names: Sequence[str], input_names: Sequence[str], metadata: Mapping[str, bytes]) -> bytes:
    """Return ``flatbuffer`` with inputs and outputs in the order of their names, plainly named tensors, and ``metadata`` entries.

    The converter sorts the outputs of a signature by name and calls them ``StatefulPartitionedCall:0``. Values are untouched.
    """
    schema = classes()
    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    if len(model.subgraphs) != 1:
        raise ConversionError(
            f"the converted network has {len(model.subgraphs)} subgraphs, expected 1 (control flow is not supported)"
        )
    subgraph = model.subgraphs[0]
    indices = _outputs_by_name(model, output_names)
    subgraph.inputs, subgraph.outputs = _inputs_by_name(model, input_names), indices
    for index, name in zip([*subgraph.inputs, *indices], [*input_names, *output_names], strict=True):
        _rename(subgraph, index, name)
    model.description = b"edgekit"
    model.metadata = [entry for entry in model.metadata or [] if text_of(entry.name) == "min_runtime_version"]
    for name, payload in metadata.items():
        model.buffers.append(_buffer(schema, payload))
        model.metadata.append(_entry(schema, name, len(model.buffers) - 1))
    return pack(schema, model)


def order_inputs(flatbuffer: bytes, names: Sequence[str]) -> bytes:
    """Return ``flatbuffer`` with its inputs in the order of ``names``; the converter sorts them as it likes."""
    schema = classes()
    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    model.subgraphs[0].inputs = _inputs_by_name(model, names)
    return pack(schema, model)


def with_outputs(flatbuffer: bytes, outputs: Sequence[int]) -> bytes:
    """Return a copy with other tensors (indices; as many as before) as its outputs, and without signatures: they name those before.

    A few numbers are written over where they stand: taking a large file apart and putting it together takes a second.
    """
    schema = classes()
    copy = bytearray(flatbuffer)
    written = schema.Model.GetRootAs(copy).Subgraphs(0).OutputsAsNumpy()
    if len(written) != len(outputs):
        raise ConversionError(f"{len(outputs)} tensors to put out, expected {len(written)}")
    written[:] = outputs
    field = outline.open_model(copy, None).field(_SIGNATURES, 4)
    if field:
        length = field + int.from_bytes(copy[field : field + 4], "little")  # a vector begins with its length
        copy[length : length + 4] = bytes(4)
    return bytes(copy)


def _inputs_by_name(model: Any, names: Sequence[str]) -> list[int]:
    inputs = [int(index) for index in model.subgraphs[0].inputs]
    if len(names) == len(inputs) == 1:
        return inputs
    signature = {text_of(entry.name): int(entry.tensorIndex) for entry in model.signatureDefs[0].inputs}
    if sorted(signature) != sorted(names):
        raise ConversionError(
            f"the converted network has the inputs {sorted(signature)}, expected {sorted(names)}; an input that nothing reads is"
            " left out: remove it from the model"
        )
    return [signature[name] for name in names]


def _outputs_by_name(model: Any, names: Sequence[str]) -> list[int]:
    subgraph = model.subgraphs[0]
    if not model.signatureDefs:
        raise ConversionError("the converted network has no signature; expected the one that the trace gave it")
    signature = {text_of(entry.name): int(entry.tensorIndex) for entry in model.signatureDefs[0].outputs}
    if sorted(signature) != sorted(names):
        raise ConversionError(f"the converted network has the outputs {sorted(signature)}, expected {sorted(names)}")
    if len(set(signature.values())) != len(names) or set(signature.values()) != {int(i) for i in subgraph.outputs}:
        raise ConversionError(f"two of the outputs {list(names)} are the same tensor; remove one from the model")
    return [signature[name] for name in names]


def _rename(subgraph: Any, index: int, name: str) -> None:
    for i, tensor in enumerate(subgraph.tensors):
        if i != index and text_of(tensor.name) == name:
            tensor.name = f"{name}/inner".encode()
    subgraph.tensors[index].name = name.encode()


def classes() -> Any:
    """Return the classes of the format (``ModelT`` and its parts), as TensorFlow has them."""
    return tf_private.get("schema")


def _buffer(schema: Any, payload: bytes) -> Any:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(payload, np.uint8)
    return buffer


def _entry(schema: Any, name: str, buffer: int) -> Any:
    entry = schema.MetadataT()
    entry.name, entry.buffer = name.encode(), buffer
    return entry


def pack(schema: Any, model: Any) -> bytes:
    """Serialize, with every buffer aligned as the schema asks (the generated Python code forgets ``force_align``)."""
    weights = sum(len(b.data) for b in model.buffers if b.data is not None)
    builder = flatbuffers.Builder(weights + (1 << 20))
    for buffer in model.buffers:
        if buffer.data is not None and len(buffer.data):
            buffer.Pack = _aligned_pack(schema, np.ascontiguousarray(buffer.data, np.uint8))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _aligned_pack(schema: Any, data: np.ndarray) -> Any:
    def pack_aligned(builder: Any) -> int:
        builder.StartVector(1, data.size, _BUFFER_ALIGNMENT)
        builder.head = builder.Head() - data.size
        builder.Bytes[builder.Head() : builder.Head() + data.size] = data.tobytes()
        vector = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))

    return pack_aligned


def text_of(name: Any) -> str:
    """Return a name in the file as text."""
    return name.decode() if isinstance(name, bytes) else str(name)
