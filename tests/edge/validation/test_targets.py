from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.artefact.contract import OutputSpec
from edge.data.dataset import LabelledImages
from edge.errors import ContractError, DatasetError
from edge.validation import targets
from edge.validation.class_scores import ClassScorer, align
from edge.validation.value_scores import MultilabelScorer, RegressionScorer

COLOURS = OutputSpec(name="colour", kind="probabilities", labels=("red", "green", "blue"))
TAGS = OutputSpec(name="tags", kind="multilabel", labels=("wet", "Dark red", "old"))


def real(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def manifest(tmp_path: Path, *lines: str, unlabelled: bool = False) -> LabelledImages:
    path = tmp_path / "test.csv"
    path.write_text("\n".join(lines))
    return LabelledImages.open(path, unlabelled=unlabelled)


def test_the_label_column_belongs_to_the_headline_and_others_to_their_output(tmp_path: Path) -> None:
    dataset = manifest(tmp_path, "path,label,colour", "a.jpg,1,blue", "b.jpg,0,Red")
    other = OutputSpec(name="other", kind="logits")
    assert targets.class_ids(dataset, COLOURS, 3, headline=False).tolist() == [2, 0]  # type: ignore[union-attr]
    assert targets.class_ids(dataset, other, 2, headline=True).tolist() == [1, 0]  # type: ignore[union-attr]
    assert targets.class_ids(dataset, other, 2, headline=False) is None


def test_class_numbers_beyond_the_output_speak_of_an_offset(tmp_path: Path) -> None:
    dataset = manifest(tmp_path, "path,label", "a.jpg,0", "b.jpg,1000")
    with pytest.raises(
        DatasetError, match=r"b.jpg has class number 1000.* classes 0 to 999; where the model counts a background"
    ):
        targets.class_ids(dataset, OutputSpec(name="x", kind="logits"), 1000, headline=True)
    background = OutputSpec(name="x", kind="logits", background_index=0)
    with pytest.raises(DatasetError, match=r"a.jpg is of class 0, the background class"):
        targets.class_ids(dataset, background, 1001, headline=True)


@pytest.mark.parametrize(
    "lines",
    [
        ("path,tags", "a.jpg,wet; dark_red", "b.jpg,", "c.jpg,old|wet"),
        ("path,label", "a.jpg,wet;dark red", "b.jpg,;", "c.jpg,OLD;Wet"),
        ("path,wet,Dark red,old", "a.jpg,1,yes,0", "b.jpg,0,no,", "c.jpg,TRUE,false,1"),
    ],
    ids=["own column", "label column", "a column each"],
)
def test_labels_that_apply_are_read_from_either_form(tmp_path: Path, lines: tuple[str, ...]) -> None:
    found = targets.label_truth(manifest(tmp_path, *lines, unlabelled=True), TAGS, 3, only=True)
    assert found is not None
    assert found.astype(int).tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 1]]


def test_labels_that_the_output_does_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="b.jpg has label 'dry', output 'tags' has wet, Dark red, old"):
        targets.label_truth(manifest(tmp_path, "path,tags", "a.jpg,wet", "b.jpg,dry"), TAGS, 3, only=True)
    with pytest.raises(DatasetError, match="a.jpg has 'perhaps' in column wet, expected 0 or 1"):
        targets.label_truth(manifest(tmp_path, "path,wet,Dark red,old", "a.jpg,perhaps,1,0"), TAGS, 3, only=True)


def test_numbers_of_one_and_of_several_columns(tmp_path: Path) -> None:
    dataset = manifest(tmp_path, "path,pose[0],pose[1],angle", "a.jpg,1,2,0.5", "b.jpg,-1,1e3,1")
    pose, angle = OutputSpec(name="pose", kind="regression"), OutputSpec(name="angle", kind="regression")
    np.testing.assert_array_equal(targets.numbers(dataset, pose, 2, only=False), [[1, 2], [-1, 1000]])
    np.testing.assert_array_equal(targets.numbers(dataset, angle, 1, only=False), [[0.5], [1]])
    assert targets.numbers(dataset, OutputSpec(name="speed", kind="regression"), 1, only=False) is None
    with pytest.raises(DatasetError, match=r"output 'pose' has 3 values, the columns pose\[2\] are missing"):
        targets.numbers(dataset, pose, 3, only=False)


