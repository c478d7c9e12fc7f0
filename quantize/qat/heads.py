"""What each output learns from: the truth of the images, the float network's answers, or both. Importing this module imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from edge.progress import stage
from edge.runtime.classify import class_count

from ..errors import TrainingError
from ..loading.source import Source
from ..quiet import import_tf_keras, quiet
from . import loss
from .config import QatConfig
from .data import TrainingImages
from .loss import Head
from .tensors import Places
from .train import predictor

_SQUASHING = {"softmax", "sigmoid"}

Teacher = Callable[[np.ndarray, np.ndarray], list[Any]]


def heads(source: Source, network: Any, places: Places, images: TrainingImages, config: QatConfig) -> tuple[Head, ...]:
    """Return how each output of ``network`` (float, flat) is trained. Raises TrainingError for a weight of an unknown output."""
    unknown = sorted(set(config.loss_weights) - set(source.output_names))
    if unknown:
        raise TrainingError(f"loss weights for {', '.join(unknown)}: the model's outputs are {', '.join(source.output_names)}")
    made = []
    for spec, (layer, squashed) in zip(source.contract.outputs, output_layers(network, places), strict=True):
        truth = images.truth.get(spec.name)
        weights = None
        if config.balanced and truth is not None and spec.is_classes:
            size = class_count(spec, int(network.get_layer(layer).output_shape[-1]))
            weights = tf.constant(images.class_weights(spec.name, size))
        head = Head(
            spec=spec,
            layer=layer,
            squashed=squashed,
            has_truth=truth is not None,
            distills=truth is None if config.distill is None else config.distill,
            weight=config.loss_weights.get(spec.name, 1.0),
            class_weights=weights,
            scale=loss.spread(truth) if truth is not None and spec.kind == "regression" else 1.0,
        )
        made.append(head)
    return tuple(made)


def teacher(network: Any, places: Places, images: TrainingImages, config: QatConfig) -> Teacher | None:
    """Return what gives the float network's values before the last softmax, or None where nothing learns from them.

    They are computed once where the pictures stay the same, else for each batch by a copy of the network.
    """
    keras = import_tf_keras()
    layers = output_layers(network, places)
    if config.distill is False or (config.distill is None and len(images.truth) == len(layers)):
        return None
    if config.augment:
        with quiet():
            copy = keras.models.clone_model(network)
            copy.set_weights(network.get_weights())
        live = predictor(keras.Model(copy.input, [tap(copy, *layer) for layer in layers]), None)
        return lambda tensors, numbers: live(tensors)
    answer = predictor(keras.Model(network.input, [tap(network, *layer) for layer in layers]), None)
    with stage("the float network's answers to the training images"):
        chunks = [answer(tensors) for tensors in images.in_order(config.batch_size)]
    stored = [np.concatenate(parts) for parts in zip(*chunks, strict=True)]
    return lambda tensors, numbers: [values[numbers] for values in stored]


def output_layers(network: Any, places: Places) -> list[tuple[str, bool]]:
    """Return, for each output, the layer that makes it and whether that is a softmax or sigmoid, whose input training looks at."""
    found = []
    for tensor in network.outputs:
        name = tensor.node.layer.name
        name = places.stands_for.get(name, name)
        layer = network.get_layer(name)
        activation = (
            "softmax" if type(layer).__name__ == "Softmax" else getattr(getattr(layer, "activation", None), "__name__", "")
        )
        found.append((name, type(layer).__name__ in ("Activation", "Softmax") and activation in _SQUASHING))
    return found


def tap(network: Any, layer: str, squashed: bool) -> Any:
    """Return the tensor of a float network that an output's loss is of."""
    found = network.get_layer(layer)
    return found.input if squashed else found.output
