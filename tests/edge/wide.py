"""A network that is large enough for a cache of packed weights, and quick to make and to run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from edge.artefact import container
from edge.artefact.contract import Contract, InputSpec, OutputSpec, Quantization
from edge.runtime import golden

SIZE = 24


def flatbuffer(scheme: str, outputs: int = 1) -> bytes:
    """A network with some five million weights, most of them in a dense layer."""
    import keras

    keras.utils.set_random_seed(7)
    image = keras.Input((SIZE, SIZE, 3), batch_size=1, name="image")
    x = keras.layers.Conv2D(32, 3, strides=2, activation="relu")(image)
    x = keras.layers.Dense(1200, activation="relu")(keras.layers.Flatten()(x))
    x = keras.layers.Dense(300, activation="relu")(x)
    heads = {name: keras.layers.Dense(4, name=name)(x) for name in ("zebra", "ape")[:outputs]}
    return converted(keras.Model(image, heads), scheme)


def converted(network: Any, scheme: str = "float32") -> bytes:
    """Return a Keras network as a ``.tflite``."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    if scheme != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if scheme in ("int8", "int16x8"):
        photos = np.random.default_rng(0).uniform(-1, 1, (8, 1, SIZE, SIZE, 3)).astype(np.float32)
        converter.representative_dataset = lambda: ([photo] for photo in photos)
        ops = tf.lite.OpsSet
        converter.target_spec.supported_ops = [
            ops.TFLITE_BUILTINS_INT8 if scheme == "int8" else ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
        if scheme == "int8":
            converter.inference_input_type = converter.inference_output_type = tf.int8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own
        return bytes(converter.convert())


def artefact(path: Path) -> Path:
    """Write an int8 artefact with golden samples, and return its path."""
    model = flatbuffer("int8")
    contract = Contract(
        name="wide",
        input=InputSpec(width=SIZE, height=SIZE),
        outputs=(OutputSpec(name="zebra", kind="features"),),
        quantization=Quantization(variant="int8", scheme="int8", io="int8"),
        written_by="edgekit test",
    )
    path.write_bytes(container.pack(model, contract.replace(golden=golden.record(model, contract))))
    return path
