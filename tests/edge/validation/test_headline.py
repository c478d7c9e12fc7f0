"""One figure for each kind of output, from a report and from values, alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge.artefact.contract import OutputSpec
from edge.validation import headline


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ({"kind": "probabilities", "candidate": {"top1": 0.9}, "agreement": 0.95}, ("top1", 0.9)),
        ({"kind": "logits", "candidate": {"top1": None}, "agreement": 0.95}, ("agreement", 0.95)),
        ({"kind": "multilabel", "candidate": {"exact_match": 0.5}, "agreement": 0.7}, ("exact_match", 0.5)),
        ({"kind": "multilabel", "agreement": 0.7}, ("agreement", 0.7)),
        ({"kind": "regression", "candidate": {"mae": 0.12}, "difference": {"mean_absolute": 0.01}}, ("mae", 0.12)),
        ({"kind": "regression", "difference": {"mean_absolute": 0.01}}, ("apart", 0.01)),
        ({"kind": "features", "cosine": 0.99}, ("cosine", 0.99)),
    ],
)
def test_the_figure_is_against_the_truth_where_that_is_known(output: dict[str, Any], expected: tuple[str, float]) -> None:
    assert headline.of_report(output) == expected
    assert expected[0] in headline.TITLES


def test_values_are_measured_as_reports_measure_them() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.1, 0.2, 0.7]], np.float32)
    classes = OutputSpec(name="a", kind="probabilities")
    assert headline.of_values(classes, scores, np.array([0, 1])) == 0.5
    without_background = OutputSpec(name="a", kind="probabilities", background_index=0)
    assert headline.of_values(without_background, scores, np.array([1, 2])) == 1.0
    assert headline.of_values(classes, scores, None) is None
    flags = OutputSpec(name="a", kind="multilabel", threshold=0.5)
    assert headline.of_values(flags, scores, np.array([[True, False, False], [True, False, True]])) == 0.5
    numbers = OutputSpec(name="a", kind="regression")
    assert headline.of_values(numbers, np.array([[1.0], [3.0]], np.float32), np.array([2.0, 3.0])) == 0.5
    assert headline.of_values(OutputSpec(name="a", kind="features"), scores, np.zeros(2)) is None


def test_shares_are_shown_in_percent_and_numbers_as_they_are() -> None:
    assert [headline.shown(*pair) for pair in (("top1", 0.985), ("mae", 0.12064), ("top1", None))] == ["98.5%", "0.1206", "-"]
