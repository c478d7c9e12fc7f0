"""What the scorers say about outputs of numbers and of several labels, on cases that can be checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.artefact.contract import OutputSpec
from edge.numbers import metrics
from edge.validation.class_scores import ClassScorer
from edge.validation.value_scores import MultilabelScorer, RegressionScorer

KEYS = ("W", "A", "D")


def _records(
    scorer: RegressionScorer | MultilabelScorer, candidate: list[list[float]], reference: list[list[float]]
) -> NDArray[np.void]:
    pairs = zip(np.array(candidate, np.float32), np.array(reference, np.float32), strict=True)
    return np.array([scorer.measure(one, other) for one, other in pairs])


def test_sign_agreement_counts_where_the_target_turns() -> None:
    target = np.array([-0.5, 0.2, 0.0, 0.9, -0.1])
    assert metrics.sign_agreement(np.array([-0.1, 0.4, 0.3, -0.2, 0.0]), target) == 2 / 4
    assert math.isnan(metrics.sign_agreement(np.ones(2), np.zeros(2)))


def test_f1_of_a_label_that_is_never_decided_for_is_zero() -> None:
    truth = np.array([[1, 1, 0, 0], [0, 1, 0, 0]], bool)
    decided = np.array([[1, 0, 0, 1], [1, 0, 0, 0]], bool)
    found = metrics.f1_score(decided, truth)
    np.testing.assert_array_equal(found, [2 / 3, 0.0, math.nan, 0.0])  # half right, lost, in neither, invented


def test_a_lost_label_does_not_raise_the_means() -> None:
    """Label A is never decided for by the candidate; the means count it as 0."""
    scorer = MultilabelScorer(OutputSpec(name="keys", kind="multilabel", labels=KEYS), 3, paired=True)
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [1, 0, 1]], bool)
    reference = [[0.9, 0.1, 0.1], [0.9, 0.9, 0.1], [0.1, 0.1, 0.9], [0.9, 0.9, 0.9]]
    candidate = [[0.9, 0.1, 0.1], [0.9, 0.1, 0.1], [0.1, 0.1, 0.9], [0.9, 0.1, 0.9]]
    summary = scorer.summary(_records(scorer, candidate, reference), truth)
    assert summary["reference"]["f1"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert summary["candidate"]["f1"] == pytest.approx(2 / 3)
    assert summary["reference"]["precision"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert summary["candidate"]["precision"] == pytest.approx(2 / 3)


def test_worst_and_moved_images_are_named() -> None:
    scorer = RegressionScorer(OutputSpec(name="steering", kind="regression"), 1, paired=True)
    truth = np.array([[0.0], [0.5], [-0.5], [0.25]])
    records = _records(scorer, [[0.1], [-0.4], [-0.5], [0.25]], [[0.1], [-0.3], [-0.5], [-0.6]])
    summary = scorer.summary(records, truth, ["a", "b", "c", "d"])
    assert [row["image"] for row in summary["worst"]] == ["b", "a", "c", "d"]
    assert summary["worst"][0]["target"] == [0.5]
    assert summary["worst"][0]["error"] == pytest.approx(0.9)
    assert [row["image"] for row in summary["moved"]][:2] == ["d", "b"]
    assert summary["candidate"]["sign_agreement"] == pytest.approx(2 / 3)
    assert summary["reference"]["sign_agreement"] == pytest.approx(1 / 3)


def test_targets_of_one_sign_have_no_sign_agreement() -> None:
    scorer = RegressionScorer(OutputSpec(name="speed", kind="regression"), 1, paired=True)
    summary = scorer.summary(_records(scorer, [[1.0], [2.0]], [[1.0], [2.0]]), np.array([[1.0], [3.0]]), ["a", "b"])
    assert "sign_agreement" not in summary["candidate"]


def test_keys_pressed_together_have_f1_and_a_paired_exact_match() -> None:
    scorer = MultilabelScorer(OutputSpec(name="keys", kind="multilabel", labels=KEYS), 3, paired=True)
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [1, 0, 0]], bool)
    candidate = [[0.9, 0.1, 0.1], [0.9, 0.2, 0.1], [0.1, 0.1, 0.9], [0.9, 0.1, 0.6]]
    reference = [[0.9, 0.1, 0.1], [0.9, 0.9, 0.1], [0.1, 0.1, 0.2], [0.9, 0.1, 0.1]]
    summary = scorer.summary(_records(scorer, candidate, reference), truth)
    assert summary["candidate"]["exact_match"] == 2 / 4
    assert summary["reference"]["exact_match"] == 3 / 4
    drop = summary["exact_match_drop"]
    assert (drop["mean"], drop["lost"], drop["won"]) == (1 / 4, 2, 1)
    assert drop["ci95"][0] < 0.25 < drop["ci95"][1]
    by_label = {row["label"]: row for row in summary["per_label"]}
    assert by_label["W"]["candidate"]["f1"] == 1.0
    assert by_label["D"]["candidate"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3)}
    assert by_label["A"]["candidate"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0}  # never pressed by the candidate


def test_imbalanced_classes_are_judged_by_their_mean_recall() -> None:
    scorer = ClassScorer(OutputSpec(name="key", kind="probabilities", labels=KEYS), 3, reference=None, reference_size=3)
    labels = np.array([0] * 8 + [1, 2], np.int32)
    always_w = np.array([scorer.measure(np.array([0.8, 0.1, 0.1], np.float32), None) for _ in labels])
    found = scorer.summary(always_w, labels)
    assert found.candidate is not None
    assert found.candidate.top1 == 0.8
    assert found.mean_recall == {"reference": None, "candidate": pytest.approx(1 / 3)}
    assert [row["candidate"] for row in found.to_dict()["per_class"]] == [1.0, 0.0, 0.0]
