"""1001 classes, 1000 names: which belongs to which, or an error that says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge.class_labels import BACKGROUND, fit
from edge.dataset import LabelledImages, match_labels
from edge.errors import ContractError, DatasetError

NAMES = [f"name {i}" for i in range(1000)]


def test_names_for_all_classes_stay() -> None:
    assert fit(NAMES, 1000, None, where="x") == tuple(NAMES)
    for nothing in ("background", "dummy", "unused background", "", "---"):
        assert fit([nothing, *NAMES], 1001, 0, where="x") == (nothing, *NAMES)


def test_a_name_for_the_background_is_put_in() -> None:
    assert fit(NAMES, 1001, 0, where="x") == (BACKGROUND, *NAMES)
    assert fit(["a", "b"], 3, 2, where="x") == ("a", "b", BACKGROUND)


@pytest.mark.parametrize(
    ("labels", "classes", "background", "message"),
    [
        (NAMES, 1001, None, "1000 labels for 1001 classes; if class 0 of the network is a background class, say so"),
        (["background", *NAMES], 1000, None, "1001 labels for 1000 classes; its first line is a background class, which this"),
        (NAMES[:998], 1001, 0, "998 labels for 1001 classes; expected 1001, or 1000 without the background class"),
        (["background", *NAMES[:999]], 1001, 0, "one class has no name"),
        ([*NAMES, "background"], 1001, 0, "class 0 of the network is the background, and line 1 of the labels is 'name 0'"),
        (NAMES, 1000, 1000, "background class 1000, expected 0 to 999"),
    ],
)
def test_what_does_not_fit(labels: list[str], classes: int, background: int | None, message: str) -> None:
    with pytest.raises(ContractError, match=f"^x: {re.escape(message)}|{re.escape(message)}"):
        fit(labels, classes, background, where="x")


def test_bare_numbers_with_a_background_class() -> None:
    """A data set of ImageNet counts from 0 without a background, or from 1 with one: never a guess."""
    labels = (BACKGROUND, *NAMES)

    def index(numbers: list[str], offset: int | None) -> dict[str, int]:
        return match_labels(numbers, labels, where="x", background=0, label_offset=offset)[1]

    assert index(["0", "999"], 1) == {"0": 1, "999": 1000}
    assert index(["1", "1000"], None) == {"1": 1, "1000": 1000}  # only one way to read them
    assert index(["3"], 0) == {"3": 3}
    with pytest.raises(DatasetError, match="background, which is among them; say --label-offset 1 where number 0 is the first"):
        index(["0", "7"], None)
    with pytest.raises(DatasetError, match="or --label-offset 0 where it is the background"):
        index(["3", "7"], None)
    with pytest.raises(DatasetError, match="1 of 2 classes are none of the model's: 1000"):
        index(["3", "1000"], 1)
    with pytest.raises(DatasetError, match="class number 0 with label offset -1 is -1"):
        index(["0", "3"], -1)
    with pytest.raises(DatasetError, match="its classes are names"):
        index(["name 1"], 1)


def test_a_model_without_a_background_class_takes_numbers_as_they_are(tmp_path: Path) -> None:
    manifest = tmp_path / "images.csv"
    manifest.write_text("path,label\na.jpg,0\nb.jpg,2\n", encoding="utf-8")
    assert [item.label for item in LabelledImages.open(manifest, labels=["a", "b", "c"])] == [0, 2]
    assert [item.label for item in LabelledImages.open(manifest, labels=["a", "b", "c", "d"], label_offset=1)] == [1, 3]
    with pytest.raises(DatasetError, match="label-offset"):
        LabelledImages.open(manifest, labels=["background", "a", "b", "c"], background=0)
