"""Deployments of a real artefact with the real runtime, on this machine and over SSH, whole and interrupted."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from devices.errors import BoardBusyError, BoardConnectionError, BoardRefusedError, DeviceError, NoReleaseError, RemoteError
from devices.rollout import deploy, releases, service
from devices.transport.local import LocalShell
from devices.transport.session import Session
from devices.transport.shell import CommandResult, Shell
from devices.transport.ssh import SshShell, SshTarget

REPOSITORY = Path(__file__).resolve().parents[3]


def quiet(_: str) -> None:
    pass


def put(shell: Shell, artefact: Path, root: Path | str, **options: Any) -> deploy.Deployment:
    return deploy.deploy(shell, artefact, deploy.Options(folder=str(root), **options), quiet)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def current(root: Path) -> str:
    return sha256(root / "current/model.tflite")


def everything(root: Path) -> set[str]:
    """All files but those that Python itself makes beside its sources."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if "__pycache__" not in path.parts}


@pytest.fixture
def root(prepared: Path) -> Iterator[Path]:
    """A copy of it for one test. The files are links: what is written in place would show in the next test."""
    copy = prepared.with_name("it's $HOME; größe")
    shutil.copytree(prepared, copy, symlinks=True, copy_function=os.link)
    yield copy
    shutil.rmtree(copy, ignore_errors=True)


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


def test_two_at_once_and_the_lock_goes_with_the_connection(board: Any, second: Path) -> None:
    with contextlib.closing(board.target.connect()) as other, Session(board.shell, folder=board.there) as holder:
        with pytest.raises(BoardBusyError, match="another deployment is under way"):
            put(other, second, board.there)
        assert releases.status(other, folder=board.there).problem is None  # looking waits for nobody
        # The client dies without a word: only its end of the pipe is gone.
        os.kill(holder._process.pid, signal.SIGKILL)
        holder._process.wait(10)
        put_when_free(other, second, board.there)


def put_when_free(shell: Shell, artefact: Path, root: Path | str) -> None:
    for _ in range(100):
        try:
            assert put(shell, artefact, root, selftest=False).changed
            return
        except BoardBusyError:
            subprocess.run([sys.executable, "-c", "pass"], check=True)  # let the other side see the end of its input
    pytest.fail("the lock stayed")


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
    assert json.loads(json.dumps(done.to_dict()))["changed"] is False
    status = releases.status(LocalShell(), folder=str(root))
    assert json.loads(json.dumps(status.to_dict()))["releases"][0]["sha256"] == sha256(first)
    assert dataclasses.is_dataclass(status) and "current" in status.to_text()
