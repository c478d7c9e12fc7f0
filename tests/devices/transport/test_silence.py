"""A workstation that is silent, or a board: nobody closes anything, and yet the lock is let go and what was started is ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devices.errors import BoardConnectionError
from devices.rollout import deploy
from devices.transport.session import Session
from devices.transport.ssh import SshTarget
from tests.conftest import REPOSITORY

SILENCE_S = 2.0
FREE_AFTER_S = 15.0  # the usual silence is a minute
PHASES = ("waiting", "receiving", "running", "answering", "working")

# A client that comes so far, says so with the ids of the processes that it started there, and goes no further.
CLIENT = """\
import json, pickle, sys, threading
from devices.transport.local import LocalShell
from devices.transport.session import Session
from devices.transport.ssh import SshShell
phase, folder, key, silence = sys.argv[1:]
reach = pickle.load(sys.stdin.buffer)
def here(text):
    print(text, flush=True)
def once(text, said=[]):
    if not said:
        said.append(text)
        here(text)
PROGRAMS = {
    "running": "import os, subprocess, time\\nchild = subprocess.Popen(['sleep', '600'])\\n"
    "os.write(2, f'{os.getpid()} {child.pid}'.encode())\\ntime.sleep(600)",
    "answering": "import os, time\\nos.write(2, f'{os.getpid()}'.encode())\\ntime.sleep(1)\\nwhile True: os.write(2, bytes(65536))",
}
with Session(LocalShell() if reach is None else SshShell(reach), folder=folder, silence_s=float(silence)) as session:
    if phase == "waiting":
        here("")
        threading.Event().wait()
    elif phase == "receiving":
        request = {"op": "append", "sha256_hex": "ab", "where": "uploads", "offset": 0, "count": 4 << 20}
        session._send(json.dumps(request).encode() + b"\\n" + bytes(1 << 20), "append", 60)
        here("")
        threading.Event().wait()
    elif phase == "working":
        threading.Timer(0.3, here, [""]).start()
        session.ask("part", sha256_hex="endless", where="uploads", timeout_s=600)
    else:
        args = ["-u", "-c", PROGRAMS[phase]]
        session.ask("run", key=key, args=args, run_timeout_s=600, limit_bytes=1 << 40, timeout_s=600, hear=once)
"""


@contextlib.contextmanager
def client(board: Any, reach: SshTarget | None, phase: str, silence_s: float) -> Iterator[subprocess.Popen[bytes]]:
    key = next((board.here / "env").iterdir()).name
    command = [sys.executable, "-c", CLIENT, phase, board.there, key, str(silence_s)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(pickle.dumps(reach))
        process.stdin.close()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def said(process: subprocess.Popen[bytes]) -> list[str]:
    """Wait until a client is where it should be silent, and return the processes that it started on the board."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line
    return line.decode().split()


def free(board: Any) -> bool:
    with (board.here / "lock").open("rb") as lock, contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def silent_in(boards: dict[str, Any], reach: SshTarget | None, silence: Callable[[int], None], silence_s: float) -> None:
    """Let clients be silent, each in a phase and in a folder of its own, and see that nothing of them stays on the board."""
    for phase in boards.keys() & {"working"}:  # what is read there never comes to an end
        uploads = boards[phase].here / "uploads"
        uploads.mkdir()
        os.mkfifo(uploads / "endless.part")
        boards[phase].target.give(uploads)
    with contextlib.ExitStack() as stack:
        clients = {phase: stack.enter_context(client(board, reach, phase, silence_s)) for phase, board in boards.items()}
        started = [pid for process in clients.values() for pid in said(process)]
        assert len(started) == len(boards.keys() & {"running"}) * 2 + len(boards.keys() & {"answering"})
        assert [phase for phase, board in boards.items() if free(board)] == []
        for process in clients.values():
            silence(process.pid)
        begun, held = time.monotonic(), set(boards)
        while held and time.monotonic() < begun + silence_s + FREE_AFTER_S:
            held -= {phase for phase in held if free(boards[phase])}
            select.select([], [], [], 0.1)
        assert held == set()
        shell = next(iter(boards.values())).shell
        for pid in started:
            alive = shell.run(
                ["sh", "-c", f"kill -0 {pid} && ! grep -q 'State:.Z' /proc/{pid}/status"], timeout_s=60, check=False
            )
            assert alive.returncode != 0, pid


@pytest.fixture
def boards(target: Any) -> Iterator[dict[str, Any]]:
    """A folder with the first artefact deployed for each phase, with a lock of its own (a copy's is a link to the same)."""
    copies = {phase: target.copy(f"silent while {phase}") for phase in PHASES}
    for copy in copies.values():
        (copy.here / "lock").unlink()
    yield copies
    for copy in copies.values():
        copy.shell.close()
        subprocess.run(["rm", "-rf", str(copy.here)], check=True)


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


@pytest.mark.targets("local", "ssh", why="starts of an emulated Python take longer than this silence; the next test is patient")
def test_a_client_that_is_stopped_holds_no_lock(boards: dict[str, Any], target: Any, second: Path) -> None:
    silent_in(boards, target.reach, stop, SILENCE_S)
    board = boards["running"]
    assert deploy.deploy(board.shell, second, deploy.Options(folder=board.there, selftest=False), lambda _: None).changed


@pytest.mark.targets("virtual", why="the other targets have all phases at once")
def test_a_client_of_an_emulated_board_that_is_stopped_holds_no_lock(board: Any) -> None:
    silent_in({"running": board}, board.target.reach, stop, 10.0)


@pytest.mark.targets("ssh", why="there is no network to the others")
def test_a_network_that_swallows_everything(boards: dict[str, Any], cable: Any) -> None:
    boards = {phase: boards[phase] for phase in ("receiving", "running")}
    silent_in(boards, cable(1 << 40), lambda _: cable.made[0].swallow(), SILENCE_S)


@pytest.mark.targets("local", "ssh", why="it is the workstation that waits, for a process that cannot know of it")
@pytest.mark.parametrize("payload_bytes", [0, 16 << 20])
def test_a_board_that_is_stopped_is_noticed(board: Any, payload_bytes: int) -> None:
    with Session(board.shell, folder=board.there) as session:
        pid = int(session.hello["pid"])
        os.kill(pid, signal.SIGSTOP)
        try:
            expected = "takes nothing any more" if payload_bytes else "no answer to append within 2 s"
            fields: dict[str, Any] = {"sha256_hex": "ab", "where": "uploads", "offset": 0, "count": payload_bytes}
            with pytest.raises(BoardConnectionError, match=expected):
                session.ask("append", payload=bytes(payload_bytes), timeout_s=2, **fields)
        finally:
            os.kill(pid, signal.SIGCONT)
