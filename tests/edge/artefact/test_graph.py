from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest

from edge.artefact import graph, graph_facts, opcodes, outline
from edge.artefact.flatbuffer import Flatbuffer
from edge.errors import ArtefactError

FLATBUFFERS = ("tiny_float_flatbuffer", "tiny_int8_flatbuffer", "tiny_uint8_flatbuffer", "tiny_two_outputs_flatbuffer")


@pytest.fixture(params=FLATBUFFERS)
def flatbuffer(request: pytest.FixtureRequest) -> bytes:
    data: bytes = request.getfixturevalue(request.param)
    return data


def _public_reader(data: bytes) -> Any:
    """The file as the interpreter's own schema package reads it, which nobody here wrote."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    return schema.ModelT.InitFromPackedBuf(data, 0)


def test_tensors_are_those_of_the_public_schema(flatbuffer: bytes) -> None:
    ours, theirs = graph.read(flatbuffer), _public_reader(flatbuffer).subgraphs[0]
    assert len(ours.tensors) == len(theirs.tensors)
    for mine, other in zip(ours.tensors, theirs.tensors, strict=True):
        assert mine.name == other.name.decode()
        assert list(mine.shape) == ([] if other.shape is None else list(other.shape))
        assert mine.dtype == opcodes.TENSOR_TYPES[other.type]
        assert mine.buffer == other.buffer
        scale = None if other.quantization is None else other.quantization.scale
        if scale is None:
            assert mine.quant is None
            continue
        assert mine.quant is not None
        np.testing.assert_array_equal(mine.quant.scale, scale)
        np.testing.assert_array_equal(mine.quant.zero_point, other.quantization.zeroPoint)
        assert mine.quant.quantized_dimension == (other.quantization.quantizedDimension if len(scale) > 1 else None)


def test_ops_and_signature_are_those_of_the_public_schema(flatbuffer: bytes) -> None:
    ours, model = graph.read(flatbuffer), _public_reader(flatbuffer)
    theirs = model.subgraphs[0]
    assert len(ours.ops) == len(theirs.operators)
    for mine, other in zip(ours.ops, theirs.operators, strict=True):
        code = model.operatorCodes[other.opcodeIndex]
        assert mine.name == opcodes.BUILTIN_OPS[code.builtinCode]
        assert mine.version == code.version
        assert list(mine.inputs) == list(other.inputs)
        assert list(mine.outputs) == list(other.outputs)
        if mine.name == "CONV_2D":
            options = other.builtinOptions
            assert (mine.options["stride_h"], mine.options["stride_w"]) == (options.strideH, options.strideW)
            assert mine.options["padding"] == options.padding
            assert mine.options["activation"] == options.fusedActivationFunction
            assert mine.options["dilation_h"] == options.dilationHFactor
    signature = model.signatureDefs[0]
    assert ours.signatures[0].outputs == {entry.name.decode(): entry.tensorIndex for entry in signature.outputs}
    assert ours.main.inputs == tuple(theirs.inputs)
    assert ours.main.outputs == tuple(theirs.outputs)


def test_op_names_are_those_of_the_public_schema() -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    for table, enum in ((opcodes.BUILTIN_OPS, schema.BuiltinOperator), (opcodes.TENSOR_TYPES, schema.TensorType)):
        names = {value: name for name, value in vars(enum).items() if isinstance(value, int)}
        known = min(len(table), len(names))
        assert [name.lower() for name in table[:known]] == [names[i].lower() for i in range(known)]


def test_outline_agrees_with_the_graph(flatbuffer: bytes) -> None:
    full, short = graph.read(flatbuffer), outline.read(flatbuffer)
    assert short.inputs == tuple(full.tensors[i].shape for i in full.main.inputs)
    assert short.outputs == tuple(full.tensors[i].shape for i in full.main.outputs)
    assert short.metadata == set(full.metadata)


def test_macs_are_counted_by_hand(tiny_float_flatbuffer: bytes) -> None:
    # 24 -> 11 (conv 3x3x3 -> 8) -> 9 (depthwise 3x3) -> 4 (pooled twice, 16 channels) -> 2 (conv 3x3x16 -> 16) -> dense 16 -> 4
    expected = 11 * 11 * 8 * 27 + 9 * 9 * 8 * 9 + 2 * 2 * 16 * 9 * 16 + 16 * 4
    assert graph_facts.macs(graph.read(tiny_float_flatbuffer)) == expected


@pytest.mark.parametrize(
    ("name", "arithmetic"),
    [
        ("tiny_float_flatbuffer", "float"),
        ("tiny_dynamic_flatbuffer", "dynamic"),
        ("tiny_int8_flatbuffer", "integer"),
        ("tiny_uint8_flatbuffer", "integer"),
        ("tiny_int8_float_io_flatbuffer", "integer"),
    ],
)
def test_arithmetic_is_told_from_the_file(name: str, arithmetic: str, request: pytest.FixtureRequest) -> None:
    model = graph.read(request.getfixturevalue(name))
    assert graph_facts.arithmetic(model) == arithmetic
    assert (graph_facts.float_ops(model) == ()) == (arithmetic == "integer")


def test_op_counts_and_versions_cover_all_ops(tiny_int8_flatbuffer: bytes) -> None:
    model = graph.read(tiny_int8_flatbuffer)
    counts = graph_facts.op_counts(model)
    assert sum(counts.values()) == len(model.ops)
    assert counts["CONV_2D"] == 2
    assert graph_facts.op_versions(model).keys() == counts.keys()


@pytest.mark.parametrize("keep", [0, 4, 7, 8, 63, 200, 1000])
def test_a_prefix_is_refused(keep: int, tiny_float_flatbuffer: bytes) -> None:
    with pytest.raises(ArtefactError, match="damaged or incomplete"):
        graph.read(tiny_float_flatbuffer[:keep], where="cut.tflite")


def test_every_truncation_that_loses_weights_is_refused(tiny_float_flatbuffer: bytes) -> None:
    model = graph.read(tiny_float_flatbuffer)
    needed = max(start + size for start, size in _constants(tiny_float_flatbuffer))
    assert needed <= len(tiny_float_flatbuffer)
    for keep in range(needed - 1, 0, -len(tiny_float_flatbuffer) // 97):
        with pytest.raises(ArtefactError):
            graph.read(tiny_float_flatbuffer[:keep])
    assert model.ops


def _constants(data: bytes) -> list[tuple[int, int]]:
    root = Flatbuffer(data).root()
    return [buffer.span(0) for buffer in root.tables(4)]


def test_errors_name_file_and_reason(tiny_float_flatbuffer: bytes) -> None:
    broken = bytearray(tiny_float_flatbuffer)
    struct.pack_into("<I", broken, 0, len(broken) * 2)
    with pytest.raises(ArtefactError, match=r"flowers\.tflite: offset \d+ is outside"):
        graph.read(bytes(broken), where="flowers.tflite")


def test_shared_tables_cannot_make_a_small_file_into_endless_work() -> None:
    """A vector of 20,000 offsets to one table whose own vector is long: 400 million reads if nobody counted."""
    count = 20_000
    vtable = struct.pack("<3H", 6, 8, 4) + b"\0\0"
    table = struct.pack("<iI", 8, 4) + struct.pack("<I", 4 * count) + bytes(4 * count)
    outer_vtable = struct.pack("<3H", 6, 8, 4) + b"\0\0"
    outer = struct.pack("<iI", 8, 4)
    offsets_at = 8 + len(outer_vtable) + len(outer)
    table_at = offsets_at + 4 + 4 * count + len(vtable)
    offsets = struct.pack("<I", count) + b"".join(struct.pack("<I", table_at - (offsets_at + 4 + 4 * i)) for i in range(count))
    data = struct.pack("<I", 8 + len(outer_vtable)) + b"TEST" + outer_vtable + outer + offsets + vtable + table
    rows = Flatbuffer(data).root().tables(0)
    with pytest.raises(ArtefactError, match="over and over"):
        for row in rows:
            assert len(row.raw(0)) == 4 * count


def test_counts_are_bounded_by_the_file() -> None:
    vtable = struct.pack("<3H", 6, 8, 4) + b"\0\0"
    data = struct.pack("<I", 16) + b"TEST" + vtable + struct.pack("<iI", 8, 4) + struct.pack("<I", 0xFFFFFFFF)
    with pytest.raises(ArtefactError, match="4294967295 elements"):
        Flatbuffer(data).root().array(0, "<f4")


def test_elements_of_a_scalar_is_one() -> None:
    assert math.prod(()) == 1
    tensor = graph.Tensor(index=0, name="t", shape=(), dtype="int32", quant=None, buffer=0, buffer_bytes=4)
    assert tensor.elements == 1
    assert tensor.is_constant


def _with_weights_behind(flatbuffer: bytes, shift: int = 0) -> bytes:
    """The model as litert-quantizer writes it: the largest buffer lies behind the flatbuffer. ``shift`` falsifies where."""
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    largest = max((b for b in model.buffers if b.data is not None), key=lambda b: len(b.data))
    weights, largest.data = bytes(largest.data), None
    largest.size = len(weights)
    packed = b""
    for offset in (16, None):
        largest.offset = offset or (len(packed) + 15) // 16 * 16 + shift
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        packed = bytes(builder.Output())
    return packed + bytes(-len(packed) % 16) + weights


def test_weights_behind_the_flatbuffer_are_found(tiny_float_flatbuffer: bytes) -> None:
    moved = graph.read(_with_weights_behind(tiny_float_flatbuffer))
    plain = graph.read(tiny_float_flatbuffer)
    assert [t.buffer_bytes for t in moved.tensors] == [t.buffer_bytes for t in plain.tensors]


def test_weights_outside_of_the_file_are_refused(tiny_float_flatbuffer: bytes) -> None:
    with pytest.raises(ArtefactError, match="lie outside of the file"):
        graph.read(_with_weights_behind(tiny_float_flatbuffer, shift=16))
