"""Rewrite a Keras model configuration, plain JSON data, for the Keras that is installed.

Keras 2 writes layers without ``module`` and calls as ``[layer, node, tensor, kwargs]``, Keras 3 with ``module`` and calls as
``{"args": ..., "kwargs": ...}``. Keras 3 reads both, except for what is rewritten here: without it no model with a nested
backbone that Keras 2 wrote can be built.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import LoadError
from .keras_config import (
    ARITHMETIC,
    BIAS_ADD,
    CAST,
    CAST_CLASS,
    CONVNEXT_MODULE,
    MODEL_CLASSES,
    SCALE_CLASS,
    SCALE_MODULE,
    SLICE,
    SLICE_CLASS,
    batch_shape,
    is_bare_operation,
    is_convnext_layer,
    is_known_operation,
    is_residual_scale,
    is_residual_scale_layer,
    layer_name,
    plain,
)
from .keras_forms import needs_its_module

_OPERATIONS = "keras.src.ops.numpy"
_CASTS = "keras.src.ops.core"
_FLOATS = frozenset({"float16", "bfloat16", "float32"})
_MIXED = {"mixed_float16": "float32", "mixed_bfloat16": "float32"}
_OTHER_FLOATS = {"float16": "float32", "bfloat16": "float32", "float64": "float32", "half": "float32", "double": "float32"}
_WHOLE_NUMBERS = frozenset({"uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"})
TAKES_WHOLE_PIXELS = "its input takes whole pixels"  # how the note on such a model begins


def prepare(
    config: Mapping[str, Any], *, input_shape: tuple[int, int, int] | None, legacy: bool, where: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a copy of a scanned model configuration that the installed Keras 3 can build, and notes on what was changed.

    input_shape: (height, width, channels) to build the model at, where the file leaves it open or has another.
    legacy: Keras 2 wrote it.
    """
    notes: list[str] = []
    copy = _cleaned(config)
    mixed = _retype(copy, _MIXED)
    if mixed:
        notes.append(f"{mixed} layers had a mixed-precision policy; rebuilt in float32, the dtype of their weights")
    others = _retype(copy, _OTHER_FLOATS)
    if others:
        notes.append(f"{others} layers worked in float16, bfloat16 or float64; rebuilt in float32, from the weights as they are")
    whole = _take_float_pixels(copy)
    if whole:
        notes.append(f"{TAKES_WHOLE_PIXELS} ({whole}), 0 to 255; rebuilt to take the same numbers as float32")
    if input_shape is not None:
        _reshape(copy, input_shape, top=True)
        notes.append(f"built at input shape {'x'.join(map(str, input_shape))} as asked")
    for model in _models(copy):
        _open_with_input(model)
        layers = model["config"]["layers"]
        layers[:] = [_modern(layer, legacy=legacy, where=where) for layer in layers]
        for key in ("input_layers", "output_layers"):
            # Keras 2 writes one tensor as a list of one, and Keras 3 would make a model of lists from that.
            if legacy and isinstance(model["config"].get(key), list) and len(model["config"][key]) == 1:
                model["config"][key] = model["config"][key][0]
    if legacy:
        _renumber(copy)
    if copy.get("class_name") == "Sequential":
        copy["module"] = "keras"
    else:
        copy.update({"module": "keras.src.models.functional", "class_name": "Functional"})
    copy["registered_name"] = copy["class_name"]
    return copy, tuple(notes)


def _cleaned(value: Any) -> Any:
    """Return a deep copy without compile state (losses, optimizers: not needed), typed shapes as lists."""
    value = plain(value)
    if isinstance(value, Mapping):
        return {key: _cleaned(item) for key, item in value.items() if key != "compile_config"}
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return value


def _retype(value: Any, types: Mapping[str, str]) -> int:
    """Replace dtypes and policies by the ones in ``types``, in place; return how many there were."""
    if isinstance(value, list):
        return sum(_retype(item, types) for item in value)
    if not isinstance(value, dict):
        return 0
    changed = 0
    dtype = value.get("dtype")
    if isinstance(dtype, str) and dtype in types:
        value["dtype"], changed = types[dtype], 1
    elif isinstance(dtype, dict) and isinstance(dtype.get("config"), dict) and dtype["config"].get("name") in types:
        value["dtype"], changed = types[dtype["config"]["name"]], 1
    inner = sum(_retype(item, types) for item in value.values())
    return 0 if value.get("class_name") == "__keras_tensor__" else changed + inner


def _take_float_pixels(model: dict[str, Any]) -> str:
    """Let picture inputs of whole numbers take float32, in place; return the dtype that they had, or an empty text."""
    found = ""
    for inner in _models(model):
        for layer in inner["config"].get("layers", []):
            dtype = layer["config"].get("dtype") if layer.get("class_name") == "InputLayer" else None
            if isinstance(dtype, str) and dtype in _WHOLE_NUMBERS and len(batch_shape(layer) or ()) == 4:
                layer["config"]["dtype"], found = "float32", dtype
    return found


