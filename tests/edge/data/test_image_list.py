"""Lists of images stay small, and are what a tuple of images was."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from edge.data.dataset import ImageItem, LabelledImages
from edge.data.image_list import Rows, ids_of
from edge.errors import DatasetError
from edge.validation.findings import about_images
from edge.validation.run import dataset_sha256, image_digests


def _manifest(path: Path, count: int) -> Path:
    path.write_text("path,label,angle\n" + "".join(f"photos/{i:07}.jpg,class {i % 100:03},0.5\n" for i in range(count)))
    return path


def _kept(manifest: Path) -> int:
    tracemalloc.start()
    try:
        dataset = LabelledImages.open(manifest)
        assert dataset.labelled
        ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/edge/*")])  # not Python's table of names
        return sum(trace.size for trace in ours.traces)
    finally:
        tracemalloc.stop()


def test_a_list_of_images_holds_few_bytes_of_each(tmp_path: Path) -> None:
    few, many = (_kept(_manifest(tmp_path / f"{count}.csv", count)) for count in (500, 8_500))
    assert (many - few) / 8_000 < 120


def test_images_come_out_as_they_were_put_in(tmp_path: Path) -> None:
    rows = Rows(base=tmp_path, columns=2)
    rows.add("b/ä.jpg", "owl", ("1", ""), ())
    rows.add("c0.jpg;c1.jpg", None, ("2", "x y"), ("c0.jpg", "sub/c1.jpg"))
    rows.add("a/\udcff.jpg", "red fox", ("3", "z"), ())  # a file name that is no text
    found = rows.images({"owl": 7, "red fox": 2})
    assert not rows.labelled and found.labels().tolist() == [2, 7, -1]
    assert list(found) == [
        ImageItem(id="a/\udcff.jpg", path=tmp_path / "a/\udcff.jpg", label=2, targets=("3", "z")),
        ImageItem(id="b/ä.jpg", path=tmp_path / "b/ä.jpg", label=7, targets=("1", "")),
        ImageItem(
            id="c0.jpg;c1.jpg",
            path=tmp_path / "sub/c1.jpg",
            targets=("2", "x y"),
            frames=(tmp_path / "c0.jpg", tmp_path / "sub/c1.jpg"),
        ),
    ]
    assert list(found[1:]) == list(found)[1:] and found[-1] == list(found)[-1]
    assert list(found[::-1].ids()) == ["c0.jpg;c1.jpg", "b/ä.jpg", "a/\udcff.jpg"]
    assert found.take(np.array([2, 0])).column(1) == ("x y", "z")


def test_the_order_is_that_of_the_characters(tmp_path: Path) -> None:
    names = ["é.jpg", "z.jpg", "\U0001f600.jpg", "ﬀ.jpg", "A/1.jpg", "A-1.jpg", "e\u0301.jpg"]
    rows = Rows(base=tmp_path)
    for name in names:
        rows.add(name, None)
    assert list(rows.images(None).ids()) == sorted(names)


def test_a_row_that_is_there_again_is_named_with_both_lines(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,label\nb.jpg,x\na.jpg,x\n\nb.jpg,x\na.jpg,y\n")
    with pytest.raises(DatasetError, match=r"line 5 lists b\.jpg again \(first on line 2\)"):
        LabelledImages.open(tmp_path / "m.csv")


def test_hashes_of_a_data_set_do_not_depend_on_the_order_of_its_images(tmp_path: Path) -> None:
    dataset = LabelledImages.open(_manifest(tmp_path / "m.csv", 50))
    contents = np.random.default_rng(0).integers(0, 256, (50, 32), np.uint8)
    order = np.random.default_rng(1).permutation(50)
    shuffled = dataset.take(order)
    assert list(ids_of(shuffled.items)) != list(ids_of(dataset.items))
    assert dataset_sha256(shuffled, contents[order]) == dataset_sha256(dataset, contents)
    assert image_digests(shuffled, contents[order]) == image_digests(dataset, contents)


def test_images_of_the_same_content_are_counted(tmp_path: Path) -> None:
    records = np.zeros(300, np.dtype([("status", "u1"), ("sha256", "u1", (32,))]))
    records["sha256"] = np.random.default_rng(0).integers(0, 256, (300, 32))
    records["sha256"][200:203] = records["sha256"][7]
    records["sha256"][299, :31] = records["sha256"][0, :31]  # nearly the same
    dataset = LabelledImages.open(_manifest(tmp_path / "m.csv", 300))
    (found,) = about_images(dataset, {}, records, 300)
    assert found.check == "duplicates" and found.message.startswith("3 images")


def test_a_number_of_many_digits_is_a_name_that_the_model_lacks(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,label\na.jpg,1\nb.jpg," + "9" * 5000 + "\n")
    with pytest.raises(DatasetError, match="none of the model's"):
        LabelledImages.open(tmp_path / "m.csv", labels=("a", "b"))
