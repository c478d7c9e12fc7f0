"""Which flags are passed on to a board, and which images are sent to it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from devices.errors import DeviceError
from devices.measure import images
from devices.measure.request import Request, read


def request(argv: list[str], **fields: object) -> Request:
    return read(argparse.Namespace(argv=argv, **{"folder": ".edgekit", **fields}))


def test_what_is_passed_on_and_what_is_not(first: Path, tmp_path: Path) -> None:
    file = str(first)
    argv = ["validate", "--on", "pi", file, "--images", "d", "--json", "-", "--max-drop", "0.01", "--limit=7", "--threads", "2"]
    found = request(argv, file=file, images="d", limit=7, max_drop=0.01)
    assert found.flags == ("--threads", "2")
    assert (found.verb, found.limit, found.images, found.max_drop) == ("validate", 7, "d", 0.01)
    for wrong, fields in (
        (["validate", file, "--on", "pi"], {}),
        (["validate", file, "--on", "pi", "--im", "d"], {"images": "d"}),
        (["validate", file, "--on", "pi", "--images", "d"], {"images": "d", "labels": tmp_path / "labels.txt"}),
        (["validate", file, "--images", "d", "--max-drop", "1"], {"images": "d", "max_drop": 1.0}),
        (["validate", file, "--images", "board:d", "--certify", "5"], {"images": "board:d", "certify": 5}),
        (["validate", file, "--images", "d", "--certify", "0"], {"images": "d", "certify": 0}),
    ):
        with pytest.raises(DeviceError):
            request(wrong, file=file, **fields)


def test_images_are_chosen_as_validate_chooses_them(few_digits: Path, tmp_path: Path) -> None:
    from edge.data.dataset import LabelledImages

    for limit in (None, 1, 7, 79, 1000):
        dataset = LabelledImages.open(few_digits / "test")
        dataset = dataset if limit is None else dataset.subset(limit)
        assert images.listed(few_digits / "test", limit).names == tuple(item.id for item in dataset)
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DeviceError):
            images.listed(place, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\n/etc/passwd,1\n", "names no image"),
        ("path,label\n../a.png,1\n", "names no image"),
        ("path,label\nmissing.png,1\n", "no image missing.png"),
        ("path,label\na.png,1\na.png,2\n", "twice"),
        ("path,label\n", "a header and no rows"),
        ("", "empty; expected a header"),
        ('path\n"a', "cannot be read"),
    ],
)
def test_a_manifest_that_cannot_be_sent(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DeviceError, match=words):
        images.listed(tmp_path / "list.csv", None)


def test_a_manifest_of_a_spreadsheet_is_sent_as_it_is_read_here(tmp_path: Path) -> None:
    from edge.data.dataset import LabelledImages

    (tmp_path / "my photos").mkdir()
    names = ("my photos/u\u0308 1.jfif", "2.TIF", "3.gif")
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    lists = {
        "semi.csv": "name;class\nmy photos\\\u00fc 1.jfif;a\n2.TIF;b\n3.gif;a\n".encode("utf-16"),
        "tab.csv": "id\tfile\tlabel\n1\tmy photos/\u00fc 1.jfif\ta\n2\t2.TIF\tb\n3\t3.gif\ta\n".encode(),
        "caffe.txt": "my photos/\u00fc 1.jfif 0\n2.TIF 1\n3.gif 0\n".encode(),
        "swapped.csv": "a,my photos/\u00fc 1.jfif\nb,2.TIF\na,3.gif\n".encode(),
    }
    for name, data in lists.items():
        (tmp_path / name).write_bytes(data)
        here = LabelledImages.open(tmp_path / name)
        listing = images.listed(tmp_path / name, None)
        there = LabelledImages.open(listing.copy_to(tmp_path / f"sent {name}"))
        assert listing.names == tuple(item.id for item in here) == tuple(item.id for item in there), name
        assert [there.label_text(item) for item in there] == [here.label_text(item) for item in here] != ["", "", ""]


def test_what_is_not_sent_is_named(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.tif", "c.heic", "d.avif", "e.psd", "f.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "._a.jpg").write_bytes(b"x")
    listing = images.listed(tmp_path, None)
    assert listing.names == ("a.jpg", "b.tif")
    assert listing.warning().startswith(
        "3 pictures are of kinds that are not sent to a board, and left out: c.heic, d.avif, e.psd;"
    )
    (tmp_path / "linked").symlink_to(tmp_path)
    with pytest.raises(DeviceError, match="would go round for ever"):
        images.listed(tmp_path, None)


def test_linked_folders_are_sent_where_validate_reads_them(tmp_path: Path) -> None:
    from edge.data.dataset import LabelledImages
    from edge.errors import DatasetError

    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a.png").write_bytes(b"x")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat").symlink_to(tmp_path / "store")
    words = "leads out of the dataset .*; allow it with --follow-links"
    with pytest.raises(DatasetError, match=words):
        LabelledImages.open(tmp_path / "photos")
    with pytest.raises(DeviceError, match=words):
        images.listed(tmp_path / "photos", None)
    listing = images.listed(tmp_path / "photos", None, follow_links=True)
    assert listing.names == ("cat/a.png",)
    assert (listing.copy_to(tmp_path / "sent") / "cat" / "a.png").read_bytes() == b"x"


def test_a_row_with_several_frames(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "3.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "list.csv").write_text("path,steering\n1.png;2.png,0.5\n2.png; 3.png,0.25\n")
    listing = images.listed(tmp_path / "list.csv", None)
    assert (listing.names, listing.files) == (("1.png;2.png", "2.png; 3.png"), ("1.png", "2.png", "3.png"))
    assert listing.only(listing.names[1:]).files == ("2.png", "3.png")


def test_a_manifest_without_a_header_and_a_part_of_it(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "list.csv").write_text('b.png,"two, three"\na.png,one\n')
    listing = images.listed(tmp_path / "list.csv", None)
    assert listing.names == ("a.png", "b.png") and listing.header is None
    copied = listing.only(["b.png"]).copy_to(tmp_path / "copy")
    assert copied.read_text() == 'b.png,"two, three"\n'
    assert sorted(path.name for path in copied.parent.iterdir()) == sorted(["b.png", copied.name])
