"""The tf_keras layer that training needs and tf_keras lacks. Importing this module imports TensorFlow."""

from __future__ import annotations

from typing import Any

from .quiet import import_tf_keras

_keras = import_tf_keras()
_BatchNormalization: Any = _keras.layers.BatchNormalization


@_keras.utils.register_keras_serializable("edgekit")
class FreezableBatchNormalization(_BatchNormalization):
    """BatchNormalization whose statistics can be frozen while gamma and beta go on learning.

    tf_keras ties both to ``trainable``. With ``frozen`` it normalizes by the moving statistics, as the converted file does.
    """

    frozen = False

    def call(self, inputs: Any, training: Any = None) -> Any:
        return super().call(inputs, training=False if self.frozen else training)
