"""Mapping, on op lists that each have one property which the compiler rejects, and on the public pairs where they are at hand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devices.boards import profiles
from devices.edgetpu import mapping
from devices.edgetpu import ops as edgetpu_ops
from devices.edgetpu import rules as edgetpu_rules
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
    VERSION,
)
from devices.op_list import Network, Op, Operand
from devices.predict import fit
from edge.artefact.opcodes import BUILTIN_OPS

PAIRS = Path(__file__).resolve().parents[4] / "shared" / "edgetpu"


class Builder:
    """Makes small networks: each op reads what was written before."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.count = 0

    def tensor(self, *shape: int, dtype: str = "int8", constant: bool = False, values: tuple[int, ...] | None = None) -> Operand:
        self.count += 1
        return Operand(
            index=self.count,
            name=f"t{self.count}",
            shape=shape,
            dtype=dtype,
            is_constant=constant,
            is_quantized=dtype == "int8",
            is_open=False,
            values=values,
            is_zero=None,
        )

    def op(self, name: str, inputs: list[Operand | None], *outputs: Operand, version: int = 2, **options: int) -> Operand:
        self.ops.append(
            Op(
                index=len(self.ops),
                name=name,
                version=version,
                inputs=tuple(inputs),
                outputs=outputs,
                options=options,
                is_custom=not name.isupper(),
                macs=0,
            )
        )
        return outputs[0]

    def conv(self, image: Operand, channels: int = 8, *, version: int = 3, **options: int) -> Operand:
        weights = self.tensor(channels, 3, 3, image.shape[-1], constant=True)
        bias = self.tensor(channels, dtype="int32", constant=True)
        return self.op("CONV_2D", [image, weights, bias], self.tensor(*image.shape[:-1], channels), version=version, **options)

    def network(self, *outputs: Operand) -> Network:
        written = {operand.index for op in self.ops for operand in op.outputs}
        fed = {operand.index: operand for op in self.ops for operand in op.activations if operand.index not in written}
        return Network(ops=tuple(self.ops), inputs=tuple(fed.values()), outputs=outputs, file_bytes=1000)


Make = Callable[[Builder], Operand]


def after_conv(name: str, *shape: int, constants: list[tuple[int, ...]] | None = None, version: int = 2, **options: int) -> Make:
    """conv -> the op under test -> conv: what it rejects strands the last one."""

    def make(b: Builder) -> Operand:
        image = b.conv(b.tensor(1, 8, 8, 4))
        extra: list[Operand | None] = [b.tensor(len(v), dtype="int32", constant=True, values=v) for v in constants or []]
        result = b.op(name, [image, *extra], b.tensor(*shape), version=version, **options)
        return b.conv(result) if len(shape) == 4 else result

    return make


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


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_a_split_of_three_dimensions_maps(axis: int) -> None:
    """YAMNet's: google-coral/coralmicro, models/yamnet_spectra_in."""
    b = Builder()
    parts = b.tensor(1, 96, 32) if axis != 1 else b.tensor(1, 48, 64)
    where = b.tensor(1, dtype="int32", constant=True, values=(axis,))
    prediction = mapping.predict(b.network(b.op("SPLIT", [where, b.tensor(1, 96, 64)], parts, version=2)))
    assert prediction.mapped == 1 and prediction.per_op[0].doubt == ""


def test_what_is_larger_than_anything_known_to_map_is_not_sure() -> None:
    def logistic(side: int) -> mapping.OpMapping:
        b = Builder()
        image = b.conv(b.tensor(1, side, side, 4), 32)
        return mapping.predict(b.network(b.op("LOGISTIC", [image], b.tensor(1, side, side, 32), version=2))).per_op[1]

    assert logistic(256).mapped and logistic(256).doubt == ""
    large = logistic(320)
    assert large.mapped and "3200 KiB" in large.doubt and "2048 KiB" in large.doubt
    b = Builder()
    network = b.network(b.op("LOGISTIC", [b.conv(b.tensor(1, 320, 320, 4), 32)], b.tensor(1, 320, 320, 32), version=2))
    found = fit.on_board(network, profiles.board("coral-dev-board"))
    (warning,) = [finding for finding in found.findings if "not sure" in finding.message]
    assert warning.severity == "warning" and "op 1 LOGISTIC" in warning.message


def small(b: Builder) -> Network:
    return b.network(b.conv(b.conv(b.tensor(1, 8, 8, 4))))


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


@pytest.mark.parametrize(
    ("compiler", "version", "fails"), [("16.0", 5, False), ("16.0", 6, True), ("14.1", 4, False), ("14.1", 5, True)]
)
def test_op_versions_that_a_compiler_cannot_read(compiler: str, version: int, fails: bool) -> None:
    b = Builder()
    prediction = mapping.predict(b.network(b.conv(b.tensor(1, 8, 8, 4), version=version)), compiler=compiler)
    assert (prediction.failure is not None) == fails
    assert (prediction.mapped == 0) == fails
    if fails:
        assert prediction.failure == f"Didn't find op for builtin opcode 'CONV_2D' version '{version}'"
        assert f"version {version - 1} or lower" in prediction.failure_way_out


def test_transpose_came_with_the_last_compiler() -> None:
    b = Builder()
    order = b.tensor(4, dtype="int32", constant=True, values=(0, 2, 1, 3))
    network = b.network(b.op("TRANSPOSE", [b.conv(b.tensor(1, 8, 8, 4)), order], b.tensor(1, 8, 8, 8)))
    assert mapping.predict(network).cpu == 0
    assert mapping.predict(network, compiler="15.0").per_op[1].reason == NOT_SUPPORTED


