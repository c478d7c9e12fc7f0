"""The training loop: one network, with or without fake quantization, step by step. Importing this module imports TensorFlow.

Two graphs are traced: in the first part of a run batch norms use and update batch statistics and ranges follow what they see; in the
last part both are frozen, so that the network trains on exactly what will be converted.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edge.progress import Progress

from ..errors import TrainingError
from ..quiet import import_tf_keras, quiet
from . import loss as qat_loss
from .data import TrainingImages
from .loss import Head
from .ranges import RangeTable

WARM_UP = 0.05
"""Share of all steps over which the learning rate rises."""

Constraint = Callable[[], None]


class Trainer:
    """Trains ``network`` (its values before the last softmax: ``taps``) on ``images``.

    table: the ranges, or None for a float network. frozen_from: the step from which batch norm statistics and ranges stand still.
    after_step: called after each update (keeps pruned weights at zero).
    """

    def __init__(
        self,
        network: Any,
        taps: Sequence[Any],
        heads: tuple[Head, ...],
        images: TrainingImages,
        *,
        table: RangeTable | None,
        steps: int,
        frozen_from: int,
        learning_rate: float,
        batch_size: int,
        after_step: Constraint | None = None,
    ) -> None:
        keras = import_tf_keras()
        self.network, self.heads, self.images, self.table = network, heads, images, table
        self.steps, self.frozen_from, self.learning_rate, self.batch_size = steps, frozen_from, learning_rate, batch_size
        self._after_step = after_step
        with quiet():
            self._model = keras.Model(network.input, list(taps))
        self._variables = _unique(network.trainable_variables)
        self.optimizer = keras.optimizers.Adam(learning_rate)
        self.optimizer.build(self._variables)
        self._traced: dict[bool, Any] = {}
        self.teacher: Callable[[np.ndarray, np.ndarray], list[Any]] | None = None

    def done(self, number: int) -> int:
        """Return how many steps of epoch ``number`` (from 0) are done, by what the weights have seen."""
        return int(self.optimizer.iterations) - number * self.images.steps(self.batch_size)

    def epoch(self, number: int) -> float:
        """Run what is left of epoch ``number`` and return the mean loss. Raises TrainingError when the loss is no number."""
        count, start = self.images.steps(self.batch_size), self.done(number)
        losses = []
        with Progress(count, f"train: epoch {number + 1}") as progress:
            progress.skip(start)
            batches = self.images.stream(number, self.batch_size, skip=start)
            for i, (tensors, truth, numbers) in enumerate(batches, start):
                step = number * count + i
                loss = self._run(tensors, truth, numbers, frozen=step >= self.frozen_from, rate=self.rate(step))
                if not math.isfinite(loss):
                    raise TrainingError(f"the loss is {loss} in epoch {number + 1}, step {i + 1}; try a lower --learning-rate")
                losses.append(loss)
                progress.advance()
        return float(np.mean(losses)) if losses else math.nan

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, then half a cosine down to a hundredth."""
        warm = max(1, round(WARM_UP * self.steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        done = (step - warm) / max(1, self.steps - warm)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything that a resumed run needs, by name."""
        return {name: np.asarray(variable) for name, variable in self._state().items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put back what ``arrays`` gave. Raises TrainingError if it belongs to another network."""
        for name, variable in self._state().items():
            stored = arrays.get(name)
            if stored is None or tuple(stored.shape) != tuple(variable.shape):
                raise TrainingError("the stored state belongs to another network or other settings; start again without --resume")
            variable.assign(stored)

    def _state(self) -> dict[str, Any]:
        state = {f"weight{i}": v for i, v in enumerate(_unique(self.network.variables))}
        state |= {f"optimizer{i}": v for i, v in enumerate(_unique(self.optimizer.variables))}
        return state if self.table is None else state | self.table.state()

    def _run(self, tensors: np.ndarray, truth: Mapping[str, Any], numbers: np.ndarray, *, frozen: bool, rate: float) -> float:
        teacher = self.teacher(tensors, numbers) if self.teacher is not None else [tf.zeros(()) for _ in self.heads]
        self.optimizer.learning_rate.assign(rate)
        if frozen not in self._traced:
            for layer in self.network.layers:
                layer = getattr(layer, "layer", layer)  # out of tfmot's wrapper
                if hasattr(layer, "frozen"):
                    layer.frozen = frozen
            # Without autograph: tracing 784 layers then takes seconds, and there is no Python control flow on tensors.
            self._traced[frozen] = tf.function(self._step(observe=not frozen), autograph=False, reduce_retracing=True)
        with quiet():
            return float(self._traced[frozen](tf.constant(tensors), {k: tf.constant(v) for k, v in truth.items()}, teacher))

    def _step(self, *, observe: bool) -> Callable[..., Any]:
        def step(tensors: Any, truth: Any, teacher: Any) -> Any:
            with tf.GradientTape() as tape:
                with self.table.step(observe=observe) if self.table is not None else contextlib.nullcontext():
                    values = self._model(tensors, training=True)
                loss = qat_loss.total(self.heads, values if isinstance(values, list) else [values], truth, teacher)
            gradients = tape.gradient(loss, self._variables)
            self.optimizer.apply_gradients([(g, v) for g, v in zip(gradients, self._variables, strict=True) if g is not None])
            if self.table is not None:
                self.table.update()
            if self._after_step is not None:
                self._after_step()
            return loss

        return step


def predictor(network: Any, table: RangeTable | None) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return a function from tensors ``(N, H, W, C)`` to the network's outputs in inference, with the ranges as they are."""

    def run(tensors: Any) -> Any:
        with table.step(observe=False) if table is not None else contextlib.nullcontext():
            return network(tensors, training=False)

    traced = tf.function(run, autograph=False, reduce_retracing=True)

    def predict(tensors: np.ndarray) -> list[np.ndarray]:
        with quiet():
            answer = traced(tf.constant(tensors))
        return [np.asarray(value) for value in (answer if isinstance(answer, list | tuple) else [answer])]

    return predict


def _unique(variables: Sequence[Any]) -> list[Any]:
    return list({id(variable): variable for variable in variables}.values())
