"""Tiny real models made by TensorFlow, for what needs a model and not a trained one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.artefact import container
from edge.artefact.contract import Contract, InputSpec, OutputSpec, Quantization
from edge.runtime import golden
from tests.edge import colours as colours_network

SIZE = 24
LABELS = ("cat", "dog", "bird", "fish")
MakeContract = Callable[..., Contract]
PackArtefact = Callable[..., Path]


def _contract(**changes: Any) -> Contract:
    contract = Contract(
        name="tiny",
        input=InputSpec(width=SIZE, height=SIZE),
        outputs=(OutputSpec(name="probabilities", kind="probabilities", labels=LABELS),),
        quantization=Quantization(variant="int8", scheme="int8", io="int8"),
        written_by="edgekit test",
    )
    return contract.replace(**changes)


def _network(last: str | None) -> Any:
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    image = keras.Input((SIZE, SIZE, 3), batch_size=1, name="image")
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(image)
    x = layers.DepthwiseConv2D(3, activation="relu")(x)
    x = layers.Concatenate()([layers.MaxPooling2D(2)(x), layers.AveragePooling2D(2)(x)])
    x = layers.Conv2D(16, 3, activation="relu")(x)
    x = layers.Dense(len(LABELS), activation=last)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, x, name="tiny")


def _convert(network: Any, scheme: str = "float32", io: str = "float32") -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    if scheme != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "int8":
        photos = np.random.default_rng(0).uniform(-1, 1, (16, 1, SIZE, SIZE, 3)).astype(np.float32)
        converter.representative_dataset = lambda: ([photo] for photo in photos)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(io)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own
        return bytes(converter.convert())


@pytest.fixture(scope="session")
def tiny_contract() -> MakeContract:
    """Makes the contract of the tiny models with one output; keywords replace its fields."""
    return _contract


@pytest.fixture(scope="session")
def tiny_float_flatbuffer() -> bytes:
    return _convert(_network("softmax"))


@pytest.fixture(scope="session")
def tiny_int8_flatbuffer() -> bytes:
    return _convert(_network("softmax"), "int8", "int8")


@pytest.fixture(scope="session")
def tiny_uint8_flatbuffer() -> bytes:
    return _convert(_network("softmax"), "int8", "uint8")


@pytest.fixture(scope="session")
def tiny_int8_float_io_flatbuffer() -> bytes:
    return _convert(_network("softmax"), "int8", "float32")


@pytest.fixture(scope="session")
def tiny_dynamic_flatbuffer() -> bytes:
    """Integer weights, float between the ops. Wider than the others: the converter leaves weights below 1024 values alone."""
    import keras

    image = keras.Input((SIZE, SIZE, 3), batch_size=1)
    x = keras.layers.Conv2D(32, 5, strides=2, activation="relu")(image)
    x = keras.layers.Dense(len(LABELS), activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    return _convert(keras.Model(image, x), "dynamic")


@pytest.fixture(scope="session")
def tiny_logits_flatbuffer() -> bytes:
    """A float model without softmax."""
    return _convert(_network(None))


@pytest.fixture(scope="session")
def tiny_two_outputs_flatbuffer() -> bytes:
    """A float model with the outputs ``angle`` (1 value) and ``classes`` (4 probabilities), in the converter's order."""
    import keras

    network = _network("softmax")
    angle = keras.layers.Dense(1, name="angle")(network.layers[-2].output)
    return _convert(keras.Model(network.inputs, {"angle": angle, "classes": network.output}))


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> PackArtefact:
    """Write an artefact from a flatbuffer and a contract, return its path."""

    def write(flatbuffer: bytes, contract: Contract, name: str = "model.tflite") -> Path:
        path = tmp_path_factory.mktemp("packed") / name
        path.write_bytes(container.pack(flatbuffer, contract))
        return path

    return write


@pytest.fixture(scope="session")
def tiny_int8_artefact(tiny_int8_flatbuffer: bytes, pack: PackArtefact) -> Path:
    """An int8 artefact with golden samples."""
    contract = _contract()
    samples = golden.record(tiny_int8_flatbuffer, contract)
    return pack(tiny_int8_flatbuffer, contract.replace(golden=samples), "tiny.int8.tflite")


@pytest.fixture(scope="session")
def tiny_float_artefact(tiny_float_flatbuffer: bytes, pack: PackArtefact) -> Path:
    """A float artefact with golden samples."""
    contract = _contract(quantization=Quantization())
    return pack(
        tiny_float_flatbuffer, contract.replace(golden=golden.record(tiny_float_flatbuffer, contract)), "tiny.float32.tflite"
    )


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> colours_network.Colours:
    return colours_network.make(tmp_path_factory.mktemp("colours"))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def tiny_frames_artefact(pack: PackArtefact) -> Path:
    """A float artefact that sees three frames at once, the oldest first, and answers with ``steering``."""
    import keras

    keras.utils.set_random_seed(2)
    image = keras.Input((SIZE, SIZE, 9), batch_size=1, name="image")
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image)
    network = keras.Model(image, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(x)))
    contract = _contract(
        input=InputSpec(width=SIZE, height=SIZE, frames=3),
        outputs=(OutputSpec(name="steering", kind="regression"),),
        quantization=Quantization(),
    )
    return pack(_convert(network), contract, "frames.float32.tflite")


@pytest.fixture(scope="session")
def tiny_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures of noise for each class of the tiny models: ``CLASS/N.png``."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("tiny-images")
    rng = np.random.default_rng(3)
    for number, label in enumerate(LABELS):
        (folder / label).mkdir()
        for image in range(10):
            pixels = rng.integers(0, 60 + 60 * number, (SIZE, SIZE, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{image}.png")
    return folder
