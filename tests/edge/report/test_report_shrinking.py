"""How the report shows a network that was made smaller: what was tried, and what is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge.history.store import RunStore
from edge.report import gathering, sections, shrinking_charts, sources
from edge.report.facts import Facts


def _tried(name: str, ms: float, error: float, agreement: float | None = 0.9) -> dict[str, Any]:
    return {"name": name, "ms": ms, "bytes": int(ms * 2**20), "int8": {"error": error, "agreement": agreement}}


def report() -> dict[str, Any]:
    cut = {"blocks": ["add_2"], "kept": {"conv_1": [0, 1, 2]}, "size": None}
    return {
        "name": "secret",
        "int8": "out/secret.shrunk.int8.tflite",
        "timed": "measured here, one thread",
        "chosen": "without 1 of 3 blocks",
        "verdict": "undecided",
        "lineage": [],
        "original": _tried("secret", 10.0, 0.01, 1.0),
        "shrunk": {**_tried("without 1 of 3 blocks", 4.0, 0.03), "cut": cut},
        "candidates": [
            _tried("without 1 of 3 blocks", 4.0, 0.2),
            _tried("without 2 of 3 blocks", 3.0, 0.9, 0.2),
            _tried("worse", 5.0, 0.5),
        ],
        "front": ["without 1 of 3 blocks", "without 2 of 3 blocks"],
        "structure": {"blocks": ["add_1", "add_2", "add_3"], "channels": {"conv_1": 4, "conv_2": 8}},
    }


def gathered(folder: Path, made: dict[str, Any]) -> Facts:
    (folder / "shrink.json").write_text(json.dumps(made))
    return gathering.gather(*sources.collect([str(folder)], RunStore(folder / "none.sqlite")))


def test_the_front_and_the_map_say_what_was_tried_and_what_is_gone(tmp_path: Path) -> None:
    facts = gathered(tmp_path, report())
    assert facts.left_out == ()
    front, gone = shrinking_charts.shrinking(facts.shrinkings[0], 0)
    assert [row[1] for row in front.rows] == ["original", "nothing beats it", "nothing beats it", "tried", "made"]
    assert front.rows[1][2:] == ("4", "4.00 MiB", "0.2000", "90.0%")
    assert gone.alt == "1 of 3 blocks are gone, and 1 convolutions are narrower."
    assert gone.rows == (
        ("add_1", "block", "100%"),
        ("add_2", "block", "0%"),
        ("add_3", "block", "100%"),
        ("conv_1", "channels", "75%"),
        ("conv_2", "channels", "100%"),
    )


def test_a_page_without_names_has_none_of_the_network_s(tmp_path: Path) -> None:
    facts = sections.redacted(gathered(tmp_path, report()))
    charts = json.dumps([[chart.specs, chart.rows, chart.title] for chart in shrinking_charts.shrinking(facts.shrinkings[0], 0)])
    assert "secret" not in charts
    assert "add_1" not in charts
    assert "conv_1" not in charts


@pytest.mark.parametrize("key", ["front", "structure", "candidates"])
def test_an_answer_without_a_part_is_left_out_with_the_reason(tmp_path: Path, key: str) -> None:
    made = {name: value for name, value in report().items() if name != key}
    if key == "candidates":
        made["candidates"] = [{"name": "nothing else"}]
    (tmp_path / "broken.json").write_text(json.dumps({**made, "int8": "other.int8.tflite"}))
    facts = gathered(tmp_path, report())
    assert [entry.name for entry in facts.shrinkings] == ["secret.shrunk.int8.tflite"]
    assert len(facts.left_out) == 1
    assert "broken.json" in facts.left_out[0]
