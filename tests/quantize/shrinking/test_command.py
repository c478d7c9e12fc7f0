"""The command's own words: help, what it refuses before it loads anything, and whose folders name the classes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from edge.cli import main
from quantize.commands import shrink

pytestmark = pytest.mark.converts

GIVEN = ["shrink", "none.keras", "--images", "train", "--validation", "test", "--max-drop", "0.01"]


def test_help_has_examples_and_every_way_to_say_a_budget(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["shrink", "--help-all"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    for word in (
        "examples:",
        "--max-drop",
        "--speedup",
        "--max-ms",
        "--board",
        "--input-sizes",
        "--minutes",
        "--no-training",
        "--resume",
    ):
        assert word in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--input-sizes", "224,big"], "--input-sizes '224,big': expected heights in pixels"),
        (["--input-sizes", "4"], "input_sizes is (4,), expected heights of at least 8 pixels"),
        (["--speedup", "0.5"], "speedup is 0.5, expected above 1"),
        (["--speedup", "2", "--max-ms", "5"], "two budgets of one thing"),
        (["--minutes", "0"], "minutes is 0.0, expected a number above 0"),
        (["--max-drop", "-1"], "max_drop is -1.0, expected a number above 0"),
    ],
)
def test_a_budget_that_makes_no_sense_is_one_line(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GIVEN, *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [said in line for line in lines].count(True) == 1
    assert all(line.startswith("edgekit: error: ") for line in lines)  # the missing files have a line each


def test_the_folders_of_the_validation_name_the_classes_where_those_for_training_are_flat(tmp_path: Path) -> None:
    for name in ("flat", "classes/a", "classes/b"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name / "one.png")
    flat, classes = str(tmp_path / "flat"), str(tmp_path / "classes")
    assert shrink._named(flat, classes) == classes
    assert shrink._named(classes, flat) == classes
    assert shrink._named(str(tmp_path / "list.csv"), classes) == str(tmp_path / "list.csv")
