"""``edgekit explain --on TARGET``: the ladder's last rung is the file on a board."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from edge.cli import main


@pytest.fixture(scope="module")
def folder(prepared: Path) -> Path:
    """A folder on this machine, taken as a board."""
    copy = prepared.with_name("explaining")
    shutil.copytree(prepared, copy, symlinks=True, copy_function=os.link)
    return copy


def test_the_last_rung_is_the_board(
    small_artefacts: dict[str, Path], few_digits: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    command: list[Any] = ["explain", small_artefacts["int8"], "--reference", small_artefacts["float32"]]
    command += ["--images", few_digits / "test", "--limit", 40, "--no-ops", "--no-blocks", "--json", report]
    assert main([str(word) for word in [*command, "--on", "local", "--folder", folder]]) == 0
    *here, board = json.loads(report.read_text())["ladder"]
    assert board["name"] == "the file, on local"
    # The same runtime on the same processor gives the same bits: nothing is lost on the way, and the total stays what it was.
    assert (board["step"]["agreement"], board["step"]["error"], board["step"]["lost"]) == (1.0, 0.0, 0)
    assert board["step"]["images"] == 40
    assert board["total"] == here[-1]["total"]
    assert "the file, on local" in capsys.readouterr().out


def test_a_board_that_does_not_answer_is_named(
    small_artefacts: dict[str, Path], few_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "ssh_config"
    config.write_text("Host nowhere\n  HostName 127.0.0.1\n  Port 1\n")
    command: list[Any] = ["explain", small_artefacts["int8"], "--reference", small_artefacts["float32"]]
    command += ["--images", few_digits / "test", "--limit", 8, "--no-ops", "--no-blocks"]
    assert main([str(word) for word in [*command, "--on", "nowhere", "--ssh-config", config]]) == 3
    assert "explain on nowhere: nowhere" in capsys.readouterr().err
