"""Deployments of a real artefact with the real runtime, on this machine and over SSH, into folders of any name."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from devices.errors import BoardRefusedError, DeviceError, NoReleaseError, RemoteError
from devices.rollout import deploy, releases, service
from devices.transport.local import LocalShell
from devices.transport.session import Session
from edge.history import record
from tests.devices.rollout.conftest import current, everything, put, quiet, sha256


def test_the_whole_life_of_a_board(board: Any, first: Path, second: Path) -> None:
    shell, there, here = board.shell, board.there, board.here
    again = put(shell, first, there)
    assert not again.changed and again.selftest is not None
    done = put(shell, second, there)
    assert done.changed and done.previous == again.release
    assert current(here) == sha256(second)
    status = releases.status(shell, folder=there)
    assert (status.current, status.previous, status.problem) == (done.release, again.release, None)
    assert [release.name for release in status.releases] == [first.name, second.name]
    assert releases.rollback(shell, quiet, folder=there) == (done.release, again.release)
    assert current(here) == sha256(first)
    with pytest.raises(NoReleaseError, match=rf"none before it; .*\({second.name}\): edgekit rollback --to") as nothing:
        releases.rollback(shell, quiet, folder=there)
    assert nothing.value.exit_code == 2 and not isinstance(nothing.value, RemoteError)  # no failure of the board
    (here / "mine.txt").write_text("not edgekit's")
    assert releases.undeploy(shell, folder=there) == ("mine.txt",)
    assert everything(here) == {"mine.txt"}
    assert releases.status(shell, folder=there).releases == ()
    assert releases.undeploy(shell, folder=there) is None


def test_a_first_deployment_makes_everything_and_undeploy_removes_it(first: Path, prepared: Path) -> None:
    place = prepared.with_name("fresh") / "deeper"
    done = put(LocalShell(), first, place)
    assert done.changed and done.previous is None
    assert not (place / "uploads").exists()
    assert releases.undeploy(LocalShell(), folder=str(place)) == ()
    assert not place.exists()


def test_only_the_last_releases_stay_and_never_without_the_previous(root: Path, first: Path, second: Path) -> None:
    for artefact in (second, first, second, first):
        done = put(LocalShell(), artefact, root, keep=1, selftest=False)
    status = releases.status(LocalShell(), folder=str(root))
    assert [release.id for release in status.releases] == [done.previous, done.release]
    assert not status.releases[-1].selftested


@pytest.mark.targets("local", "virtual", why="what differs is where the model runs, and that is the same machine over SSH")
def test_a_board_that_answers_differently_is_not_switched(board: Any, first: Path, tmp_path: Path) -> None:
    from edge.artefact import container
    from edge.artefact.contract import Contract

    read = container.read(first)
    assert read.contract is not None
    text = json.loads(read.contract.to_json())
    for sample in text["golden"]:
        for outputs in sample["outputs"]:
            outputs["values"] = {name: _flipped(value) for name, value in outputs["values"].items()}
    tampered = tmp_path / "tampered.tflite"
    with first.open("rb") as stream:
        data = stream.read()
    flatbuffer = data[: bytes(data).index(b"PK\x03\x04")]
    tampered.write_bytes(container.pack(flatbuffer, Contract.from_json(json.dumps(text), where="tampered")))
    with pytest.raises(deploy.SelftestFailedError) as caught:
        put(board.shell, tampered, board.there)
    assert caught.value.exit_code == 1
    assert current(board.here) == sha256(first)


def _flipped(value: str) -> str:
    import zlib

    data = bytes(byte ^ 0x55 for byte in zlib.decompress(base64.b64decode(value)))
    return base64.b64encode(zlib.compress(data, 9)).decode()


def test_what_is_no_artefact(root: Path, tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(b"\0\0\0\0TFL3 and then nothing of the sort")
    (tmp_path / "b.tflite").write_bytes(b"PNG")
    with pytest.raises(BoardRefusedError, match="self-test could not run"):
        put(LocalShell(), tmp_path / "a.tflite", root)
    for name in ("b.tflite", "missing.tflite"):
        with pytest.raises(DeviceError):
            put(LocalShell(), tmp_path / name, root)
    assert releases.status(LocalShell(), folder=str(root)).problem is None


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path, first: Path) -> None:
    (tmp_path / "photos").write_text("precious")
    with pytest.raises(BoardRefusedError, match="not made by edgekit"):
        put(LocalShell(), first, tmp_path)
    assert releases.undeploy(LocalShell(), folder=str(tmp_path)) is None
    assert everything(tmp_path) == {"photos"}


NAMES = ["-leading", "two\nlines", "$(touch pwned) `touch pwned`", "'\"; touch pwned; '", "größe 模型 🌹", "~"]


def lives_in(board: Any, first: Path) -> None:
    assert not put(board.shell, first, board.there, selftest=board.target.name != "virtual").changed
    assert releases.status(board.shell, folder=board.there).current is not None
    assert releases.undeploy(board.shell, folder=board.there) == ()
    assert not board.here.exists() and os.listdir(board.here.parent) == []


@pytest.mark.targets(
    "local", "ssh", why="six times the same on an emulated board is a minute; the next test has all of it in one name"
)
@pytest.mark.parametrize("name", NAMES)
def test_folders_with_names_that_mean_something_to_a_shell(target: Any, first: Path, name: str) -> None:
    board = target.copy(f"names/{name}")
    try:
        lives_in(board, first)
    finally:
        board.shell.close()
        shutil.rmtree(board.here.parent)


@pytest.mark.targets("virtual", why="the other targets have each of these names alone")
def test_one_folder_with_everything_in_its_name(target: Any, first: Path) -> None:
    names = target.place("names")
    names.mkdir()
    target.give(names)
    board = target.copy(f"names/{''.join(NAMES)}")
    try:
        lives_in(board, first)
    finally:
        board.shell.close()
        shutil.rmtree(names)


def test_operations_that_are_none_and_names_that_lead_away(root: Path) -> None:
    with Session(LocalShell(), folder=str(root)) as session:
        for op in ("heal", "_take", "no", "hash", ""):
            with pytest.raises(RemoteError):
                session.ask(op)
        with pytest.raises(BoardRefusedError):
            session.ask("hash", release="../../etc")
        with pytest.raises(BoardRefusedError):
            session.ask("part", sha256_hex="../lock", where="uploads")
        assert session.ask("state")["ours"]
    with Session(LocalShell(), folder=str(root), lock=False) as session, pytest.raises(RemoteError):
        session.ask("prune", keep=0)  # without the lock nothing can be changed


def test_the_service_runs_what_is_current(tmp_path: Path) -> None:
    text = service.unit("/home/pi/my 100% $boards", "pi")
    assert ' "/home/pi/my 100%% $$boards/current/env/bin/python" -I -m edge selftest' in text
    assert "User=pi" in text and "WantedBy=multi-user.target" in text
    assert (
        "append:" not in text and "StandardOutput=journal" in text
    )  # systemd would open it as root, where another may put links
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / service.UNIT
    unit.write_text(service.unit('/home/pi/it\'s my "board" 100% $x \\ größe; =1', "root"))
    checked = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert service.UNIT not in checked.stderr, checked.stderr


def test_results_are_plain_data(root: Path, first: Path) -> None:
    done = put(LocalShell(), first, root)
    (run,) = record.parse(json.dumps(done.to_dict()), time="2026-01-01T00:00:00+00:00", source="deploy.json")
    assert (run.command, run.board) == ("deploy", "local") and run.report is not None and run.report["changed"] is False
    status = releases.status(LocalShell(), folder=str(root))
    assert json.loads(json.dumps(status.to_dict()))["releases"][0]["sha256"] == sha256(first)
    assert dataclasses.is_dataclass(status) and "current" in status.to_text()
