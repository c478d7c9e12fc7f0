"""NaN is the worst answer there is, and named as such."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge import cli
from edge.artefact import graph
from edge.artefact.contract import OutputSpec
from edge.runtime.golden import pattern
from edge.validation.class_scores import ClassScorer
from edge.validation.generations import _errors
from edge.validation.value_scores import MultilabelScorer, RegressionScorer
from tests.edge.conftest import MakeContract, PackArtefact

NAN = float("nan")


@pytest.fixture(scope="module")
def broken(tiny_float_flatbuffer: bytes, tiny_contract: MakeContract, pack: PackArtefact) -> Path:
    """A model whose last weights are NaN, as a training that has diverged leaves them."""
    data = bytearray(tiny_float_flatbuffer)
    found = graph.read(tiny_float_flatbuffer)
    dense = next(op for op in found.ops if op.name == "FULLY_CONNECTED")
    weights = found.tensors[dense.inputs[1]]
    data[weights.buffer_start : weights.buffer_start + weights.buffer_bytes] = np.full(
        weights.elements, NAN, np.float32
    ).tobytes()
    return pack(bytes(data), tiny_contract(), "broken.tflite")


def test_classify_and_watch_name_it_and_write_their_json(
    broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, answers = tmp_path / "photo.png", tmp_path / "answers.json"
    Image.fromarray(pattern("rings", 24, 24)).save(photo)
    assert cli.main(["classify", str(broken), str(photo), "--json", str(answers)]) == 2
    assert "answers with NaN or infinity (output 'probabilities')" in capsys.readouterr().err
    assert "NaN" in json.loads(answers.read_text())["images"][0]["error"]
    assert cli.main(["watch", str(broken), str(photo), "--json", str(answers)]) == 0
    (answer,) = json.loads(answers.read_text())["answers"]
    assert answer["not_finite"] and answer["classes"] == []


def test_two_models_without_an_answer_do_not_agree() -> None:
    spec = OutputSpec(name="class", kind="probabilities")
    scorer = ClassScorer(spec, 3, reference=spec, reference_size=3)
    nothing, something = np.full(3, NAN, np.float32), np.array([0.1, 0.9, 0.0], np.float32)
    records = np.array([scorer.measure(a, b) for a, b in ((nothing, nothing), (something, something))])
    found = scorer.summary(records, None)
    assert found.agreement == 0.5
    assert found.changed == (0,)
    assert found.probability_shift == 0.5


def test_labels_that_are_not_numbers_are_wrong_and_agree_with_nothing() -> None:
    scorer = MultilabelScorer(OutputSpec(name="keys", kind="multilabel"), 1, paired=True)
    pairs = [(NAN, NAN), (0.1, 0.1)]
    records = np.array([scorer.measure(np.array([a], np.float32), np.array([b], np.float32)) for a, b in pairs])
    found = scorer.summary(records, np.zeros((2, 1), bool))
    assert found["candidate"]["exact_match"] == 0.5
    assert found["agreement"] == 0.5


def test_it_comes_first_among_the_worst() -> None:
    scorer = RegressionScorer(OutputSpec(name="steering", kind="regression"), 1, paired=False)
    records = np.array([scorer.measure(np.array([value], np.float32), None) for value in (0.0, 5.0, NAN)])
    found = scorer.summary(records, np.zeros((3, 1)), ["a", "b", "c"])
    assert [row["image"] for row in found["worst"]] == ["c", "b", "a"]


@pytest.mark.parametrize(("kind", "wrong"), [("regression", np.inf), ("multilabel", 1.0), ("probabilities", 1.0)])
def test_it_is_wrong_in_a_comparison_of_generations(kind: str, wrong: float) -> None:
    values = np.array([[NAN, 0.1]], np.float32)
    truth = np.array([1]) if kind == "probabilities" else np.zeros((1, 2))
    assert _errors(OutputSpec(name="x", kind=kind), values, truth)[0] == wrong
