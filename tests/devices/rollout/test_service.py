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

from devices.errors import BoardRefusedError
from devices.rollout import service
from devices.transport.shell import CommandResult, Shell
from devices.transport.ssh import SshShell, SshTarget
from edge.cli import main

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
        for login in (".bashrc", ".bash_profile", ".profile"):  # nor is what its root runs at every login
            (folder / "root/root" / login).unlink(missing_ok=True)
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

    def shell(self, user: str = "root") -> SshShell:
        return SshShell(SshTarget(text=f"{user}@board", host="board", user=user, config=self.config))


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


@pytest.fixture(scope="module", params=["root", "edgekit-pi"])
def user(container: Container, request: pytest.FixtureRequest) -> str:
    """Who deploys: the board's root, or somebody else there, for whom sudo asks for no password."""
    name = str(request.param)
    if name != "root":
        if not has_sudo(container):
            pytest.skip("needs sudo on this machine, whose system the board has (apt-get install sudo)")
        add_user(container, name)
        ask(container, "sh", "-c", f"echo '{name} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{name}")
    return name


def add_user(container: Container, name: str) -> None:
    ask(container, "useradd", "--create-home", "--password", "*", name)


def has_sudo(container: Container) -> bool:
    return ask(container, "sh", "-c", "command -v sudo", check=False).returncode == 0


@pytest.fixture(scope="module")
def home(user: str) -> str:
    return f"/home/{user}" if user != "root" else "/root"


@pytest.mark.virtual
def test_the_service_tests_the_model_at_every_start_of_the_board(
    container: Container, user: str, home: str, first: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = 'my "board" 100% $x'
    unit = service.unit_name(f"{home}/{folder}", home)
    flags = [f"{user}@board", "--ssh-config", str(container.config), "--folder", folder]
    assert main(["deploy", str(first), *flags, "--service"]) == 0
    assert f"journalctl -u {unit}" in capsys.readouterr().err
    assert ask(container, "systemctl", "is-enabled", unit).stdout.strip() == "enabled"
    # What lies in the folder leads root nowhere.
    ask(container, "ln", "-s", "/etc/edgekit-elsewhere", f"{home}/{folder}/log/selftest.log")

    container.stop()
    container.start()  # the board was switched off and on
    ask(container, "systemctl", "is-system-running", "--wait", check=False)
    assert shown(container, unit) == {"Result": "success", "ExecMainStatus": "0", "ConditionResult": "yes", "User": user}
    assert ask(container, "journalctl", "-b", "-u", unit, "-o", "cat").stdout.count("selftest: exact") == 1
    assert ask(container, "test", "-e", "/etc/edgekit-elsewhere", check=False).returncode == 1
    assert ask(container, "stat", "-c", "%U", f"{home}/{folder}/log/selftest.json").stdout.strip() == user

    # The card damages the model: the unit fails at the next start, and says why.
    model = f"{home}/{folder}/current/model.tflite"
    ask(container, "python3", "-c", "import sys; f = open(sys.argv[1], 'r+b'); f.seek(2000); f.write(b'damage')", model)
    assert ask(container, "systemctl", "start", unit, check=False).returncode != 0
    assert shown(container, unit)["Result"] == "exit-code"
    assert "damaged" in ask(container, "journalctl", "-b", "-u", unit, "-o", "cat").stdout

    assert main(["undeploy", *flags]) == 0
    assert units(container) == set()
    assert ask(container, "ls", f"{home}/{folder}", check=False).returncode != 0


@pytest.mark.virtual
def test_somebody_without_rights_gets_one_line_and_keeps_the_deployment(
    container: Container, first: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_user(container, "edgekit-guest")
    flags = ["edgekit-guest@board", "--ssh-config", str(container.config)]
    assert main(["deploy", str(first), *flags, "--service"]) == 3
    why = "sudo: a password is required" if has_sudo(container) else "not found"
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("edgekit: error: edgekit-guest@board: cannot set up the service (") and why in said
    assert said.endswith("; allow sudo without a password there, or leave --service out")
    assert not any("selftest" in unit for unit in units(container))
    assert main(["status", *flags]) == 0  # the model itself is there
    assert main(["undeploy", *flags]) == 0


@pytest.mark.virtual
def test_each_folder_has_a_unit_of_its_own_and_no_other_is_touched(container: Container, user: str, home: str) -> None:
    folders = {name: f"{home}/{name}" for name in (".edgekit", "a", "b  b")}
    make = (
        f'for folder; do mkdir -p "$folder" && ln -s releases/0001 "$folder/current" && chown -R {user} "$folder" || exit; done'
    )
    ask(container, "sh", "-c", make, "sh", *folders.values())
    with contextlib.closing(container.shell(user)) as shell:
        # Once every folder's unit had the first name. One that is found under it is replaced.
        old = service.unit(folders["a"], user)
        ask(container, "sh", "-c", 'printf %s "$1" > "$2"', "sh", old, f"/etc/systemd/system/{service.UNIT}")
        with pytest.raises(BoardRefusedError, match=f"belongs to {folders['a']}, so it stays as it is"):
            service.install(shell, folders[".edgekit"])
        made = {name: service.install(shell, folder) for name, folder in reversed(folders.items())}
        assert made[".edgekit"] == service.UNIT and units(container) == set(made.values()) and len(set(made.values())) == 3
        assert service.install(shell, folders["a"]) == made["a"]  # a second time
        for name, folder in folders.items():
            service.remove(shell, folder)
            del made[name]
            assert units(container) == set(made.values())
        # And what somebody else wrote stays.
        for text in ("[Service]\nExecStart=/bin/true\n", ""):
            ask(container, "sh", "-c", 'printf %s "$1" > "$2"', "sh", text, f"/etc/systemd/system/{service.UNIT}")
            with pytest.raises(BoardRefusedError, match="was not made by edgekit"):
                service.install(shell, folders[".edgekit"])
            service.remove(shell, folders[".edgekit"])
            assert ask(container, "cat", f"/etc/systemd/system/{service.UNIT}").stdout == text
        ask(container, "rm", f"/etc/systemd/system/{service.UNIT}")


def units(container: Container) -> set[str]:
    """The names of what was set up, which all are enabled; nothing half-written lies beside."""
    listed = ask(container, "sh", "-c", "cd /etc/systemd/system; ls; echo; ls multi-user.target.wants").stdout.partition("\n\n")
    found, enabled = ({name for name in part.splitlines() if name.startswith("edgekit-selftest")} for part in listed[::2])
    assert found == enabled
    return found


def shown(container: Container, unit: str) -> dict[str, str]:
    """What systemd knows about the unit."""
    names = "Result,ExecMainStatus,ConditionResult,User"
    lines = ask(container, "systemctl", "show", unit, f"--property={names}").stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_nothing_is_set_up_where_no_systemd_runs(target: Any, shell: Shell) -> None:
    if target.name != "virtual" and Path("/run/systemd/system").exists():
        pytest.skip("systemd runs here")
    with pytest.raises(BoardRefusedError, match="no systemd runs there"):
        service.install(shell, "/nowhere")


def test_each_folder_has_a_name_of_its_own() -> None:
    assert service.unit_name("/home/pi/.edgekit", "/home/pi/") == service.UNIT
    names = {
        service.unit_name(root, "/home/pi") for root in ("/home/pi/a", "/home/bob/a", "/home/pi/größe", "/home/bob/.edgekit", "/")
    }
    assert len(names) == 5 and all(name.startswith("edgekit-selftest-") and name.isascii() for name in names)