@pytest.mark.parametrize(("compiler", "reason"), [("16.0", MAPPED), ("15.0", MAPPED), ("14.1", VERSION), ("2.1", VERSION)])
def test_a_dense_layer_that_keeps_its_dimensions_is_too_new_for_old_compilers(compiler: str, reason: str) -> None:
    b = Builder()
    weights = b.tensor(5, 32, constant=True)
    network = b.network(b.op("FULLY_CONNECTED", [b.tensor(1, 32), weights, None], b.tensor(1, 5), version=5))
    (found,) = mapping.predict(network, compiler=compiler).per_op
    assert found.reason == reason
    assert found.mapped or "version 4 or lower" in found.way_out


def single(b: Builder, name: str, source: tuple[int, ...], result: tuple[int, ...], **options: int) -> Network:
    """One op on uint8, which runtimes of all ages take."""
    constants = {"MEAN": (3,), "PAD": (0, 0, 0, 0, 0, 0, 0, 1)}.get(name)
    extra: list[Operand | None] = [b.tensor(len(constants), dtype="int32", constant=True, values=constants)] if constants else []
    if name == "DEPTHWISE_CONV_2D":
        extra = [b.tensor(1, 3, 3, source[-1], dtype="uint8", constant=True)]
    operands: list[Operand | None] = [b.tensor(*source, dtype="uint8"), *extra]
    return b.network(b.op(name, operands, b.tensor(*result, dtype="uint8"), version=1, **options))


@pytest.mark.parametrize(
    ("name", "source", "result", "options"),
    [
        ("DEPTHWISE_CONV_2D", (1, 8, 8, 8), (1, 8, 8, 8), {"dilation_w": 2, "dilation_h": 2}),
        ("MEAN", (1, 8, 8, 8), (1, 8, 8, 1), {}),
        ("PAD", (1, 8, 8, 8), (1, 8, 8, 9), {}),
        ("SQUEEZE", (1, 5, 1, 10), (5, 10), {}),
    ],
)
def test_what_runtime_13_brought(name: str, source: tuple[int, ...], result: tuple[int, ...], options: dict[str, int]) -> None:
    network = single(Builder(), name, source, result, **options)
    assert mapping.predict(network, min_runtime=13).cpu == 0
    (found,) = mapping.predict(network, min_runtime=12).per_op
    assert found.reason == VERSION and "runtime 13" in found.way_out


@pytest.mark.parametrize(
    ("height", "channels", "maps"), [(20, 144, True), (24, 144, True), (28, 144, False), (32, 144, True), (28, 79, True)]
)
def test_transposes_as_they_were_seen_in_yolo(height: int, channels: int, maps: bool) -> None:
    b = Builder()
    order = b.tensor(4, dtype="int32", constant=True, values=(0, 3, 1, 2))
    image = b.tensor(1, height, height, channels)
    network = b.network(b.op("TRANSPOSE", [image, order], b.tensor(1, channels, height, height)))
    assert (mapping.predict(network).cpu == 0) == maps


@pytest.mark.parametrize(("length", "maps"), [(16_384, True), (16_385, False)])
def test_the_longest_softmax(length: int, maps: bool) -> None:
    b = Builder()
    network = b.network(b.op("SOFTMAX", [b.tensor(1, length)], b.tensor(1, length)))
    assert (mapping.predict(network).cpu == 0) == maps


@pytest.mark.parametrize(("height", "maps"), [(64, True), (256, False)])
def test_means_over_large_images(height: int, maps: bool) -> None:
    b = Builder()
    axes = b.tensor(2, dtype="int32", constant=True, values=(1, 2))
    network = b.network(b.op("MEAN", [b.tensor(1, height, 128, 3), axes], b.tensor(1, 3)))
    assert (mapping.predict(network).cpu == 0) == maps


def test_an_op_newer_than_the_compiler_is_out_of_range() -> None:
    b = Builder()
    prediction = mapping.predict(b.network(after_conv("GELU", 1, 8, 8, 8)(b)))
    assert prediction.failure == "Op builtin_code out of range (GELU)"
    assert all(op.way_out for op in prediction.per_op)


def test_an_old_runtime_takes_no_int8() -> None:
    prediction = mapping.predict(small(Builder()), min_runtime=11)
    assert {op.reason for op in prediction.per_op} == {VERSION}


def test_a_float_model_is_refused_as_a_whole() -> None:
    b = Builder()
    image = b.op("RELU", [b.tensor(1, 8, 8, 4, dtype="float32")], b.tensor(1, 8, 8, 4, dtype="float32"))
    prediction = mapping.predict(b.network(image))
    assert prediction.failure == "Model not quantized"
    assert prediction.mapped == 0 and prediction.per_op[0].reason == DATA_TYPE


def test_a_size_that_is_computed_is_refused() -> None:
    b = Builder()
    image = b.conv(b.tensor(1, 8, 8, 4))
    prediction = mapping.predict(b.network(b.op("RESHAPE", [image, b.tensor(2, dtype="int32")], b.tensor(1, 512), version=1)))
    assert prediction.failure is not None and "dynamic-sized" in prediction.failure


def test_an_open_batch_alone_is_not() -> None:
    b = Builder()
    network = b.network(b.conv(replace(b.tensor(1, 8, 8, 4), is_open=True)))
    assert mapping.predict(network).failure is None


def test_only_moving_ones_is_no_transpose() -> None:
    b = Builder()
    order = b.tensor(4, dtype="int32", constant=True, values=(0, 3, 1, 2))
    network = b.network(b.op("TRANSPOSE", [b.conv(b.tensor(1, 500, 500, 4), 1), order], b.tensor(1, 1, 500, 500)))
    assert network.ops[1].activations[0].bytes > edgetpu_rules.TRANSPOSE_IN_STEP_BYTES
    assert mapping.predict(network).cpu == 0


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