def _reshape(model: dict[str, Any], shape: tuple[int, int, int], *, top: bool) -> None:
    """Set the input's (height, width, channels), in place; the inputs of nested models are left open to take what comes."""
    inner = model["config"]
    inner.pop("build_input_shape", None)
    model.pop("build_config", None)
    if not inner["layers"]:
        return
    if model["class_name"] == "Sequential" and batch_shape(inner["layers"][0]) is None and top:
        config = {"batch_shape": [None, *shape], "dtype": "float32", "name": "input"}
        inner["layers"].insert(0, {"class_name": "InputLayer", "config": config})
    for position, layer in enumerate(inner["layers"]):
        layer.pop("build_config", None)
        if layer.get("class_name") in MODEL_CLASSES:
            _reshape(layer, shape, top=top and position == 0)
        old = batch_shape(layer)
        if old is not None and len(old) == 4 and (layer.get("class_name") == "InputLayer" or position == 0):
            key = "batch_shape" if "batch_shape" in layer["config"] else "batch_input_shape"
            layer["config"][key] = [None, *shape] if top else [None, None, None, old[3]]


def _open_with_input(model: dict[str, Any]) -> None:
    """State a model's input as a layer of its own, in place. Keras 2 also writes it on the first layer, or on every layer."""
    layers = model["config"]["layers"]
    first = batch_shape(layers[0]) if layers else None
    if (
        model["class_name"] == "Sequential"
        and first is not None
        and layers[0].get("class_name") not in ("InputLayer", *MODEL_CLASSES)
    ):
        config = {"batch_shape": first, "dtype": "float32", "name": f"{layer_name(layers[0])}_input"}
        layers.insert(0, {"class_name": "InputLayer", "config": config})
    for layer in layers:
        if layer.get("class_name") != "InputLayer":
            for key in ("batch_input_shape", "batch_shape"):
                layer["config"].pop(key, None)


def _models(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the model and every model nested in it."""
    stack = [config]
    while stack:
        model = stack.pop()
        yield model
        stack.extend(layer for layer in model["config"].get("layers", []) if layer.get("class_name") in MODEL_CLASSES)


def _modern(layer: dict[str, Any], *, legacy: bool, where: str) -> dict[str, Any]:
    """Return ``layer`` with what only Keras 2 knows replaced by what Keras 3 has."""
    if is_residual_scale(layer) or is_residual_scale_layer(layer):
        inner = layer["config"]
        scale = inner["arguments"]["scale"] if "arguments" in inner else inner["scale"]
        config = {"name": layer_name(layer), "trainable": bool(inner.get("trainable", True)), "dtype": "float32", "scale": scale}
        new = {"module": SCALE_MODULE, "class_name": SCALE_CLASS, "registered_name": SCALE_CLASS, "config": config}
        return {**new, **{key: layer[key] for key in ("name", "inbound_nodes") if key in layer}}
    if is_known_operation(layer):
        return _operation(layer, where=where)
    if is_bare_operation(layer):
        module = _CASTS if layer["class_name"] == CAST_CLASS else _OPERATIONS
        return {**layer, "module": module, "registered_name": layer["class_name"]}
    if is_convnext_layer(layer):
        return {**layer, "module": CONVNEXT_MODULE, "registered_name": layer["class_name"]}
    if layer.get("class_name") in ("BatchNormalizationV1", "BatchNormalizationV2"):
        return {**layer, "class_name": "BatchNormalization"}
    if not legacy:
        return layer
    if str(layer.get("module")).startswith(("keras", "tf_keras")):
        # Without these every layer takes Keras 3's path for old configurations.
        layer = {key: value for key, value in layer.items() if key not in ("module", "registered_name", "build_config")}
    if isinstance(layer.get("inbound_nodes"), list):
        layer = {**layer, "inbound_nodes": [_with_named_tensors(call) for call in layer["inbound_nodes"]]}
    if needs_its_module(layer):
        layer = {**layer, "module": "keras.layers", "registered_name": None}
    return layer


def _with_named_tensors(call: Any) -> Any:
    """Return a call in Keras 3's form where it gives tensors by name too (a MultiHeadAttention's ``value``), else as it is.

    Keras 3 would hand on the reference itself, as a list. One call: [["layer", node, tensor, {"value": ["other", node, tensor]}]]
    """
    if not isinstance(call, list) or not call or not all(isinstance(item, list) and len(item) == 4 for item in call):
        return call
    named = call[0][3]
    if not isinstance(named, Mapping) or not any(_is_reference(value) for value in named.values()):
        return call
    kwargs = {key: _tensor(value) if _is_reference(value) else value for key, value in named.items()}
    tensors = [_tensor(item) for item in call]
    return {"args": tensors if len(tensors) == 1 else [tensors], "kwargs": kwargs}


def _is_reference(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and isinstance(value[0], str) and all(type(n) is int for n in value[1:])


def _operation(layer: dict[str, Any], *, where: str) -> dict[str, Any]:
    """Return an operation that Keras 2 recorded as a layer as Keras 3's (how ``preprocess_input(x)`` was recorded)."""
    name, function = layer_name(layer), layer["config"]["function"]
    config: dict[str, Any] = {"name": name}
    if function == CAST:
        config["dtype"] = "float32"
    calls: list[dict[str, Any]] = []
    for call in layer.get("inbound_nodes", []):
        # One call: ["layer", node, tensor, {"y": 127.5, "name": null}]
        usual = isinstance(call, list) and len(call) == 4 and isinstance(call[0], str) and isinstance(call[3], Mapping)
        others = _others(function, call[3]) if usual else None
        if others is None:
            raise LoadError(f"{where}: layer {name!r} calls {function} in a way that edgekit cannot rebuild")
        calls.append({"args": [_tensor(call), *others], "kwargs": {}})
    operation = {CAST: CAST_CLASS, SLICE: SLICE_CLASS, BIAS_ADD: "Add"}.get(function) or ARITHMETIC[function]
    module = _CASTS if function == CAST else _OPERATIONS
    new = {"module": module, "class_name": operation, "registered_name": operation, "config": config}
    return {**new, "name": name, "inbound_nodes": calls}


