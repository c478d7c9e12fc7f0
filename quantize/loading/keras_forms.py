"""Forms of Keras configurations that only older writers have, brought to the usual one before anything else looks at them.

What Keras 2 says of layers and Keras 3 does not take, or understands something else by, is restated, whichever layer it stands in: a
wrapped one (TimeDistributed, Bidirectional, a cell) is no different.

Keras up to 2.2.2 writes a Sequential as the list of its layers; Keras 2 takes layer names with ``/`` in them, which Keras 3 does
not, and Keras 3 those with spaces and accents, which TensorFlow does not. The weights follow by the same names (`renamed`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import LoadError
from ..quiet import import_keras
from .keras_config import MODEL_CLASSES, layer_name, objects

HARD_SIGMOID = "hard_sigmoid_of_keras_2"
"""``clip(0.2 x + 0.5, 0, 1)``; what Keras 3 calls hard_sigmoid is ``clip(x / 6 + 0.5, 0, 1)``."""

ATTRIBUTES = {f"_{part}_dense": f"{part}_dense" for part in ("query", "key", "value", "output")}
"""What the parts of a MultiHeadAttention are called in the weights of a ``.keras`` file by Keras 2, and by Keras 3."""

_PACKAGE = "edgekit"
_ACTIVATIONS = ("activation", "recurrent_activation")
_RANDOM = ("Flip", "Rotation", "Zoom", "Contrast", "Translation", "Crop", "Brightness", "Height", "Width")
_RECURRENT = ("RNN", "LSTM", "GRU", "SimpleRNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
# What Keras 2 wrote for these layers and Keras 3 refuses. None of it has a meaning for inference.
_RETIRED_KEYS = {
    "DepthwiseConv2D": {"groups"},
    "Conv2DTranspose": {"groups"},
    "SeparableConv2D": {"groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"},
    "SpatialDropout2D": {"trainable", "noise_shape"},
    "MultiHeadAttention": {"query_shape", "key_shape", "value_shape", "softmax_robust_masking"},
    "Softmax": {"robust_masking"},
    **{f"Random{name}": {"rng_type"} for name in _RANDOM},
}
# Keys that Keras 3 refuses and that may only be left out while they have this value.
_RETIRED_WHILE = {kind: {"time_major": False} for kind in _RECURRENT}
# Keys that Keras 2 came to write later on, with what it did before; Keras 3 takes another value where they are missing.
_UNSAID = {"GRU": {"reset_after": False}, "GRUCell": {"reset_after": False}}

_ODD = re.compile(r"[^A-Za-z0-9_.>-]")
_BEGINS = re.compile(r"[A-Za-z0-9.]")


def usual(config: Mapping[str, Any], *, where: str, stored: Sequence[str] = ()) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a scanned configuration in the usual form, and notes on what was changed; a copy, as deep as there are changes.

    stored: the layers of the weights file, in order, for the names of models that a list of layers leaves without one.
    """
    listed = _with_layers(config, stored)
    new_names = renames(listed, where=where)
    if not new_names:
        return listed, ()
    old, new = next(iter(new_names.items()))
    note = f"{len(new_names)} names of layers are none that Keras 3 and TensorFlow take; {old!r} is {new!r} now, and so on"
    return _replaced(listed, new_names), (note,)


def renames(config: Mapping[str, Any], *, where: str) -> dict[str, str]:
    """Return a new name for every layer (and model) name that is none of TensorFlow's scopes: with ``_`` instead, and none twice."""
    names = list(dict.fromkeys(filter(None, (layer_name(found) for found, _ in objects(config, where=where)))))
    # Only the model's own name begins a scope, and has to begin with a letter or number itself.
    odd = {name for name in names if _ODD.search(name) or (name == layer_name(config) and not _BEGINS.match(name))}
    taken = set(names) - odd
    found: dict[str, str] = {}
    for name in names:
        if name in odd:
            new = _ODD.sub("_", name)
            new = new if _BEGINS.match(new) else f"layer{new}"
            while new in taken:
                new += "_"
            taken.add(new)
            found[name] = new
    return found


