"""One value that says which of two classes a picture is of."""

from __future__ import annotations

import numpy as np
import pytest

from edge.artefact.contract import OutputSpec
from edge.runtime.classify import best_ids, rank, scores
from edge.validation import headline
from edge.validation.class_scores import ClassScorer


def _spec(kind: str, threshold: float = 0.5) -> OutputSpec:
    return OutputSpec(name="zebra", kind=kind, labels=("horse", "zebra"), threshold=threshold)


@pytest.mark.parametrize(("value", "label", "score"), [(2.0, "zebra", 0.8808), (-2.0, "horse", 0.8808), (-200.0, "horse", 1.0)])
def test_one_logit_is_the_second_of_two_classes(value: float, label: str, score: float) -> None:
    best = rank(np.array([value], np.float32), _spec("logits")).best

    assert best.label == label
    assert best.score == pytest.approx(score, abs=1e-4)


def test_the_threshold_decides_which_class_comes_first() -> None:
    answers = rank(np.array([0.6], np.float32), _spec("probabilities", threshold=0.7))

    assert [(each.label, round(each.score, 4)) for each in answers] == [("horse", 0.4), ("zebra", 0.6)]
    assert best_ids(np.array([0.6], np.float32), _spec("probabilities", threshold=0.7), 2).tolist() == [0, 1]
    assert best_ids(np.array([np.nan], np.float32), _spec("probabilities")).tolist() == [-1]


def test_two_values_are_read_as_before() -> None:
    two = np.array([0.5, 0.5], np.float32)

    assert scores(two, _spec("probabilities")) is two
    assert best_ids(two, _spec("probabilities"), 2).tolist() == [0, 1]


def test_accuracy_and_drop_of_one_value() -> None:
    spec = _spec("logits", threshold=0.7)
    scorer = ClassScorer(spec, 1, reference=spec, reference_size=1)
    pairs = [(-1.0, -1.0), (3.0, 3.0), (0.2, 1.5), (1.5, 1.5)]  # sigmoid(0.2) is 0.55, below the threshold
    records = np.array([scorer.measure(np.array([a], np.float32), np.array([b], np.float32)) for a, b in pairs], scorer.dtype)

    summary = scorer.summary(records, np.array([0, 1, 1, 0], np.int32))

    assert summary.candidate is not None and summary.candidate.top1 == 0.5
    assert summary.reference is not None and summary.reference.top1 == 0.75
    assert summary.drop is not None and summary.drop.lost == (2,)
    assert summary.agreement == 0.75


def test_one_value_has_a_top1() -> None:
    values = np.array([[-1.0], [3.0], [1.0]], np.float32)

    assert headline.of_values(_spec("logits"), values, np.array([0, 1, 0])) == pytest.approx(2 / 3)
