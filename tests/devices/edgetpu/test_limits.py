"""What the compiler takes: versions of ops, compilers and runtimes, and sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from devices.boards import profiles
from devices.edgetpu import mapping
from devices.edgetpu import rules as edgetpu_rules
from devices.edgetpu.ops import (
    DATA_TYPE,
    MAPPED,
    NOT_SUPPORTED,
    VERSION,
)
from devices.op_list import Network, Operand
from devices.predict import fit
from tests.devices.edgetpu.builder import Builder, after_conv, small


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
