"""How far answers are apart: nothing for the same ones, alike for all ways of saying the same; and the Fisher information."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge.artefact.contract import OutputSpec
from quantize.shrinking.answers import SOFTEST, Judge

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 6, (40, 5)).astype(np.float32)


def _softmax(values: Any) -> Any:
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)


def _judge(kind: str, values: Any) -> Judge:
    return Judge.of([OutputSpec(name="out", kind=kind)], {"out": values})


def _divergence(judge: Judge, ours: Any, theirs: Any) -> Any:
    return np.asarray(judge.divergence({"out": ours}, {"out": theirs}))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("probabilities", _softmax(LOGITS)),
        ("logits", LOGITS),
        ("multilabel", 1 / (1 + np.exp(-LOGITS))),
        ("regression", LOGITS),
        ("features", LOGITS),
        ("probabilities", _softmax(LOGITS)[:, :1]),
        ("logits", LOGITS[:, :1]),
    ],
)
def test_the_same_answers_are_no_distance_apart_and_others_some(kind: str, values: Any) -> None:
    values = values.astype(np.float32)
    judge = _judge(kind, values)
    assert _divergence(judge, values, values) == pytest.approx(np.zeros(40), abs=1e-4)
    others = np.roll(values, 1, axis=0)
    assert _divergence(judge, others, values).shape == (40,)
    assert _divergence(judge, others, values).mean() > 0.05


def test_probabilities_and_their_logits_are_compared_alike_also_where_softmax_saturates() -> None:
    loud = 4 * LOGITS
    nudged = loud + RNG.normal(0, 1, loud.shape).astype(np.float32)
    by_logits = _divergence(_judge("logits", loud), nudged, loud)
    by_probabilities = _divergence(_judge("probabilities", _softmax(loud)), _softmax(nudged), _softmax(loud))
    assert by_probabilities == pytest.approx(by_logits, rel=1e-2, abs=1e-3)


def test_a_sure_network_is_compared_at_a_higher_temperature_than_an_unsure_one() -> None:
    sure, unsure = _judge("logits", 10 * LOGITS).temperatures["out"], _judge("logits", LOGITS / 10).temperatures["out"]
    assert sure > 5 * SOFTEST
    assert unsure == SOFTEST


def test_numbers_are_compared_in_units_of_their_own_spread() -> None:
    values = LOGITS[:, :1]
    one = _divergence(_judge("regression", values), values + 0.1, values)
    hundred = _divergence(_judge("regression", 100 * values), 100 * values + 10, 100 * values)
    assert hundred == pytest.approx(one, rel=1e-3)


@pytest.mark.converts
@pytest.mark.parametrize(("kind", "spread"), [("logits", 2.0), ("multilabel", 2.0), ("regression", 1.0)])
def test_half_the_squared_gradient_of_drawn_answers_is_the_divergence_of_a_small_change(kind: str, spread: float) -> None:
    """Along a direction: mean over draws of (d score / d change)^2 / 2 against the divergence of the change itself."""
    import tensorflow as tf

    base = RNG.normal(0, spread, (1, 4)).astype(np.float32)
    whole = np.concatenate([base, RNG.normal(0, spread, (60, 4)).astype(np.float32)])
    way = np.array([[0.5, -0.2, 0.1, 0.3]], np.float32)

    def said(scores: Any) -> Any:
        return tf.sigmoid(scores) if kind == "multilabel" else scores

    judge = _judge(kind, np.asarray(said(whole)))
    squares = []
    for seed in range(800):
        with tf.GradientTape() as tape:
            step = tf.constant(0.0)
            tape.watch(step)
            score = judge.score({"out": said(base + step * way)}, seed)
        squares.append(float(tape.gradient(score, step)) ** 2)
    small = 0.05
    found = _divergence(judge, np.asarray(said(base + small * way)), np.asarray(said(base)))[0] / small**2
    assert np.mean(squares) / 2 == pytest.approx(found, rel=0.2)
