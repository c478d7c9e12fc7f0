"""How far a network's answers are from the original's, where nothing saturates: for ranking, training and choice alike.

Classes are compared by the Kullback-Leibler divergence at a temperature at which the original is about as unsure as on photos that it
has never seen (`quantize.calibrate.unsaturated`), times the temperature squared, so that its gradients do not depend on it (G.
Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", 2015). Labels that are independent: the same of each.
Numbers and features: half the squared difference in units of the original's spread. Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edge.artefact.contract import OutputSpec

from ..calibrate import unsaturated

SOFTEST = 2.0
"""The least temperature: a network that is unsure by itself still tells more with a little more of it."""

_TINY = 1e-30  # below the least probability that float32 has a logarithm of
_CLOSE = 1e-6

Answers = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judge:
    """``temperatures``: by output with classes or labels. ``spreads``: by output of numbers, their standard deviation over photos."""

    outputs: tuple[OutputSpec, ...]
    temperatures: Mapping[str, float]
    spreads: Mapping[str, float]

    @classmethod
    def of(cls, outputs: Sequence[OutputSpec], answers: Mapping[str, NDArray[np.float32]]) -> Judge:
        """Return the judge of a network from its own answers to some photos, ``(photos, ...)`` by output name."""
        temperatures, spreads = {}, {}
        for spec in outputs:
            values = answers[spec.name]
            if spec.is_classes:
                rows = list(np.asarray(_scores(spec, tf.constant(values))))
                temperatures[spec.name] = max(SOFTEST, unsaturated.temperature(rows, "logits"))
            elif spec.kind == "multilabel":
                rows = list(np.asarray(_scores(spec, tf.constant(values))))
                temperatures[spec.name] = max(SOFTEST, unsaturated.temperature(rows, "scores"))
            else:
                spread = float(np.std(values, axis=0).mean())
                spreads[spec.name] = spread if spread > _CLOSE else 1.0
        return cls(outputs=tuple(outputs), temperatures=temperatures, spreads=spreads)

    def divergence(self, ours: Answers, theirs: Answers) -> Any:
        """Return the distance of ``ours`` from the original's answers of each photo, ``(photos,)``, the mean over the outputs."""
        return tf.add_n([self._one(spec, ours[spec.name], theirs[spec.name]) for spec in self.outputs]) / len(self.outputs)

    def score(self, ours: Answers, seed: Any) -> Any:
        """Return the log-likelihood (scalar, summed) of answers drawn from the network's own, in the units of ``divergence``.

        The mean square of its gradient is the Fisher information, so that half of it times a small change squared is what the
        change makes of the divergence. Draws are independent for each photo, so the square of a sum over photos is the sum of squares
        in expectation, and a batch needs one backward pass.
        """
        terms = []
        for number, spec in enumerate(self.outputs):
            draw = tf.stack([tf.cast(seed, tf.int32), number])
            values = _scores(spec, ours[spec.name])
            if spec.is_classes:
                heat = self.temperatures[spec.name]
                logs = tf.nn.log_softmax(values / heat)
                chosen = tf.random.stateless_categorical(tf.stop_gradient(logs), 1, draw)
                terms.append(heat * tf.reduce_sum(tf.gather(logs, chosen, batch_dims=1)))
            elif spec.kind == "multilabel":
                heat = self.temperatures[spec.name]
                applies = tf.random.stateless_uniform(tf.shape(values), draw) < tf.sigmoid(values / heat)
                terms.append(heat * tf.reduce_sum(-_binary(tf.cast(applies, tf.float32), values / heat)))
            else:
                flat = values / self.spreads[spec.name]
                noise = tf.random.stateless_normal(tf.shape(flat), draw) / tf.sqrt(tf.cast(tf.shape(flat)[1], tf.float32))
                terms.append(tf.reduce_sum(flat * noise))
        return tf.add_n(terms) / len(self.outputs) ** 0.5

    def _one(self, spec: OutputSpec, ours: Any, theirs: Any) -> Any:
        a, b = _scores(spec, theirs), _scores(spec, ours)
        if spec.is_classes:
            heat = self.temperatures[spec.name]
            soft = tf.nn.log_softmax(a / heat)
            return heat**2 * tf.reduce_sum(tf.exp(soft) * (soft - tf.nn.log_softmax(b / heat)), axis=-1)
        if spec.kind == "multilabel":
            heat = self.temperatures[spec.name]
            target = tf.sigmoid(a / heat)
            return heat**2 * tf.reduce_sum(_binary(target, b / heat) - _binary(target, a / heat), axis=-1)
        return tf.reduce_mean(tf.square((a - b) / self.spreads[spec.name]), axis=-1) / 2


def rows(answers: Mapping[str, NDArray[np.float32]]) -> list[dict[str, NDArray[np.float32]]]:
    """Return answers ``(photos, ...)`` by name as one mapping for each photo."""
    count = len(next(iter(answers.values())))
    return [{name: values[i] for name, values in answers.items()} for i in range(count)]


def _scores(spec: OutputSpec, values: Any) -> Any:
    """Return what an output says before its last softmax or sigmoid, ``(photos, values)``: of one value those of its two classes."""
    flat = tf.reshape(tf.cast(values, tf.float32), (tf.shape(values)[0], -1))
    if spec.is_classes:
        single = values.shape[-1] == 1
        if spec.kind == "logits":
            return tf.concat([tf.zeros_like(flat), flat], axis=-1) if single else flat
        whole = tf.concat([1.0 - flat, flat], axis=-1) if single else flat
        return tf.math.log(tf.maximum(whole, _CLOSE if single else _TINY))
    if spec.kind == "multilabel":
        safe = tf.clip_by_value(flat, _CLOSE, 1.0 - _CLOSE)
        return tf.math.log(safe) - tf.math.log1p(-safe)
    return flat


def _binary(target: Any, scores: Any) -> Any:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=scores)
