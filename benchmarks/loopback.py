"""An OpenSSH server on the loopback with throwaway keys: what is done to boards is tested and measured through a real one."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devices.transport.ssh import SshTarget


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
        """Return how to reach it, through another port if something lies in between."""
        text = f"{self.user}@127.0.0.1:{port or self.port}"
        return SshTarget(text=text, host="127.0.0.1", user=self.user, port=port or self.port, config=self.config)


def missing() -> str | None:
    """Return what to install where no server can be run, or None."""
    if _program() is None or shutil.which("ssh") is None:
        return "needs OpenSSH (apt-get install openssh-server openssh-client)"
    return None


@contextlib.contextmanager
def running_server(folder: Path, home: Path | None) -> Iterator[Server]:
    """Run an SSH server with a throwaway host key. home: where its sessions are at home, so that one machine can be two boards.

    Raises RuntimeError if it does not start.
    """
    program = _program()
    assert program is not None
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


def free_port() -> int:
    """Return a port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _program() -> str | None:
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _wait_until_it_listens(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            if connection.recv(4) == b"SSH-":
                return
        if server.poll() is not None:
            break
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(0.05)
    raise RuntimeError(f"sshd did not start: {log.read_text()}")
