"""A small residual network that is trained on the digits within seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 32


def residual_network(blocks: int = 5, head: Callable[[Any], Any] | None = None) -> Any:
    """Return the network untrained. head: what makes the outputs from the pooled features."""
    import keras

    layers = keras.layers
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False, name="stem")(image)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, scale=False)(x))
    for number in range(blocks):
        if number == 2:
            x = layers.MaxPooling2D(2)(x)
        y = layers.Conv2D(32, 3, padding="same", use_bias=False, name=f"narrow_{number}")(x)
        y = layers.ReLU()(layers.BatchNormalization(momentum=0.9, name=f"norm_{number}")(y))
        y = layers.Conv2D(32, 1, name=f"wide_{number}")(y)
        x = layers.ReLU(name=f"out_{number}")(layers.Add(name=f"sum_{number}")([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    answer = layers.Dense(10, activation="softmax", name="predictions")(x) if head is None else head(x)
    return keras.Model(image, answer, name="residual")


def digit_tensors(folder: Path) -> tuple[Any, Any]:
    """Return (tensors, labels) of a folder of digits."""
    from edge.artefact.contract import InputSpec
    from edge.runtime.preprocess import preprocess

    files = sorted(folder.glob("*/*.png"))
    tensors = np.concatenate([preprocess(file, InputSpec(width=SIDE, height=SIDE)) for file in files])
    return tensors, np.array([int(file.parent.name) for file in files])


def trained(digits_folder: Path) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    network = residual_network()
    tensors, labels = digit_tensors(digits_folder / "train")
    network.compile(optimizer=keras.optimizers.Adam(3e-3), loss="sparse_categorical_crossentropy")
    network.fit(tensors, labels, batch_size=32, epochs=6, verbose=0)
    return network
