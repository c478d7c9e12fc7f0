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
from .qat_tensors import Place, Places

DECAY = 0.98
"""Of the moving average of a batch's extremes."""


class RangeTable(tf.Module):
    """Ranges of the observed places of a network; a group's range is the union of its places' ranges.

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
        """Set the ranges of all observed places, by layer name."""
        self.low.assign([min(0.0, ranges[name][0]) for name in self._row])
        self.high.assign([max(0.0, ranges[name][1]) for name in self._row])

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
        low = tf.math.unsorted_segment_min(self.low, self._groups, count)
        high = tf.math.unsorted_segment_max(self.high, self._groups, count)
        # A range of no width (a dead layer) would divide by zero; the converter gives it a width too.
        return tf.minimum(low, 0.0), tf.maximum(high, low + 1e-6)
