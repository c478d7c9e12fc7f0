"""What training makes small, for each output: distance to the truth, to the float network's answer, or both.

Losses are taken before the last softmax or sigmoid: behind its fake quantizer small probabilities are zero and have no gradient.
Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from edge.artefact.contract import OutputSpec

from ..errors import TrainingError

DISTILL_SHARE = 0.5
"""Of the distillation term where there are labels too."""

TEMPERATURE = 2.0
"""Softens both distributions, as in G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network" (2015)."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Head:
    """One output in training. ``layer`` makes the values that the loss is of: logits where ``squashed`` (softmax or sigmoid).

    ``weight``: of this output among all. ``class_weights``: float32 (classes,) or None. ``scale``: divides numbers, so that
    outputs of different units weigh alike. ``has_truth``, ``distills``: which terms there are; one at least.
    """

    spec: OutputSpec
    layer: str
    squashed: bool
    has_truth: bool
    distills: bool
    weight: float = 1.0
    class_weights: Any = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.has_truth and not self.distills:
            raise TrainingError(
                f"output {self.spec.name!r} has no labels in the training images, and distillation is off; give labels or switch it on"
            )

    def loss(self, values: Any, truth: Any, teacher: Any) -> Any:
        """Return the mean loss (scalar). values, teacher: (batch, ...) as ``layer`` makes them; truth: as the dataset has it."""
        terms = []
        if self.has_truth:
            terms.append((1.0 - DISTILL_SHARE if self.distills else 1.0, self._to_truth(values, truth)))
        if self.distills:
            terms.append((DISTILL_SHARE if self.has_truth else 1.0, self._to_teacher(values, tf.stop_gradient(teacher))))
        return self.weight * tf.add_n([share * term for share, term in terms])

    def _to_truth(self, values: Any, truth: Any) -> Any:
        if self.spec.is_classes:
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=truth, logits=self._logits(values))
            return tf.reduce_mean(each if self.class_weights is None else each * tf.gather(self.class_weights, truth))
        if self.spec.kind == "multilabel":
            return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(truth, tf.float32), self._logits(values)))
        return tf.reduce_mean(tf.square((values - tf.reshape(truth, tf.shape(values))) / self.scale))

    def _to_teacher(self, values: Any, teacher: Any) -> Any:
        if self.spec.is_classes:
            soft = tf.nn.log_softmax(self._logits(teacher) / TEMPERATURE)
            ours = tf.nn.log_softmax(self._logits(values) / TEMPERATURE)
            return TEMPERATURE**2 * tf.reduce_mean(tf.reduce_sum(tf.exp(soft) * (soft - ours), axis=-1))
        if self.spec.kind == "multilabel":
            return tf.reduce_mean(
                tf.nn.sigmoid_cross_entropy_with_logits(tf.sigmoid(self._logits(teacher)), self._logits(values))
            )
        return tf.reduce_mean(tf.square((values - teacher) / self.scale))

    def _logits(self, values: Any) -> Any:
        single = self.spec.is_classes and values.shape[-1] == 1  # the logit of the second of two classes
        logits = values
        if not self.squashed and self.spec.kind != "logits":
            safe = tf.clip_by_value(values, 1e-6, 1.0 - 1e-6)  # probabilities that are made otherwise
            logits = tf.math.log(safe) if self.spec.is_classes and not single else tf.math.log(safe / (1.0 - safe))
        return tf.concat([tf.zeros_like(logits), logits], axis=-1) if single else logits


def total(heads: tuple[Head, ...], values: list[Any], truth: Mapping[str, Any], teacher: list[Any]) -> Any:
    """Return the weighted sum of all heads' losses."""
    return tf.add_n([h.loss(v, truth.get(h.spec.name), t) for h, v, t in zip(heads, values, teacher, strict=True)])


def spread(values: np.ndarray) -> float:
    """Return the standard deviation of numbers, 1 where they do not vary: the unit of a regression output's loss."""
    deviation = float(np.std(values))
    return deviation if deviation > 1e-6 else 1.0
