"""A real SSH server on the loopback with throwaway keys: everything about boards is tested through it as well as without it."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devices import deploy
from devices.local import LocalShell
from devices.shell import Shell
from devices.ssh import SshShell, SshTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running sshd. ``config`` makes ssh trust its host key and use our key."""

    port: int
    user: str
    config: Path
    key: Path
    host_key: Path
    folder: Path

    def target(self, port: int | None = None) -> SshTarget:
        text = f"{self.user}@127.0.0.1:{port or self.port}"
        return SshTarget(text=text, host="127.0.0.1", user=self.user, port=port or self.port, config=self.config)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_server(folder: Path, home: Path | None) -> Iterator[Server]:
    """Run an SSH server with a throwaway host key. home: where its sessions are at home, so that one machine can be two boards."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("ssh") is None:
        pytest.skip("needs OpenSSH (apt-get install openssh-server openssh-client)")
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)  # sshd as root insists on it; its package's service makes it
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    port = free_port()
    (folder / "authorized").write_text((folder / "client.pub").read_text())
    (folder / "sshd_config").write_text(f"""\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/authorized
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
UsePAM no
MaxStartups 100
{f'SetEnv "HOME={home}"' if home else ""}
""")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "config").write_text(
        f"IdentityFile {folder}/client\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known_hosts\nGlobalKnownHostsFile none\n"
    )
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "sshd_config")], stdin=subprocess.DEVNULL, stderr=log)
    try:
        _wait_until_it_listens(port, server, folder / "log")
        yield Server(
            port=port,
            user=getpass.getuser(),
            config=folder / "config",
            key=folder / "client",
            host_key=folder / "host",
            folder=folder,
        )
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path | None], Server]]:
    """Returns a function: run one more server. Its argument is where its sessions are at home, None for the user's own home."""
    with contextlib.ExitStack() as stack:
        yield lambda home: stack.enter_context(running_server(tmp_path_factory.mktemp("sshd"), home))


@pytest.fixture(scope="session")
def sshd(serve: Callable[[Path | None], Server]) -> Server:
    return serve(None)


@pytest.fixture(params=["local", "ssh"])
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    """Each test that asks for it runs twice: on this machine, and over SSH."""
    found: Shell = LocalShell() if request.param == "local" else SshShell(request.getfixturevalue("sshd").target())
    yield found
    found.close()


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
                with self._lock:
                    allowed = data[: max(self._left, 0)]
                    self._left -= len(data)
                sink.sendall(allowed)
                if self._left <= 0:
                    break
        self.cut()


@pytest.fixture
def cable(sshd: Server) -> Iterator[Callable[[int], SshTarget]]:
    """Returns a function: a target behind a cable that is cut after so many bytes in both directions together."""
    cables: list[Cable] = []

    def make(cut_after: int) -> SshTarget:
        cables.append(Cable(sshd.port, cut_after))
        known = sshd.folder / f"known_hosts_{cables[-1].port}"
        known.write_text(f"[127.0.0.1]:{cables[-1].port} {Path(f'{sshd.host_key}.pub').read_text()}")
        target = sshd.target(cables[-1].port)
        return SshTarget(
            text=target.text,
            host=target.host,
            user=target.user,
            port=target.port,
            config=target.config,
            options=(("UserKnownHostsFile", str(known)),),
        )

    yield make
    for one in cables:
        one.remove()


def _wait_until_it_listens(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            if connection.recv(4) == b"SSH-":
                return
        if server.poll() is not None:
            break
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(0.05)
    pytest.fail(f"sshd did not start: {log.read_text()}")
