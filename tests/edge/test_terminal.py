"""Nothing that a file says steers the terminal on which a command prints it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge import terminal
from edge.artefact import container
from edge.artefact.contract import OutputSpec, Quantization
from edge.cli import main
from edge.history.record import DOCUMENT
from edge.progress import Progress
from tests.edge.conftest import SIZE, MakeContract

CLEARS_SCREEN, RENAMES_WINDOW, TURNS_ROUND = "\x1b[2J", "\x1b]0;gone\x07", "\u202e"
HOSTILE = f"c{CLEARS_SCREEN}a{RENAMES_WINDOW}t{TURNS_ROUND}\x08\x9b1m"
CONTROLS = "\x1b\x07\x08\x9b\u202e"


@pytest.fixture
def artefact(tiny_float_flatbuffer: bytes, tiny_contract: MakeContract, tmp_path: Path) -> Path:
    output = OutputSpec(name="probabilities", kind="probabilities", labels=(HOSTILE, "dog", "bird", "fish"))
    contract = tiny_contract(name=HOSTILE, outputs=(output,), quantization=Quantization(), notes=(HOSTILE,), written_by=HOSTILE)
    path = tmp_path / "model.tflite"
    path.write_bytes(container.pack(tiny_float_flatbuffer, contract))
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(np.zeros((SIZE, SIZE, 3), np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    "command", ["classify", "inspect", "watch", pytest.param("benchmark", marks=pytest.mark.thorough), "selftest"]
)
def test_an_artefact_cannot_steer_the_terminal(
    command: str, artefact: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {
        "classify": [str(picture)],
        "watch": [str(picture), "--headless", "--top", "4"],
        "benchmark": ["--runs", "2"],
    }
    answer = tmp_path / "answer.json"
    assert main([command, str(artefact), *words.get(command, []), "--json", str(answer)]) in (0, 1, 2)
    said = capsys.readouterr()
    assert not set(CONTROLS) & set(said.out + said.err)
    if command in ("classify", "watch"):
        assert "cat" in said.out
    if command == "inspect":
        assert HOSTILE in json.loads(answer.read_text())["contract"]["notes"]


def test_the_history_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = {
        **dict.fromkeys(("id", "exit_code", "seconds", "dataset_sha256", "report"), None),
        **{
            "command": "validate",
            "time": "2026-01-01T00:00:00Z",
            "arguments": [HOSTILE],
            "artefacts": [],
            "versions": {},
            "host": {},
        },
        **{DOCUMENT: 1, "board": HOSTILE, "summary": HOSTILE, "error": HOSTILE},
    }
    (tmp_path / "run.json").write_text(json.dumps(record))
    store = ["--store", str(tmp_path / "runs.sqlite")]
    assert main(["runs", "--import", str(tmp_path / "run.json"), *store]) == 0
    assert main(["runs", *store]) == 0
    assert main(["runs", "1", *store]) == 0
    said = capsys.readouterr()
    assert "cat" in said.out
    assert not set(CONTROLS) & set(said.out + said.err)


def test_names_that_are_no_text_and_errors_are_printed_too(tmp_path: Path) -> None:
    file = f"a\x1b[31mb{chr(0xDCFF)}.tflite"
    for encoding in ("utf-8", "ascii"):
        done = subprocess.run(
            [sys.executable, "-m", "edge", "inspect", file], capture_output=True, env={"PYTHONIOENCODING": encoding}, check=False
        )
        assert done.returncode == 2
        assert done.stderr.startswith(b"edgekit: error: ab\\udcff.tflite: no such file"), done.stderr


def test_what_is_safe_stays_as_it_is() -> None:
    for text in ("", "a\tb\n", "Ä 猫 🐈", json.dumps(HOSTILE)):
        assert terminal.shown(text, "utf-8") == text
    assert terminal.shown("猫", "ascii") == "\\u732b"


def test_a_progress_bar_is_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with terminal.guarded(), Progress(3, HOSTILE) as progress:
        progress.advance()
    assert sys.stderr is screen
    assert "\r\x1b[Kcat [" in screen.getvalue()
    assert not set(CONTROLS) & set(screen.getvalue().replace("\r\x1b[K", ""))
