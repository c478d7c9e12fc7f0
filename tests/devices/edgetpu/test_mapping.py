"""Mapping, on op lists that each have one property which the compiler rejects, and on the public pairs where they are at hand."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devices.edgetpu import mapping
from devices.edgetpu import ops as edgetpu_ops
from devices.edgetpu.ops import (
    DATA_TYPE,
    FIRST_RUNTIME,
    MAPPED,
    NOT_CONSTANT,
    NOT_SUPPORTED,
    ONE_SUBGRAPH,
    RANK,
    STATUSES,
    STRIDED,
    UNSPECIFIED,
)
from devices.op_list import Network, Operand
from edge.artefact.opcodes import BUILTIN_OPS
from tests.devices.edgetpu.builder import Builder, Make, after_conv, small

PAIRS = Path(__file__).resolve().parents[4] / "shared" / "edgetpu"


def large_transpose(b: Builder) -> Operand:
    order = b.tensor(4, dtype="int32", constant=True, values=(0, 3, 1, 2))
    return b.op("TRANSPOSE", [b.conv(b.tensor(1, 28, 28, 4), 144), order], b.tensor(1, 144, 28, 28))


def constant_join(b: Builder) -> Operand:
    ones = replace(b.tensor(1, 8, 8, 8, constant=True), is_zero=False)
    return b.op("CONCATENATION", [b.conv(b.tensor(1, 8, 8, 4)), ones], b.tensor(1, 8, 8, 16), axis=3)


def computed_weights(b: Builder) -> Operand:
    image = b.conv(b.tensor(1, 8, 8, 4))
    return b.op("CONV_2D", [image, b.tensor(1, 3, 3, 8), None], b.tensor(1, 8, 8, 1), version=3)


def batch_of_two(b: Builder) -> Operand:
    return b.conv(b.tensor(2, 8, 8, 4))


def float_output(b: Builder) -> Operand:
    return b.op("DEQUANTIZE", [b.conv(b.tensor(1, 8, 8, 4))], b.tensor(1, 8, 8, 8, dtype="float32"))


def post_processing(b: Builder) -> Operand:
    return b.op("TFLite_Detection_PostProcess", [b.conv(b.tensor(1, 8, 8, 4))], b.tensor(1, 10, 4, dtype="float32"))


def wide_activations(b: Builder) -> Operand:
    image = b.conv(b.tensor(1, 8, 8, 4))
    return b.op("ADD", [image, b.tensor(1, 8, 8, 8, dtype="int16")], b.tensor(1, 8, 8, 8, dtype="int16"))


def shared_alpha(b: Builder) -> Operand:
    return b.op("PRELU", [b.conv(b.tensor(1, 8, 8, 4)), b.tensor(8, 8, 8, constant=True)], b.tensor(1, 8, 8, 8), version=1)


# One property each; the op under test is the second (a network of one op: the first).
REJECTED: dict[str, tuple[Make, str]] = {
    "a fused activation in a pooling": (after_conv("MAX_POOL_2D", 1, 4, 4, 8, activation=1), UNSPECIFIED),
    "an op that does not exist there": (after_conv("LEAKY_RELU", 1, 8, 8, 8), NOT_SUPPORTED),
    "a stride in a slice": (after_conv("STRIDED_SLICE", 1, 4, 4, 8, constants=[(0,) * 4, (0,) * 4, (1, 2, 2, 1)]), STRIDED),
    "a mean over the batch": (after_conv("MEAN", 8, 8, 8, constants=[(0,)]), UNSPECIFIED),
    "padding of the batch": (after_conv("PAD", 2, 8, 8, 8, constants=[(0, 1, 0, 0, 0, 0, 0, 0)]), RANK),
    "a large transpose": (large_transpose, UNSPECIFIED),
    "a constant that is not zero": (constant_join, UNSPECIFIED),
    "weights that are computed": (computed_weights, NOT_CONSTANT),
    "another dilation in x and y": (lambda b: b.conv(b.conv(b.tensor(1, 8, 8, 4)), dilation_w=2, dilation_h=1), UNSPECIFIED),
    "batch 2": (batch_of_two, RANK),
    "float output": (float_output, DATA_TYPE),
    "a custom op": (post_processing, DATA_TYPE),
    "int16 activations": (wide_activations, DATA_TYPE),
    "an alpha per pixel": (shared_alpha, UNSPECIFIED),
    "the batch is split": (after_conv("SPLIT", 1, 8, 8, 8, constants=[(-4,)]), UNSPECIFIED),
    "packing along the batch": (after_conv("PACK", 1, 8, 8, 8, axis=-4), UNSPECIFIED),
    "an ellipsis in a slice": (after_conv("STRIDED_SLICE", 1, 8, 8, 8, constants=[(0,) * 4] * 3, ellipsis_mask=1), STRIDED),
    "more than one pixel repeated": (after_conv("TILE", 1, 16, 8, 8, constants=[(1, 2, 1, 1)]), UNSPECIFIED),
}


@pytest.mark.parametrize("name", REJECTED)
def test_one_property_decides(name: str) -> None:
    make, status = REJECTED[name]
    builder = Builder()
    network = builder.network(make(builder))
    prediction = mapping.predict(network)
    assert prediction.failure is None
    position = min(1, len(network.ops) - 1)
    assert prediction.per_op[position].reason == status
    assert not any(op.mapped for op in prediction.per_op[position + 1 :])
    assert all(op.mapped for op in prediction.per_op[:position])
    assert all(op.detail and op.way_out for op in prediction.per_op if not op.mapped)


def test_every_status_that_is_predicted_is_the_compilers() -> None:
    assert {status for _, status in REJECTED.values()} <= set(STATUSES)


@pytest.mark.parametrize("name", [name for name in BUILTIN_OPS if name not in FIRST_RUNTIME])
def test_every_op_that_it_does_not_have_gets_a_way_out(name: str) -> None:
    b = Builder()
    found = edgetpu_ops.examine(b.network(after_conv(name, 1, 8, 8, 8)(b)).ops[1])
    assert found is not None and found.status in (NOT_SUPPORTED, DATA_TYPE) and found.way_out


def test_a_network_of_convolutions_maps_in_one_subgraph() -> None:
    prediction = mapping.predict(small(Builder()))
    assert (prediction.mapped, prediction.cpu, prediction.subgraphs) == (2, 0, 1)
    assert all(op.proven and op.subgraph == 0 for op in prediction.per_op)


def test_float_input_costs_its_own_op_only() -> None:
    b = Builder()
    image = b.op("QUANTIZE", [b.tensor(1, 8, 8, 4, dtype="float32")], b.tensor(1, 8, 8, 4), version=1)
    prediction = mapping.predict(b.network(b.conv(image)))
    assert [op.reason for op in prediction.per_op] == [UNSPECIFIED, MAPPED]
    assert "int8" in prediction.per_op[0].way_out


def branches() -> Network:
    """A branch that is rejected in the middle, beside one that is not, joined at the end."""
    b = Builder()
    stem = b.conv(b.tensor(1, 8, 8, 4))
    left = b.conv(b.op("LEAKY_RELU", [b.conv(stem)], b.tensor(1, 8, 8, 8)))
    right = b.conv(b.conv(stem))
    return b.network(b.conv(b.op("ADD", [left, right], b.tensor(1, 8, 8, 8))))


def test_order_in_the_file_does_not_matter_but_dependency_does() -> None:
    prediction = mapping.predict(branches())
    assert [op.reason for op in prediction.per_op] == [
        *(MAPPED, MAPPED, NOT_SUPPORTED, ONE_SUBGRAPH),
        *(MAPPED, MAPPED, ONE_SUBGRAPH, ONE_SUBGRAPH),
    ]


def test_the_op_to_look_at_is_the_one_that_strands_others() -> None:
    """Not the conversion of the input, which strands nothing, and not the conversion before a float op, but that op."""
    b = Builder()
    image = b.op("CAST", [b.tensor(1, 8, 8, 4, dtype="int32")], b.tensor(1, 8, 8, 4, dtype="float32"), version=1)
    stem = b.conv(b.op("QUANTIZE", [image], b.tensor(1, 8, 8, 4), version=1))
    widened = b.op("DEQUANTIZE", [stem], b.tensor(1, 8, 8, 8, dtype="float32"))
    waved = b.op("SIN", [widened], b.tensor(1, 8, 8, 8, dtype="float32"), version=1)
    back = b.op("QUANTIZE", [waved], b.tensor(1, 8, 8, 8), version=1)
    prediction = mapping.predict(b.network(b.conv(back)))
    assert [op.op for op in prediction.per_op if op.mapped] == ["CONV_2D"]
    assert prediction.first_rejected and prediction.first_rejected.op == "SIN"
    b = Builder()
    whole = mapping.predict(b.network(float_output(b)))
    assert whole.first_rejected and whole.first_rejected.op == "DEQUANTIZE"
    assert mapping.predict(small(Builder())).first_rejected is None


def test_all_subgraphs_maps_what_comes_behind() -> None:
    prediction = mapping.predict(branches(), all_subgraphs=True)
    assert (prediction.mapped, prediction.cpu, prediction.subgraphs) == (7, 1, 2)
    assert [op.subgraph for op in prediction.per_op] == [0, 0, None, 1, 0, 0, 1, 1]


def pairs() -> list[Any]:
    if not (PAIRS / "pairs.json").exists():
        return []
    return list(json.loads((PAIRS / "pairs.json").read_text(encoding="utf-8")))


@pytest.mark.skipif(not pairs(), reason="the compiled public models are not here")
def test_every_op_of_the_public_pairs() -> None:
    from edge.artefact import graph
    from edge.predict.op_list import network_of

    wrong = {}
    for pair in pairs():
        path = PAIRS / pair["file"]
        network = network_of(graph.read(path.read_bytes()), path)
        prediction = mapping.predict(network)
        names = {op.index: f"CUSTOM:{op.name}" if op.is_custom else op.name for op in network.ops}
        left = Counter(names[op.index] for op in prediction.per_op if not op.mapped)
        if left != Counter(pair["left_on_cpu"]):
            wrong[pair["cpu"]] = left
    assert wrong == {}
