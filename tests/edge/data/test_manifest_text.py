"""Manifests as spreadsheets, pandas and Caffe write them."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from edge.cli import main
from edge.data.dataset import LabelledImages
from edge.errors import DatasetError

BOM = "\ufeff"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("semicolon.csv", "path;label\r\nimg/1.jpg;cat\r\nimg/2.jpg;dog\r\n"),
        ("headless.csv", "img/1.jpg;cat\nimg/2.jpg;dog\n"),
        ("tab.csv", "path\tlabel\nimg/1.jpg\tcat\nimg/2.jpg\tdog\n"),
        ("backslash.csv", BOM + "path,label\r\nimg\\1.jpg,cat\r\nimg\\2.jpg,dog\r\n"),
        ("quotes.csv", 'path,label\n"img/1.jpg", "cat"\nimg/2.jpg, dog\n'),
        ("capitals.csv", "Filename,Label\nimg/1.jpg,cat\nimg/2.jpg,dog\n"),
        ("class.csv", "filename,class\nimg/1.jpg,cat\nimg/2.jpg,dog\n"),
        ("target.csv", "image,target\nimg/1.jpg,cat\nimg/2.jpg,dog\n"),
        ("swapped.csv", "label,where\ncat,img/1.jpg\ndog,img/2.jpg\n"),
        ("last.csv", "cat,img/1.jpg\ndog,img/2.jpg\n"),
        ("old_mac.csv", "path,label\rimg/1.jpg,cat\rimg/2.jpg,dog\r"),
        ("pandas.csv", ",path,label\n0,img/1.jpg,cat\n1,img/2.jpg,dog\n"),
        ("caffe.txt", "path label\nimg/1.jpg cat\nimg/2.jpg dog\n"),
        ("bare.txt", "img/1.jpg cat\nimg/2.jpg dog\n"),
    ],
)
def test_every_dialect_gives_the_same_images_and_classes(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode())
    _check(tmp_path / name)


def test_utf16_as_spreadsheets_save_unicode_text(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_bytes("path,label\nimg/1.jpg,cat\nimg/2.jpg,dog\n".encode("utf-16"))
    _check(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "id,label\n1,cat\n2,dog\n",
            r"none of the columns id, label names pictures: '1' on line 2 is no file here; expected a column",
        ),
        (
            "path,label\nC:\\Users\\x\\1.jpg,cat\n",
            r"line 2: C:\\Users\\x\\1.jpg is a path of another machine; write the paths rel",
        ),
    ],
)
def test_a_list_without_pictures_or_for_another_machine_is_named(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DatasetError, match=words):
        LabelledImages.open(tmp_path / "list.csv")


def test_pictures_without_an_ending_are_read_where_they_are_there(tmp_path: Path) -> None:
    for name in ("1", "2"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "list.csv").write_text("id,label\n1,cat\n2,dog\n")
    assert len(LabelledImages.open(tmp_path / "list.csv")) == 2


def test_one_column_a_class_gives_the_classes_and_nothing_else_is_silent(
    tiny_int8_artefact: Path, tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def validated(text: str) -> str:
        (tmp_path / "list.csv").write_text(text)
        code = main(["validate", str(tiny_int8_artefact), "--images", str(tmp_path / "list.csv"), "--diagnose", "never"])
        said = capsys.readouterr()
        return said.out if code == 0 else said.err

    first, second = (f"{tiny_images}/{name}/0.png" for name in ("cat", "dog"))
    assert "top-1" in validated(f"path,cat,dog,bird,fish\n{first},1,0,0,0\n{second},0,1,0,0\n")
    assert "0.png is of 2 classes by its columns cat, dog, bird, fish" in validated(f"path,cat,dog,bird,fish\n{first},1,1,0,0\n")
    said = validated(f"path,animal\n{first},cat\n{second},dog\n")
    assert "top-1" not in said and "its columns animal are none that says what is right" in said


def test_frames_are_still_separated_by_semicolons(tmp_path: Path) -> None:
    path = tmp_path / "frames.csv"
    path.write_text("1.jpg;2.jpg\n2.jpg;3.jpg\n")
    assert [len(item.sources) for item in LabelledImages.open(path)] == [2, 2]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_of_a_path_may_be_written_in_another_way_than_on_disk(form: Literal["NFC", "NFD"], tmp_path: Path) -> None:
    there = tmp_path / unicodedata.normalize("NFD" if form == "NFC" else "NFC", "\u00fc.jpg")
    there.write_bytes(b"")
    (tmp_path / "list.csv").write_text(unicodedata.normalize(form, "path,label\n\u00fc.jpg,cat\n"), "utf-8")
    assert [item.path for item in LabelledImages.open(tmp_path / "list.csv")] == [there]


def _check(path: Path) -> None:
    found = LabelledImages.open(path)
    assert [(item.id, item.path) for item in found] == [(f"img/{i}.jpg", path.parent / f"img/{i}.jpg") for i in (1, 2)]
    assert [found.label_text(item) for item in found] == ["cat", "dog"]
