from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from edge.artefact.contract import OutputSpec
from edge.numbers import metrics
from edge.validation.class_scores import MOST_CELLS, ClassScorer


def test_top_k_breaks_ties_by_class_and_leaves_the_background_out() -> None:
    scores = np.array([0.5, 0.2, 0.2, 0.1, 0.0, 0.0, 0.0], np.float32)
    assert metrics.top_k(scores, 5).tolist() == [0, 1, 2, 3, 4]
    assert metrics.top_k(scores, 5, background=0).tolist() == [1, 2, 3, 4, 5]
    assert metrics.top_k(scores[:2], 5).tolist() == [0, 1, -1, -1, -1]


@pytest.mark.parametrize("classes", [1, 2, 7, 300])
def test_leading_is_the_beginning_of_a_stable_sort(classes: int) -> None:
    chance = np.random.default_rng(classes)
    for case in range(60):
        scores = (chance.integers(0, 8, classes) / 8).astype(np.float32)  # many ties
        if case % 5 == 0:
            scores[chance.integers(classes)] = chance.choice([np.nan, np.inf, -np.inf])
        for k in (0, 1, 5, classes, classes + 3):
            assert metrics.leading(scores, k).tolist() == np.argsort(-scores, kind="stable")[:k].tolist()


def test_scores_that_are_not_finite_name_no_class() -> None:
    ids = metrics.top_k(np.array([0.1, np.nan, 0.9], np.float32), 2)
    assert ids.tolist() == [metrics.NO_CLASS, metrics.NO_CLASS]
    assert metrics.hit_rate(ids[None], np.array([2])) == 0.0


def test_hit_rate() -> None:
    ids = np.array([[0, 1], [1, 0], [2, 0], [1, 2]])
    labels = np.array([0, 0, 0, 0])
    assert metrics.hit_rate(ids[:, :1], labels) == 0.25
    assert metrics.hit_rate(ids, labels) == 0.75


