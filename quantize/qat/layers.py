"""The tf_keras layers and activations that training needs and tf_keras lacks. Importing this module imports TensorFlow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf

from ..quiet import import_tf_keras

_keras = import_tf_keras()
_BatchNormalization: Any = _keras.layers.BatchNormalization
_Layer: Any = _keras.layers.Layer


@_keras.utils.register_keras_serializable("edgekit")
class FreezableBatchNormalization(_BatchNormalization):
    """BatchNormalization whose statistics can be frozen while gamma and beta go on learning.

    tf_keras ties both to ``trainable``. With ``frozen`` it normalizes by the moving statistics, as the converted file does.
    """

    frozen = False

    def call(self, inputs: Any, training: Any = None) -> Any:
        return super().call(inputs, training=False if self.frozen else training)


@_keras.utils.register_keras_serializable("edgekit")
class Arithmetic(_Layer):
    """``x OPERATION number``, or ``number OPERATION x`` where ``swapped``: one op of the converted file, with one output tensor.

    operation: add, subtract, multiply or divide. number: one, or an array that broadcasts to ``x``.
    """

    def __init__(self, operation: str, number: Any, swapped: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.operation, self.swapped = operation, swapped
        self.number: Any = SimpleNamespace(values=np.asarray(number, np.float32))  # Keras would track and wrap a plain array

    def call(self, inputs: Any) -> Any:
        operate = getattr(tf.math, self.operation)
        number = tf.constant(self.number.values)
        return operate(number, inputs) if self.swapped else operate(inputs, number)

    def get_config(self) -> dict[str, Any]:
        own = {"operation": self.operation, "number": self.number.values.tolist(), "swapped": self.swapped}
        return {**super().get_config(), **own}


@_keras.utils.register_keras_serializable("edgekit")
class Augmentation(_Layer):
    """Calls ``layer``, the random image layer of Keras 3 or tf_keras that it stands for, in training; passes on its input otherwise."""

    def __init__(self, layer: Any, **settings: Any) -> None:
        super().__init__(**settings)
        self._augmenter = SimpleNamespace(layer=layer)  # out of sight of tf_keras, which cannot track a layer of Keras 3

    def call(self, inputs: Any, training: Any = None) -> Any:
        if not training:
            return inputs
        return tf.ensure_shape(tf.cast(self._augmenter.layer(inputs, training=True), inputs.dtype), inputs.shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": self._augmenter.layer}


@_keras.utils.register_keras_serializable("edgekit")
def hard_sigmoid(x: Any) -> Any:
    """Return ``relu6(x + 3) / 6``, as Keras 3 computes it; tf_keras has ``clip(0.2 x + 0.5, 0, 1)`` under this name."""
    return tf.nn.relu6(x + 3.0) / 6.0


@_keras.utils.register_keras_serializable("edgekit")
def hard_swish(x: Any) -> Any:
    """Return ``x relu6(x + 3) / 6``: HARD_SWISH in the converted file."""
    return x * hard_sigmoid(x)
