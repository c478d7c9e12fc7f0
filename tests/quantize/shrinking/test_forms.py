"""Models of other forms: sequential, several inputs, nested models that are called twice, layers that learned from data, Lambda."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quantize.errors import ConversionError
from quantize.quiet import import_keras
from quantize.shrinking.structure import look
from quantize.shrinking.surgery import Cut, apply, gated
from tests.quantize.shrinking.test_blocks import TOLERANCE, difference, pictures

pytestmark = pytest.mark.converts


def residual(name: str, channels: int = 4) -> Any:
    """A model of two blocks and a convolution between them."""
    layers = import_keras().layers
    picture = import_keras().Input((8, 8, channels), name=f"{name}_in")
    x = layers.Add(name="first")([picture, layers.Conv2D(channels, 3, padding="same", name="branch_1")(picture)])
    x = layers.Conv2D(channels, 1, name="free")(layers.Conv2D(6, 1, activation="relu", name="middle")(x))
    x = layers.Add(name="second")([x, layers.Conv2D(channels, 1, name="branch_2")(x)])
    return import_keras().Model(picture, layers.ReLU(name="last")(x), name=name)


def test_a_sequential_model_around_a_nested_one_with_what_it_learned_of_the_pictures() -> None:
    keras = import_keras()
    learned = keras.layers.Normalization(name="learned")
    learned.adapt(np.random.default_rng(0).normal(3, 2, (50, 8, 8, 4)).astype(np.float32))
    flip = keras.layers.RandomFlip("horizontal")
    model = keras.Sequential(
        [keras.Input((8, 8, 4)), flip, learned, residual("inner"), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    model.get_layer("inner").get_layer("free").trainable = False
    tensors = pictures(model)
    structure = look(model)
    assert [block.name for block in structure.blocks] == ["inner/first", "inner/second"]
    assert [group.name for group in structure.channels] == ["inner/middle"]
    assert difference(model(tensors, training=False), apply(model, Cut())(tensors, training=False)) < TOLERANCE
    smaller = apply(model, Cut(blocks=frozenset({"inner/second"}), kept={"inner/middle": (1, 2)}))
    shut = gated(apply(model, Cut(kept={"inner/middle": (1, 2)})), structure)
    gates = np.asarray([[1, 0]] * 2, np.float32)
    assert difference(shut([tensors, gates], training=False), smaller(tensors, training=False)) < TOLERANCE
    assert smaller.output_shape == (None, 3)
    frozen = [layer.name for layer in smaller.get_layer("inner").layers if not layer.trainable]
    assert frozen == ["free"]


def test_a_nested_model_that_is_called_twice_stays_whole_and_shared() -> None:
    keras = import_keras()
    inner = residual("inner")
    picture = keras.Input((8, 8, 4))
    x = keras.layers.Add(name="outer")([picture, keras.layers.Conv2D(4, 1, name="own")(picture)])
    x = keras.layers.ReLU()(inner(inner(x)))
    model = keras.Model(picture, x)
    structure = look(model)
    assert [block.name for block in structure.blocks] == ["outer"]
    tensors = pictures(model)
    assert difference(model(tensors, training=False), apply(model, Cut())(tensors, training=False)) < TOLERANCE
    smaller = apply(model, Cut(blocks=frozenset({"outer"})))
    assert difference(inner(inner(tensors)), smaller(tensors, training=False)) < TOLERANCE
    assert smaller.count_params() == inner.count_params()
    shut = gated(model, structure)([tensors, np.zeros((2, 1), np.float32)], training=False)
    assert difference(shut, smaller(tensors, training=False)) < TOLERANCE


def test_inputs_and_outputs_by_name_and_a_branch_that_is_a_model() -> None:
    keras = import_keras()
    picture, speed = keras.Input((8, 8, 4), name="picture"), keras.Input((1,), name="speed")
    x = keras.layers.Add(name="sum")([residual("inside")(picture), picture])
    x = keras.layers.Concatenate()([keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x)), speed])
    model = keras.Model(
        {"speed": speed, "picture": picture}, {"steer": keras.layers.Dense(1)(x), "stop": keras.layers.Dense(2)(x)}
    )
    structure = look(model)
    assert [block.name for block in structure.blocks] == ["inside/first", "inside/second", "sum"]
    fed = {"picture": pictures(residual("a")), "speed": np.ones((2, 1), np.float32)}
    smaller = apply(model, Cut(blocks=frozenset({"sum"})))
    assert set(smaller.input) == {"picture", "speed"}
    assert "inside" not in {layer.name for layer in smaller.layers}
    gates = np.asarray([[1, 1, 0]] * 2, np.float32)
    shut = gated(model, structure)({**fed, "gates": gates}, training=False)
    answer = smaller(fed, training=False)
    assert list(answer) == list(model(fed, training=False))
    assert difference(shut, answer) < TOLERANCE


def test_a_scale_that_no_convolution_takes_becomes_a_layer() -> None:
    """The sums of InceptionResNetV2, once behind a linear convolution and once behind a ReLU."""
    keras = import_keras()
    from quantize import tf_private

    scaled = tf_private.get("CustomScaleLayer")
    picture = keras.Input((8, 8, 4))
    x = scaled(0.5, name="folded")([picture, keras.layers.Conv2D(4, 1, name="linear")(picture)])
    x = scaled(0.25, name="apart")([x, keras.layers.Conv2D(4, 1, activation="relu", name="bent")(x)])
    model = keras.Model(picture, keras.layers.GlobalAveragePooling2D()(x))
    model.set_weights([weight + 0.1 for weight in model.get_weights()])
    same = apply(model, Cut())
    tensors = pictures(model)
    assert difference(model(tensors, training=False), same(tensors, training=False)) < TOLERANCE
    kinds = {layer.name: type(layer).__name__ for layer in same.layers}
    assert (kinds["folded"], kinds["apart"], kinds["apart_scale"]) == ("Add", "Add", "Rescaling")
    np.testing.assert_allclose(same.get_layer("linear").get_weights()[0], 0.5 * model.get_layer("linear").get_weights()[0])
    assert [block.name for block in look(same).blocks] == ["folded", "apart"]


def test_a_source_without_layers_is_refused_in_a_line() -> None:
    with pytest.raises(ConversionError, match=r"^a SavedModel holds a graph, no Keras 3 model[^\n]*give the \.keras"):
        look(None)
