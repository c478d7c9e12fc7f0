"""Boards that are off, or not where they are looked for: every command says so in one line, and does nothing."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from edge.cli import main

REFUSED = "the machine is there, but no SSH server; enable it on the board (sudo raspi-config)"
UNRESOLVED = "no such host name; check the spelling, or use the board's IP address"
SILENT = "no answer; is the board on and in this network?"
NOWHERE = "a" * 64  # longer than a label may be: no name server needs to be asked

COMMANDS = {
    "benchmark": ["benchmark", "MODEL", "--on", "TARGET"],
    "selftest": ["selftest", "MODEL", "--on", "TARGET"],
    "validate": ["validate", "MODEL", "--images", "IMAGES", "--reference", "MODEL", "--on", "TARGET"],
    "validate --certify": ["validate", "MODEL", "--images", "IMAGES", "--reference", "MODEL", "--certify", "1", "--on", "TARGET"],
    "deploy": ["deploy", "MODEL", "TARGET"],
    "status": ["status", "TARGET"],
    "doctor": ["doctor", "TARGET"],
    "rollback": ["rollback", "TARGET"],
    "undeploy": ["undeploy", "TARGET"],
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for colour in ("red", "green"):
        Image.new("RGB", (40, 40), colour).save(folder / f"{colour}.png")
    return folder


@pytest.fixture
def closed() -> Iterator[str]:
    """A target on whose port nobody listens: it is taken, so nobody else begins to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"pi@127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def silent() -> Iterator[str]:
    """A target that takes connections and never says a word."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield f"pi@127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("words", [REFUSED, UNRESOLVED])
def test_a_board_that_is_not_there_is_one_line(
    command: str,
    words: str,
    closed: str,
    images: Path,
    small_artefacts: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = closed if words == REFUSED else f"pi@{NOWHERE}"
    written = tmp_path / "report.json"
    put = {"MODEL": str(small_artefacts["int8"]), "IMAGES": str(images), "TARGET": target}
    code = main([*(put.get(word, word) for word in COMMANDS[command]), "--json", str(written)])
    said = capsys.readouterr()
    assert code == 3
    assert said.out == "" and len(said.err.splitlines()) == 1, said
    assert said.err.startswith(f"edgekit: error: {target}: {words}")
    assert not written.exists()


@pytest.mark.thorough
def test_of_several_boards_each_has_its_line(
    closed: str, silent: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = {closed: REFUSED, f"pi@{NOWHERE}": UNRESOLVED, silent: SILENT}
    written = tmp_path / "report.json"
    assert main(["status", *targets, "--json", str(written)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" (ssh says: ")[0] for line in lines[:3]] == [f"{name}: error: {why}" for name, why in targets.items()]
    assert lines[3].startswith("0 of 3 boards done")
    assert [board["exit_code"] for board in json.loads(written.read_text())["boards"]] == [3, 3, 3]


def test_the_share_of_a_board_that_is_off_is_told_once_and_done_by_the_others(
    closed: str, images: Path, small_artefacts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(small_artefacts["int8"])
    flags = ["--images", str(images), "--reference", model, "--folder", str(tmp_path / "board"), "--shard"]
    assert main(["validate", model, *flags, "--on", closed, "--on", "local"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if closed in line]
    assert [line.startswith(f"{closed}: {REFUSED}") for line in said] == [True]
    assert said[0].count(closed) == 1