def test_a_single_regression_output_takes_the_label_column(tmp_path: Path) -> None:
    dataset = manifest(tmp_path, "path,label", "a.jpg,0.25", unlabelled=True)
    np.testing.assert_array_equal(
        targets.numbers(dataset, OutputSpec(name="Identity", kind="regression"), 1, only=True), [[0.25]]
    )


def test_classes_are_put_in_order_by_label() -> None:
    turned = OutputSpec(name="colour", kind="probabilities", labels=("nothing", "blue", "green", "red"), background_index=0)
    assert align(COLOURS, 3, COLOURS, 3) is None
    order = align(COLOURS, 3, turned, 4)
    assert order is not None and order.tolist() == [3, 2, 1]
    back = align(turned, 4, COLOURS, 3)
    assert back is not None and back.tolist() == [-1, 2, 1, 0]
    scorer = ClassScorer(turned, 4, reference=COLOURS, reference_size=3)
    record = scorer.measure(np.array([0.9, 0.1, 0.0, 0.0], np.float32), np.array([0.2, 0.0, 0.8], np.float32))
    assert record["candidate"]["top"][:3].tolist() == [1, 2, 3]  # the background is never an answer
    assert record["reference"]["top"][:3].tolist() == [1, 3, 2]
    assert record["shift"] == pytest.approx((0.9 + 0.7 + 0.2) / 2)


@pytest.mark.parametrize(
    ("other", "size", "message"),
    [
        (OutputSpec(name="x", kind="logits"), 4, "without labels on both"),
        (OutputSpec(name="x", kind="logits", labels=("red", "green", "pink")), 3, "only one has 'blue'"),
        (OutputSpec(name="x", kind="logits", labels=("red", "green", "blue", "pink")), 4, "only one has 'pink'"),
    ],
)
def test_classes_that_do_not_match_are_refused(other: OutputSpec, size: int, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        align(COLOURS, 3, other, size)


def test_decisions_survive_the_steps_that_scores_are_kept_in() -> None:
    spec = OutputSpec(name="tags", kind="multilabel", labels=("a", "b"), threshold=0.3)
    scorer = MultilabelScorer(spec, 2, paired=True)
    below, above = np.nextafter(np.float32(0.3), np.float32(0)), np.nextafter(np.float32(0.3), np.float32(1))
    records = np.stack([scorer.measure(real(below, above), real(above, above)) for _ in range(4)])
    truth = np.ones((4, 2), bool)
    found = scorer.summary(records, truth)
    first, second = found["per_label"]
    assert (first["candidate"]["recall"], first["reference"]["recall"], first["agreement"]) == (0.0, 1.0, 0.0)
    assert (second["candidate"]["recall"], second["agreement"], second["threshold_shift"]) == (1.0, 1.0, 0.0)
    assert -1e-4 < first["threshold_shift"] < 0  # to decide like the reference it has to come down by a hair


def test_a_shifted_score_asks_for_a_shifted_threshold() -> None:
    spec = OutputSpec(name="tags", kind="multilabel", labels=("a",))
    scorer, scores = MultilabelScorer(spec, 1, paired=True), np.linspace(0, 0.85, 200, dtype=np.float32)
    records = np.stack([scorer.measure(real(score + 0.1), real(score)) for score in scores])
    found = scorer.summary(records, None)
    assert found["per_label"][0]["threshold_shift"] == pytest.approx(0.1, abs=0.005)
    assert found["score_shift"] == pytest.approx(0.1, abs=1e-4)


def test_regression_difference_is_paired() -> None:
    scorer = RegressionScorer(OutputSpec(name="pose", kind="regression"), 2, paired=True)
    truth = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    records = np.stack([scorer.measure(real(*(row + [0.5, 0.1])), real(*(row + [0.0, 0.1]))) for row in truth])
    found = scorer.summary(records, truth)
    assert found["candidate"]["mae"] == pytest.approx(0.3)
    assert found["reference"]["mae"] == pytest.approx(0.05)
    assert found["mae_increase"]["mean"] == pytest.approx(0.25)
    assert found["mae_increase"]["ci95"] == pytest.approx([0.25, 0.25], abs=1e-6)
    assert found["difference"] == {"mean_absolute": pytest.approx(0.25), "max_absolute": pytest.approx(0.5)}
