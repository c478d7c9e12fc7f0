"""What the answers lose without single blocks and channels, measured on photos without building a network for any.

Blocks: every candidate is a row of gates in one traced network. They go one after the other, the next always measured without those that
are gone. A block's damage changes slowly while others go, so only the few that looked best before are measured again at each step
(the lazy greedy search of M. Minoux, "Accelerated greedy algorithms for maximizing submodular set functions", 1978, with some more for
what is not submodular here).

Channels: Fisher information with respect to their gates, all of them in one backward pass. Half of the mean squared gradient of the
answers' log-likelihood with respect to a gate is, to second order, the divergence without the channel: L. Theis and others, "Faster gaze
prediction with dense networks and Fisher pruning" (2018); P. Molchanov and others, "Importance estimation for neural network pruning"
(2019). A convolution's output is linear in its weights, and a ReLU lets a positive factor through, so the gradient with respect to a gate
is ``sum(w dL/dw)`` over the channel's weights, plus that of the constant that bias and batch normalisation add: no gate has to be
built in. Importing this module imports TensorFlow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edge.progress import Progress

from ..loading.source import Source
from ..quiet import quiet
from .answers import Judge
from .flat import flat
from .structure import Channels, Structure

AGAIN = 4
"""Candidates that are measured again at each step, the best of before."""

DRAWS = 2
"""Answers drawn for each batch: the forward pass is shared by none of them, so few."""

FEWEST_PHOTOS = 16
"""Photos that blocks are ranked with, however little time there is."""

_ROWS = 16  # photos times candidates in one call, at 96 x 96
_LEAST = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One step of the ranking: the block that goes, and what all that are gone by then cost. ``damage``: mean divergence over the photos.

    ``saved_ms``: of all that are gone, as predicted.
    """

    block: str
    damage: float
    saved_ms: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


class Gates:
    """The gated network on some photos: how far its answers are without any set of blocks."""

    def __init__(
        self, source: Source, network: Any, structure: Structure, judge: Judge, batches: Iterable[NDArray[np.float32]]
    ) -> None:
        self._names = [block.name for block in structure.blocks]
        self._photos = np.concatenate(list(batches))
        names = source.output_names
        keyed = isinstance(network.output, Mapping)
        fed = network.input
        picture = next((key for key in fed if key != "gates"), "") if isinstance(fed, Mapping) else None

        def answer(photos: Any, gates: Any) -> dict[str, Any]:
            given = [photos, gates] if picture is None else {picture: photos, "gates": gates}
            found = network(given, training=False)
            if keyed:
                return {name: found[name] for name in names}
            return dict(zip(names, found if isinstance(found, list | tuple) else [found], strict=True))

        def measured(photos: Any, gates: Any, expected: dict[str, Any]) -> Any:
            return judge.divergence(answer(photos, gates), expected)

        with quiet():
            self._answer = tf.function(answer, autograph=False, reduce_retracing=True)
            self._measured = tf.function(measured, autograph=False, reduce_retracing=True)
        self._size = max(2, round(_ROWS * 96 * 96 / (self._photos.shape[1] * self._photos.shape[2])))
        self._expected = self._run()

    def damage(self, without: Sequence[str]) -> float:
        """Return the mean divergence over the photos without the blocks of these names."""
        gates = np.ones(len(self._names), np.float32)
        gates[[self._names.index(name) for name in without]] = 0.0
        total = 0.0
        for start in range(0, len(self._photos), self._size):
            photos = self._photos[start : start + self._size]
            expected = {name: values[start : start + self._size] for name, values in self._expected.items()}
            found = self._measured(tf.constant(photos), tf.constant(np.tile(gates, (len(photos), 1))), expected)
            total += float(tf.reduce_sum(found))
        return total / len(self._photos)

    def keep_within(self, seconds: float) -> None:
        """Leave out photos, but for `FEWEST_PHOTOS`, where measuring each block once would take longer than ``seconds``."""
        self.damage([])  # traced now
        started = time.monotonic()
        self.damage([])
        all_of_them = (time.monotonic() - started) * len(self._names)
        left = max(FEWEST_PHOTOS, int(len(self._photos) * seconds / max(all_of_them, 1e-9)))
        self._photos = self._photos[:left]
        self._expected = {name: values[:left] for name, values in self._expected.items()}

    def _run(self) -> dict[str, Any]:
        found = []
        for start in range(0, len(self._photos), self._size):
            photos = self._photos[start : start + self._size]
            found.append(self._answer(tf.constant(photos), tf.ones((len(photos), len(self._names)))))
        return {name: tf.concat([each[name] for each in found], axis=0) for name in found[0]}


