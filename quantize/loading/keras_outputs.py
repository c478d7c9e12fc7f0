"""The outputs of a Keras model: names, shapes, what layer ends each of them, and what op of the traced graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import LoadError
from .graph_view import GraphView, Scope
from .io_specs import FoundOutput
from .keras_config import MODEL_CLASSES, calls, config_of, layer_name

# They hand on what they get: the ending is what comes before.
_HANDS_ON = frozenset({"Dropout", "Identity", "Reshape", "Flatten", "ActivityRegularization", "GaussianNoise", "InputLayer"})
_MAPS = ("Pooling", "Conv", "UnitNormalization")
# What they make of a map is one, and what they make of class scores is not.
_KEEPS = (
    "Normalization",
    "ReLU",
    "LeakyReLU",
    "PReLU",
    "Add",
    "Concatenate",
    "CustomScaleLayer",
    "ZeroPadding",
)
_KEPT = "kept"
# Ops of the graph that do the same.
_RESHAPES = frozenset({"Reshape", "Squeeze", "ExpandDims"})
_ENDINGS = {"Softmax": "softmax", "Sigmoid": "sigmoid", "LogSoftmax": "log-softmax"}
_CERTAIN = frozenset(_ENDINGS.values())
_MAX_STEPS = 1000


def found_outputs(model: Any, *, where: str) -> tuple[FoundOutput, ...]:
    """Return the outputs of a functional or sequential model in its own order.

    Names are the keys of a dict of outputs, else those of the output layers; a layer that gives two outputs gets ``_1`` behind
    its name the second time. Raises LoadError for outputs in a nested structure.
    """
    structure = structured(model)
    if isinstance(structure, Mapping):
        names, tensors = [str(key) for key in structure], list(structure.values())
        references = _references(config_of(model).get("output_layers"), names)
    else:
        tensors = list(structure) if isinstance(structure, list | tuple) else [structure]
        references = _references(config_of(model).get("output_layers"), None)
        names = [str(name) for name in getattr(model, "output_names", [])] or [str(model.layers[-1].name)]
    if any(isinstance(tensor, Mapping | list | tuple) for tensor in tensors) or len(names) != len(tensors):
        raise LoadError(f"{where}: its outputs are nested; return a list, or a dict of tensors")
    endings = [_ending(model, reference) for reference in references] if len(references) == len(tensors) else []
    found = []
    for position, (name, tensor) in enumerate(zip(_distinct(names), tensors, strict=True)):
        shape = tuple(None if value is None else int(value) for value in tensor.shape[1:])
        ending = endings[position] if endings else ("other" if references else _last_ending(model))
        # Scores per position (a map of classes) are not scores of the image.
        # One number without an axis of its own is the result of a calculation, such as the index of the largest score.
        kind = "features" if len(shape) > 1 else ending if shape else "other"
        found.append(FoundOutput(name=name, shape=shape, ending=kind))
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


def _last_ending(model: Any) -> str:
    """Return the ending of a sequential model."""
    layers = list(getattr(model, "layers", []))
    kept = False
    for layer in reversed(layers):
        ending = _layer_ending(layer)
        if ending == _KEPT:
            kept = True
        elif ending:
            return ending if ending == "features" or not kept else "other"
    return "features" if kept else "other"


def _ending(model: Any, reference: list[Any]) -> str:
    layers = {layer_name(layer): layer for layer in config_of(model).get("layers", [])}
    return _walk(layers, {layer.name: layer for layer in model.layers}, str(reference[0]), int(reference[2]), set())


def _walk(layers: Mapping[str, Any], live: Mapping[str, Any], name: str, tensor: int, seen: set[str]) -> str:
    """Return what tensor number ``tensor`` of layer ``name`` ends in. seen: the layers that were looked behind already."""
    for _ in range(_MAX_STEPS):
        if name not in layers:
            return "other"
        sources = [source for call, _ in calls(layers[name].get("inbound_nodes", [])) for source in call]
        if name in live:
            ending = _layer_ending(live[name], tensor)
            if ending == _KEPT:
                behind = [source for source in sources if source not in seen]
                seen.update(behind)
                return "features" if all(_walk(layers, live, each, 0, seen) == "features" for each in behind) else "other"
            if ending:
                return ending
        elif layers[name].get("class_name") not in _HANDS_ON:
            return "other"  # an operation on tensors
        if len(sources) != 1:
            return "other"
        name, tensor = sources[0], 0
    return "other"


def _layer_ending(layer: Any, tensor: int = 0) -> str:
    """Return what ``layer`` ends an output in, "" when that is what comes before it, `_KEPT` where it keeps a map one."""
    kind = type(layer).__name__
    if kind in MODEL_CLASSES:
        references = _references(config_of(layer).get("output_layers"), None)
        return _ending(layer, references[tensor]) if tensor < len(references) else _last_ending(layer)
    activation = "softmax" if kind == "Softmax" else _activation(layer)
    if activation in ("softmax", "sigmoid"):
        return activation
    if kind in _HANDS_ON or (kind == "Activation" and activation == "linear"):
        return ""
    if kind == "Dense" and activation == "linear":
        return "linear"
    if any(part in kind for part in _MAPS):
        return "features"
    if any(part in kind for part in _KEEPS) or (kind == "Activation" and activation.startswith("relu")):
        return _KEPT
    return "other"


def _activation(layer: Any) -> str:
    activation = getattr(layer, "activation", None)
    return str(getattr(activation, "__name__", "")) if callable(activation) else ""


def with_endings(found: Iterable[FoundOutput], concrete: Any) -> tuple[FoundOutput, ...]:
    """Return ``found`` with the endings that the traced function proves, and none that it disproves.

    The graph is what is converted, whichever way a softmax was written in Keras: as an activation, an operation, a Lambda.

    concrete: a concrete function that returns ``{output name: tensor}``.
    """
    view = GraphView.of(concrete.graph.as_graph_def())
    result = []
    for output in found:
        ending = _op_ending(view, concrete.structured_outputs[output.name].name)
        claimed = "other" if output.ending in _CERTAIN else output.ending
        # Scores per position (a map of classes) are not scores of the image.
        result.append(dataclasses.replace(output, ending=(ending or claimed) if len(output.shape) == 1 else output.ending))
    return tuple(result)


def _op_ending(view: GraphView, tensor: str, scope: Scope | None = None) -> str:
    """Return the ending of a tensor, "" where it is made by none of the ops that tell."""
    for _ in range(_MAX_STEPS):
        producer = view.producer(tensor, scope)
        if producer is None:
            return ""
        node, scope = producer
        if node.op == "ConcatV2":  # its last input is the axis
            parts = {_op_ending(view, part, scope) for part in node.input[:-1]}
            return "sigmoid" if parts == {"sigmoid"} else ""
        if node.op not in _RESHAPES:
            return _ENDINGS.get(node.op, "")
        tensor = node.input[0]
    return ""
