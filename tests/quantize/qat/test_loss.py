"""What training makes small: each kind of output has its own loss, written out here in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge.artefact.contract import OutputSpec
from quantize.qat import loss as qat_loss
from quantize.qat.loss import Head

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 1.0, 3.0]], np.float32)
TEACHER = np.array([[1.0, 0.0, 0.0], [-1.0, 2.0, 2.5]], np.float32)


def head(kind: str, name: str = "out", **options: Any) -> Head:
    settings: dict[str, Any] = {"layer": "out", "squashed": True, "has_truth": True, "distills": False} | options
    return Head(spec=OutputSpec(name=name, kind=kind), **settings)


def log_softmax(values: np.ndarray) -> np.ndarray:
    shifted: np.ndarray = values - np.log(np.exp(values).sum(axis=-1, keepdims=True))
    return shifted


def test_classes_are_trained_by_cross_entropy_and_class_weights_scale_it() -> None:
    truth = np.array([0, 1])
    each = -log_softmax(LOGITS)[[0, 1], truth]
    assert float(head("probabilities").loss(LOGITS, truth, None)) == pytest.approx(each.mean(), rel=1e-5)
    weights = np.array([0.5, 3.0, 1.0], np.float32)
    weighted = head("probabilities", class_weights=weights).loss(LOGITS, truth, None)
    assert float(weighted) == pytest.approx((each * weights[truth]).mean(), rel=1e-5)


def test_probabilities_without_logits_behind_them_give_the_same_loss() -> None:
    truth = np.array([0, 1])
    plain = head("probabilities", squashed=False).loss(np.exp(log_softmax(LOGITS)), truth, None)
    assert float(plain) == pytest.approx(float(head("probabilities").loss(LOGITS, truth, None)), rel=1e-4)


def test_labels_are_trained_one_by_one_and_numbers_by_their_distance() -> None:
    truth = np.array([[1, 0, 1], [0, 0, 1]])
    share = 1 / (1 + np.exp(-LOGITS))
    expected = -np.mean(np.where(truth == 1, np.log(share), np.log(1 - share)))
    assert float(head("multilabel").loss(LOGITS, truth, None)) == pytest.approx(expected, rel=1e-5)
    values, numbers = np.array([[3.0], [5.0]], np.float32), np.array([1.0, 6.0], np.float32)
    loss = head("regression", squashed=False, scale=2.0).loss(values, numbers, None)
    assert float(loss) == pytest.approx(np.mean([1.0, 0.25]))


def test_distillation_follows_the_teacher_at_its_temperature() -> None:
    soft, ours = log_softmax(TEACHER / qat_loss.TEMPERATURE), log_softmax(LOGITS / qat_loss.TEMPERATURE)
    divergence = qat_loss.TEMPERATURE**2 * np.mean(np.sum(np.exp(soft) * (soft - ours), axis=-1))
    alone = head("probabilities", has_truth=False, distills=True)
    assert float(alone.loss(LOGITS, None, TEACHER)) == pytest.approx(divergence, rel=1e-5)
    assert float(alone.loss(TEACHER, None, TEACHER)) == pytest.approx(0.0, abs=1e-6)
    truth = np.array([0, 1])
    both = head("probabilities", distills=True).loss(LOGITS, truth, TEACHER)
    to_truth = float(head("probabilities").loss(LOGITS, truth, None))
    assert float(both) == pytest.approx((1 - qat_loss.DISTILL_SHARE) * to_truth + qat_loss.DISTILL_SHARE * divergence, rel=1e-5)


def test_the_losses_of_several_outputs_add_up_by_their_weights() -> None:
    numbers = np.array([1.0, 6.0], np.float32)
    heads = (head("probabilities"), head("regression", "steer", squashed=False, weight=0.25))
    values: list[Any] = [LOGITS, np.array([[3.0], [5.0]], np.float32)]
    total = qat_loss.total(heads, values, {"out": np.array([0, 1]), "steer": numbers}, [None, None])
    expected = float(heads[0].loss(LOGITS, np.array([0, 1]), None)) + 0.25 * np.mean([4.0, 1.0])
    assert float(total) == pytest.approx(expected, rel=1e-5)