def rank(
    names: Sequence[str],
    damage: Callable[[Sequence[str]], float],
    ms: Mapping[str, float],
    *,
    known: Sequence[Removal] = (),
    keep: Callable[[Sequence[Removal]], None] = lambda removals: None,
    until_ms: float = float("inf"),
    seconds: float = float("inf"),
) -> list[Removal]:
    """Return the order in which blocks go, the next always the one with the least damage for each millisecond.

    names: the blocks. damage: without these blocks. ms: what each block takes. known: what an interrupted ranking found already; keep:
    called with all that is known after each step. until_ms, seconds: when so much is saved or spent, the rest follows as it
    was last measured.
    """
    removals = list(known)
    started = time.monotonic()
    gone = [removal.block for removal in removals]
    left = [name for name in names if name not in gone]
    base = removals[-1].damage if removals else 0.0
    saved = removals[-1].saved_ms if removals else 0.0
    with Progress(len(left), "rank blocks by what they do to the answers") as progress:
        costs = {}
        for name in left:
            costs[name] = damage([*gone, name]) - base
            progress.advance()
    with Progress(len(left), "rank them again without those that go first") as progress:
        while left:
            left.sort(key=lambda name: max(costs[name], _LEAST) / max(ms[name], _LEAST))
            if saved < until_ms and time.monotonic() - started < seconds:
                costs.update({name: damage([*gone, name]) - base for name in left[:AGAIN]})
                left.sort(key=lambda name: max(costs[name], _LEAST) / max(ms[name], _LEAST))
            chosen = left.pop(0)
            gone.append(chosen)
            base += costs[chosen]
            saved += ms[chosen]
            removals.append(Removal(block=chosen, damage=base, saved_ms=saved))
            keep(removals)
            progress.advance()
    return removals


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Gate:
    """Where a group's gates are: the convolution, and the batch normalisation right behind it, or None."""

    group: Channels
    layer: Any
    normaliser: Any

    def variables(self) -> list[Any]:
        found = [self.layer.kernel, self.layer.bias if getattr(self.layer, "use_bias", False) else None]
        found.append(self.normaliser.beta if self.normaliser is not None and self.normaliser.center else None)
        return [None if variable is None else variable.value for variable in found]

    def constant(self) -> NDArray[np.float32]:
        """What batch normalisation adds to each channel: ``beta - gamma mean / sqrt(variance + epsilon)``."""
        norm = self.normaliser
        gamma = np.asarray(norm.gamma) if norm.scale else 1.0
        mean, variance = np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)
        result: NDArray[np.float32] = np.asarray(norm.beta) - gamma * mean / np.sqrt(variance + norm.epsilon)
        return result

    def slope(self, gradients: Sequence[Any]) -> NDArray[np.float64]:
        """Return the gradient with respect to the gate of each channel, ``(channels,)``."""
        kernel, bias, beta = gradients
        weights = np.asarray(self.layer.kernel, np.float64)
        found: NDArray[np.float64] = np.sum(weights * kernel, axis=tuple(range(weights.ndim - 1)))
        if bias is not None:
            found = found + np.asarray(self.layer.bias, np.float64) * bias
        if beta is not None:
            found = found + self.constant() * beta
        return found


def saliencies(
    source: Source, groups: Sequence[Channels], judge: Judge, batches: Iterable[NDArray[np.float32]], *, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Return the expected divergence of a photo without each channel, ``(channels,)`` by group.

    batches: of few photos each, since each gives one sample of all gradients a draw.
    """
    gates = _gates(source.model, groups)
    flattened = [variable for gate in gates for variable in gate.variables() if variable is not None]

    def gradients(photos: Any, draw: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(flattened)
            score = judge.score(source.function(photos), draw)
        return tape.gradient(score, flattened, unconnected_gradients="zero")

    signature = [tf.TensorSpec([None, *source.input_shape], tf.float32), tf.TensorSpec([], tf.int32)]
    with quiet():
        traced = tf.function(gradients, input_signature=signature, autograph=False)
    total = {gate.group.name: np.zeros(gate.group.count) for gate in gates}
    photos = 0
    for number, batch in enumerate(batches):
        for draw in range(DRAWS):
            found = iter(
                [np.asarray(each, np.float64) for each in traced(tf.constant(batch), tf.constant(seed + DRAWS * number + draw))]
            )
            for gate in gates:
                slopes = gate.slope([None if variable is None else next(found) for variable in gate.variables()])
                total[gate.group.name] += np.square(slopes)
        photos += len(batch)
    return {name: values / (2.0 * DRAWS * max(photos, 1)) for name, values in total.items()}


def _gates(model: Any, groups: Sequence[Channels]) -> list[_Gate]:
    network = flat(model)
    users, steps = network.users(), {step.path: step for step in network.steps}
    found = []
    for group in groups:
        step = steps[group.name]
        after: Mapping[str, Any] = {user.kind: user.layer for user in users.get(step.results[0], [])}
        found.append(_Gate(group=group, layer=step.layer, normaliser=after.get("BatchNormalization")))
    return found
