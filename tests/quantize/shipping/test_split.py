"""Which photos of --train choose."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge.data.dataset import LabelledImages
from quantize.shipping import split
from quantize.shipping.request import Request


def request(train: str, labels: str | None = None) -> Request:
    return Request(model="net.keras", train=train, test="test", out="out", name="net", labels=labels)


def test_a_folder_becomes_two_lists_with_its_labels(digits_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(digits_folder / "train", tmp_path / "photos, all")
    monkeypatch.chdir(tmp_path)
    split.write(request("photos, all"))
    names = Path("out/split/labels.txt").read_text().splitlines()
    whole = LabelledImages.open("photos, all")
    learn, choose = (LabelledImages.open(f"out/split/{name}.csv", labels=names) for name in ("learn", "choose"))
    assert (len(learn), len(choose)) == (800, 200)
    assert min(choose.counts().values()) >= 15 and len(choose.counts()) == 10
    found = {item.path.resolve(): part.label_text(item) for part in (learn, choose) for item in part}
    assert found == {item.path.resolve(): whole.label_text(item) for item in whole}


def test_a_list_keeps_its_columns(digits_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted((digits_folder / "train/7").iterdir())[:10]
    rows = "".join(f"{file};{file},7,{0.1 * i:.1f}\n" for i, file in enumerate(files))
    (tmp_path / "all.csv").write_text(f"path,label,steering\n{rows}")
    monkeypatch.chdir(tmp_path)
    split.write(request("all.csv"))
    choose = LabelledImages.open("out/split/choose.csv")
    assert choose.column("steering") == ("0.4", "0.9")
    assert [len(item.sources) for item in choose] == [2, 2]
    assert not Path("out/split/labels.txt").exists()
