"""What the layers behind a cut can make good, in closed form: no gradient, no labels.

A network without some of its parts feeds its later layers other values than they were trained on. Each linear layer that adds to a
sum, or reads channels of which some are gone, is fitted anew, in the order of execution, so that what it makes comes closest to what
the original has at the same place on the same photos: least squares on the layer's own inputs, as for channels in He et al., "Channel
pruning for accelerating very deep neural networks" (2017). Normal equations in float64; a ridge (Hoerl and Kennard, 1970) draws the
weights towards what they were. Its strength is chosen on every fourth photo, which the fit does not see, and a fit is kept only where
the error falls there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..qat.bridge_operations import listed
from ..quiet import import_tensorflow, quiet
from . import channels, least
from .flat import flat
from .places import Place, linear_branch, places
from .program import Program, interleaved
from .structure import ahead, joins
from .surgery import Cut

Batch = Any
"""Preprocessed float32 ``(N, H, W, C)`` for both networks, a list with one array for each input, or a tuple of two of either: for the
original and for the smaller network, where these differ in size."""

MEMORY_BYTES = 6 << 30
"""Values of all photos that are kept from one fit to the next, of both networks together. What does not fit is not
read. InceptionResNetV2 at 299 px, with 24 blocks and a quarter of all filters gone, takes up to 10.4 MB a photo."""

ROWS = 40_000
"""Places in the photos' maps that a fit uses at most; fewer for layers of many inputs, see `_FLOPS`."""

_FLOPS = 2e11  # of the normal equations of one layer
_HELD_OUT = 4  # every fourth photo
_PHOTOS = 8  # whose patches are made at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """One layer that was fitted. ``left``: the share of the squared error on the held-out photos that is left, 1 where the old weights
    were kept. ``ridge``: relative to the mean square of the layer's inputs; infinite where a shift alone was best, None where nothing was.
    """

    name: str
    left: float
    ridge: float | None


def least_squares(original: Any, shrunk: Any, cut: Cut, batches: Iterable[Batch]) -> tuple[Fit, ...]:
    """Fit the layers of ``shrunk`` behind a cut, in place, so that it comes closest to ``original``; return what was fitted.

    shrunk: what `surgery.apply` made of ``original`` and ``cut``. batches: see `Batch`; where ``cut.size`` is another and no tuples are
    given, the pictures are resized here. A few hundred photos are enough. Memory: `MEMORY_BYTES`, and one batch inside both networks.
    """
    before, after = flat(original), flat(shrunk)
    by_layer = channels.narrowings(before, channels.gone(before, cut.kept, where=original.name))
    narrowed = {step.path: by_layer[id(step.layer)] for step in before.steps if id(step.layer) in by_layer}
    standing = ahead(before, [join for join in joins(before) if join.step.path in cut.blocks])
    # A layer whose inputs are as ever, but whose sum has to stand for those that are gone, is not the same any more.
    makers, users = after.makers(), after.users()
    moved = [linear_branch(step, makers, users) for step in after.steps if step.path in standing]
    changed = {*narrowed, *(chain[0].path for chain in moved if chain)}
    program = interleaved(before, after, changed=changed, same_inputs=cut.size is None, ahead=standing)
    found = places(program, after, narrowed, standing)
    with quiet():
        return tuple(_fits(program, found, _fed(program, cut, batches)))


def _fed(program: Program, cut: Cut, batches: Iterable[Batch]) -> Iterator[dict[int, Any]]:
    """Yield the inputs of both networks, batch by batch."""
    tf = import_tensorflow()
    for batch in batches:
        pair = batch if isinstance(batch, tuple) else (batch,) if cut.size is None else (batch, _resized(batch, cut.size))
        values = [value for side in pair for value in listed(side)]
        yield {number: tf.cast(value, dtype) for (number, dtype), value in zip(program.inputs, values, strict=False)}


def _resized(batch: Any, size: tuple[int, int]) -> Any:
    tf = import_tensorflow()
    return [tf.image.resize(value, size, antialias=True) if np.ndim(value) == 4 else value for value in listed(batch)]


def _fits(program: Program, found: Sequence[Place], batches: Iterable[dict[int, Any]]) -> Iterator[Fit]:
    last = program.lifetimes((place.at, place.needs) for place in found)
    states: Iterable[dict[int, Any]] = batches
    reached = 0
    for place in found:
        kept: list[dict[int, Any]] = []
        used = 0
        for state in states:
            program.run(state, reached, place.at, last)
            used += sum(int(np.prod(value.shape)) * value.dtype.size for value in state.values())
            if used > MEMORY_BYTES and kept:
                break
            kept.append(state)
        states, reached = kept, place.at
        solved = _solved(place, kept)
        if solved is None:
            continue
        if solved.ridge is not None:
            place.take(solved.weights, solved.shift)
            for state in kept:
                place.again(state)
        yield Fit(name=place.path, left=solved.after / solved.before if solved.before > 0 else 1.0, ridge=solved.ridge)


def _solved(place: Place, states: Sequence[dict[int, Any]]) -> least.Solved | None:
    """Return the best fit of one layer, from a sample of the places in the maps of all photos."""
    problem: least.Problem | None = None
    counts = [len(state[place.fitted.sources[0]]) for state in states]
    rng = np.random.default_rng(0)
    for state, first, count in zip(states, np.cumsum([0, *counts]), counts, strict=False):
        for start in range(0, count, _PHOTOS):
            x, y = place.rows(state, slice(start, start + _PHOTOS))
            limit = max(1, int(min(ROWS, _FLOPS / x.shape[-1] ** 2) / sum(counts)))
            if x.shape[1] > limit:
                at = np.sort(rng.choice(x.shape[1], limit, replace=False))
                x, y = x[:, at], y[:, at]
            problem = problem or least.Problem(x.shape[-1], y.shape[-1], shift=place.takes_shift)
            held = np.arange(first + start, first + start + len(x)) % _HELD_OUT == _HELD_OUT - 1
            for judging in (False, True):
                chosen = held == judging
                problem.add(x[chosen].reshape(-1, x.shape[-1]), y[chosen].reshape(-1, y.shape[-1]), held_out=judging)
    return problem.solve() if problem is not None else None
