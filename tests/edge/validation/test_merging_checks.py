"""What must not be merged, on reports made by hand: nothing is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.data.dataset import ImageItem, LabelledImages
from edge.errors import UsageError
from edge.numbers.statistics import PASS, UNDECIDED, paired_interval, verdict
from edge.validation.merging import merge, to_text
from edge.validation.run import dataset_sha256, image_digests


def _share(*names: str, **changes: Any) -> dict[str, Any]:
    items = tuple(ImageItem(id=name, path=Path(name), label=0) for name in names)
    dataset = LabelledImages(root=Path("x"), items=items, labels=("rose",))
    contents = np.array([list(f"{name:0>32}".encode()) for name in names], np.uint8)
    rate = {"top1": 0.5, "top5": 1.0, "ece": None}
    report = {
        "schema_version": 1,
        "model": {"file": "a.tflite"},
        "reference": {"sha256": "b", **rate},
        "candidate": rate,
        "images": len(names),
        "drop": {"top1": 0.0, "ci95": [-0.1, 0.1], "flips_lost": 0, "flips_won": 0, "p_value": 1.0},
        "max_drop": None,
        "verdict": None,
        "images_to_decide": None,
        "agreement": 1.0,
        "probability_shift": 0.0,
        "findings": [],
        "per_class": [_class("rose", len(names))],
        "lost": [],
        "won": [],
        "changed": [],
        "unreadable": [],
        "model_sha256": "a",
        "dataset_sha256": dataset_sha256(dataset, contents),
        "dataset": {"image_digests": image_digests(dataset, contents)},
        "runtime": _runtime("optimized"),
    }
    return report | changes


def _class(label: str, images: int) -> dict[str, Any]:
    rates = {"reference": 0.5, "candidate": 0.5, "drop": 0.0, "flips_lost": 0, "flips_won": 0}
    return {"class_id": 0, "label": label, "images": images, **rates}


def _runtime(kernels: str) -> dict[str, Any]:
    return {"package": "ai-edge-litert", "version": "2.3.0", "kernels": kernels}


def _numbers(start: int, end: int) -> list[str]:
    return [str(number) for number in range(start, end)]


def test_one_share_three_times_decides_nothing() -> None:
    share = _share(*_numbers(0, 150))
    assert verdict(paired_interval(0, 0, 150), 0.015) == UNDECIDED
    assert verdict(paired_interval(0, 0, 450), 0.015) == PASS
    with pytest.raises(UsageError, match="300 images are in more than one of the reports"):
        merge([share, share, share], 0.015)
    old = {**share, "dataset": {}}  # of a version that did not list them
    with pytest.raises(UsageError, match="the same images are in more than one"):
        merge([old, old])


def test_shares_of_an_emulation_and_of_the_board_are_not_added_up() -> None:
    board = {"profile": "pi-4b", "virtual": False}
    real, again = _share(*_numbers(0, 60), board=board), _share(*_numbers(60, 120), board=board)
    assert merge([real, again])["images"] == 120
    emulated = {**again, "board": {**board, "virtual": True}}
    with pytest.raises(UsageError, match="of different machines .pi-4b, pi-4b, emulated"):
        merge([real, emulated])


def test_another_look_is_not_promised_for_nothing() -> None:
    merged = merge([_share(*_numbers(0, 60)), _share(*_numbers(60, 120))], 0.015)
    assert merged["verdict"] == UNDECIDED
    assert "images like these would decide it (another look at the same growing data; earlier looks are not" in to_text(merged)


def test_shares_that_overlap_are_refused_and_others_are_not() -> None:
    with pytest.raises(UsageError, match="5 images are in more than one"):
        merge([_share(*_numbers(0, 20)), _share(*_numbers(15, 40))])
    assert merge([_share(*_numbers(0, 20)), _share(*_numbers(20, 40))])["images"] == 40


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference": {"sha256": "c", "top1": 0.5, "top5": 1.0}}, r"compared with different references \(b, c\)"),
        ({"runtime": _runtime("reference")}, r"run with different kernels \(optimized, reference\)"),
        ({"per_class": [_class("tulip", 1)]}, "class 0 is 'rose' in one report and 'tulip' in another"),
        ({"schema_version": 2}, "different layouts"),
    ],
)
def test_other_references_settings_and_classes_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        merge([_share("1"), _share("2", **changes)])
