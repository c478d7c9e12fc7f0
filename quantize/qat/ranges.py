"""The activation ranges of a network in training: one table for all of them, observed and shared by groups.

One variable holds every minimum and one every maximum. Each step reads them once, and one update moves all of them: hundreds of
small ops per layer and step less than a pair of variables for each layer. Importing this module imports TensorFlow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from .bridge import QUANTIZED_INPUT
from .tensors import Place, Places

DECAY = 0.98
"""Of the moving average of a batch's extremes."""


class RangeTable(tf.Module):
    """Ranges of the observed places of a network; a group's range is the union of its places' extremes, times a factor.

    The factor is 1, or what makes the first range the one that was chosen for the group (`set_chosen`): a range may cut off rare
    values on purpose, and goes on doing so to the same degree while the extremes move.

    Inside ``with table.step(observe=...)`` the ranges are read once for the whole forward pass; afterwards ``table.update()`` moves
    the averages to the extremes that were seen.
    """

    def __init__(self, places: Places) -> None:
        super().__init__(name="ranges")
        self.places = places
        self._row = {place.layer: i for i, place in enumerate(places.observed)}
        rows = len(self._row)
        self.low = tf.Variable(tf.zeros(rows), trainable=False, name="low")
        self.high = tf.Variable(tf.ones(rows), trainable=False, name="high")
        self.low_factor = tf.Variable(tf.ones(places.groups), trainable=False, name="low_factor")
        self.high_factor = tf.Variable(tf.ones(places.groups), trainable=False, name="high_factor")
        self._groups = tf.constant([place.group for place in places.observed], tf.int32)
        self._limits: tuple[list[Any], list[Any]] | None = None
        self._seen: dict[int, tuple[Any, Any]] | None = None

    @contextlib.contextmanager
    def step(self, *, observe: bool) -> Iterator[None]:
        """One forward pass: ranges are read once, extremes are collected if ``observe``."""
        low, high = self._by_group()
        self._limits = tf.unstack(low), tf.unstack(high)
        self._seen = {} if observe else None
        try:
            yield
        finally:
            self._limits = None

    def update(self) -> None:
        """Move the averages to the extremes of the pass before. ``new = DECAY * old + (1 - DECAY) * seen``."""
        seen, self._seen = self._seen, None
        if not seen:
            return
        lows = tf.stack([seen[i][0] for i in range(len(self._row))])
        highs = tf.stack([seen[i][1] for i in range(len(self._row))])
        self.low.assign(DECAY * self.low + (1 - DECAY) * lows)
        self.high.assign(DECAY * self.high + (1 - DECAY) * highs)

    def limits(self, group: int) -> tuple[Any, Any]:
        """Return minimum and maximum of a group (scalars), for a fake quantizer. Always contains zero."""
        if self._limits is not None:
            return self._limits[0][group], self._limits[1][group]
        low, high = self._by_group()
        return low[group], high[group]

    def observe(self, place: Place, values: Any) -> None:
        """Note the extremes of ``values``, if this pass is for observing."""
        if self._seen is None:
            return
        row = self._row[place.layer]
        if place.layer == QUANTIZED_INPUT:  # set by the preprocessing, not by the pictures of a batch
            self._seen[row] = (self.low[row], self.high[row])
            return
        detached = tf.stop_gradient(values)
        low = tf.zeros(()) if place.from_zero else tf.minimum(tf.reduce_min(detached), 0.0)
        self._seen[row] = (low, tf.maximum(tf.reduce_max(detached), 0.0))

    def set_observed(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        """Set the extremes of all observed places, by layer name; they are the ranges too."""
        self.low.assign([min(0.0, ranges[name][0]) for name in self._row])
        self.high.assign([max(0.0, ranges[name][1]) for name in self._row])
        self.low_factor.assign(tf.ones(self.places.groups))
        self.high_factor.assign(tf.ones(self.places.groups))

    def set_chosen(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        """Make these the ranges, by layer name, while the extremes stay what was observed. A group gets the union of its layers'."""
        groups = [int(group) for group in self._groups]
        low, high = (np.asarray(side).copy() for side in (self.low, self.high))
        factors = np.ones((2, self.places.groups), np.float32)
        for group in range(self.places.groups):
            rows = [row for row, its in enumerate(groups) if its == group]
            given = [ranges[self.places.observed[row].layer] for row in rows if self.places.observed[row].layer in ranges]
            if not given:
                continue
            for side, extremes, wanted in ((0, low, min(g[0] for g in given)), (1, high, max(g[1] for g in given))):
                union = extremes[rows].min() if side == 0 else extremes[rows].max()
                if union:
                    factors[side, group] = wanted / union
                else:
                    extremes[rows[0]] = wanted
        self.low.assign(low)
        self.high.assign(high)
        self.low_factor.assign(factors[0])
        self.high_factor.assign(factors[1])

    def state(self) -> dict[str, Any]:
        """Return the variables that a stored table is restored from, by name."""
        return {
            "range_low": self.low,
            "range_high": self.high,
            "range_low_factor": self.low_factor,
            "range_high_factor": self.high_factor,
        }

    def read(self) -> dict[str, tuple[float, float]]:
        """Return the range of every tensor of the converted file, by the name of the layer that makes it."""
        low, high = (np.asarray(side) for side in self._by_group())
        ranges = {}
        for place in self.places.tensors():
            if place.fixed is not None:
                ranges[place.layer] = place.fixed
            elif place.group is not None:
                ranges[place.layer] = (float(low[place.group]), float(high[place.group]))
        return ranges

    def _by_group(self) -> tuple[Any, Any]:
        count = self.places.groups
        low = tf.math.unsorted_segment_min(self.low, self._groups, count) * self.low_factor
        high = tf.math.unsorted_segment_max(self.high, self._groups, count) * self.high_factor
        # A range of no width (a dead layer) would divide by zero; the converter gives it a width too.
        return tf.minimum(low, 0.0), tf.maximum(high, low + 1e-6)
