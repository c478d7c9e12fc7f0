"""Deployments to a board that is full, read-only, damaged, too small, or answers nonsense."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from devices.errors import BoardRefusedError, RemoteError
from devices.rollout import deploy, releases
from devices.transport.local import LocalShell
from devices.transport.session import Session
from devices.transport.shell import CommandResult
from tests.devices.rollout.conftest import current, put, sha256


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_disk_that_is_full(prepared: Path, first: Path, second: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    size = sum(path.stat().st_size for path in prepared.rglob("*") if path.is_file() and not path.is_symlink())
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size * 3 // 2 + (90 << 20)}", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        board = disk / "board"
        shutil.copytree(prepared, board, symlinks=True)
        room = shutil.disk_usage(disk).free
        filler = disk / "filler"
        with filler.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, room - (32 << 20))
        with pytest.raises(BoardRefusedError, match="MiB free"):  # said before anything is sent
            put(LocalShell(), second, board)
        large = tmp_path / "large"
        large.write_bytes(os.urandom(40 << 20))
        with pytest.raises(BoardRefusedError, match="free some space"), Session(LocalShell(), folder=str(board)) as session:
            session.upload(large, sha256(large))
        assert shutil.disk_usage(disk).free > 25 << 20  # what had arrived is gone again
        assert current(board) == sha256(first)
        pictures = board / "cache/images/aa"
        pictures.mkdir(parents=True)
        filler.rename(pictures / "picture")  # kept for measuring: it makes way
        assert put(LocalShell(), second, board).changed
        assert not list(pictures.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_interpreter_that_cannot_be_run_is_made_anew(board: Any, second: Path) -> None:
    python = next((board.here / "env").glob("*/bin/python"))
    python.unlink()
    python.write_text("#!/bin/sh\n")  # and no right to execute it
    board.target.give(python)
    done = put(board.shell, second, board.there)
    assert done.mended and current(board.here) == sha256(second)


@pytest.mark.targets("virtual", why="the user of the other targets may be root, whom no missing right stops")
def test_a_folder_that_may_not_be_written(board: Any, first: Path, second: Path) -> None:
    releases_folder = board.here / "releases"
    releases_folder.chmod(0o500)
    with pytest.raises(RemoteError, match="Permission denied"):
        put(board.shell, second, board.there)
    assert current(board.here) == sha256(first)
    releases_folder.chmod(0o755)
    assert put(board.shell, second, board.there, selftest=False).changed


@pytest.mark.targets("local", "virtual", why="it is the board's own Python that reads and writes the card")
def test_a_model_that_was_damaged_on_the_card_is_found_and_replaced(board: Any, first: Path) -> None:
    model = board.here / "current/model.tflite"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.unlink()
    model.write_bytes(data)
    assert "not what was deployed" in str(releases.status(board.shell, folder=board.there).problem)
    assert put(board.shell, first, board.there, selftest=False).changed
    assert releases.status(board.shell, folder=board.there).problem is None


class SmallBoard(LocalShell):
    """This machine, which says that it has next to no memory."""

    def run(self, args: Sequence[str], *, timeout_s: float, check: bool = True, stdin: bytes = b"") -> CommandResult:
        found = super().run(args, timeout_s=timeout_s, check=check, stdin=stdin)
        said = re.sub(r"(memory_available_kib|swap_free_kib)\t\d+", r"\1\t9000", found.stdout)
        return dataclasses.replace(found, stdout=said)


def test_a_board_with_too_little_memory_is_refused_before_anything_is_sent(root: Path, first: Path, second: Path) -> None:
    said: list[str] = []
    for place, artefact in ((root.with_name("small board"), first), (root, second)):
        with pytest.raises(BoardRefusedError, match="MiB of memory"):
            deploy.deploy(SmallBoard(), artefact, deploy.Options(folder=str(place)), said.append)
        assert said == [] and not (place / "uploads").exists()
    assert releases.undeploy(LocalShell(), folder=str(root.with_name("small board"))) == ()
    assert not put(SmallBoard(), first, root).changed  # it runs there already, and takes its memory


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("not json\n", "cannot be read"),
        ('["a list"]\n', "cannot be read"),
        ('{"ok": false, "kind": "os", "message": "\\u001b[2Jgone"}\n', "gone"),
        ("", "the connection ended"),
    ],
)
def test_a_board_that_answers_nonsense(tmp_path: Path, answer: str, words: str) -> None:
    (tmp_path / "answer").write_text(answer)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\nexec 1>&-\ncat >/dev/null\n")
    python.chmod(0o755)
    with pytest.raises(RemoteError, match=words) as caught, Session(LocalShell(str(python)), folder=str(tmp_path)):
        pass
    assert "\x1b" not in str(caught.value)
