"""Manifests as spreadsheets, pandas and Caffe write them."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from edge.dataset import LabelledImages

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
