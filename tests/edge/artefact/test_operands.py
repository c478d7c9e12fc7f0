"""An op without an operand that its kernel reads would crash the interpreter: it is refused before."""

from __future__ import annotations

import struct

import pytest

from edge.artefact import graph, operands
from edge.artefact.flatbuffer import Flatbuffer
from edge.artefact.opcodes import BUILTIN_OPS
from edge.errors import ArtefactError


def test_each_absent_operand_is_refused_unless_it_is_optional(tiny_int8_flatbuffer: bytes) -> None:
    ops = graph.read(tiny_int8_flatbuffer).ops
    tables = list(next(Flatbuffer(tiny_int8_flatbuffer).root().tables(2)).tables(3))
    refused = []
    for op, table in zip(ops, tables, strict=True):
        start, count = table._vector(1, 4)
        for place in range(count):
            damaged = bytearray(tiny_int8_flatbuffer)
            struct.pack_into("<i", damaged, start + 4 * place, -1)
            try:
                graph.read(bytes(damaged))
            except ArtefactError as error:
                assert f"op {op.index} ({op.name}) has no operand {place}" in str(error)
                refused.append((op.name, place))
            else:
                assert (op.name, place) in {("CONV_2D", 2), ("DEPTHWISE_CONV_2D", 2), ("FULLY_CONNECTED", 2)}
    assert {("CONV_2D", 0), ("CONV_2D", 1), ("MEAN", 1), ("CONCATENATION", 1)} <= set(refused)


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        *(("CONV_2D", (0,), (1,)), ("ADD", (0, -1), (1,)), ("ADD", (0, 1), ()), ("SOFTMAX", (), (1,)), ("SOFTMAX", (-1,), (1,))),
        *(("TOPK_V2", (0, 1), (2,)), ("STRIDED_SLICE", (0, 1, 2), (3,)), ("CONCATENATION", (0, -1), (1,)), ("PACK", (-1,), (1,))),
        *(
            ("LSTM", (*range(18), -1, 19), (20,)),
            ("UNIDIRECTIONAL_SEQUENCE_LSTM", tuple(range(19)), (20,)),
            ("GELU", (-1,), (1,)),
        ),
        *(("IF", (-1,), ()), ("WHILE", (-1,), (1,)), ("ASSIGN_VARIABLE", (0,), ()), ("BUILTIN_999", (-1,), (1,))),
    ],
)
def test_operands_that_lack(name: str, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
    with pytest.raises(ArtefactError, match=rf"op 7 \({name}\)"):
        operands.check(7, name, inputs, outputs)


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        *(
            ("CONV_2D", (0, 1, -1), (2,)),
            ("CONV_2D", (0, 1), (2,)),
            ("FULLY_CONNECTED", (0, 1, -1), (2,)),
            ("RESHAPE", (0,), (1,)),
        ),
        *(("TRANSPOSE_CONV", (0, 1, 2, -1), (3,)), ("SVDF", (0, 1, 2, -1, 4), (5,)), ("CALL_ONCE", (), ()), ("WHILE", (), ())),
        *(("LSTM", (0, -1, 2, 3, 4, -1, 6, 7, 8, -1, -1, -1, -1, *range(13, 16), -1, -1, 18, 19), (20,)),),
        *(("STABLEHLO_COMPOSITE", (-1,), ()), ("VAR_HANDLE", (), (1,)), ("ASSIGN_VARIABLE", (0, 1), ())),
    ],
)
def test_operands_that_suffice(name: str, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
    operands.check(7, name, inputs, outputs)


def test_the_tables_name_ops_that_there_are() -> None:
    for table in (operands._MAY_BE_ABSENT, operands._LEAST_READ, operands._LEAST_WRITTEN, operands._MAY_BE_BARE):
        assert set(table) <= set(BUILTIN_OPS)
