"""Live Keras models, Keras 3 and tf_keras: brought to one fixed input size and float32, and described."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LoadError, first_line
from ..quiet import import_keras, import_tensorflow
from . import keras_forms, keras_rewrite, keras_weights, recurrent
from .architecture import recognise
from .contract_check import InsideNormalisation
from .input_chain import follow
from .io_specs import NO_PICTURE, FoundInput, FoundOutput, picture_at
from .keras_files import build_from, load_h5
from .keras_outputs import found_outputs


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class KerasParts:
    """A Keras model as ``quantize.load`` needs it; ``function`` takes a batch and returns ``{output name: tensor}``.

    Of a model with several inputs it takes the picture's batch, then those of ``extra_inputs`` in their order.
    """

    function: Callable[..., Mapping[str, Any]]
    trackables: tuple[Any, ...]
    input_shape: tuple[int, int, int]
    outputs: tuple[FoundOutput, ...]
    inside: InsideNormalisation
    architecture: str
    extra_inputs: tuple[FoundInput, ...] = ()
    notes: tuple[str, ...] = ()


def ready(model: Any, *, input_shape: tuple[int, int, int] | None, where: str) -> tuple[Any, tuple[str, ...]]:
    """Return ``model`` as a Keras 3 model with a fixed input shape, in float32, and notes; the model itself where it is that.

    A tf_keras model is rebuilt in Keras 3 and kept only if both answer alike; one that Keras 3 cannot build is used as it is.
    Raises LoadError for what is no Keras model, a model that was never built, several inputs, and an open input size.
    """
    tf_keras = sys.modules.get("tf_keras")
    if tf_keras is not None and isinstance(model, tf_keras.Model):
        return _from_tf_keras(model, input_shape=input_shape, where=where)
    keras = import_keras()
    if not isinstance(model, keras.Model):
        raise LoadError(f"{where}: a {type(model).__name__} is no Keras model; give a path, or a Keras model object")
    stored = _input_shape(model, where=where)
    other = any(layer.compute_dtype != "float32" for layer in keras_weights.leaves(model))
    other = other or any(tensor.dtype != "float32" and len(tensor.shape) == 4 for tensor in model.inputs)
    config = _config(model)
    other = other or bool(keras_forms.renames(config, where=where))
    if not other and None not in stored and input_shape in (None, stored):
        return model, ()
    at = None if input_shape in (None, stored) else input_shape
    if at is None and None in stored:
        raise LoadError(f"{where}: input layer {model.inputs[0].name!r} leaves its size open; give input_shape=(height, width)")
    try:
        if not config:
            raise ValueError("it does not tell its configuration")
        config, named = keras_forms.usual(config, where=where)
        prepared, notes = keras_rewrite.prepare(config, input_shape=at, legacy=False, where=where)
    except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        raise LoadError(f"{where}: cannot be rebuilt at another size or in float32 ({first_line(error)})") from error
    # Its code is this process's own already, so nothing in it is new.
    rebuilt = build_from(prepared, allow_code=True, at=at, where=where)
    try:
        rebuilt.set_weights(model.get_weights())
    except ValueError as error:
        raise LoadError(f"{where}: its weights do not fit at input shape {at}: {first_line(error)}") from error
    keras_weights.finalize(rebuilt)
    return rebuilt, named + notes


def _config(model: Any) -> dict[str, Any]:
    """Return the configuration of a Keras 3 model in plain lists, as a file has it; empty where the model does not tell it."""
    try:
        return dict(json.loads(json.dumps(import_keras().saving.serialize_keras_object(model))))
    except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError):
        return {}


def inspect(model: Any, *, where: str) -> KerasParts:
    """Describe a model that ``ready`` or a loader returned."""
    shape = _input_shape(model, where=where)
    height, width, channels = (int(value or 0) for value in shape)
    outputs = found_outputs(model, where=where)
    chain = follow(model)
    inside = InsideNormalisation(names=tuple(chain.normalisers), scale=chain.scale, offset=chain.offset, opaque=chain.opaque)
    names = [layer.name for layer in keras_weights.leaves(model)]
    traced, notes = recurrent.convertible(model)
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    at = picture_at(shapes, [str(tensor.name) for tensor in model.inputs], where=where)
    order = [i for i in range(len(shapes)) if i != at]
    return KerasParts(
        function=_function(traced, [output.name for output in outputs], order if at is None else [at, *order]),
        # A Keras 3 variable is no TensorFlow object; the one that it holds is.
        trackables=tuple(
            getattr(variable, "value", variable) if _is_keras3(variable) else variable for variable in traced.variables
        ),
        extra_inputs=tuple(FoundInput(name=str(model.inputs[i].name), shape=shapes[i][1:]) for i in order),
        notes=notes,
        input_shape=(height, width, channels),
        outputs=outputs,
        inside=inside,
        architecture=recognise(names),
    )


def sha256(model: Any) -> str:
    """Return the hash of a live model's weights: names, shapes and bytes, in order."""
    digest = hashlib.sha256()
    for variable in model.variables:
        array = np.ascontiguousarray(variable.numpy())
        digest.update(f"{getattr(variable, 'path', variable.name)} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _function(model: Any, names: list[str], order: list[int]) -> Callable[..., Mapping[str, Any]]:
    """Return the model as a function of its inputs, the picture first. order: which input of the model each argument is."""

    def call(*tensors: Any) -> dict[str, Any]:
        arranged = [tensor for _, tensor in sorted(zip(order, tensors, strict=True), key=lambda pair: pair[0])]
        answer = model(_as_called(model, arranged), training=False)
        if isinstance(answer, Mapping):
            return {name: answer[name] for name in names}
        answers = answer if isinstance(answer, list | tuple) else [answer]
        return dict(zip(names, answers, strict=True))

    return call


def _as_called(model: Any, tensors: list[Any]) -> Any:
    """Return a model's inputs, in the order of ``model.inputs``, the way that it takes them: one, a list, or by name."""
    named = getattr(model, "input", None)
    if isinstance(named, Mapping):
        at = {id(tensor): i for i, tensor in enumerate(model.inputs)}
        return {key: tensors[at[id(tensor)]] for key, tensor in named.items()}
    return tensors if len(tensors) > 1 else tensors[0]


def _input_shape(model: Any, *, where: str) -> tuple[int | None, int | None, int | None]:
    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise LoadError(
            f"{where}: its input shape is not known (a subclassed or never-built model); wrap it:"
            f" x = keras.Input((H, W, 3)); keras.Model(x, model(x))"
        )
    shapes = [tuple(tensor.shape) for tensor in inputs]
    at = picture_at(shapes, [str(tensor.name) for tensor in inputs], where=where)
    if at is None:
        return NO_PICTURE
    shape = shapes[at]
    height, width, channels = (None if value is None else int(value) for value in shape[1:])
    return height, width, channels


def _from_tf_keras(model: Any, *, input_shape: tuple[int, int, int] | None, where: str) -> tuple[Any, tuple[str, ...]]:
    stored = _input_shape(model, where=where)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = Path(folder) / "model.h5"
        try:
            model.save(path, include_optimizer=False)
            rebuilt, notes = load_h5(path, input_shape=input_shape, allow_code=False, where=where)
        except (LoadError, NotImplementedError, TypeError, ValueError) as error:
            if None in stored or input_shape not in (None, stored):
                raise LoadError(f"{where}: cannot be rebuilt at a fixed size: {first_line(error)}") from error
            return model, (f"kept as a Keras 2 model, Keras 3 cannot build it: {first_line(error)}",)
    if input_shape in (None, stored):
        difference = _difference(model, rebuilt)
        if difference > 1e-3:
            return model, (f"kept as a Keras 2 model: rebuilt in Keras 3 it answers otherwise (by {difference:.2g})",)
        return rebuilt, (*notes, "a Keras 2 model, rebuilt in Keras 3 and checked to answer alike")
    return rebuilt, (*notes, "a Keras 2 model, rebuilt in Keras 3 at the size asked for, where its answers were not compared")


def _difference(one: Any, other: Any) -> float:
    """Return the largest difference between two models' answers to one noise image, relative to the largest answer."""
    tf = import_tensorflow()
    rng = np.random.default_rng(0)
    whole = [tensor.dtype.is_integer for tensor in one.inputs]  # such a model takes pixels
    noise = [
        tf.constant((np.floor(rng.uniform(0, 256, shape)) if pixels else rng.uniform(-1, 1, shape)).astype(np.float32))
        for pixels, shape in zip(whole, ([1, *tensor.shape[1:]] for tensor in one.inputs), strict=True)
    ]
    answers = [tf.nest.flatten(model(_as_called(model, noise), training=False)) for model in (one, other)]
    pairs = [(np.asarray(a.numpy()), np.asarray(b.numpy())) for a, b in zip(*answers, strict=True)]
    return max(float(np.abs(a - b).max() / max(1e-6, np.abs(a).max())) for a, b in pairs)


def _is_keras3(variable: Any) -> bool:
    return type(variable).__module__.startswith("keras.")
