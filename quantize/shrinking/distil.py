"""Training a shrunk network to answer as the original does: on the same augmented photos, without labels, within the given time.

The loss is the divergence of the answers (`quantize.shrinking.answers`) plus the squared distance of the pooled features that the last
layers read, in units of the original's (A. Romero and others, "FitNets: hints for thin deep nets", 2015). Adam with a learning rate that
falls as a cosine, with the clock or with the steps, whichever is further. Batch-norm statistics stand still, in the network as in
the original: the original answers with its own, and so does the int8 file. Importing this module imports TensorFlow.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edge.data.dataset import LabelledImages
from edge.progress import Progress

from ..calibrate import output_error
from ..errors import TrainingError
from ..loading.source import Source
from ..qat import state
from ..quiet import import_keras, quiet
from . import networks, pictures
from .answers import Judge, rows
from .config import ShrinkConfig

WARM_UP = 0.02
"""Share of the training over which the rate rises to its highest: Adam's first steps know nothing of the scale yet."""

FEATURES = 1.0
"""Weight of the features beside the answers."""

_LOOKS = 20  # at the photos that choose, during a training, and states that are kept
_OVERHEAD = 10.0  # times as long as one of them took is trained before the next
_CHOICE_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the held-out photos say at one time. ``error``: mean, where nothing saturates; ``agreement``: None without classes."""

    step: int
    seconds: float
    loss: float | None
    divergence: float
    error: float
    agreement: float | None

    @property
    def merit(self) -> float:
        """Higher is better. The agreement counts whole photos only; the error tells two of the same agreement apart."""
        return (self.agreement or 0.0) - self.error

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


class Mimicry:
    """One training. ``looks``: at the start, and from time to time. The best weights are in the network when ``train`` is done."""

    def __init__(
        self,
        original: Source,
        shrunk: Source,
        learning: LabelledImages,
        choice: LabelledImages,
        judge: Judge,
        config: ShrinkConfig,
        folder: Path,
        settings: dict[str, Any],
    ) -> None:
        self.original, self.shrunk, self.judge, self.config, self.folder = original, shrunk, judge, config, folder
        self._settings = settings
        self._size = min(len(learning), config.batch(*original.input_shape[:2]))
        size = config.augment, config.seed
        self._theirs = pictures.feed(learning, original.contract, augment=size[0], seed=size[1])
        self._ours = pictures.feed(learning, shrunk.contract, augment=size[0], seed=size[1])
        self._same_size = original.input_shape == shrunk.input_shape
        self._choice = choice
        self._expected = networks.answers(original, pictures.batches(choice, original.contract, _CHOICE_BATCH))
        shrunk.model.trainable = True  # a backbone that was frozen when the original was trained needs the repair too
        self._variables = [variable.value for variable in shrunk.model.trainable_variables]
        if not self._variables:
            raise TrainingError(f"{shrunk.name}: the shrunk network has no weights to train; shrink it with --no-training")
        self.looks: list[Look] = []
        self._step = 0
        self._spent = 0.0
        self._pause = 0.0
        self._best: list[NDArray[np.float32]] = self._weights()
        with quiet():
            self._optimizer = import_keras().optimizers.Adam(config.learning_rate)
            self._optimizer.build(shrunk.model.trainable_variables)
        self._trace()

    @property
    def seconds(self) -> float:
        """Seconds of training, those before an interruption too."""
        return self._spent

    @property
    def best(self) -> Look:
        """The look that the network's weights are of."""
        return max(self.looks, key=lambda look: look.merit)

    def resume(self) -> bool:
        """Take up the state of an interrupted training; False where there is none. Raises TrainingError for one of other settings."""
        if not (self.folder / state.FILE).exists():
            return False
        state.check(self.folder, self._settings)
        arrays, meta = state.load(self.folder)
        self._set(self._variables, [arrays[f"w{i}"] for i in range(len(self._variables))])
        self._best = [arrays[f"b{i}"] for i in range(len(self._variables))]
        moments = [variable.value for variable in self._optimizer.variables]
        self._set(moments, [arrays[f"o{i}"] for i in range(len(moments))])
        self._step, self._spent = meta["step"], meta["spent"]
        self.looks = [Look(**look) for look in meta["looks"]]
        return True

    def train(self, seconds: float) -> None:
        """Train until ``seconds`` of training (those before a resumption too) are over, or ``config.steps`` steps are done.

        Ctrl-C keeps the state first.
        """
        try:
            self._train(seconds)
        except KeyboardInterrupt:
            self.save()
            raise
        self.save()
        self._set(self._variables, self._best)

    def _train(self, seconds: float) -> None:
        if not self.looks:
            self._look(None)
            self.save()
        looked, recent = self._spent, list[float]()
        with Progress(max(1, math.ceil(seconds)), "train to answer as the original (seconds)") as progress:
            progress.skip(min(progress.total, int(self._spent)))
            for theirs, ours in self._stream():
                if self._share(seconds) >= 1.0:
                    break
                started = time.monotonic()
                self._optimizer.learning_rate.assign(self._rate(self._share(seconds)))
                loss = float(self._update(tf.constant(theirs), tf.constant(ours)))
                self._step += 1
                self._spent += time.monotonic() - started
                if not math.isfinite(loss):
                    raise TrainingError(
                        f"{self.shrunk.name}: the loss is {loss} at step {self._step}; give a lower --learning-rate"
                    )
                recent.append(loss)
                if self._spent - looked >= max(seconds / _LOOKS, _OVERHEAD * self._pause):
                    started = time.monotonic()
                    self._look(float(np.mean(recent)))
                    self.save()
                    self._pause = time.monotonic() - started
                    self._spent += self._pause
                    looked, recent = self._spent, []
                progress.advance(max(0, min(progress.total, int(self._spent)) - progress.done))
        if recent:
            self._look(float(np.mean(recent)))

    def save(self) -> None:
        """Keep what an interrupted training goes on from."""
        arrays = {f"w{i}": value for i, value in enumerate(self._weights())}
        arrays |= {f"b{i}": value for i, value in enumerate(self._best)}
        arrays |= {f"o{i}": variable.numpy() for i, variable in enumerate(self._optimizer.variables)}
        meta = {
            "settings": self._settings,
            "step": self._step,
            "spent": self._spent,
            "looks": [look.to_dict() for look in self.looks],
        }
        state.save(self.folder, arrays, meta)

    def _share(self, seconds: float) -> float:
        """How much of the training is over, 0..1."""
        by_steps = 0.0 if self.config.steps is None else self._step / self.config.steps
        return min(1.0, max(self._spent / max(seconds, 1e-9), by_steps))

    def _rate(self, share: float) -> float:
        return self.config.learning_rate * min(1.0, (share + 1e-3) / WARM_UP) * 0.5 * (1.0 + math.cos(math.pi * share))

    def _stream(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Yield batches without end, from the step on that is next: for the original, and the same photos for the shrunk network."""
        a_pass = self._theirs.steps(self._size)
        epoch, skip = divmod(self._step, a_pass)
        while True:
            for theirs, _, numbers in self._theirs.stream(epoch, self._size, skip=skip):
                ours = theirs if self._same_size else np.stack([self._ours.tensor(int(number), epoch) for number in numbers])
                yield theirs, ours
            epoch, skip = epoch + 1, 0

    def _trace(self) -> None:
        original, theirs_size = networks.with_features(self.original)
        shrunk, ours_size = networks.with_features(self.shrunk)
        hints = theirs_size == ours_size  # a head that lost channels reads other features than the original's

        def learned(theirs: Any, ours: Any) -> Any:
            expected, wanted = original(theirs)
            with tf.GradientTape() as tape:
                answers, given = shrunk(ours)
                loss = tf.reduce_mean(self.judge.divergence(answers, expected))
                for want, give in zip(wanted, given, strict=True) if hints else ():
                    unit = tf.reduce_mean(tf.square(want - tf.reduce_mean(want, axis=0, keepdims=True))) + 1e-6
                    loss += FEATURES * tf.reduce_mean(tf.square(want - give)) / unit
            gradients = tape.gradient(loss, self._variables, unconnected_gradients="zero")
            self._optimizer.apply(gradients, self.shrunk.model.trainable_variables)
            return loss

        shapes = [tf.TensorSpec([None, *source.input_shape], tf.float32) for source in (self.original, self.shrunk)]
        self._update = tf.function(learned, input_signature=shapes, autograph=False)
        self._answer = networks.answering(self.shrunk)

    def _look(self, loss: float | None) -> None:
        batches = pictures.batches(self._choice, self.shrunk.contract, _CHOICE_BATCH)
        found = [{name: value.numpy() for name, value in self._answer(tf.constant(batch)).items()} for batch in batches]
        ours = {name: np.concatenate([each[name] for each in found]) for name in self.original.output_names}
        look = look_at(self.judge, ours, self._expected, self.original, step=self._step, seconds=self._spent, loss=loss)
        if not self.looks or look.merit > self.best.merit:
            self._best = self._weights()
        self.looks.append(look)

    def _weights(self) -> list[NDArray[np.float32]]:
        return [variable.numpy() for variable in self._variables]

    @staticmethod
    def _set(variables: list[Any], values: list[NDArray[np.float32]]) -> None:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def look_at(
    judge: Judge,
    ours: dict[str, NDArray[np.float32]],
    theirs: dict[str, NDArray[np.float32]],
    original: Source,
    *,
    step: int = 0,
    seconds: float = 0.0,
    loss: float | None = None,
) -> Look:
    """Return how far answers to some photos, ``(photos, ...)`` by output name, are from the original's."""
    kinds = output_error.kinds_of(original.contract)
    reference, candidate = rows(theirs), rows(ours)
    return Look(
        step=step,
        seconds=round(seconds, 1),
        loss=loss,
        divergence=float(tf.reduce_mean(judge.divergence(ours, theirs))),
        error=float(np.mean(output_error.per_image(reference, candidate, kinds))),
        agreement=output_error.agreement(reference, candidate, kinds),
    )
