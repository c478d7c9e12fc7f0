"""``deploy --service`` on a board that really starts systemd: this machine's own system, in a container that forgets everything."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devices import service
from devices.shell import CommandResult, Shell
from devices.ssh import SshShell, SshTarget
from edge.cli import main

UNIT = service.UNIT
SERVER = """\
Port {port}
ListenAddress 127.0.0.1
HostKey /etc/edgekit-test/host
AuthorizedKeysFile /etc/edgekit-test/authorized
StrictModes no
PermitRootLogin yes
UsePAM no
PidFile none
"""
SERVER_UNIT = """\
[Service]
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D -e -f /etc/edgekit-test/sshd_config
"""


class Container:
    """A board with systemd: started and stopped like one, reached over SSH. Its disk is an overlay over this machine's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        etc = folder / "root/etc"
        shutil.rmtree(etc / "systemd/system", ignore_errors=True)  # what this machine starts is none of the board's business
        wants = etc / "systemd/system/multi-user.target.wants"
        wants.mkdir(parents=True)
        (etc / "systemd/system/edgekit-test-ssh.service").write_text(SERVER_UNIT)
        (wants / "edgekit-test-ssh.service").symlink_to("../edgekit-test-ssh.service")
        (etc / "machine-id").write_text("")
        place = etc / "edgekit-test"
        place.mkdir()
        for name in (place / "host", folder / "client"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(name)], check=True)
        (place / "authorized").write_text((folder / "client.pub").read_text())
        (place / "sshd_config").write_text(SERVER.format(port=self._port))
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self._port} {(place / 'host.pub').read_text()}")
        self.config = folder / "config"
        self.config.write_text(
            f"Host board\n  HostName 127.0.0.1\n  HostKeyAlias [127.0.0.1]:{self._port}\n  Port {self._port}\n"
            f"  IdentityFile {folder}/client\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n"
        )

    def start(self) -> None:
        command = ["systemd-nspawn", "--boot", f"--directory={self.folder}/root", f"--machine=edgekit-test-{os.getpid()}"]
        command += ["--register=no", "--keep-unit", "--link-journal=no"]
        log = (self.folder / "log").open("wb")
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        log.close()
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                if connection.recv(4) == b"SSH-":
                    return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)
                break
        said = (self.folder / "log").read_text("utf-8", "replace")
        self.stop()
        raise RuntimeError(f"systemd does not start in a container here: {said[-300:]}")

    def stop(self) -> None:
        """Shut the board down as it would itself."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def shell(self) -> SshShell:
        return SshShell(SshTarget(text="root@board", host="board", user="root", config=self.config))


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    missing = [name for name in ("systemd-nspawn", "ssh-keygen", "mount") if shutil.which(name) is None]
    if os.geteuid() != 0 or missing or not Path("/lib/systemd/systemd").exists() or not os.access("/dev/shm", os.W_OK):
        pytest.skip(
            f"needs root, systemd and its containers (apt-get install systemd-container){' ' * bool(missing)}{missing or ''}"
        )
    with tempfile.TemporaryDirectory(prefix="edgekit-systemd-", dir="/dev/shm") as text:
        folder = Path(text)
        for name in ("upper", "work", "root"):
            (folder / name).mkdir()
        options = f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work"
        if (
            subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(folder / "root")], check=False).returncode
            != 0
        ):
            pytest.skip("overlays cannot be mounted here")
        try:
            found = Container(folder)
            try:
                try:
                    found.start()
                except RuntimeError as error:
                    pytest.skip(str(error))
                yield found
            finally:
                found.stop()
        finally:
            subprocess.run(["umount", str(folder / "root")], check=True)


def ask(container: Container, *args: str, check: bool = True) -> CommandResult:
    shell = container.shell()
    try:
        return shell.run(args, timeout_s=120, check=check)
    finally:
        shell.close()


@pytest.mark.virtual
def test_the_service_tests_the_model_at_every_start_of_the_board(container: Container, first: Path) -> None:
    user, folder = "root", 'my "board" 100% $x'
    if shutil.which("sudo") is not None:
        user = "edgekit-pi"
        ask(container, "useradd", "--create-home", "--password", "*", user)
        ask(container, "sh", "-c", f"echo '{user} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{user}")
    home = f"/home/{user}" if user != "root" else "/root"
    flags = [f"{user}@board", "--ssh-config", str(container.config), "--folder", folder]
    assert main(["deploy", str(first), *flags, "--service"]) == 0
    assert ask(container, "systemctl", "is-enabled", UNIT).stdout.strip() == "enabled"

    container.stop()
    container.start()  # the board was switched off and on
    ask(container, "systemctl", "is-system-running", "--wait", check=False)
    assert shown(container) == {"Result": "success", "ExecMainStatus": "0", "ConditionResult": "yes", "User": user}
    log = ask(container, "cat", f"{home}/{folder}/log/selftest.log").stdout
    assert log.count("selftest: exact") == 1 and log.startswith("20")  # the date

    # The card damages the model: the unit fails at the next start, and says why.
    model = f"{home}/{folder}/current/model.tflite"
    ask(container, "python3", "-c", "import sys; f = open(sys.argv[1], 'r+b'); f.seek(2000); f.write(b'damage')", model)
    assert ask(container, "systemctl", "start", UNIT, check=False).returncode != 0
    assert shown(container)["Result"] == "exit-code"
    assert "damaged" in ask(container, "cat", f"{home}/{folder}/log/selftest.log").stdout

    assert main(["undeploy", *flags]) == 0
    assert UNIT not in ask(container, "systemctl", "list-unit-files", "--no-legend").stdout
    assert ask(container, "sh", "-c", "ls /etc/systemd/system | grep -c edgekit-selftest", check=False).stdout.strip() == "0"
    assert ask(container, "ls", f"{home}/{folder}", check=False).returncode != 0


def shown(container: Container) -> dict[str, str]:
    """What systemd knows about the unit."""
    names = "Result,ExecMainStatus,ConditionResult,User"
    lines = ask(container, "systemctl", "show", UNIT, f"--property={names}").stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_nothing_is_set_up_where_no_systemd_runs(target: Any, shell: Shell) -> None:
    from devices.errors import BoardRefusedError

    if target.name != "virtual" and Path("/run/systemd/system").exists():
        pytest.skip("systemd runs here")
    with pytest.raises(BoardRefusedError, match="no systemd runs there"):
        service.install(shell, "/nowhere")
