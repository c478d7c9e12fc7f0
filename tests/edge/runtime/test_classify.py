"""Scores become named classes, in an order that depends on nothing but them."""

from __future__ import annotations

import numpy as np
import pytest

from edge.artefact.contract import OutputSpec
from edge.runtime.classify import rank


def _spec(classes: int, background: int | None = None) -> OutputSpec:
    names = tuple(f"class {i}" for i in range(classes))
    return OutputSpec(name="scores", kind="probabilities", labels=names, background_index=background)


@pytest.mark.parametrize("background", [None, 0, 2, 9])
def test_any_part_is_what_a_sort_of_all_classes_gives(background: int | None) -> None:
    values = np.array([0.1, 0.2, 0.2, 0.0, 0.1, 0.2, 0.0, 0.1, 0.1, 0.0], np.float32)
    expected = [i for i in sorted(range(10), key=lambda i: -values[i]) if i != background]

    for k in (0, 1, 3, 5, 9, 10, 20):
        assert [each.class_id for each in rank(values, _spec(10, background)).top(k)] == expected[:k]
    found = rank(values, _spec(10, background))
    assert found.best == found[0] == found.top(1)[0]
    assert len(found) == len(expected) and [each.class_id for each in found] == expected
    assert found[-1].class_id == expected[-1] and [each.class_id for each in found[1:4]] == expected[1:4]
    assert [each.class_id for each in found.top(4)] == expected[:4]  # now that all are known
    assert found.best.label == f"class {expected[0]}"
    with pytest.raises(IndexError):
        found[len(expected)]


def test_what_is_not_a_number_comes_last_and_the_background_does_not_count() -> None:
    found = rank(np.array([0.1, np.nan, 0.5], np.float32), _spec(3))
    assert [each.class_id for each in found] == [2, 0, 1] and not found.is_finite
    assert rank(np.array([np.nan, 0.1, 0.5], np.float32), _spec(3, background=0)).is_finite


def test_an_answer_stays_what_it_was_when_the_array_is_used_again() -> None:
    values = np.array([0.1, 0.9], np.float32)
    found = rank(values, _spec(2))
    values[:] = 0.0
    assert found.best.class_id == 1
