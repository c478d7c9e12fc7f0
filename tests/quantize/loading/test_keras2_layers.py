"""Layers that Keras 3 takes for something else than the Keras that wrote the file: each answers as it did there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import quantize
from quantize import LoadError
from quantize.qat import bridge
from quantize.quiet import import_keras, import_tf_keras, quiet

pytestmark = pytest.mark.converts

SIDE = 10
PHOTO = np.random.default_rng(1).uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)


def network(library: Any, part: Callable[[Any, Any], Any], **names: str) -> Any:
    """A convolution, the part, and a head, with weights that matter."""
    image = library.layers.Input((SIDE, SIDE, 3))
    seen = part(library.layers, library.layers.Conv2D(8, 3, name="first")(image))
    flat = library.layers.GlobalAveragePooling2D()(seen) if len(seen.shape) == 4 else library.layers.Flatten()(seen)
    model = library.Model(image, library.layers.Dense(3, activation="softmax", name="answer")(flat), **names)
    rng = np.random.default_rng(2)
    model.set_weights([rng.normal(0, 0.7, weight.shape).astype(np.float32) for weight in model.get_weights()])
    return model


def answers(model: Any) -> NDArray[np.float32]:
    (values,) = np.asarray(import_keras().ops.convert_to_numpy(model(PHOTO, training=False)), np.float32)
    only: NDArray[np.float32] = values
    return only


def check(source: Any, expected: NDArray[np.float32]) -> quantize.Source:
    loaded = quantize.load(source, preprocess="inception")
    (found,) = loaded.predict(PHOTO).values()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    return loaded


def steps(layers: Any, seen: Any) -> Any:
    return layers.Reshape((8, -1))(seen)


def attention(layers: Any, seen: Any) -> Any:
    one, other = layers.Reshape((64, 8))(seen), layers.Reshape((64, 8))(layers.ReLU()(seen))
    return layers.MultiHeadAttention(2, 4)(one, value=other)


def scored(layers: Any, seen: Any) -> Any:
    return layers.Attention(use_scale=True, score_mode="dot")([layers.Reshape((64, 8))(seen)] * 2)


PARTS: dict[str, Callable[[Any, Any], Any]] = {
    "hard_sigmoid": lambda layers, seen: layers.Activation("hard_sigmoid")(seen),
    "hard_sigmoid in a convolution": lambda layers, seen: layers.Conv2D(4, 1, activation="hard_sigmoid")(seen),
    "lstm": lambda layers, seen: layers.LSTM(4)(steps(layers, seen)),
    "lstm of Keras 2.2": lambda layers, seen: layers.LSTM(4, recurrent_activation="hard_sigmoid")(steps(layers, seen)),
    "gru": lambda layers, seen: layers.GRU(4)(steps(layers, seen)),
    "both ways": lambda layers, seen: layers.Bidirectional(layers.GRU(4, recurrent_activation="hard_sigmoid"))(
        steps(layers, seen)
    ),
    "each step": lambda layers, seen: layers.TimeDistributed(layers.Dense(4, activation="hard_sigmoid"))(steps(layers, seen)),
    "attention": attention,
    "scored": scored,
    "norm of the picture": lambda layers, seen: layers.LayerNormalization(axis=[1, 2, 3])(seen),
    "norm without weights": lambda layers, seen: layers.LayerNormalization(axis=[1, 2], center=False, scale=False)(seen),
    "unit": lambda layers, seen: layers.UnitNormalization(axis=[1, 2])(seen),
}


def as_before_2_12(path: Path) -> Path:
    """Take out of an ``.h5`` what TensorFlow 2.12 began to write: whose class each object is."""
    new = ("module", "registered_name", "build_config", "build_input_shape", "shared_object_id")

    def older(value: Any) -> Any:
        if isinstance(value, list):
            return [older(item) for item in value]
        return {key: older(item) for key, item in value.items() if key not in new} if isinstance(value, dict) else value

    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = json.dumps(older(json.loads(file.attrs["model_config"])))
    return path


@pytest.mark.parametrize("name", PARTS)
def test_files_of_keras_2_answer_as_there(name: str, tmp_path: Path) -> None:
    with quiet():
        model = network(import_tf_keras(), PARTS[name])
        expected = answers(model)
        for form in ("keras", "h5"):
            model.save(tmp_path / f"model.{form}")
    check(tmp_path / "model.keras", expected)
    check(tmp_path / "model.h5", expected)
    check(as_before_2_12(tmp_path / "model.h5"), expected)
    assert not any("kept as a Keras 2 model" in note for note in check(model, expected).notes)


@pytest.mark.parametrize("name", PARTS)
def test_names_in_h5_files_of_keras_3_mean_what_they_mean_there(name: str, tmp_path: Path) -> None:
    with quiet():
        model = network(import_keras(), PARTS[name])
        model.save(tmp_path / "model.h5")
    check(tmp_path / "model.h5", answers(model))


def test_a_gru_from_before_there_was_reset_after(tmp_path: Path) -> None:
    with quiet():
        model = network(import_tf_keras(), lambda layers, seen: layers.GRU(4, reset_after=False)(steps(layers, seen)))
        model.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            layer["config"].pop("reset_after", None)
        file.attrs["model_config"] = json.dumps(config)
    check(tmp_path / "model.h5", answers(model))


def test_a_saved_model_with_an_lstm_of_keras_2(tmp_path: Path) -> None:
    with quiet():
        model = network(import_tf_keras(), PARTS["lstm"])
        model.export(tmp_path / "saved")
    check(tmp_path / "saved", answers(model))


def test_what_only_keras_2_has_is_named_and_goes_as_an_object(tmp_path: Path) -> None:
    def part(layers: Any, seen: Any) -> Any:
        return layers.LSTM(4)(steps(layers, layers.ThresholdedReLU(0.2)(seen)))

    with quiet():
        model = network(import_tf_keras(), part)
        model.save(tmp_path / "model.keras")
    with pytest.raises(LoadError, match="is a ThresholdedReLU of Keras 2, which Keras 3 does not have; open it with tf_keras"):
        quantize.load(tmp_path / "model.keras", preprocess="inception")
    check(model, answers(model))


def test_time_as_the_first_axis_is_refused_by_name(tmp_path: Path) -> None:
    with quiet():
        network(import_tf_keras(), lambda layers, seen: layers.GRU(4, time_major=True)(steps(layers, seen))).save(
            tmp_path / "model.h5"
        )
    with pytest.raises(LoadError, match="layer 'gru.*' has time_major=True, which Keras 3 has no layer for"):
        quantize.load(tmp_path / "model.h5", preprocess="inception")


def test_a_network_that_keras_quantized_is_asked_for_in_float(tmp_path: Path) -> None:
    with quiet():
        model = network(import_keras(), lambda layers, seen: layers.Dense(8)(layers.Flatten()(seen)))
        model.quantize("int8")
        model.save(tmp_path / "model.keras")
    with pytest.raises(LoadError, match=r"was quantized by Keras already.*saved before model.quantize"):
        quantize.load(tmp_path / "model.keras", preprocess="inception")


@pytest.mark.parametrize("name", ["My network v1.0", "Übung", "_hidden"])
def test_names_that_tensorflow_does_not_take(name: str, tmp_path: Path) -> None:
    with quiet():
        model = network(import_keras(), lambda layers, seen: layers.Conv2D(4, 1, name="conv 1: ä")(seen), name=name)
        for form in ("keras", "h5"):
            model.save(tmp_path / f"model.{form}")
    for given in (tmp_path / "model.keras", tmp_path / "model.h5", model):
        assert any("names of layers are none that Keras 3 and TensorFlow take" in n for n in check(given, answers(model)).notes)


def test_training_knows_the_old_hard_sigmoid(tmp_path: Path) -> None:
    with quiet():
        network(import_tf_keras(), PARTS["hard_sigmoid in a convolution"]).save(tmp_path / "model.h5")
    source = quantize.load(tmp_path / "model.h5", preprocess="inception")
    assert bridge.check(bridge.bridge(source.model), PHOTO * 3) <= 1e-6
