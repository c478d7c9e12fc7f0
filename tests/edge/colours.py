"""A network small enough to be understood: it answers the strongest colour of a picture, or dark. Its two artefacts, and photos."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge.artefact import container
from edge.artefact.contract import Contract, InputSpec, OutputSpec, Quantization

SIZE = 12
LABELS = ("blue", "dark", "green", "red")


def network(bias: float = 0.0) -> Any:
    import keras

    image = keras.Input((SIZE, SIZE, 3), batch_size=1)
    dense = keras.layers.Dense(4, activation="softmax")
    model = keras.Model(image, dense(keras.layers.GlobalAveragePooling2D()(image)))
    weights = np.zeros((3, 4), np.float32)
    weights[[2, 1, 0], [0, 2, 3]] = 4.0
    dense.set_weights([weights, np.array([bias, 0, 0, 0], np.float32)])
    return model


def convert(model: Any, photos: NDArray[np.float32] | None = None) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if photos is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([photo[None]] for photo in photos)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own
        return bytes(converter.convert())


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """The two networks as flatbuffers, packed as artefacts, and photos in class folders."""

    float32: bytes
    int8: bytes
    reference: Path
    candidate: Path
    photos: Path
    write: Callable[..., Path]


def make(folder: Path) -> Colours:
    random = np.random.default_rng(0)
    photos = []
    for label in LABELS:
        (folder / "photos" / label).mkdir(parents=True)
        for i in range(40):
            base = np.full(3, 118.0)
            if label != "dark":
                base[("red", "green", "blue").index(label)] = 136  # not far from the others: some answers are wrong
            pixels = np.clip(base + random.normal(0, 6, 3) + random.normal(0, 25, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / label / f"{i:02}.png")
            photos.append(pixels.astype(np.float32) / 127.5 - 1)
    # Ranges eight times too wide make steps so coarse that quantization changes some answers.
    float32, int8 = convert(network()), convert(network(), 8 * np.stack(photos)[::4])

    def write(flatbuffer: bytes, name: str, **changes: Any) -> Path:
        contract = Contract(
            name=name.partition(".")[0],
            input=InputSpec(width=SIZE, height=SIZE),
            outputs=(OutputSpec(name="colour", kind="probabilities", labels=LABELS),),
            written_by="edgekit test",
        )
        path = folder / name
        path.write_bytes(container.pack(flatbuffer, contract.replace(**changes)))
        return path

    return Colours(
        float32=float32,
        int8=int8,
        reference=write(float32, "colours.float32.tflite"),
        candidate=write(int8, "colours.int8.tflite", quantization=Quantization(variant="int8")),
        photos=folder / "photos",
        write=write,
    )
