"""What is said to boards is tested on three targets: this machine, a real SSH server on the loopback with throwaway keys, and an
emulated board with its own ARM userland and a user who is not root. There is one emulated board for all tests of a session.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks import loopback
from benchmarks.loopback import Server
from devices.errors import VirtualBoardError
from devices.rollout import deploy
from devices.transport.local import LocalShell
from devices.transport.shell import Shell
from devices.transport.ssh import SshShell, SshTarget
from devices.virtual import boards, host, rootfs
from edge.cli import main

ALL_TARGETS = ("local", "ssh", "virtual")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "targets(*names, why=...): run on these targets only (of local, ssh, virtual), and why")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test that asks for a target runs on this machine, over SSH and on an emulated board, or where its mark says."""
    if "target" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("targets")
        assert mark is None or mark.kwargs.get("why"), f"{metafunc.definition.name}: why not on all targets?"
        names = ALL_TARGETS if mark is None else mark.args
        marks = {"virtual": (pytest.mark.virtual,)}
        metafunc.parametrize("target", [pytest.param(name, marks=marks.get(name, ())) for name in names], indirect=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a test runs. ``flags`` name it on a command line. ``there`` is a folder on it whose sub-folder ``prepared`` has the first
    artefact deployed; ``here`` is the same folder as this machine sees it.
    """

    name: str
    there: str
    here: Path
    reach: SshTarget | None

    def connect(self) -> Shell:
        return LocalShell() if self.reach is None else SshShell(self.reach)

    @property
    def flags(self) -> list[str]:
        if self.reach is None:
            return ["local"]
        config = [] if self.name == "virtual" else ["--ssh-config", str(self.reach.config)]
        text = self.reach.text if self.name == "virtual" else f"{self.reach.user}@{self.reach.host}:{self.reach.port}"
        return [text, *config]

    def copy(self, name: str) -> Board:
        """Copy the prepared folder. The files are links: what is written in place would show in the next test."""
        self.place(name).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-al", f"{self.here}/prepared", str(self.place(name))], check=True)
        return Board(target=self, shell=self.connect(), there=f"{self.there}/{name}", here=self.place(name))

    def place(self, name: str) -> Path:
        return self.here / name

    def give(self, path: Path) -> None:
        """Make a file that a test made belong to the board's user, with all that is in it."""
        owner = self.here.stat()
        for found in (path, *path.rglob("*")):
            os.chown(found, owner.st_uid, owner.st_gid, follow_symlinks=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A folder on a target with the first artefact deployed, for one test. ``here``: as this machine sees it."""

    target: Target
    shell: Shell
    there: str
    here: Path


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path | None], Server]]:
    """Returns a function: run one more server. Its argument is where its sessions are at home, None for the user's own home."""
    if (problem := loopback.missing()) is not None:
        pytest.skip(problem)
    with contextlib.ExitStack() as stack:
        yield lambda home: stack.enter_context(loopback.running_server(tmp_path_factory.mktemp("sshd"), home))


@pytest.fixture(scope="session")
def sshd(serve: Callable[[Path | None], Server]) -> Server:
    return serve(None)


@pytest.fixture(scope="session")
def virtual_board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a running emulated Pi 5, the one of all tests. The unpacked system stays in edgekit's cache for the next time."""
    try:
        host.check(global_binfmt=False, building=True)
    except VirtualBoardError as error:
        pytest.skip(str(error))
    name = f"test-{os.getpid()}"
    wheels = tmp_path_factory.mktemp("wheels")
    with zipfile.ZipFile(wheels / "mine-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("mine.py", "print('from the wheel')")
    try:
        boards.create(name, board="pi-5", arch="arm64", report=lambda _: None, wheels_folder=wheels)
        boards.start(name)
        yield name
    finally:
        folder = boards.folder_of(name)
        if (folder / "board.json").exists():
            boards.stop(name)
        if folder.exists():
            boards.remove(name)
        assert not folder.exists()


@pytest.fixture(scope="session")
def virtual_deployment(virtual_board: str, first: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the first deployment on the emulated board reported: from nothing, into the folder ``prepared``."""
    report = tmp_path_factory.mktemp("virtual") / "deploy.json"
    code = main(["deploy", str(first), f"virtual:{virtual_board}", "--folder", "prepared", "--json", str(report)])
    found: dict[str, Any] = json.loads(report.read_text())
    assert code == 0
    return found


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Target:
    """Where the test runs: see `pytest_generate_tests`."""
    name = request.param
    if name == "virtual":
        request.getfixturevalue("virtual_deployment")
        board = request.getfixturevalue("virtual_board")
        home = f"home/{rootfs.USER}"
        here = boards.folder_of(board) / "rootfs" / home
        return Target(name=name, there=f"/{home}", here=here, reach=boards.target(board))
    reach = request.getfixturevalue("sshd").target() if name == "ssh" else None
    folder = request.getfixturevalue("prepared").parent
    return Target(name=name, there=str(folder), here=folder, reach=reach)


@pytest.fixture
def shell(target: Target) -> Iterator[Shell]:
    """A connection to the target."""
    found = target.connect()
    yield found
    found.close()


@pytest.fixture
def board(target: Target) -> Iterator[Board]:
    """A folder on the target with ``first`` deployed, for this test."""
    copy = target.copy("it's $HOME; größe")
    yield copy
    copy.shell.close()
    shutil.rmtree(copy.here, ignore_errors=True)


@pytest.fixture(scope="session")
def first(small_artefacts: dict[str, Path]) -> Path:
    return small_artefacts["int8"]


@pytest.fixture(scope="session")
def second(small_artefacts: dict[str, Path]) -> Path:
    return small_artefacts["float32"]


@pytest.fixture(scope="session")
def prepared(first: Path) -> Iterator[Path]:
    """A folder on a board with ``first`` deployed. In memory where that is possible: a disk's fsync is what takes the time."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="edgekit test ", dir=place) as folder:
        deploy.deploy(LocalShell(), first, deploy.Options(folder=f"{folder}/prepared"), lambda _: None)
        yield Path(folder) / "prepared"


class Cable:
    """A cable between a client and the server that can be cut: a TCP relay which stops after a number of bytes."""

    def __init__(self, port: int, cut_after: int) -> None:
        self._server_port = port
        self._left = cut_after
        self._swallowing = threading.Event()
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def cut(self) -> None:
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def swallow(self) -> None:
        """From now on everything that is sent is lost, and nobody is told."""
        self._swallowing.set()

    def remove(self) -> None:
        """Cut it, and wait until nothing of it is left."""
        self.cut()
        self._threads[0].join()  # the one that starts the others
        self.cut()
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._ends.append(client)
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._ends.append(server)
                for one, other in ((client, server), (server, client)):
                    self._start(self._relay, one, other)

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._swallowing.is_set():
                    continue
                with self._lock:
                    allowed = data[: max(self._left, 0)]
                    self._left -= len(data)
                sink.sendall(allowed)
                if self._left <= 0:
                    break
        self.cut()


class Cables:
    """Makes cables to a target."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.made: list[Cable] = []

    def __call__(self, cut_after: int) -> SshTarget:
        """Return the target behind a cable that is cut after so many bytes in both directions together."""
        reach = self._target.reach
        assert reach is not None and reach.port is not None
        self.made.append(Cable(reach.port, cut_after))
        # The key is known under the server's own port; a virtual board's has an alias anyway.
        alias = (("HostKeyAlias", f"[127.0.0.1]:{reach.port}"),) if self._target.name == "ssh" else ()
        return dataclasses.replace(reach, port=self.made[-1].port, options=(*reach.options, *alias))


@pytest.fixture
def cable(target: Target) -> Iterator[Cables]:
    cables = Cables(target)
    yield cables
    for one in cables.made:
        one.remove()