def test_confusion_matrix_has_the_truth_in_rows() -> None:
    matrix = metrics.confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 1, 1, -1]), 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_confusion_of_many_classes_needs_memory_for_the_images_only() -> None:
    labels = np.repeat(np.arange(1000), 3)
    tracemalloc.start()
    cells = metrics.confusion_cells(labels, np.where(np.arange(3000) % 3 == 2, -1, 999 - labels), 10_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert cells[[0, -1]].tolist() == [[0, 999, 2], [999, 0, 2]] and len(cells) == 1000
    assert peak < 1_000_000


def test_a_report_lists_so_many_cells_at_most_those_with_the_most_images() -> None:
    rng, classes = np.random.default_rng(0), 10_000
    labels = np.repeat(np.arange(classes, dtype=np.int32), 9)
    answers = np.where(np.arange(labels.size) % 9 < 2, labels, rng.integers(0, classes, labels.size)).astype(np.int32)
    spec = OutputSpec(name="kind", kind="probabilities")
    scorer = ClassScorer(spec, classes, reference=None, reference_size=0)
    records = np.zeros(labels.size, scorer.dtype)
    records["candidate"]["top"][:, 0] = answers
    confusion = scorer.summary(records, labels).confusion
    assert confusion is not None
    cells = np.array(confusion["candidate"])
    assert len(metrics.confusion_cells(labels, answers, classes)) > len(cells) == MOST_CELLS
    assert {(i, i) for i in range(classes)} <= set(map(tuple, cells[:, :2].tolist()))  # two images or more, the others have one
    assert np.array_equal(cells, cells[np.lexsort((cells[:, 1], cells[:, 0]))])


def test_calibration_error_by_hand() -> None:
    # Two bins: (0.8, 0.8, 0.8) half of which... two of three right: gap 0.1333; (0.4) wrong: gap 0.4.
    confidence, correct = np.array([0.8, 0.8, 0.8, 0.4]), np.array([True, True, False, False])
    expected = 3 / 4 * abs(2 / 3 - 0.8) + 1 / 4 * 0.4
    assert metrics.expected_calibration_error(confidence, correct, bins=2) == pytest.approx(expected)
    assert metrics.expected_calibration_error(np.ones(4), np.ones(4, bool)) == 0.0
    assert math.isnan(metrics.expected_calibration_error(np.array([np.nan]), np.array([False])))


def test_total_variation() -> None:
    p, q = np.array([0.7, 0.2, 0.1], np.float32), np.array([0.5, 0.5, 0.0], np.float32)
    assert metrics.total_variation(p, q) == pytest.approx(0.3)
    assert metrics.total_variation(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1.0


def test_precision_and_recall_by_label() -> None:
    positive = np.array([[1, 0], [1, 0], [0, 0]], bool)
    truth = np.array([[1, 0], [0, 0], [1, 0]], bool)
    precision, recall = metrics.precision_recall(positive, truth)
    assert precision[0] == recall[0] == 0.5
    assert math.isnan(precision[1]) and math.isnan(recall[1])


@pytest.mark.parametrize(
    ("scores", "decisions", "threshold", "expected"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], 3.0, 3.0),  # already equal
        ([1, 2, 3, 4], [0, 0, 1, 1], 2.5, 2.5),  # the same decisions
        ([1, 2, 3, 4], [0, 1, 1, 1], 4.0, 2.0),  # has to come down to the lowest positive
        ([1, 2, 3, 4], [0, 0, 0, 1], 1.0, 3.0),  # has to go up, just above 3
        ([1, 2], [1, 1], 9.0, 1.0),
        ([1, 2], [0, 0], 0.0, 2.0),  # just above 2
    ],
)
def test_matching_threshold(scores: list[int], decisions: list[int], threshold: float, expected: float) -> None:
    found = metrics.matching_threshold(np.array(scores), np.array(decisions, bool), threshold)
    assert found == pytest.approx(expected)
    assert ((np.array(scores) >= found) == np.array(decisions, bool)).all()


def test_matching_threshold_makes_the_fewest_mistakes_there_are() -> None:
    random = np.random.default_rng(3)
    scores = random.integers(0, 30, 200)
    decisions = scores + random.normal(0, 4, 200) > 17
    found = metrics.matching_threshold(scores, decisions, 9.0)
    mistakes = [np.sum((scores >= cut) != decisions) for cut in range(32)]
    assert np.sum((scores >= found) != decisions) == min(mistakes)


def test_regression_metrics_by_hand() -> None:
    predicted, target = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0])
    assert metrics.mean_absolute_error(predicted, target) == 1.0
    assert metrics.root_mean_square_error(predicted, target) == pytest.approx(math.sqrt(5 / 3))
    assert metrics.r_squared(predicted, target) == pytest.approx(1 - 5 / 2)
    assert math.isnan(metrics.r_squared(predicted, np.ones(3)))


def test_cosine_and_sqnr() -> None:
    a = np.array([3.0, 4.0], np.float32)
    assert metrics.cosine(a, 2 * a) == pytest.approx(1.0)
    assert metrics.cosine(a, np.array([-4.0, 3.0])) == pytest.approx(0.0)
    assert metrics.cosine(a, np.zeros(2)) == 0.0
    assert metrics.cosine(np.zeros(2), np.zeros(2)) == 1.0
    assert metrics.power(a) == 25.0
    assert metrics.sqnr_db(25.0, 0.25) == pytest.approx(20.0)
    assert metrics.sqnr_db(25.0, 0.0) == math.inf
    assert math.isnan(metrics.sqnr_db(0.0, 1.0))


def test_inputs_are_left_as_they_are() -> None:
    scores = np.array([0.5, np.nan, 0.1], np.float32)
    before = scores.copy()
    metrics.top_k(scores, 2)
    metrics.total_variation(scores, scores)
    np.testing.assert_array_equal(scores, before)
