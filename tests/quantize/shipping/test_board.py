"""Ships to a board: this machine as one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edge.cli import main
from tests.quantize.shipping.test_ship import lines_of
from tests.quantize.shipping.words import OUT, SHIP

pytestmark = pytest.mark.converts


def current(folder: Path) -> str:
    assert main(["status", "local", "--folder", str(folder), "--json", "status.json"]) == 0
    return str(json.loads(Path("status.json").read_text())["current"])


@pytest.mark.slow  # a benchmark lasts ten seconds at least
def test_a_board_gets_what_passed_and_keeps_it(shipped: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    there = tmp_path / "board"
    on_board = ["--board", "local", "--folder", str(there), "--certify", "5"]

    def ship(*more: str) -> tuple[int, list[str], str]:
        code = main([*SHIP, *on_board, *more, "--json", "answer.json"])
        said = capfd.readouterr().out
        return code, [line.split()[1] for line in lines_of(said)], said.rstrip().splitlines()[-1]

    code, done, sentence = ship()
    assert code == 0
    assert done == ["doctor", "benchmark", "validate", "status", "deploy", "report"]
    assert current(there).startswith("0001-")
    assert f"it is the current release of local ({current(there)})" in sentence
    assert "the bits of 5 photos are the same on local as here" in sentence
    # A report takes a deployment's answer as it takes the others'.
    assert json.loads((OUT / "report.json").read_text())["left_out"] == []

    assert main([*SHIP, *on_board, "--dry-run"]) == 0
    shown = [line.partition(". ")[2] for line in capfd.readouterr().out.splitlines()[1:]]
    assert [line.split()[1] for line in shown if line.startswith("edgekit ")] == ["doctor", "status"]
    assert ship()[:2] == (0, ["doctor", "status"])
    # Somebody else deployed there meanwhile: what is remembered is not what is there.
    assert main(["deploy", str(OUT / "small.float32.tflite"), "local", "--folder", str(there)]) == 0
    assert ship()[:2] == (0, ["doctor", "status", "deploy", "report"])
    assert re.match(r"0003-", current(there))

    code, done, sentence = ship("--max-ms", "0.00001")
    assert code == 1 and done == ["doctor", "report"]
    assert "is too slow" in sentence
    (help_,) = json.loads(Path("answer.json").read_text())["advice"]
    assert help_["kind"] == "shrink" and "--speedup" in help_["line"]
    assert re.match(r"0003-", current(there))


def test_a_board_that_cannot_be_reached_ends_it_before_any_work(shipped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = main([*SHIP, "--out", "new", "--board", "nobody@127.0.0.1:1"])
    said = capfd.readouterr()
    assert code == 3
    assert [line.split()[1] for line in lines_of(said.out)] == ["doctor"]
    assert "step [1/8] ended with exit code 3, and its last line above says why" in said.err
    assert [path.name for path in Path("new").rglob("*") if path.is_file() and path.suffix == ".tflite"] == []
