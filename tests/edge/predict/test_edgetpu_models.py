"""Mapping of files that TensorFlow made here: each has one property that the Edge TPU compiler rejects, between two convolutions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices.edgetpu import mapping
from devices.edgetpu.mapping import Prediction
from devices.edgetpu.ops import DATA_TYPE, MAPPED, NOT_CONSTANT, NOT_SUPPORTED, ONE_SUBGRAPH, RANK, STRIDED, UNSPECIFIED
from edge.artefact import graph
from edge.predict.op_list import network_of

Layer = Callable[[Any], Any]
SHAPE = (1, 16, 16, 4)


def convolution(x: Any, channels: int = 8, dilation: int = 1) -> Any:
    import tensorflow as tf

    weights = np.random.default_rng(0).normal(size=(3, 3, x.shape[-1], channels)).astype(np.float32)
    return tf.nn.relu(tf.nn.conv2d(x, weights, 1, "SAME", dilations=dilation))


def predict(tmp_path: Path, layer: Layer, shape: tuple[int | None, ...] = SHAPE, **options: Any) -> Prediction:
    """Convert convolution, ``layer``, convolution to int8 and predict what becomes of it."""
    path = tmp_path / "model.tflite"
    path.write_bytes(convert(layer, shape, options.pop("io", "int8"), options.pop("int16", False)))
    return mapping.predict(network_of(graph.read(path.read_bytes()), path), **options)


def convert(layer: Layer, shape: tuple[int | None, ...], io: str, int16: bool) -> bytes:
    import tensorflow as tf

    def network(x: Any) -> Any:
        y = layer(convolution(x))
        return convolution(y) if len(y.shape) == 4 and y.dtype == tf.float32 else y

    function = tf.function(network, input_signature=[tf.TensorSpec(shape, tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], function)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    one = tuple(size or 1 for size in shape)
    data = np.random.default_rng(1).normal(size=(4, *one)).astype(np.float32)
    converter.representative_dataset = lambda: ([x] for x in data)
    if int16:
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        ]
    else:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(io)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own
        return bytes(converter.convert())


def parametric(alpha: np.ndarray) -> Layer:
    """PReLU as Keras writes it, which the converter joins into one op."""

    def layer(x: Any) -> Any:
        y = x - 1.0  # what is never negative needs no PReLU
        return call("nn.relu")(y) + -alpha * call("nn.relu")(-y)

    return layer


def tensorflow(name: str) -> Any:
    import tensorflow as tf

    found: Any = tf
    for part in name.split("."):
        found = getattr(found, part)
    return found


def call(name: str, *args: Any, **options: Any) -> Layer:
    """A layer that calls ``tf.NAME``; TensorFlow is imported when a test runs, not when it is collected."""
    return lambda x: tensorflow(name)(x, *args, **options)


# What is rejected: the layer, the op that it becomes, the compiler's status, and what the detail or the way out must say.
REJECTED: dict[str, tuple[Layer, str, str, str]] = {
    "leaky ReLU": (call("nn.leaky_relu", 0.1), "LEAKY_RELU", NOT_SUPPORTED, "PReLU"),
    "an alpha per pixel": (parametric(np.full((16, 16, 8), 0.25, np.float32)), "PRELU", UNSPECIFIED, "shared_axes=[1, 2]"),
    "a stride in a slice": (lambda x: x[:, ::2, ::2, :], "STRIDED_SLICE", STRIDED, "SPACE_TO_DEPTH"),
    "an index": (call("gather", [0, 2, 5], axis=3), "GATHER", NOT_SUPPORTED, "SLICE"),
    "the largest channel": (call("argmax", axis=3), "ARG_MAX", NOT_SUPPORTED, "outside"),
    "a sine": (call("sin"), "SIN", DATA_TYPE, "float32"),
    "a product of two activations": (
        lambda x: call("linalg.matmul", call("reshape", (1, 8, 256))(x))(call("reshape", (1, 256, 8))(x)),
        "BATCH_MATMUL",
        NOT_SUPPORTED,
        "dense layer",
    ),
    "a softmax over too much": (
        lambda x: call("nn.softmax")(call("reshape", (1, 20480))(convolution(x, 80))),
        "SOFTMAX",
        UNSPECIFIED,
        "logits",
    ),
    "a dense layer over positions": (
        lambda x: call("linalg.matmul", np.ones((8, 5), np.float32))(call("reshape", (1, 256, 8))(x)),
        "FULLY_CONNECTED",
        UNSPECIFIED,
        "one-dimensional",
    ),
    "five dimensions": (call("reshape", (1, 4, 4, 16, 8)), "RESHAPE", RANK, "3 dimensions"),
    "odd channels averaged": (
        lambda x: call("reduce_mean", axis=3, keepdims=True)(convolution(x, 6)),
        "MEAN",
        UNSPECIFIED,
        "multiple of 4",
    ),
    "one pixel spread by interpolation": (
        lambda x: call("image.resize", (16, 16))(call("reduce_mean", axis=[1, 2], keepdims=True)(x)),
        "RESIZE_BILINEAR",
        UNSPECIFIED,
        "TILE",
    ),
}


@pytest.mark.parametrize("name", REJECTED)
def test_one_property_sends_the_op_and_what_follows_to_the_cpu(name: str, tmp_path: Path) -> None:
    layer, op, status, words = REJECTED[name]
    prediction = predict(tmp_path, layer)
    assert prediction.failure is None
    rejected = [found for found in prediction.per_op if found.op == op and not found.mapped]
    assert [found.reason for found in rejected] == [status], [(found.op, found.reason) for found in prediction.per_op]
    assert words in f"{rejected[0].detail}; {rejected[0].way_out}"
    assert prediction.per_op[0].mapped, "the convolution before it stays on the Edge TPU"
    for found in prediction.per_op:
        assert found.mapped or (found.detail and found.way_out), f"{found.op} says not what is wrong, or not what to do"
        assert found.mapped or found.index >= prediction.per_op[0].index
    if prediction.per_op[-1].op == "CONV_2D":
        assert prediction.per_op[-1].reason == ONE_SUBGRAPH


# The same families of ops, without the property.
MAPPED_LAYERS: dict[str, tuple[Layer, str]] = {
    "ReLU6": (call("nn.relu6"), "CONV_2D"),
    "a slice": (lambda x: x[:, 2:14, 2:14, :], "STRIDED_SLICE"),
    "parts joined again": (lambda x: call("concat", axis=3)(call("split", 2, axis=3)(x)), "SPLIT"),
    "squeeze and excite": (
        lambda x: x * call("sigmoid")(convolution(call("reduce_mean", axis=[1, 2], keepdims=True)(x), 8)),
        "LOGISTIC",
    ),
    "space to depth": (call("nn.space_to_depth", 2), "SPACE_TO_DEPTH"),
    "twice the size": (call("image.resize", (32, 32)), "RESIZE_BILINEAR"),
    "the nearest pixel": (call("image.resize", (32, 32), method="nearest"), "RESIZE_NEAREST_NEIGHBOR"),
    "padding of the image": (call("pad", [[0, 0], [1, 1], [1, 1], [0, 0]]), "PAD"),
    "an alpha per channel": (parametric(np.full((1, 1, 8), 0.25, np.float32)), "PRELU"),
    "a sum": (call("reduce_sum", axis=[1, 2], keepdims=True), "SUM"),
    "the largest value": (call("reduce_max", axis=[1, 2], keepdims=True), "REDUCE_MAX"),
    "a hyperbolic tangent": (call("tanh"), "TANH"),
    "unit length": (call("math.l2_normalize", axis=3), "L2_NORMALIZATION"),
    "a dilated convolution": (lambda x: convolution(x, dilation=2), "CONV_2D"),
    "a softmax": (lambda x: call("nn.softmax")(call("reshape", (1, 2048))(x)), "SOFTMAX"),
    "a transposed convolution": (
        lambda x: tensorflow("nn.conv2d_transpose")(x, np.ones((3, 3, 8, 8), np.float32), (1, 32, 32, 8), 2),
        "TRANSPOSE_CONV",
    ),
}


@pytest.mark.parametrize("name", MAPPED_LAYERS)
def test_without_the_property_everything_maps(name: str, tmp_path: Path) -> None:
    layer, op = MAPPED_LAYERS[name]
    prediction = predict(tmp_path, layer)
    assert prediction.failure is None, prediction.failure
    assert {found.reason for found in prediction.per_op} == {MAPPED}, [(f.op, f.reason, f.detail) for f in prediction.per_op]
    assert op in {found.op for found in prediction.per_op}
    assert prediction.subgraphs == 1


def test_batch_two_has_the_wrong_rank(tmp_path: Path) -> None:
    prediction = predict(tmp_path, call("nn.relu6"), (2, 16, 16, 4))
    assert {found.reason for found in prediction.per_op} == {RANK}
    assert prediction.per_op[0].way_out == "convert with batch 1"


def test_float_inputs_and_outputs_cost_the_conversions(tmp_path: Path) -> None:
    prediction = predict(tmp_path, call("nn.relu6"), io="float32")
    assert [found.op for found in prediction.per_op if not found.mapped] == ["QUANTIZE", "DEQUANTIZE"]
    assert [found.reason for found in prediction.per_op if not found.mapped] == [UNSPECIFIED, DATA_TYPE]
    assert "export with int8 or uint8 output" in prediction.per_op[-1].way_out


def test_a_float_op_inside_is_named_by_the_conversion_before_it(tmp_path: Path) -> None:
    prediction = predict(tmp_path, call("sin"))
    before = next(found for found in prediction.per_op if found.op == "DEQUANTIZE")
    assert before.reason == DATA_TYPE and "SIN behind it computes in float" in before.way_out


def test_sixteen_bit_activations_stay_on_the_cpu(tmp_path: Path) -> None:
    prediction = predict(tmp_path, call("nn.relu6"), int16=True)
    assert prediction.mapped == 0 and prediction.failure is None
    assert {found.reason for found in prediction.per_op if found.op == "CONV_2D"} == {DATA_TYPE}


def test_a_size_that_follows_the_batch_is_refused(tmp_path: Path) -> None:
    def flatten(x: Any) -> Any:
        return call("reshape", (tensorflow("shape")(x)[0], 2048))(x)

    prediction = predict(tmp_path, flatten, (None, 16, 16, 4))
    assert prediction.failure is not None and "dynamic-sized" in prediction.failure
    assert "fix the batch to 1" in prediction.failure_way_out
    assert predict(tmp_path, flatten).failure is None


def test_weights_that_are_computed_are_not_constant(tmp_path: Path) -> None:
    def dense(x: Any) -> Any:
        row = call("reshape", (1, 2048))(x)
        weights = call("reshape", (2048, 1))(call("tanh")(x))
        return tensorflow("linalg.matmul")(row, weights)

    prediction = predict(tmp_path, dense)
    product = next(found for found in prediction.per_op if found.op in ("FULLY_CONNECTED", "BATCH_MATMUL"))
    assert product.reason == (NOT_CONSTANT if product.op == "FULLY_CONNECTED" else NOT_SUPPORTED)
