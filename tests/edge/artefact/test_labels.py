"""1001 classes, 1000 names: which belongs to which, or an error that says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from edge.artefact.labels import BACKGROUND, fit, parse
from edge.data.dataset import LabelledImages, class_folders, match_labels
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
    with pytest.raises(DatasetError, match="--label-offset 0 where it is the background or give the classes"):
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


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"0 cat\n1 dog\n", ("cat", "dog")),
        (b"0  person\n1  bicycle\n2  car\n", ("person", "bicycle", "car")),
        (b"1 dog\n0 cat\n", ("cat", "dog")),
        (b"0: cat\r\n1: sea lion\r\n\r\n", ("cat", "sea lion")),
        (b"1,dog\n\n0,cat", ("cat", "dog")),
        (b"\xef\xbb\xbfcat\r\ndog\r\n", ("cat", "dog")),
        ("\ufeff0\tÄpfel\n1\tMöhre\n".encode("utf-16-le"), ("Äpfel", "Möhre")),
        ("A\u0308pfel\nMo\u0308hre\n".encode(), ("\u00c4pfel", "M\u00f6hre")),
        (b"0 person\n1 bicycle\n3 car\n", ("person", "bicycle", "unnamed class 2", "car")),
        (b"5 euro\n10 euro\n20 euro\n", ("5 euro", "10 euro", "20 euro")),
        (b"2 door\n4 door\ncoach\n", ("2 door", "4 door", "coach")),
        (b"0 1 euro\n1 2 euro\n2 coin\n", ("1 euro", "2 euro", "coin")),
        (b"3\n0\n7\n", ("3", "0", "7")),
        (b"zone 0\nzone 1\n", ("zone 0", "zone 1")),
        (b"cat\rdog\r", ("cat", "dog")),
        (b"cat\n\ndog\n", ("cat", "", "dog")),
        (b'["cat", "dog"]\n', ("cat", "dog")),
        (b'{\n  "dog": 1,\n  "cat": 0\n}\n', ("cat", "dog")),
        (b'{"1": "dog", "0": "cat"}', ("cat", "dog")),
        (b'{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}', ("tench", "goldfish")),
        (b"[background]\ncat\n", ("[background]", "cat")),
    ],
)
def test_label_files_as_people_have_them(data: bytes, names: tuple[str, ...]) -> None:
    assert parse(data, where="labels.txt") == names


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"0 cat\n1 dog\nbird\n", "line 3 ('bird') has no class number in front, and 2 other lines have one"),
        (b"0 cat\n1 dog\n1 bird\n", "line 3 ('1 bird') has the number of class 'dog'"),
        (b"dog 1\ncat 0\n", "its lines end in the numbers 0 to 1 in another order than they stand in"),
        (b"dog,1\ncat,0\n", "its lines end in the numbers 0 to 1 in another order than they stand in"),
        (b"item {\n  id: 1\n  name: 'cat'\n}\n", "is written as data (it begins with"),
        (b"{'cat': 0, 'dog': 1}\n", "is written as data (it begins with"),
        (b'{"cat": true, "dog": 1.5}\n', "is written as data (it begins with"),
        (b"caf\xe9\n", "the labels cannot be read ('utf-8' codec"),
    ],
)
def test_a_label_file_whose_order_is_in_doubt_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ContractError, match=re.escape(f"labels.txt: {message}")):
        parse(data, where="labels.txt")


def test_numbers_that_do_not_fit_the_classes_say_so() -> None:
    with pytest.raises(ContractError, match="3 labels for 2 classes; its lines are numbered from 1: number them from 0"):
        fit(parse(b"1 cat\n2 dog\n", where="x"), 2, None, where="x")
    with pytest.raises(ContractError, match="of which 2 are missing .a name that begins with a number"):
        fit(parse(b"1 euro\n2 euro\n4 euro\n", where="x"), 3, None, where="x")
    assert fit(parse(b"1 cat\n2 dog\n", where="x"), 3, 0, where="x") == ("unnamed class 0", "cat", "dog")


def test_names_match_folders_whichever_way_their_accents_are_written(tmp_path: Path) -> None:
    for name in ("A\u0308pfel", "Mo\u0308hre"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "1.png")
    dataset = LabelledImages.open(tmp_path, labels=("M\u00f6hre", "\u00c4pfel"))
    assert [dataset.label_text(item) for item in dataset] == ["\u00c4pfel", "M\u00f6hre"]
    reverse = LabelledImages.open(tmp_path, labels=("Mo\u0308hre", "A\u0308pfel"))
    assert sorted(reverse.counts()) == [0, 1]
    assert LabelledImages.open(tmp_path).labels == ("M\u00f6hre", "\u00c4pfel")


def test_what_archivers_leave_is_no_class(tmp_path: Path) -> None:
    for name in ("cat", "dog", "__MACOSX/cat"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name / "1.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".thumbs").mkdir()
    assert LabelledImages.open(tmp_path).labels == ("cat", "dog")
    assert class_folders(tmp_path) == (("cat", "dog"), ("empty",))
