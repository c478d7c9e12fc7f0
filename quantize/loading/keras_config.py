"""Keras model configurations as plain data: what is in them, whichever version of Keras wrote them. Nothing here loads Keras.

Whoever walks through a configuration does it with `objects`, whoever follows tensors from layer to layer with `calls`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import LoadError
from .io_specs import NO_PICTURE, picture_at

MAX_DEPTH = 200
MAX_NODES = 5_000_000
MODEL_CLASSES = frozenset({"Functional", "Model", "Sequential"})
SCALE_MODULE = "keras.src.applications.inception_resnet_v2"
SCALE_CLASS = "CustomScaleLayer"
CONVNEXT_MODULE = "keras.src.applications.convnext"
_CONVNEXT_NUMBERS = {"LayerScale": {"init_values", "projection_dim"}, "StochasticDepth": {"drop_path_rate"}}

_BLOCK = re.compile(r"block(?:35|17|8)_\d+(?:_\d+)?")
_SHAPE_CLASSES = frozenset({"TensorShape", "__tuple__"})
# TensorFlow functions on tensors that Keras 2 records as layers, and the Keras 3 operation that does the same with two operands.
ARITHMETIC = {
    "math.truediv": "TrueDivide",
    "math.divide": "TrueDivide",
    "math.subtract": "Subtract",
    "math.multiply": "Multiply",
    "math.add": "Add",
    "__operators__.add": "Add",
}
# What `preprocess_input` is also made of: channels in another order, and a number for each channel.
SLICE, BIAS_ADD = "__operators__.getitem", "nn.bias_add"
SLICE_CLASS, STACK_CLASS = "GetItem", "Stack"

CAST, CAST_CLASS = "cast", "Cast"
"""``tf.cast`` as Keras 2 records it, and Keras 3's operation."""


def layer_name(layer: Mapping[str, Any]) -> str:
    """Return the name that a layer's configuration gives it, or an empty text."""
    inner = layer.get("config")
    name = layer.get("name") or (inner.get("name") if isinstance(inner, Mapping) else None)
    return name if isinstance(name, str) else ""


def config_of(model: Any) -> Mapping[str, Any]:
    """Return the configuration of a live model; empty for a subclassed one, which says nothing about its inside."""
    try:
        config = model.get_config()
    except (NotImplementedError, AttributeError, TypeError, ValueError):
        return {}
    return config if isinstance(config, Mapping) else {}


