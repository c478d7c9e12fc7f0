"""Forms of Keras configurations that only older writers have, brought to the usual one before anything else looks at them.

Keras up to 2.2.2 writes a Sequential as the list of its layers, and Keras 2 takes layer names with ``/`` in them, which Keras 3 does
not. Both are plain data here; the weights follow by the same names (`renamed`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .keras_config import MODEL_CLASSES, layer_name


def usual(config: Mapping[str, Any], *, stored: Sequence[str] = ()) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a scanned configuration in the usual form, and notes on what was changed; a copy, as deep as there are changes.

    stored: the layers of the weights file, in order, for the names of models that a list of layers leaves without one.
    """
    listed = _with_layers(config, stored)
    new_names = renames(listed)
    if not new_names:
        return listed, ()
    old, new = next(iter(new_names.items()))
    note = f"{len(new_names)} layers have / in their names, which Keras 3 does not take; {old!r} is {new!r} now, and so on"
    return _replaced(listed, new_names), (note,)


def renames(config: Mapping[str, Any]) -> dict[str, str]:
    """Return a new name for every layer (and model) name with ``/``: with ``_`` instead, and none twice."""
    names = list(dict.fromkeys(_names(config)))
    taken = {name for name in names if "/" not in name}
    found: dict[str, str] = {}
    for name in names:
        if "/" in name:
            new = name.replace("/", "_")
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


def _names(model: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of a model and of its layers, at any depth, and of the layers that wrap another."""
    stack: list[Any] = [model]
    while stack:
        value = stack.pop()
        if isinstance(value, Mapping):
            if "class_name" in value and layer_name(value):
                yield layer_name(value)
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


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
