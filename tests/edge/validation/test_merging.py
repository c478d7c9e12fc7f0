"""Shares of a validation, put together, are the whole validation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edge
from edge.data.dataset import LabelledImages
from edge.errors import UsageError
from edge.validation.merging import main, merge, to_text
from edge.validation.run import validate


@pytest.fixture(scope="module")
def whole_and_shares(small_artefacts: dict[str, Path], few_digits: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    model, reference = edge.load(small_artefacts["int8"]), edge.load(small_artefacts["float32"])
    images = LabelledImages.open(few_digits / "test", labels=model.contract.outputs[0].labels)
    parts = [replace(images, items=images.items[i::3]) for i in range(3)]
    reports = [validate(model, part, reference=reference, diagnose="never").to_dict() for part in parts]
    return validate(model, images, reference=reference, max_drop=0.5, diagnose="never").to_dict(), reports


def test_the_merged_report_is_the_whole_one(whole_and_shares: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    whole, shares = whole_and_shares
    merged = merge(shares, 0.5)
    for key in ("images", "drop", "agreement", "verdict", "images_to_decide", "model_sha256", "max_drop"):
        assert merged[key] == whole[key], key
    assert merged["probability_shift"] == pytest.approx(whole["probability_shift"])
    for side in ("candidate", "reference"):
        for key in ("top1", "top5"):
            assert merged[side][key] == pytest.approx(whole[side][key])
    assert [(row["label"], row["images"], row["flips_lost"]) for row in merged["per_class"]] == [
        (row["label"], row["images"], row["flips_lost"]) for row in whole["per_class"]
    ]
    assert [row["drop"] for row in merged["per_class"]] == pytest.approx([row["drop"] for row in whole["per_class"]])
    assert sorted(flip["image"] for flip in merged["changed"]) == sorted(flip["image"] for flip in whole["changed"])
    assert [share["images"] for share in merged["shares"]] == [27, 27, 26]
    text = to_text(merged)
    assert "80 images in 3 shares" in text and "PASS: the drop is" in text


def test_the_command(
    whole_and_shares: tuple[dict[str, Any], list[dict[str, Any]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for number, share in enumerate(whole_and_shares[1]):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps(share))
    assert main([*map(str, files), "--max-drop", "0.5"]) == 0
    assert json.loads(capsys.readouterr().out)["report"]["verdict"] == "pass"
    files[0].write_text("{}")
    assert main([*map(str, files)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_does_not_belong_together(whole_and_shares: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    first, second, _ = whole_and_shares[1]
    flip = {"image": "a.png", "label": "0", "reference": "0", "candidate": "1"}
    named = {**first, "lost": [flip]}
    for wrong, words in (
        ([], "no reports"),
        ([first, {**second, "model_sha256": "0"}], "different models"),
        ([first, {**second, "drop": None}], "others have none"),
        ([named, {**second, "won": [flip]}], "the same images"),
        ([first, {**second, "images": "27"}], r"reports\[1\]\.images is '27', expected a whole number"),
    ):
        with pytest.raises(UsageError, match=words):
            merge(wrong)
