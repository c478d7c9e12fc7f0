"""The sketch of the images: bounded, exact, and the same however the images are divided."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from quantize.calibrate import ranges
from quantize.calibrate.ranges import Observed
from quantize.calibrate.sketch import LATEST, VALUES, Sketch, Spread, sampled

FLOATS = st.floats(min_value=-(2.0**100), max_value=2.0**100, width=32)
IMAGES = st.lists(st.lists(st.lists(FLOATS, min_size=3, max_size=3), min_size=2, max_size=2), min_size=1, max_size=12)


def sketched(images: list[tuple[int, NDArray[np.float32]]]) -> Sketch:
    found = Sketch.empty(2, 1)
    for number, tensors in images:
        found.merge(Sketch.of(number, list(tensors), shared=((0, 1),)))
    return found


def joined(one: Sketch, other: Sketch) -> Sketch:
    result = copy.deepcopy(one)
    result.merge(other)
    return result


def assert_same(one: Sketch, other: Sketch) -> None:
    assert (one.images, one.low_sums, one.high_sums) == (other.images, other.low_sums, other.high_sums)
    for name in ("lowest", "highest", "counts", "exponents"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert [number for number, *_ in one.latest] == [number for number, *_ in other.latest]
    for (_, *mine), (_, *theirs) in zip(one.latest, other.latest, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@settings(max_examples=60, deadline=None)
@given(IMAGES, st.data())
def test_two_parts_merged_are_one_pass_in_any_division_and_order(images: list[list[list[float]]], data: st.DataObject) -> None:
    numbered = [(number, np.array(image, np.float32)) for number, image in enumerate(images)]
    whole = sketched(numbered)
    first = data.draw(st.sets(st.sampled_from(range(len(images)))))
    one, other = sketched([i for i in numbered if i[0] in first]), sketched([i for i in numbered if i[0] not in first])
    assert_same(joined(one, other), whole)
    assert_same(joined(other, one), whole)
    assert whole.counts.sum() == 6 * len(images)


@settings(max_examples=30, deadline=None)
@given(IMAGES, IMAGES, IMAGES)
def test_merging_is_associative(a: list[list[list[float]]], b: list[list[list[float]]], c: list[list[list[float]]]) -> None:
    numbered = [(number, np.array(image, np.float32)) for number, image in enumerate([*a, *b, *c])]
    x, y, z = sketched(numbered[: len(a)]), sketched(numbered[len(a) : len(a) + len(b)]), sketched(numbered[len(a) + len(b) :])
    assert_same(joined(joined(x, y), z), joined(x, joined(y, z)))


def many(images: int) -> list[tuple[int, NDArray[np.float32]]]:
    values = np.random.default_rng(5).normal(size=(images, 2, 40)).astype(np.float32) * np.array([[1.0], [30.0]], np.float32)
    return list(enumerate(values))


@pytest.mark.parametrize("method", ["minmax", "mean", "blend-0.2", "moving-average", "percentile", "mse", "kl"])
def test_every_method_gives_what_the_extremes_of_all_images_give(method: str) -> None:
    images = many(3 * LATEST)
    sketch = sketched(images)
    seen = sketch.observed([1.0, 1.0], row=2)
    values = np.array([tensors for _, tensors in images], np.float64).reshape(len(images), -1)
    kept = Observed(lows=values.min(axis=1), highs=values.max(axis=1), counts=seen.counts, limit=seen.limit)
    assert ranges.method(method)(seen) == pytest.approx(ranges.method(method)(kept), rel=1e-12)


def test_a_sketch_does_not_grow_with_the_images() -> None:
    few, lots = sketched(many(LATEST)), sketched(many(3 * LATEST))
    assert len(few.latest) == len(lots.latest) == LATEST
    assert few.counts.nbytes == lots.counts.nbytes
    assert lots.images == 3 * LATEST


def test_large_tensors_are_sampled() -> None:
    tensor = np.linspace(-1, 1, 5 * VALUES, dtype=np.float32)
    sketch = Sketch.of(0, [tensor])
    assert sketch.counts.sum() == sampled(tensor.size) <= VALUES
    assert sketch.lowest[0] == -1
    assert sketch.highest[0] == 1


@given(st.integers(0, 300), st.integers(2, 20))
def test_a_spread_keeps_evenly_spaced_items(items: int, most: int) -> None:
    spread: Spread[str] = Spread(most)
    for number in range(items):
        spread.add(number, str(number))
    kept = list(spread)
    assert min(items, most // 2) <= len(kept) <= most
    assert len({b - a for a, b in zip(kept, kept[1:], strict=False)}) <= 1
    assert spread.values() == [str(number) for number in kept]