def renamed(
    weights: Iterable[tuple[str, Mapping[str, Any]]], new_names: Mapping[str, str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (layer, {weight name: array}) with the layers' new names, also where they are part of a weight's name."""
    if not new_names:
        yield from weights
        return
    longest = sorted(new_names, key=len, reverse=True)
    parts = re.compile(r"(?:(?<=/)|^)(?:" + "|".join(map(re.escape, longest)) + r")(?=/)")
    for layer, arrays in weights:
        named = {parts.sub(lambda found: new_names[found[0]], key): array for key, array in arrays.items()}
        yield new_names.get(layer, layer), named


def _with_layers(model: Mapping[str, Any], stored: Sequence[str] = ()) -> dict[str, Any]:
    """Return ``model`` with every list of layers in a configuration of its own."""
    inner = model.get("config")
    if isinstance(inner, list):
        named = [layer for layer in inner if isinstance(layer, Mapping) and layer.get("class_name") != "InputLayer"]
        missing = iter(stored if len(stored) == len(named) else [layer_name(layer) for layer in named])
        layers: list[Any] = []
        for layer in inner:
            given = next(missing, "") if layer in named else ""
            nested = isinstance(layer, Mapping) and isinstance(layer.get("config"), list)
            layers.append({**layer, "name": layer_name(layer) or given or f"sequential_{len(layers)}"} if nested else layer)
        inner = {"name": layer_name(model) or "sequential", "layers": layers}
    if not isinstance(inner, Mapping) or not isinstance(inner.get("layers"), list):
        return dict(model)
    layers = [_with_layers(layer) if _is_model(layer) else layer for layer in inner["layers"]]
    return {**model, "config": {**inner, "layers": layers}}


def _is_model(layer: Any) -> bool:
    return isinstance(layer, Mapping) and layer.get("class_name") in MODEL_CLASSES


def _replaced(value: Any, new_names: Mapping[str, str]) -> Any:
    """Return ``value`` with layer names replaced: where a layer is named, and in each reference ``[layer, node, tensor, ...]``."""
    if isinstance(value, Mapping):
        return {
            key: new_names.get(item, item) if key == "name" and isinstance(item, str) else _replaced(item, new_names)
            for key, item in value.items()
        }
    if isinstance(value, list):
        replaced = [_replaced(item, new_names) for item in value]
        if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int) and isinstance(value[2], int):
            replaced[0] = new_names.get(value[0], value[0])
        return replaced
    return value


def restated(config: Any, *, keras_2: bool, where: str) -> Any:
    """Return a copy of a configuration that Keras 3 understands as the Keras that wrote it did.

    keras_2: whether that was Keras 2, or one before it; what is not in Keras 3 is left out in any case.
    Raises LoadError for a setting that Keras 3 has no layer for.
    """
    if isinstance(config, list):
        return [restated(item, keras_2=keras_2, where=where) for item in config]
    if not isinstance(config, Mapping):
        return config
    result = {key: restated(item, keras_2=keras_2, where=where) for key, item in config.items()}
    inner, kind = result.get("config"), str(result.get("class_name"))
    if isinstance(inner, dict) and kind not in MODEL_CLASSES:
        result["config"] = _settings(kind, inner, layer_name(result), keras_2=keras_2, where=where)
    return result


def needs_its_module(layer: Mapping[str, Any]) -> bool:
    """Whether Keras 3's way of reading old configurations would change this one, so that it has to be told whose class it is.

    It leaves out every ``axis`` that is neither a number nor a list of one, and takes ``dot`` for the function of that name.
    """
    inner = layer["config"]
    axis = inner.get("axis", 0)
    other_axis = not isinstance(axis, int | float) and not (isinstance(axis, list) and len(axis) == 1)
    return "module" not in layer and (other_axis or isinstance(inner.get("score_mode"), str))


def register() -> None:
    """Let Keras know what `restated` puts in the place of names that mean something else to it."""
    keras = import_keras()
    if keras.saving.get_registered_object(f"{_PACKAGE}>{HARD_SIGMOID}") is None:

        def hard_sigmoid_of_keras_2(x: Any) -> Any:
            return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)

        keras.saving.register_keras_serializable(_PACKAGE, HARD_SIGMOID)(hard_sigmoid_of_keras_2)


def _settings(kind: str, inner: dict[str, Any], name: str, *, keras_2: bool, where: str) -> dict[str, Any]:
    retired, harmless = _RETIRED_KEYS.get(kind, set()), _RETIRED_WHILE.get(kind, {})
    for key, value in harmless.items():
        if inner.get(key, value) != value:
            raise LoadError(
                f"{where}: layer {name!r} has {key}={inner[key]}, which Keras 3 has no layer for; export the network as a SavedModel"
            )
    settings = {key: value for key, value in inner.items() if key not in retired and key not in harmless}
    for key in ("layer", "backward_layer", "cell"):
        if isinstance(settings.get(key), dict):
            settings[key] = _wrapped(settings[key])
    if isinstance(settings.get("cells"), list):
        settings["cells"] = [_wrapped(cell) if isinstance(cell, dict) else cell for cell in settings["cells"]]
    if keras_2:
        settings = {**_UNSAID.get(kind, {}), **settings}
        for key in _ACTIVATIONS:
            if _is_named(settings.get(key), "hard_sigmoid"):
                own = f"{_PACKAGE}>{HARD_SIGMOID}"
                settings[key] = {"module": "builtins", "class_name": "function", "config": own, "registered_name": own}
    return settings


def _wrapped(layer: dict[str, Any]) -> dict[str, Any]:
    """Return a layer inside another with its module, without which Keras 3 finds no class there."""
    if "class_name" not in layer or "module" in layer or layer["class_name"] in MODEL_CLASSES:
        return layer
    return {**layer, "module": "keras.layers", "registered_name": None}


def _is_named(value: Any, name: str) -> bool:
    return value == name or (isinstance(value, Mapping) and value.get("class_name") == "function" and value.get("config") == name)
