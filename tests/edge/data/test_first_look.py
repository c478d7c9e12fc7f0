"""A first look at pictures refuses what listing them refuses, in the same words, and reads no more than it has to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.data.dataset import LabelledImages
from edge.data.first_look import check_pictures
from edge.errors import DatasetError


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def linked(folder: Path, *, outside: bool) -> Path:
    made(folder, "elsewhere/a.jpg", "photos/real/b.txt", "photos/real/c/d.txt")
    (folder / "photos" / "cat").symlink_to(folder / "elsewhere" if outside else folder / "photos" / "real")
    return folder / "photos"


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


WRONG: dict[str, Callable[[Path], Path]] = {
    "nothing": lambda folder: folder / "none",
    "a file": lambda folder: made(folder, "photo.jpg") / "photo.jpg",
    "an empty folder": lambda folder: made(folder, "inside/notes.txt", ".hidden/a.jpg", "__MACOSX/a.jpg"),
    "other kinds": lambda folder: made(folder, "a.psd"),
    "a link to the outside": lambda folder: linked(folder, outside=True),
    "a link without pictures": lambda folder: linked(folder, outside=False),
    "an empty list": lambda folder: written(folder / "list.csv", "path\n"),
    "a list of somebody else": lambda folder: written(folder / "list.csv", "path\nC:\\photos\\a.jpg\n"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_what_listing_refuses_is_refused_in_the_same_words(wrong: Callable[[Path], Path], tmp_path: Path) -> None:
    path = wrong(tmp_path)
    with pytest.raises(DatasetError) as later:
        LabelledImages.open(path, unlabelled=True)
    with pytest.raises(DatasetError) as first:
        check_pictures(path)
    assert str(first.value) == str(later.value)


def test_pictures_behind_links_are_there_where_links_are_followed(tmp_path: Path) -> None:
    check_pictures(linked(tmp_path, outside=True), follow_links=True)


def test_a_long_list_is_left_to_be_read_later(tmp_path: Path) -> None:
    row = "C:\\photos\\a.jpg\n"
    check_pictures(written(tmp_path / "list.csv", "path\n" + row * (1 + (1 << 20) // len(row))))


def test_a_folder_is_looked_through_up_to_its_first_picture(tmp_path: Path) -> None:
    check_pictures(made(tmp_path, "a.jpg", "class/b.jpg"))  # what is wrong with labels is told later
