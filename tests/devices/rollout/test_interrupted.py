"""Deployments that are cut, damaged, killed or kept out, and go on with the same command."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devices.errors import BoardBusyError, BoardConnectionError, RemoteError
from devices.rollout import releases
from devices.transport.session import Session
from devices.transport.ssh import SshShell, SshTarget
from tests.conftest import REPOSITORY
from tests.devices.rollout.conftest import current, put, put_when_free, sha256


def test_two_at_once_and_the_lock_goes_with_the_connection(board: Any, second: Path) -> None:
    with contextlib.closing(board.target.connect()) as other, Session(board.shell, folder=board.there) as holder:
        with pytest.raises(BoardBusyError, match="another deployment is under way"):
            put(other, second, board.there)
        assert releases.status(other, folder=board.there).problem is None  # looking waits for nobody
        # The client dies without a word: only its end of the pipe is gone.
        os.kill(holder._process.pid, signal.SIGKILL)
        holder._process.wait(10)
        put_when_free(other, second, board.there)


def test_an_upload_goes_on_where_it_stopped(board: Any, tmp_path: Path) -> None:
    data = os.urandom(9 << 20)
    whole = tmp_path / "large"
    whole.write_bytes(data)
    name = sha256(whole)
    for present, sent in ((data[: 5 << 20], 4 << 20), (b"something else", 9 << 20), (data, 0), (data + b"more", 9 << 20)):
        part = board.here / "uploads" / f"{name}.part"
        part.parent.mkdir(exist_ok=True)
        part.unlink(missing_ok=True)
        part.write_bytes(present)
        board.target.give(part.parent)
        steps: list[int] = []

        def count(done: int, total: int, steps: list[int] = steps) -> None:
            steps.append(done)

        with Session(board.shell, folder=board.there) as session:
            path = session.upload(whole, name, report=count)
        assert path == f"{board.there}/uploads/{name}.part" and part.read_bytes() == data
        assert len(steps) == -(-sent // (4 << 20))


@pytest.mark.parametrize("always", [False, True])
def test_an_upload_that_is_damaged_on_the_way(board: Any, tmp_path: Path, always: bool) -> None:
    whole = tmp_path / "large"
    whole.write_bytes(os.urandom(5 << 20))
    name = sha256(whole)
    before = current(board.here)
    part = board.here / f"uploads/{name}.part"
    damaged: list[int] = []

    def damage(done: int, total: int) -> None:
        if done == total and (always or not damaged):
            damaged.append(done)
            with part.open("r+b") as stream:
                stream.seek(1 << 20)
                stream.write(b"a bit of noise")

    with Session(board.shell, folder=board.there) as session:
        if always:
            with pytest.raises(RemoteError, match="what arrived has SHA-256"):
                session.upload(whole, name, report=damage)
            assert len(damaged) == 2 and not part.exists()
        else:
            session.upload(whole, name, report=damage)
            assert part.read_bytes() == whole.read_bytes()
    assert current(board.here) == before


@pytest.mark.targets("ssh", "virtual", why="there is no link to this machine")
@pytest.mark.parametrize("cut_after", [4_000, 60_000, 1_000_000, 6_000_000])
def test_a_cut_link_and_then_the_same_command_again(
    cable: Callable[[int], SshTarget], board: Any, first: Path, tmp_path: Path, cut_after: int
) -> None:
    if board.target.name == "virtual" and cut_after not in (60_000, 6_000_000):
        pytest.skip("emulated, once before anything is sent and once in the middle of a file are enough")
    whole = tmp_path / "large"
    whole.write_bytes(os.urandom(10 << 20))
    name = sha256(whole)
    before = sha256(board.here / "current/release.json")
    shell = SshShell(cable(cut_after))
    with pytest.raises(BoardConnectionError) as caught, Session(shell, folder=board.there) as session:
        session.upload(whole, name)
    shell.close()
    assert caught.value.exit_code == 3
    assert sha256(board.here / "current/release.json") == before
    with Session(board.shell, folder=board.there) as session:
        arrived = session.ask("part", sha256_hex=name, where="uploads")["bytes"]
        session.upload(whole, name)
    assert sha256(board.here / f"uploads/{name}.part") == name
    assert arrived >= (4 << 20 if cut_after > 5_000_000 else 0)


CLIENT = """\
import sys, os, pickle, signal
from pathlib import Path
from devices.rollout import deploy
from devices.transport.ssh import SshShell
step, artefact, root = sys.argv[1:]
def report(text):
    if text.startswith(step):
        os.kill(os.getpid(), signal.SIGKILL)
deploy.deploy(SshShell(pickle.load(sys.stdin.buffer)), Path(artefact), deploy.Options(folder=root), report)
"""


@pytest.mark.targets("ssh", "virtual", why="it is the connection that goes with the client")
@pytest.mark.parametrize("step", ["sending", "replaying"])
def test_the_client_is_killed(board: Any, first: Path, second: Path, step: str) -> None:
    if board.target.name == "virtual" and step == "sending":
        pytest.skip("emulated, the later moment is enough; benchmarks/deploy_faults.py has every third message")
    command = [sys.executable, "-c", CLIENT, step, str(second), board.there]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    target = pickle.dumps(board.target.reach)
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, input=target, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert current(board.here) == sha256(first)
    put_when_free(board.shell, second, board.there)
    assert current(board.here) == sha256(second)
    assert len(list((board.here / "releases").iterdir())) == 2


def test_every_second_operation_fails_and_nothing_is_lost(prepared: Path, first: Path, second: Path) -> None:
    """A sample of benchmarks/deploy_faults.py, which does all of them in four ways."""
    from benchmarks.deploy_faults import FaultyBoard
    from benchmarks.fault_places import Place

    folder = prepared.with_name("faults")
    folder.mkdir()
    place = Place(name="local", there=str(folder), here=folder, target=None, python=sys.executable, small=False, root=True)
    board = FaultyBoard(place, first, second)
    found = [*board.cases("kill", step=4), *board.cases("ENOSPC", step=6, offset=2)]
    assert len(found) > 12
    assert [case for case in found if case.problems] == []
    assert {case.current for case in found} == {first.name, second.name}