def objects(config: Any, *, where: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield every ``{"class_name": ...}`` in ``config`` and the name of the layer that it belongs to, to a bounded depth.

    Raises LoadError beyond it.
    """
    stack: list[tuple[Any, str, int]] = [(config, "the model", 0)]
    seen = 0
    while stack:
        value, owner, depth = stack.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_NODES:
            raise LoadError(f"{where}: its configuration is nested more than {MAX_DEPTH} deep or has over {MAX_NODES:,} values")
        if isinstance(value, Mapping):
            if "class_name" in value:
                owner = layer_name(value) or owner
                yield value, owner
            # Losses, metrics and optimizers may be anybody's: keras_rewrite.prepare drops them, Keras never sees them.
            stack.extend((item, owner, depth + 1) for key, item in value.items() if key != "compile_config")
        elif isinstance(value, list):
            stack.extend((item, owner, depth + 1) for item in value)


def calls(nodes: Any) -> Iterator[tuple[list[str], Any]]:
    """Yield, of a layer's ``inbound_nodes``, the names of the layers that a call reads, and the number it is combined with or None.

    Keras 2 writes a call as ``[[layer, node, tensor, kwargs], ...]`` (one alone: without the outer list), Keras 3 as
    ``{"args": ..., "kwargs": ...}`` with serialized tensors in it.
    """
    for node in nodes if isinstance(nodes, list | tuple) else ():
        if isinstance(node, Mapping):
            given = list(_flat(node.get("args", ())))
            numbers = [item for item in given if isinstance(item, int | float)]
            sources = [name for item in (*given, *_flat(node.get("kwargs", {}))) if (name := _history(item))]
            first_is_tensor = bool(given) and _history(given[0]) is not None
            yield sources, numbers[0] if len(sources) == 1 and len(numbers) == 1 and first_is_tensor else None
        elif isinstance(node, list | tuple) and node and isinstance(node[0], str):
            yield [node[0]], node[3].get("y") if len(node) > 3 and isinstance(node[3], Mapping) else None
        elif isinstance(node, list | tuple):
            yield [str(item[0]) for item in node if isinstance(item, list | tuple) and item], None


def _flat(value: Any) -> Iterator[Any]:
    """Yield what lists and dicts hold, a serialized object as one thing."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _flat(item)
    elif isinstance(value, Mapping) and "class_name" not in value:
        yield from _flat(list(value.values()))
    else:
        yield value


def _history(value: Any) -> str | None:
    """Return the layer that a serialized tensor comes from, or None for anything else."""
    if isinstance(value, Mapping) and value.get("class_name") == "__keras_tensor__":
        return str(value["config"]["keras_history"][0])
    return None


def is_residual_scale(layer: Mapping[str, Any]) -> bool:
    """Whether a Lambda is the residual scaling of Keras 2's InceptionResNetV2 (TensorFlow up to 2.12): ``x[0] + scale * x[1]``.

    Recognised by everything but its bytecode, which is never looked at: the block's name, the module that wrote it (the oldest
    files name none), ``scale`` as the only argument, no defaults or closure, and exactly one call with two tensors.
    """
    inner = layer.get("config")
    if layer.get("class_name") != "Lambda" or not isinstance(inner, Mapping):
        return False
    function, arguments = plain(inner.get("function")), inner.get("arguments")
    code_only = isinstance(function, list) and len(function) == 3 and not function[1] and not function[2]
    named = inner.get("name") == layer_name(layer) and _BLOCK.fullmatch(layer_name(layer)) is not None
    module = inner.get("module")
    written = module is None or (isinstance(module, str) and module.endswith("applications.inception_resnet_v2"))
    written = written and inner.get("function_type") == "lambda"
    scaled = isinstance(arguments, Mapping) and set(arguments) == {"scale"} and type(arguments["scale"]) in (int, float)
    calls = layer.get("inbound_nodes")
    called = isinstance(calls, list) and len(calls) == 1 and isinstance(calls[0], list) and len(calls[0]) == 2
    return code_only and named and written and scaled and called


def is_residual_scale_layer(layer: Mapping[str, Any]) -> bool:
    """Whether this is ``CustomScaleLayer`` of Keras' (or tf_keras') InceptionResNetV2, under any of its registered names."""
    inner = layer.get("config")
    if not isinstance(inner, Mapping) or type(inner.get("scale")) not in (int, float):
        return False
    return layer.get("class_name") in (SCALE_CLASS, f"Custom>{SCALE_CLASS}", f"keras>{SCALE_CLASS}")


def is_convnext_layer(layer: Mapping[str, Any]) -> bool:
    """Whether this is one of the two layers that Keras' (and tf_keras') ConvNeXt has of its own, with its numbers."""
    inner, module = layer.get("config"), layer.get("module")
    numbers = _CONVNEXT_NUMBERS.get(str(layer.get("class_name")))
    own = module is None or (isinstance(module, str) and module in (CONVNEXT_MODULE, f"tf_{CONVNEXT_MODULE}"))
    if not own or numbers is None or not isinstance(inner, Mapping):
        return False
    return all(type(inner.get(key)) in (int, float) for key in numbers)


def is_known_operation(layer: Mapping[str, Any]) -> bool:
    """Whether a layer of an operation is a cast, a slice, or plain arithmetic of a tensor with numbers or another tensor."""
    inner = layer.get("config")
    if not isinstance(inner, Mapping):
        return False
    if layer.get("class_name") == "SlicingOpLambda":
        return inner.get("function") == SLICE
    return layer.get("class_name") == "TFOpLambda" and inner.get("function") in (*ARITHMETIC, CAST, BIAS_ADD)


def is_bare_operation(layer: Mapping[str, Any]) -> bool:
    """Whether this is such arithmetic as Keras 3 writes it into ``.h5``: its own operation, without saying whose it is."""
    inner = layer.get("config")
    if not isinstance(inner, Mapping) or "module" in layer:
        return False
    if layer.get("class_name") == CAST_CLASS:
        return set(inner) == {"name", "dtype"}
    if layer.get("class_name") == STACK_CLASS:
        return set(inner) == {"name", "axis"}
    return set(inner) == {"name"} and layer.get("class_name") in (*ARITHMETIC.values(), SLICE_CLASS)


def spatial_shape(config: Mapping[str, Any], *, where: str) -> tuple[int | None, int | None, int | None]:
    """Return (height, width, channels) of the model's only input, each None where the file leaves it open.

    Raises LoadError for several inputs and for an input that is no image.
    """
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, Mapping) else None
    if not isinstance(layers, list) or not layers:
        raise LoadError(
            f"{where}: its configuration lists no layers; only functional and sequential models can be rebuilt from a file"
        )
    inputs = [layer for layer in layers if layer.get("class_name") == "InputLayer"]
    if config.get("class_name") == "Sequential":
        if layers[0].get("class_name") in MODEL_CLASSES:
            return spatial_shape(layers[0], where=where)
        inputs = layers[:1]
    if not inputs:
        raise LoadError(f"{where}: the model has 0 inputs (none), expected one image")
    if len(inputs) > 1 or len(batch_shape(inputs[0]) or ()) in (2, 3):
        names = [layer_name(layer) for layer in inputs]
        at = picture_at([batch_shape(layer) for layer in inputs], names, where=where)
        if at is None:
            return NO_PICTURE
        inputs = [inputs[at]]
    shape = batch_shape(inputs[0])
    if shape is None and config.get("class_name") == "Sequential" and isinstance(inner, Mapping):
        built = plain(inner.get("build_input_shape"))
        shape = built if isinstance(built, list) else None
        if shape is None and isinstance(config.get("build_config"), Mapping):
            built = plain(config["build_config"].get("input_shape"))
            shape = built if isinstance(built, list) else None
    if shape is None or len(shape) != 4:
        raise LoadError(
            f"{where}: input layer {layer_name(inputs[0])!r} has shape {shape}, expected (batch, height, width, channels)"
        )
    height, width, channels = (value if isinstance(value, int) else None for value in shape[1:])
    return height, width, channels


def input_name(config: Mapping[str, Any]) -> str:
    """Return the name of the model's input layer, or of the model where it has none."""
    inner = config.get("config")
    layers = inner.get("layers", []) if isinstance(inner, Mapping) else []
    return next((layer_name(layer) for layer in layers if layer.get("class_name") == "InputLayer"), layer_name(config))


def batch_shape(layer: Mapping[str, Any]) -> list[Any] | None:
    """Return the input shape, batch first, that a layer states, or None."""
    inner = layer.get("config")
    if not isinstance(inner, Mapping):
        return None
    shape = plain(inner.get("batch_shape", inner.get("batch_input_shape")))
    return shape if isinstance(shape, list) else None


def plain(value: Any) -> Any:
    """Return a shape that Keras 2 wrote as a typed dict as the list that it holds."""
    if isinstance(value, Mapping) and value.get("class_name") in _SHAPE_CLASSES:
        return value.get("items")
    return value
