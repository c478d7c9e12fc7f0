"""What a Keras model does with its input before the first real layer: normalisation, and the first convolution's batch norm.

Followed along the only path from the input: through nested models, layers that do nothing at inference, and arithmetic with
numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .keras_config import CAST, MODEL_CLASSES, calls, config_of, layer_name

# Nothing at inference: training noise and augmentation.
IDLE = frozenset(
    {
        "Cast",
        "Dropout",
        "GaussianNoise",
        "GaussianDropout",
        "SpatialDropout2D",
        "AlphaDropout",
        "ActivityRegularization",
        "Identity",
    }
)
GEOMETRY = frozenset({"Resizing", "CenterCrop", "ZeroPadding2D", "Cropping2D"})
LINEAR = frozenset({"Conv2D", "DepthwiseConv2D", "SeparableConv2D"})
_OPERATIONS = {"TrueDivide": "divide", "Divide": "divide", "Multiply": "multiply", "Add": "add", "Subtract": "subtract"}
_TF_OPERATIONS = {
    "math.truediv": "divide",
    "math.divide": "divide",
    "math.multiply": "multiply",
    "math.add": "add",
    "math.subtract": "subtract",
    "__operators__.add": "add",
}


@dataclass(slots=True, eq=False, kw_only=True)
class InputChain:
    """``scale * x + offset`` is what the model itself does to its input (float64, one number or one per channel).

    ``normalisers``: the layers that do it. ``opaque``: the layer where following ended because it might normalise too, or "".
    ``steps``: callables from the input tensor to the input of ``batch_norm``, the first batch normalisation behind linear layers
    only, or None where the model does not begin like that.
    """

    normalisers: list[str] = field(default_factory=list)
    scale: NDArray[np.float64] = field(default_factory=lambda: np.ones(1))
    offset: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    opaque: str = ""
    steps: list[Callable[[Any], Any]] = field(default_factory=list)
    batch_norm: Any = None

    def multiply(self, scale: Any, name: str) -> None:
        """Let the chain also multiply by ``scale``."""
        self.scale, self.offset = self.scale * np.ravel(scale), self.offset * np.ravel(scale)
        self._named(name)

    def add(self, offset: Any, name: str) -> None:
        """Let the chain also add ``offset``."""
        self.offset = self.offset + np.ravel(offset)
        self._named(name)

    def _named(self, name: str) -> None:
        if name not in self.normalisers:
            self.normalisers.append(name)


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """One layer on the path: its configuration, the live layer (None for bare operations), the number it is combined with."""

    config: Mapping[str, Any]
    layer: Any
    number: Any = None


_FORK = _Call({"class_name": "(the path forks)"}, None)


def follow(model: Any) -> InputChain:
    """Return the chain at the input of a functional or sequential Keras model (Keras 3 or tf_keras); empty for other models."""
    chain = InputChain()
    linear = False
    for call in _path(model):
        kind, name = str(call.config.get("class_name")), layer_name(call.config)
        if kind == "BatchNormalization":
            if linear:
                chain.batch_norm = call.layer
            break
        if kind in LINEAR:
            if call.layer is None or call.layer.get_config().get("activation") != "linear":
                break
            linear = True
            chain.steps.append(call.layer)
        elif not linear and _normalise(chain, call, kind, name):
            pass
        elif kind in GEOMETRY:
            chain.steps.append(call.layer)
        elif kind not in IDLE and not kind.startswith("Random") and call.config.get("config", {}).get("function") != CAST:
            if kind in ("Lambda", "TFOpLambda", *_OPERATIONS):
                chain.opaque = name
            break
    if chain.batch_norm is None:
        chain.steps.clear()
    return chain


def _normalise(chain: InputChain, call: _Call, kind: str, name: str) -> bool:
    """Enter ``call`` into the chain if it is arithmetic with known numbers; say whether it was."""
    inner = call.config.get("config", {})
    if kind == "Rescaling":
        chain.multiply(inner["scale"], name)
        chain.add(inner["offset"], name)
        chain.steps.append(call.layer)
        return True
    if kind == "Normalization" and call.layer is not None:
        mean, deviation = np.asarray(call.layer.mean, np.float64), np.sqrt(np.asarray(call.layer.variance, np.float64))
        if inner.get("invert"):
            chain.multiply(deviation, name)
            chain.add(mean, name)
        else:
            chain.add(-mean, name)
            chain.multiply(1 / np.maximum(deviation, 1e-7), name)
        chain.steps.append(call.layer)
        return True
    operation = _OPERATIONS.get(kind) or _TF_OPERATIONS.get(str(inner.get("function")) if kind == "TFOpLambda" else "")
    if operation is None or not isinstance(call.number, int | float):
        return False
    number = float(call.number)
    if operation in ("add", "subtract"):
        signed = number if operation == "add" else -number
        chain.add(signed, name)
        chain.steps.append(lambda x: x + signed)
        return True
    factor = number if operation == "multiply" else 1 / number
    chain.multiply(factor, name)
    chain.steps.append(lambda x: x * factor)
    return True


def _path(model: Any) -> Iterator[_Call]:
    """Yield the calls from the model's input on, into nested models, up to where the path forks."""
    layers = config_of(model).get("layers")
    if not isinstance(layers, list):
        return
    live = {layer.name: layer for layer in getattr(model, "layers", [])}
    if layers and "inbound_nodes" not in layers[0]:
        yield from _sequential(layers, live)
        return
    inputs = [layer_name(layer) for layer in layers if layer.get("class_name") == "InputLayer"]
    readers: dict[str, list[_Call]] = {}
    for layer in layers:
        for sources, number in calls(layer.get("inbound_nodes", [])):
            for source in sources:
                readers.setdefault(source, []).append(_Call(layer, live.get(layer_name(layer)), number))
    here = inputs[0] if len(inputs) == 1 else ""
    for _ in range(len(layers)):
        following = readers.get(here, [])
        if len(following) > 1:
            yield _FORK
        if len(following) != 1:
            return
        yield from _inside(following[0])
        here = layer_name(following[0].config)


def _sequential(layers: list[Mapping[str, Any]], live: Mapping[str, Any]) -> Iterator[_Call]:
    for layer in layers:
        if layer.get("class_name") == "InputLayer":
            continue
        name = layer_name(layer) or layer_name(layer.get("config", {}))
        yield from _inside(_Call(layer, live.get(name)))


def _inside(call: _Call) -> Iterator[_Call]:
    if call.config.get("class_name") in MODEL_CLASSES and call.layer is not None:
        yield from _path(call.layer)
    else:
        yield call
