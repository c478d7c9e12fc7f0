"""A Keras network in the place of a source's: the same outputs by the same names. Importing this module imports TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ..loading import keras_object
from ..loading.source import Source
from ..qat.bridge_operations import calls
from ..quiet import import_keras, quiet
from .pictures import resized


def with_model(source: Source, model: Any) -> Source:
    """Return ``source`` with ``model`` (Keras 3, of the same outputs in the same order) as its network, at the model's input size."""
    with quiet():
        parts = keras_object.inspect(model, where=source.name)
    names = source.output_names
    inner = parts.function

    def function(*tensors: Any) -> dict[str, Any]:
        return dict(zip(names, inner(*tensors).values(), strict=True))

    height, width, _ = parts.input_shape
    return dataclasses.replace(
        source,
        contract=resized(source.contract, height, width),
        input_shape=parts.input_shape,
        function=function,
        trackables=parts.trackables,
        model=model,
        _traced={},
    )


def answering(source: Source) -> Any:
    """Return the network as a traced function of a batch of any size."""
    signature = [tf.TensorSpec([None, *shape], tf.float32) for shape in source.input_shapes]
    with quiet():
        return tf.function(source.function, input_signature=signature, autograph=False)


def answers(source: Source, batches: Iterable[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Return the network's answers to all photos, ``(photos, ...)`` by output name."""
    function = answering(source)
    found: list[Mapping[str, Any]] = [{n: v.numpy() for n, v in function(tf.constant(batch)).items()} for batch in batches]
    return {name: np.concatenate([each[name] for each in found]) for name in source.output_names}


def with_features(source: Source) -> tuple[Any, tuple[int, ...]]:
    """Return a function of a batch that gives (answers by output name, pooled features), and the sizes of these features.

    Features are what goes into the last operation with weights before each output, at the level of the whole network: both in one pass.
    """
    keras = import_keras()
    model = source.model
    structure = model.output
    outputs = structure if isinstance(structure, Mapping) else dict(zip(source.output_names, model.outputs, strict=True))
    read = _read_last(model)
    with quiet():
        network = keras.Model(model.inputs, [*(outputs[name] for name in source.output_names), *read])
    count = len(source.output_names)

    def function(batch: Any) -> tuple[dict[str, Any], list[Any]]:
        found = network(batch, training=False)
        values = found if isinstance(found, list | tuple) else [found]
        return dict(zip(source.output_names, values[:count], strict=True)), [_pooled(each) for each in values[count:]]

    return function, tuple(int(tensor.shape[-1]) for tensor in read)


def _read_last(model: Any) -> list[Any]:
    makers = {id(result): call for call in calls(model) for result in call.results}
    found: dict[int, Any] = {}
    for tensor in model.outputs:
        while (call := makers.get(id(tensor))) is not None and len(call.sources) == 1:
            tensor = call.sources[0]
            if getattr(call.layer, "weights", None) and len(tensor.shape) in (2, 4):
                found[id(tensor)] = tensor
                break
    return list(found.values())


def _pooled(tensor: Any) -> Any:
    return tf.reduce_mean(tensor, axis=(1, 2)) if len(tensor.shape) == 4 else tensor