def _others(function: str, arguments: Mapping[str, Any]) -> list[Any] | None:
    """Return what an operation takes beside its first tensor, as Keras 3 writes it; None for what cannot be rebuilt."""
    if function == CAST:
        return [] if str(arguments.get("dtype")) in _FLOATS else None
    if function == SLICE:
        key = _key(arguments.get("slice_spec"))
        return None if key is None else [key]
    if function == BIAS_ADD and arguments.get("data_format") not in (None, "NHWC"):
        return None
    other = arguments.get("bias" if function == BIAS_ADD else "y")
    if type(other) in (int, float):
        return [other]
    if isinstance(other, list) and _is_reference(other):
        return [_tensor(other)]
    return [{"class_name": "__numpy__", "config": {"value": other, "dtype": "float32"}}] if _is_numbers(other) else None


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) in (int, float) or _is_numbers(each) for each in value)


def _key(items: Any) -> list[Any] | None:
    """Return the key of a slice, numbers, ellipses and slices, as Keras 3 writes it; None for anything else (a tensor)."""
    if not isinstance(items, list):
        return None
    found: list[Any] = []
    for item in items:
        if isinstance(item, Mapping) and set(item) == {"start", "stop", "step"} and all(_whole(each) for each in item.values()):
            item = {"class_name": "__slice__", "config": dict(item)}
        elif isinstance(item, Mapping) and item.get("class_name") == "__ellipsis__":
            item = {"class_name": "__ellipsis__", "config": {}}
        elif type(item) is not int:
            return None
        found.append(item)
    return found


def _whole(value: Any) -> bool:
    return value is None or type(value) is int


def _tensor(reference: Sequence[Any]) -> dict[str, Any]:
    config = {"shape": [None], "dtype": "float32", "keras_history": list(reference[:3])}
    return {"class_name": "__keras_tensor__", "config": config}


def _renumber(model: dict[str, Any]) -> None:
    """Make the calls of nested models count from 0, in place: Keras 2 counts from 1, which Keras 3 does not expect in a call."""
    layers = model["config"].get("layers", [])
    for layer in layers:
        if layer.get("class_name") in MODEL_CLASSES:
            _renumber(layer)
    if model.get("class_name") == "Sequential":
        return
    nested = {layer_name(layer): layer["class_name"] for layer in layers if layer.get("class_name") in MODEL_CLASSES}
    calls = list(_references([layer.get("inbound_nodes", []) for layer in layers]))
    outputs = list(_references(model["config"].get("output_layers", [])))
    for name, kind in nested.items():
        own = [r for r in calls if r[0] == name]
        # Among the model's outputs Keras 3 itself counts functional models from 1.
        own += [r for r in outputs if r[0] == name and kind == "Sequential"]
        if own and min(r[1] for r in own) > 0:
            for reference in own:
                reference[1] -= 1


def _references(value: Any) -> Iterator[list[Any]]:
    """Yield every ``[layer, node, tensor, ...]`` inside ``value``."""
    if isinstance(value, list):
        if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int) and isinstance(value[2], int):
            yield value
            value = value[3:]
        for item in value:
            yield from _references(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _references(item)
