"""Whether the network in training answers as its converted file does, and what proves that it does not."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import quantize
from edge.artefact import graph, graph_facts
from quantize import ptq
from tests.quantize.qat.conftest import Prepared, prepare

pytestmark = pytest.mark.converts


@pytest.mark.parametrize("per_channel", [True, False])
def test_the_fake_quantized_network_answers_as_the_converted_file(prepared: Prepared, per_channel: bool) -> None:
    from quantize.qat import parity as qat_parity
    from quantize.qat import scheme as qat_scheme
    from quantize.qat.train import predictor

    quantized = qat_scheme.quantize_network(prepared.network, prepared.places, prepared.table, per_channel=per_channel)
    raw = prepared.exporter.int8(prepared.table.read(), per_channel=per_channel)
    answers = predictor(quantized, prepared.table)(np.concatenate(prepared.images))
    finished = ptq.assemble(raw, prepared.source.contract)
    names = prepared.source.output_names
    parity = qat_parity.compare(finished, dict(zip(names, answers, strict=True)), prepared.images, headline=names[0])
    assert parity.agreement == 1.0 and parity.steps < 0.5
    arguments = (prepared.exporter.tensor_of, quantized, prepared.table, prepared.places, prepared.images[0])
    assert qat_parity.first_divergence(raw, *arguments) is None
    moves = qat_parity.sensitivity(finished, predictor(quantized, prepared.table), names, prepared.images[0])
    assert moves < 20.0  # and 0 where it is sure of its answer
    ranges = prepared.table.read()
    dense = next(place.layer for place in prepared.places.observed if place.kind == "Dense")
    ranges[dense] = (ranges[dense][0] / 8, ranges[dense][1] / 8)
    wrong = prepared.exporter.int8(ranges, per_channel=per_channel)
    assert str(qat_parity.first_divergence(wrong, *arguments)).startswith(f"{dense} (Dense), by ")


def _resized(keras: Any, x: Any) -> Any:
    """Resizing, and PReLU."""
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(keras.layers.Resizing(24, 24)(x))
    for filters in (8, 12):
        x = keras.layers.BatchNormalization()(keras.layers.Conv2D(filters, 3, strides=2, use_bias=False)(x))
        x = keras.layers.PReLU(shared_axes=[1, 2], alpha_initializer=keras.initializers.Constant(0.25))(x)
    return x


def _gated(keras: Any, x: Any) -> Any:
    """What EfficientNet is made of: Normalization, swish, squeeze and excite."""
    layers = keras.layers
    x = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.05, 0.06, 0.07])(layers.Rescaling(1 / 255)(x))
    x = layers.Activation("swish")(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, use_bias=False)(x)))
    for _ in range(2):
        gate = layers.Conv2D(4, 1, activation="swish")(layers.GlobalAveragePooling2D(keepdims=True)(x))
        gated = layers.Multiply()([x, layers.Conv2D(8, 1, activation="sigmoid")(gate)])
        x = layers.Add()([x, layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(gated))])
    return x


@pytest.mark.parametrize("beginning", [_resized, _gated])
def test_other_peoples_layers_are_simulated_as_they_are_converted(beginning: Any) -> None:
    import keras

    from quantize.qat import parity as qat_parity
    from quantize.qat import scheme as qat_scheme
    from quantize.qat.train import predictor

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (1, 4 + i % 3, 4 + i % 3, 3)) for i in range(8)]
    images = [np.asarray(keras.ops.image.resize(each.astype(np.float32), (32, 32)), np.float32) for each in coarse]
    picture = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(beginning(keras, picture))
    model = keras.Model(picture, keras.layers.Dense(2, activation="softmax", name="answer")(x))
    source = quantize.load(model, name="other", labels=("cat", "dog"))
    made = prepare(source, images)

    quantized = qat_scheme.quantize_network(made.network, made.places, made.table)
    raw = made.exporter.int8(made.table.read())
    finished = ptq.assemble(raw, source.contract)
    answers = predictor(quantized, made.table)(np.concatenate(images))
    parity = qat_parity.compare(finished, {"answer": answers[0]}, images, headline="answer")

    assert not graph_facts.float_ops(graph.read(finished))
    assert parity.steps < 2.0 and parity.agreement is not None and parity.agreement >= 7 / 8
    arguments = (made.exporter.tensor_of, quantized, made.table, made.places, images[0])
    assert qat_parity.first_divergence(raw, *arguments) is None


def test_a_layer_that_differs_proves_nothing_where_the_network_itself_moves_as_much() -> None:
    from quantize.qat.parity import Parity

    one_of_80 = Parity(
        images=80, agreement=79 / 80, steps=0.8, apart=0, diverges="conv2d_5 (Conv2D), by 3.0 steps on average", moves=2.5
    )
    assert one_of_80.holds
    assert not dataclasses.replace(one_of_80, moves=0.2).holds
    assert not dataclasses.replace(one_of_80, agreement=70 / 80).holds  # beyond chance, whatever moves


@pytest.mark.parametrize(
    ("images", "others", "diverges", "close", "holds"),
    [
        (200, 2, None, True, True),
        (80, 1, None, False, True),  # rounding turns an image that is undecided
        (80, 1, "conv2d_5 (Conv2D), by 3.0 steps on average", False, False),
        (80, 2, None, False, True),
        (80, 3, None, False, False),  # chance gives that many in 4.7 % of cases
        (200, 20, None, False, False),
    ],
)
def test_few_images_break_parity_only_with_a_layer_or_beyond_chance(
    images: int, others: int, diverges: str | None, close: bool, holds: bool
) -> None:
    from quantize.qat.parity import Parity

    parity = Parity(images=images, agreement=1 - others / images, steps=0.1, apart=0, diverges=diverges)
    assert (parity.close, parity.holds) == (close, holds)


def test_the_image_to_look_at_is_the_first_with_another_answer(prepared: Prepared) -> None:
    from quantize.qat import parity as qat_parity
    from quantize.qat import scheme as qat_scheme
    from quantize.qat.train import predictor

    quantized = qat_scheme.quantize_network(prepared.network, prepared.places, prepared.table, per_channel=True)
    answers = [values.copy() for values in predictor(quantized, prepared.table)(np.concatenate(prepared.images))]
    answers[0][2:] = np.roll(answers[0][2:], 1, axis=-1)
    finished = ptq.assemble(prepared.exporter.int8(prepared.table.read()), prepared.source.contract)
    names = prepared.source.output_names
    parity = qat_parity.compare(finished, dict(zip(names, answers, strict=True)), prepared.images, headline=names[0])
    assert parity.apart == 2 and parity.agreement == 2 / len(prepared.images) and not parity.holds
