"""The outputs of a Keras model: names, shapes, and what layer ends each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import LoadError
from .io_specs import FoundOutput
from .keras_config import MODEL_CLASSES, layer_name

# They hand on what they get: the ending is what comes before.
_HANDS_ON = frozenset({"Dropout", "Identity", "Reshape", "Flatten", "ActivityRegularization", "GaussianNoise", "InputLayer"})
_MAPS = (
    "Pooling",
    "Conv",
    "Normalization",
    "ReLU",
    "LeakyReLU",
    "PReLU",
    "Add",
    "Concatenate",
    "CustomScaleLayer",
    "ZeroPadding",
)
_MAX_STEPS = 1000


def found_outputs(model: Any, *, where: str) -> tuple[FoundOutput, ...]:
    """Return the outputs of a functional or sequential model in its own order.

    Names are the keys of a dict of outputs, else those of the output layers; a layer that gives two outputs gets ``_1`` behind
    its name the second time. Raises LoadError for outputs in a nested structure.
    """
    structure = structured(model)
    if isinstance(structure, Mapping):
        names, tensors = [str(key) for key in structure], list(structure.values())
        references = _references(_config(model).get("output_layers"), names)
    else:
        tensors = list(structure) if isinstance(structure, list | tuple) else [structure]
        references = _references(_config(model).get("output_layers"), None)
        names = [str(name) for name in getattr(model, "output_names", [])] or [str(model.layers[-1].name)]
    if any(isinstance(tensor, Mapping | list | tuple) for tensor in tensors) or len(names) != len(tensors):
        raise LoadError(f"{where}: its outputs are nested; return a list, or a dict of tensors")
    endings = [_ending(model, reference) for reference in references] if len(references) == len(tensors) else []
    found = []
    for position, (name, tensor) in enumerate(zip(_distinct(names), tensors, strict=True)):
        shape = tuple(None if value is None else int(value) for value in tensor.shape[1:])
        ending = endings[position] if endings else ("other" if references else _last_ending(model))
        # Scores per position (a map of classes) are not scores of the image.
        found.append(FoundOutput(name=name, shape=shape, ending=ending if len(shape) == 1 else "features"))
    return tuple(found)


def structured(model: Any) -> Any:
    """Return the output tensors as the model was given them: one, a list, or a dict, whose order ``model.outputs`` does not keep."""
    return model.outputs if type(model).__name__ == "Sequential" else model.output


def _distinct(names: list[str]) -> list[str]:
    taken: list[str] = []
    for name in names:
        candidate, number = name, 0
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.append(candidate)
    return taken


def _references(stored: Any, keys: list[str] | None) -> list[list[Any]]:
    """Return ``[layer, node, tensor]`` for each output, from what the configuration holds (one, a list, or a dict of them)."""
    if isinstance(stored, Mapping):
        return [list(stored[key]) for key in keys or stored if key in stored]
    if isinstance(stored, list | tuple) and len(stored) == 3 and isinstance(stored[0], str):
        return [list(stored)]
    return [list(item) for item in stored or [] if isinstance(item, list | tuple) and item and isinstance(item[0], str)]


def _config(model: Any) -> Mapping[str, Any]:
    try:
        config = model.get_config()
    except (NotImplementedError, AttributeError, TypeError, ValueError):
        return {}  # a subclassed model: it says nothing about its inside
    return config if isinstance(config, Mapping) else {}


def _last_ending(model: Any) -> str:
    """Return the ending of a sequential model."""
    layers = list(getattr(model, "layers", []))
    for layer in reversed(layers):
        ending = _layer_ending(layer)
        if ending:
            return ending
    return "other"


def _ending(model: Any, reference: list[Any]) -> str:
    layers = {layer_name(layer): layer for layer in _config(model).get("layers", [])}
    live = {layer.name: layer for layer in model.layers}
    name = str(reference[0])
    for _ in range(_MAX_STEPS):
        if name not in layers:
            return "other"
        if name in live:
            ending = _layer_ending(live[name], int(reference[2]) if name == reference[0] else 0)
            if ending:
                return ending
        elif layers[name].get("class_name") not in _HANDS_ON:
            return "other"  # an operation on tensors
        sources = _sources(layers[name].get("inbound_nodes", []))
        if len(sources) != 1:
            return "other"
        name = sources[0]
    return "other"


def _layer_ending(layer: Any, tensor: int = 0) -> str:
    """Return what ``layer`` ends an output in, or "" when that depends on what comes before it."""
    kind = type(layer).__name__
    if kind in MODEL_CLASSES:
        references = _references(_config(layer).get("output_layers"), None)
        return _ending(layer, references[tensor]) if tensor < len(references) else _last_ending(layer)
    activation = "softmax" if kind == "Softmax" else _activation(layer)
    if activation in ("softmax", "sigmoid"):
        return activation
    if kind in _HANDS_ON or (kind == "Activation" and activation == "linear"):
        return ""
    if kind == "Dense" and activation == "linear":
        return "linear"
    if any(part in kind for part in _MAPS) or (kind == "Activation" and activation.startswith("relu")):
        return "features"
    return "other"


def _activation(layer: Any) -> str:
    activation = getattr(layer, "activation", None)
    return str(getattr(activation, "__name__", "")) if callable(activation) else ""


def _sources(nodes: Any) -> list[str]:
    """Return the names of the layers that are read, for Keras 2's and Keras 3's way of writing calls."""
    found: list[str] = []
    stack = [nodes]
    while stack:
        value = stack.pop()
        if isinstance(value, Mapping):
            history = value["config"].get("keras_history") if value.get("class_name") == "__keras_tensor__" else None
            if history:
                found.append(str(history[0]))
            else:
                stack.extend(value.values())
        elif isinstance(value, list | tuple):
            if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int):
                found.append(value[0])
            else:
                stack.extend(value)
    return found
