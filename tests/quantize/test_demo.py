"""What the demo says of its rows. That it trains, quantizes and validates is shown by the fixtures, which are made by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quantize import demo

pytestmark = pytest.mark.converts


def _row(variant: str, verdict: str, p50_ms: float, megabytes: int, high: float = 0.004) -> dict[str, Any]:
    drop = {"top1": 0.001, "ci95": [-0.002, high]}
    size = {"bytes": megabytes * 1_000_000, "p50_ms": p50_ms}
    return {
        "variant": variant,
        "file": f"digits.{variant}.tflite",
        "images": 797,
        "top1": 0.98,
        "drop": drop,
        "verdict": verdict,
        **size,
    }


def test_int8_is_recommended_when_its_drop_is_proven_small() -> None:
    rows = [_row("float32", "pass", 20, 216), _row("dynamic", "pass", 4, 54), _row("int8", "pass", 5, 54)]
    sentence = demo.recommend(rows, max_drop=0.01)
    assert sentence.startswith("Deploy digits.int8.tflite: 4.0 times smaller and 4.0 times as fast")
    assert "at most 0.40 points" in sentence


def test_an_undecided_variant_is_never_recommended() -> None:
    rows = [_row("float32", "pass", 20, 216), _row("dynamic", "undecided", 4, 54), _row("int8", "fail", 5, 54)]
    assert demo.recommend(rows, max_drop=0.01).startswith("Deploy digits.float32.tflite: no smaller variant")
    rows[1] = _row("dynamic", "pass", 4, 54)
    assert demo.recommend(rows, max_drop=0.01).startswith("Deploy digits.dynamic.tflite")


def test_table_has_a_line_for_each_variant() -> None:
    lines = demo.table([_row("float32", "pass", 20, 216), _row("int8", "pass", 5, 54)]).splitlines()
    assert len(lines) == 3
    assert "+0.10 (-0.20 to +0.40)" in lines[2]
    assert lines[2].split()[-1] == "pass"


def test_digits_are_the_same_files_every_time(digits_folder: Path, tmp_path: Path) -> None:
    demo.digits_dataset(tmp_path)
    for part, count in (("train", 1000), ("test", demo.TEST_IMAGES)):
        files = sorted(path.relative_to(tmp_path) for path in (tmp_path / part).rglob("*.png"))
        assert len(files) == count
        assert {path.parts[1] for path in files} == {str(digit) for digit in range(10)}
        assert all((tmp_path / path).read_bytes() == (digits_folder / path).read_bytes() for path in files[::50])
