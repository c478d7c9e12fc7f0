"""Small versions of published networks, with weights that are neither zero nor alike; and one trained on the digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize.quiet import import_keras, quiet
from tests.conftest import Once
from tests.quantize.shrinking import residual_digits


def scattered(model: Any, seed: int = 0) -> Any:
    """Give the vectors of ``model`` (biases, batch normalisation) values that are not all alike; the kernels are random already."""
    rng = np.random.default_rng(seed)
    weights = []
    for weight in model.get_weights():
        moved = weight + 0.1 * rng.standard_normal(weight.shape).astype(np.float32) if weight.ndim == 1 else weight
        weights.append(np.maximum(moved, 0.05) if weight.ndim == 1 and (weight == 1).all() else moved)
    model.set_weights(weights)
    return model


def built(name: str, size: int = 32) -> Any:
    keras = import_keras()
    keras.utils.set_random_seed(0)  # whichever test asks first
    with quiet():
        if name == "RegNet":  # keras.applications has none: the same block, once with and once without projection
            return scattered(_regnet(keras))
        if name == "two heads":
            return scattered(_two_heads(keras))
        sizes = {"InceptionResNetV2": 75, "Xception": 71}
        settings: dict[str, Any] = {"weights": None, "classes": 7, "input_shape": (sizes.get(name, size),) * 2 + (3,)}
        if name in ("MobileNetV2",):
            settings["alpha"] = 0.35
        return scattered(getattr(keras.applications, name)(**settings))


def _regnet(keras: Any) -> Any:
    layers = keras.layers

    def block(x: Any, width: int, stride: int, name: str) -> Any:
        short = x
        if stride > 1:
            short = layers.BatchNormalization(name=f"{name}_p_bn")(
                layers.Conv2D(width, 1, strides=stride, use_bias=False, name=f"{name}_p")(x)
            )
        y = layers.Conv2D(width, 1, use_bias=False, name=f"{name}_a")(x)
        y = layers.ReLU()(layers.BatchNormalization(name=f"{name}_a_bn")(y))
        y = layers.Conv2D(width, 3, strides=stride, groups=4, padding="same", use_bias=False, name=f"{name}_b")(y)
        y = layers.ReLU()(layers.BatchNormalization(name=f"{name}_b_bn")(y))
        squeezed = layers.GlobalAveragePooling2D(keepdims=True)(y)
        gate = layers.Conv2D(width, 1, activation="sigmoid", name=f"{name}_se2")(
            layers.Conv2D(4, 1, activation="relu", name=f"{name}_se1")(squeezed)
        )
        y = layers.Multiply()([y, gate])
        y = layers.BatchNormalization(name=f"{name}_c_bn")(layers.Conv2D(width, 1, use_bias=False, name=f"{name}_c")(y))
        return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([y, short]))

    picture = keras.Input((32, 32, 3))
    x = layers.ReLU()(layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(picture))
    for name, width, stride in (("s1b1", 16, 2), ("s1b2", 16, 1), ("s2b1", 24, 2), ("s2b2", 24, 1), ("s2b3", 24, 1)):
        x = block(x, width, stride, name)
    return keras.Model(picture, layers.Dense(7, activation="softmax")(layers.GlobalAveragePooling2D()(x)), name="regnet")


def _two_heads(keras: Any) -> Any:
    """A backbone as one layer, sums written as ``x + y``, scaling inside, two named outputs."""
    layers = keras.layers
    inner = keras.Input((None, None, 3), name="pixels")
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="stem")(inner)
    for index in range(3):
        y = layers.Conv2D(12, 1, use_bias=False, name=f"b{index}_in")(x)
        y = layers.ReLU(name=f"b{index}_relu")(layers.BatchNormalization(name=f"b{index}_bn")(y))
        x = x + layers.Conv2D(16, 3, padding="same", name=f"b{index}_out")(y)
    backbone = keras.Model(inner, layers.ReLU(name="last")(x), name="backbone")
    picture = keras.Input((32, 32, 3), name="picture")
    y = layers.GlobalAveragePooling2D()(backbone(layers.Rescaling(1 / 127.5, offset=-1.0)(picture)))
    outputs = {"steer": layers.Dense(1, name="steer")(y), "stop": layers.Dense(2, activation="softmax", name="stop")(y)}
    return keras.Model(picture, outputs, name="driver")


@pytest.fixture(autouse=True)
def _same_weights(request: pytest.FixtureRequest) -> None:
    """Untrained networks have the same kernels in every run: by chance their answers can all be zero behind a ReLU."""
    if request.node.get_closest_marker("converts") is not None:
        import_keras().utils.set_random_seed(0)


@pytest.fixture(scope="session")
def network() -> Callable[[str], Any]:
    """Return the network of a name; each is built once."""
    known: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in known:
            known[name] = built(name)
        return known[name]

    return get


@pytest.fixture(scope="session")
def residual_file(digits_folder: Path, once: Once) -> Path:
    """A ``.keras`` file of a network with five residual blocks, 32 x 32, 10 classes; right on nine digits in ten."""
    return (
        once("residual-network", lambda folder: residual_digits.trained(digits_folder).save(folder / "residual.keras"))
        / "residual.keras"
    )


@pytest.fixture
def residual(residual_file: Path) -> Any:
    """It as a `quantize.Source`."""
    import quantize

    return quantize.load(residual_file, preprocess="inception", labels=[str(digit) for digit in range(10)])
