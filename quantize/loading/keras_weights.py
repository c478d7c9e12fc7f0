"""Put the weights of a Keras ``.h5`` file into a rebuilt model, by name.

Keras' own loader goes by order. For a nested model the order of the weights in the file depends on which layers were frozen when
it was written, so that a mix-up of two layers of equal shape would pass in silence. Names leave no doubt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import LoadError

Arrays = Mapping[str, np.ndarray[Any, Any]]


def assign(model: Any, weights: Iterable[tuple[str, Arrays]], *, where: str) -> tuple[str, ...]:
    """Set every weight of ``model`` (Keras 3, built) from (layer, {weight name: array}) pairs; return notes.

    Raises LoadError when a layer is missing on either side or a shape differs.
    """
    layers = {layer.name: layer for layer in model.layers}
    notes: list[str] = []
    done: set[int] = set()
    for name, arrays in weights:
        if not arrays:
            continue
        if name not in layers:
            raise LoadError(
                f"{where}: has weights for layer {name!r}, which its own configuration does not have; the file is damaged"
            )
        pairs = _by_name(layers[name], arrays)
        if pairs is None:
            pairs = _by_order(layers[name], arrays, where=where)
            notes.append(f"the weights of {name!r} have other names than its layers; taken in their order")
        for variable, key in pairs:
            array = arrays[key]
            if tuple(variable.shape) != array.shape:
                raise LoadError(
                    f"{where}: layer {name!r}: {key} has shape {array.shape}, the layer takes {tuple(variable.shape)};"
                    " the weights do not belong to this network or input shape"
                )
            variable.assign(array)
            done.add(id(variable))
    missing = [variable.path for layer in model.layers for variable in layer.weights if id(variable) not in done]
    if missing:
        raise LoadError(f"{where}: no weights for {missing[0]} and {len(missing) - 1} more; the file is incomplete")
    finalize(model)
    return tuple(notes)


def finalize(model: Any) -> None:
    """Let layers that derive values from their weights (Normalization) do so."""
    for layer in leaves(model):
        if hasattr(layer, "finalize_state") and layer.weights:
            layer.finalize_state()


def leaves(model: Any) -> list[Any]:
    """Return the layers of ``model``, those of nested models in their place."""
    found: list[Any] = []
    for layer in model.layers:
        found.extend(leaves(layer) if hasattr(layer, "layers") and layer.layers else [layer])
    return found


def _by_name(layer: Any, arrays: Arrays) -> list[tuple[Any, str]] | None:
    """Pair the layer's variables with array names, or return None unless that works for all of them, one to one."""
    by_leaf: dict[str, list[Any]] = {}
    for variable in layer.weights:
        by_leaf.setdefault(_leaf(variable.path), []).append(variable)
    stored: dict[str, list[str]] = {}
    for key in arrays:
        stored.setdefault(_leaf(key) or (layer.name if layer.name in by_leaf else ""), []).append(key)
    pairs: list[tuple[Any, str]] = []
    if set(stored) != set(by_leaf):
        if len(stored) != 1 or len(by_leaf) != 1:
            return None
        stored = {next(iter(by_leaf)): next(iter(stored.values()))}
    for leaf, variables in by_leaf.items():
        keys = stored[leaf]
        if len(keys) != len(variables):
            return None
        named = {_last(key): key for key in keys}
        if set(named) == {_last(variable.path) for variable in variables} and len(named) == len(keys):
            pairs.extend((variable, named[_last(variable.path)]) for variable in variables)
        else:  # one layer: both versions of Keras create a layer's weights in the same order, under different names
            pairs.extend(zip(variables, keys, strict=True))
    return pairs


def _by_order(layer: Any, arrays: Arrays, *, where: str) -> list[tuple[Any, str]]:
    variables = list(layer.trainable_weights) + list(layer.non_trainable_weights)
    if len(variables) != len(arrays):
        raise LoadError(f"{where}: layer {layer.name!r} takes {len(variables)} weights, the file has {len(arrays)} for it")
    return list(zip(variables, arrays, strict=True))


def _leaf(path: str) -> str:
    """``backbone/conv2d/kernel:0`` -> ``conv2d``; an empty text where there is no such part."""
    parts = path.split("/")
    return parts[-2] if len(parts) > 1 else ""


def _last(path: str) -> str:
    return path.split("/")[-1].split(":")[0]
