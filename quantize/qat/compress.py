"""Pruning and clustering before quantization-aware training, and keeping them during it. Importing this module imports TensorFlow.

Both make the file compress better (fewer distinct values), and nothing else: its own size, the RAM and the speed stay.
tensorflow-model-optimization chooses the zeros and the cluster centres; during training our steps keep them, as tfmot's own
preserving quantizers only exist for its own scheme.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from .. import tf_private
from ..quiet import import_tf_keras, quiet
from . import scheme

with quiet():
    import tensorflow_model_optimization as tfmot

_LEAST_WEIGHTS = 1024  # smaller kernels gain nothing worth their accuracy
_KINDS = ("Conv2D", "Dense")


def prune(network: Any, sparsity: float) -> None:
    """Set the smallest ``sparsity`` (0..1) of each large kernel's weights to zero, in place, by tfmot's magnitude pruning."""
    schedule = tfmot.sparsity.keras.ConstantSparsity(sparsity, begin_step=0, end_step=-1, frequency=1)
    for layer in _large(network):
        kernel = layer.kernel
        with quiet():
            mask = tfmot_mask(kernel, schedule)
        kernel.assign(kernel * mask)


def tfmot_mask(kernel: Any, schedule: Any) -> Any:
    """Return tfmot's pruning mask (0 or 1) of a kernel."""
    mask = tf.Variable(tf.ones_like(kernel), trainable=False)
    threshold = tf.Variable(0.0, trainable=False)
    pruning = tf_private.get("Pruning")(lambda: tf.constant(0), [(kernel, mask, threshold)], schedule, (1, 1), "AVG")
    return tf.cast(tf_private.pruning_mask(pruning, kernel), kernel.dtype)


def cluster(network: Any, clusters: int) -> None:
    """Replace each large kernel's weights by ``clusters`` values, in place, by tfmot's clustering (centres start at equal distances)."""
    keras = import_tf_keras()
    start = tfmot.clustering.keras.CentroidInitialization.LINEAR
    for layer in _large(network):
        # One layer at a time: wrapping the whole network would hold it three times.
        with quiet():
            alone = keras.Sequential([keras.Input(layer.input_shape[1:]), type(layer).from_config(layer.get_config())])
            alone.layers[-1].set_weights(layer.get_weights())
            model = tfmot.clustering.keras.cluster_weights(alone, number_of_clusters=clusters, cluster_centroids_init=start)
            layer.set_weights(tfmot.clustering.keras.strip_clustering(model).get_weights())


def keeper(network: Any, quantized: Any, *, sparsity: float, clusters: int | None) -> Callable[[], None] | None:
    """Return what to do after each step so that zeros stay zero, or weights of one cluster stay equal; None where there is nothing."""
    if not sparsity and clusters is None:
        return None
    kept: list[tuple[Any, Any, int]] = []
    for layer in _large(network):
        kernel = scheme.variables_of(quantized, layer.name)[0]
        values = np.asarray(layer.kernel)
        if clusters is None:
            kept.append((kernel, tf.constant((values != 0).astype(np.float32)), 0))
        else:
            distinct, assignment = np.unique(values, return_inverse=True)
            kept.append((kernel, tf.constant(assignment.reshape(-1).astype(np.int32)), len(distinct)))

    def keep() -> None:
        for kernel, constant, count in kept:
            if not count:
                kernel.assign(kernel * constant)
            else:
                # The mean over a cluster of equal weights that moved is the step that its centre would have taken.
                means = tf.math.unsorted_segment_mean(tf.reshape(kernel, [-1]), constant, count)
                kernel.assign(tf.reshape(tf.gather(means, constant), tf.shape(kernel)))

    return keep


def _large(network: Any) -> list[Any]:
    return [
        layer for layer in network.layers if type(layer).__name__ in _KINDS and int(np.prod(layer.kernel.shape)) >= _LEAST_WEIGHTS
    ]
