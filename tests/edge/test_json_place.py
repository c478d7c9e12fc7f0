"""Where ``--json`` may write: into folders that are there, or that edgekit makes itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.cli import main
from edge.commands.output_flags import check_place
from edge.errors import OutputError


@pytest.mark.parametrize("command", ["boards", "inspect", "runs"])
def test_an_answer_goes_into_no_folder_that_was_mistyped(
    command: str, tiny_int8_artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [command, *([str(tiny_int8_artefact)] if command == "inspect" else []), "--json", "typo/a.json"]
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "edgekit: error: typo/a.json: cannot be written (typo is not there); make that folder, or choose another place for --json\n"
    )
    assert not (tmp_path / "typo").exists()
    (tmp_path / "typo").mkdir()
    assert main(words) == 0
    assert json.loads((tmp_path / "typo" / "a.json").read_text())


def test_a_folder_is_no_place_for_an_answer(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="it is a folder"):
        check_place(str(tmp_path))


def test_folders_that_edgekit_makes_itself_need_not_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "board" / "cache"))
    monkeypatch.chdir(tmp_path)
    for place, out in (
        ("-", None),
        ("here.json", None),
        (str(tmp_path / "board" / "cache" / "report.json"), None),
        ("made/report.json", Path("made")),
        ("made/report.json", "made/deeper"),
    ):
        check_place(place, out=out)
    for place, out in (("made/report.json", "other"), ("made/deeper/report.json", "made"), ("typo/report.json", ".")):
        with pytest.raises(OutputError, match="is not there"):
            check_place(place, out=out)
