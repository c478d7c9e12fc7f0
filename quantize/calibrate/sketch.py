"""What a tensor did on any number of images, in a size that does not depend on their number, and that merges exactly.

Lowest and highest value; the sums of the extremes of each image (whole numbers, so that no order of adding rounds differently); the
extremes of the latest images, which are all that a moving average still knows; and a histogram over ``[-2**e, 2**e)``, whose bins are
joined in pairs when a value needs a larger ``e``. The sketches of two halves of the images, merged, are bit for bit the sketch of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from .ranges import BINS, Observed, widen

LATEST = 400
"""Images whose extremes are kept one by one: what a moving average (0.9) has left of an older one is below a float64's precision."""

VALUES = 1 << 15
"""Values of one tensor and image in its histogram; larger tensors are sampled evenly. Extremes are always exact."""

_LOWEST_EXPONENT = -40  # a tensor of zeros has a limit too
_UNIT = 149  # every float32 is a whole multiple of 2**-149

Item = TypeVar("Item")


@dataclass(slots=True, kw_only=True, eq=False)
class Sketch:
    """One row for each tensor, then one for each set of tensors that share a range; histograms for the tensors only.

    ``latest``: image number, lows and highs by row, of the images with the highest numbers. ``counts``: whole numbers as float64,
    ``(tensors, BINS)``, over ``2 ** exponents``.
    """

    images: int = 0
    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]
    low_sums: list[int]
    high_sums: list[int]
    latest: list[tuple[int, NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=list)
    counts: NDArray[np.float64]
    exponents: NDArray[np.int64]

    @classmethod
    def empty(cls, tensors: int, shared: int = 0) -> Sketch:
        """Return the sketch of no image."""
        rows = tensors + shared
        return cls(
            lowest=np.full(rows, np.inf, np.float32),
            highest=np.full(rows, -np.inf, np.float32),
            low_sums=[0] * rows,
            high_sums=[0] * rows,
            counts=np.zeros((tensors, BINS)),
            exponents=np.full(tensors, _LOWEST_EXPONENT),
        )

    @classmethod
    def of(cls, number: int, tensors: Iterable[NDArray[np.float32]], shared: Sequence[Sequence[int]] = ()) -> Sketch:
        """Return the sketch of image ``number`` alone. shared: positions in ``tensors`` of those that share a range."""
        found = [_histogram(values) for values in tensors]
        lows, highs = (np.array([each[end] for each in found], np.float32) for end in (0, 1))
        lows = np.append(lows, np.array([lows[list(each)].min() for each in shared], np.float32))
        highs = np.append(highs, np.array([highs[list(each)].max() for each in shared], np.float32))
        return cls(
            images=1,
            lowest=lows,
            highest=highs,
            low_sums=_whole(lows),
            high_sums=_whole(highs),
            latest=[(number, lows, highs)],
            counts=np.array([counts for *_, counts in found]).reshape(len(found), BINS),
            exponents=np.array([exponent for _, _, exponent, _ in found], np.int64),
        )

    @property
    def finite(self) -> bool:
        """Whether no value was NaN or infinite."""
        return bool(np.isfinite(self.lowest).all() and np.isfinite(self.highest).all())

    def merge(self, other: Sketch) -> None:
        """Take in what ``other`` saw. Whatever the order, the result is the same."""
        self.images += other.images
        self.lowest, self.highest = np.minimum(self.lowest, other.lowest), np.maximum(self.highest, other.highest)
        self.low_sums = [a + b for a, b in zip(self.low_sums, other.low_sums, strict=True)]
        self.high_sums = [a + b for a, b in zip(self.high_sums, other.high_sums, strict=True)]
        self.latest = sorted([*self.latest, *other.latest], key=lambda image: image[0])[-LATEST:]
        wider = np.maximum(self.exponents, other.exponents)
        for row, exponent in enumerate(wider):
            mine, theirs = int(exponent - self.exponents[row]), int(exponent - other.exponents[row])
            if mine:
                self.counts[row] = widen(self.counts[row], mine)
            self.counts[row] += widen(other.counts[row], theirs)
        self.exponents = wider

    def only(self, tensors: Sequence[int], row: int) -> Sketch:
        """Return a sketch with the histograms of the tensors at these positions and with the extremes of ``row`` alone."""
        return Sketch(
            images=self.images,
            lowest=self.lowest[row : row + 1],
            highest=self.highest[row : row + 1],
            low_sums=self.low_sums[row : row + 1],
            high_sums=self.high_sums[row : row + 1],
            latest=[(number, lows[row : row + 1], highs[row : row + 1]) for number, lows, highs in self.latest],
            counts=self.counts[list(tensors)],
            exponents=self.exponents[list(tensors)],
        )

    def observed(self, weights: Sequence[float], row: int = 0) -> Observed:
        """Return the histogram of all tensors together, and the extremes of ``row``, which holds them all.

        weights: values in each tensor for each one in its histogram.
        """
        exponent = int(self.exponents.max())
        counts = np.zeros(BINS)
        for tensor, weight in enumerate(weights):
            counts += weight * widen(self.counts[tensor], exponent - int(self.exponents[tensor]))
        unit = max(self.images, 1) << _UNIT
        return Observed(
            lows=np.array([lows[row] for _, lows, _ in self.latest], np.float64),
            highs=np.array([highs[row] for _, _, highs in self.latest], np.float64),
            counts=counts,
            limit=float(2.0**exponent),
            extremes=(float(self.lowest[row]), float(self.highest[row])),
            means=(self.low_sums[row] / unit, self.high_sums[row] / unit),  # whole numbers divide with a single rounding
        )


class Spread(Generic[Item]):
    """At most ``most`` items of a stream of unknown length, evenly spread over it: every one, every second, every fourth."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._step = 1
        self._items: dict[int, Item] = {}

    def add(self, number: int, item: Item) -> None:
        """Take in item ``number`` of the stream, counted from 0."""
        if number % self._step == 0:
            self._items[number] = item
        while len(self._items) > self._most:
            self._step *= 2
            self._items = {n: kept for n, kept in self._items.items() if n % self._step == 0}

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[int]:
        return iter(self._items)

    def __getitem__(self, number: int) -> Item:
        return self._items[number]

    def values(self) -> list[Item]:
        """Return the items that are kept, in the order of the stream."""
        return list(self._items.values())


def sampled(values: int) -> int:
    """Return how many of a tensor's values its histogram takes in."""
    return len(range(0, values, _stride(values)))


def _stride(values: int) -> int:
    # An odd stride walks through all channels, whose number is even nearly always.
    return values // VALUES | 1 if values > VALUES else 1


def _histogram(values: NDArray[np.float32]) -> tuple[float, float, int, NDArray[np.float64]]:
    """Return the lowest and the highest value, the exponent of the histogram's limit, and the histogram."""
    low, high = float(values.min()), float(values.max())
    largest = max(-low, high)
    if not (np.isfinite(low) and np.isfinite(high)):
        return low, high, _LOWEST_EXPONENT, np.zeros(BINS)
    exponent = _LOWEST_EXPONENT if largest <= 0 else max(int(np.floor(np.log2(largest))) + 1, _LOWEST_EXPONENT)
    bins = ((values.reshape(-1)[:: _stride(values.size)] * np.float32(2.0**-exponent) + 1.0) * (BINS / 2)).astype(np.int32)
    return low, high, exponent, np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS).astype(np.float64)


def _whole(values: NDArray[np.float32]) -> list[int]:
    return [int(value) if np.isfinite(value) else 0 for value in values.astype(np.float64) * 2.0**_UNIT]
