"""The verdict: paired, at the bound, in the output's own terms, and no cheaper for whoever looks often."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.artefact.contract import Contract, InputSpec, OutputSpec
from edge.data.dataset import LabelledImages
from quantize.shrinking import verdict

RNG = np.random.default_rng(0)
SPEC = InputSpec(width=8, height=8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """200 pictures of two classes, and a manifest with an angle of each."""
    rows = ["path,angle"]
    for number in range(200):
        path = tmp_path / "classes" / "ab"[number % 2] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(path)
        rows.append(f"classes/{path.parent.name}/{path.name},{number / 10}")
    (tmp_path / "angles.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def _contract(**fields: Any) -> Contract:
    return Contract(name="test", input=SPEC, outputs=(OutputSpec(**{"name": "out", **fields}),))


def _probabilities(labels: Any, wrong: int) -> Any:
    right = np.eye(2, dtype=np.float32)[labels]
    right[:wrong] = right[:wrong, ::-1]
    return {"out": right}


def test_classes_are_judged_by_the_bound_of_the_paired_interval(photos: Path) -> None:
    contract = _contract(kind="probabilities", labels=("a", "b"))
    images = LabelledImages.open(photos / "classes", labels=("a", "b"))
    labels = images.label_ids()
    original, shrunk = _probabilities(labels, 10), _probabilities(labels, 14)
    found = verdict.judge(contract, images, original, shrunk, max_drop=0.01)
    assert (found.figure, found.lost, found.won, found.drop) == ("top1", 4, 0, 0.02)
    assert found.interval is not None
    assert found.interval[0] < 0.01 < found.interval[1]
    assert found.verdict == "undecided"
    assert found.enough is not None
    assert verdict.judge(contract, images, original, shrunk, max_drop=0.1).verdict == "pass"
    assert verdict.judge(contract, images, original, _probabilities(labels, 80), max_drop=0.01).verdict == "fail"


def test_numbers_are_judged_by_their_error_in_their_own_unit(photos: Path) -> None:
    contract = _contract(name="angle", kind="regression")
    images = LabelledImages.open(photos / "angles.csv", unlabelled=True)
    truth = np.array([float(item.targets[images.columns.index("angle")]) for item in images], np.float32)[:, None]
    original = {"angle": truth + RNG.normal(0, 1, truth.shape).astype(np.float32)}
    found = verdict.judge(contract, images, original, {"angle": original["angle"] + 0.01}, max_drop=0.5)
    assert found.figure == "mae"
    assert found.verdict == "pass"
    assert found.original == pytest.approx(0.8, abs=0.15)
    far = verdict.judge(contract, images, original, {"angle": original["angle"] + 5}, max_drop=0.5)
    assert far.verdict == "fail"
    assert far.drop == pytest.approx(4.2, abs=0.4)


def test_without_labels_nothing_is_decided_and_the_agreement_is_said(photos: Path) -> None:
    contract = _contract(kind="probabilities", labels=("a", "b"))
    images = LabelledImages.open(photos / "classes", unlabelled=True)
    labels = np.arange(200) % 2
    found = verdict.judge(contract, images, _probabilities(labels, 0), _probabilities(labels, 5), max_drop=0.01)
    assert (found.figure, found.verdict, found.drop) == ("agreement", "undecided", None)
    assert found.agreement == pytest.approx(0.975)


def test_all_looks_together_err_as_often_as_one_may() -> None:
    shares = [1 - verdict.confidence_of(look) for look in range(1, 20_000)]
    assert math.fsum(shares) == pytest.approx(0.05, abs=1e-4)
    assert math.fsum(shares) < 0.05


def test_a_second_file_at_the_same_photos_is_a_second_look_and_the_same_file_is_none(photos: Path, tmp_path: Path) -> None:
    images = LabelledImages.open(photos / "classes", labels=("a", "b"))
    assert [verdict.look_number(tmp_path, images, sha) for sha in ("one", "two", "one", "three")] == [1, 2, 1, 3]
    assert verdict.look_number(tmp_path, images.subset(100), "four") == 1
