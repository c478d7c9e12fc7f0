"""Virtual boards by name: made, started, stopped, listed, removed. Each has a folder of its own in edgekit's cache."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import own_python
from ..errors import VirtualBoardError
from ..rollout.wheels import cache_folder
from ..transport.ssh import SshTarget
from . import board_wheels, fakes, host, rootfs
from .locks import locked
from .models import Architecture, VirtualModel, architecture, model

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_START_S = 60.0
_STOP_S = 20.0
_KERNEL = "6.6.31+rpt-rpi-v8"  # what `uname -r` says there


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualBoard:
    """A virtual board. ``port`` is None while it does not run."""

    name: str
    board: str
    arch: str
    cpu: str
    port: int | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def folder_of(name: str) -> Path:
    """Return the folder of a board, whether it is there or not. Raises VirtualBoardError for a text that is no name."""
    if not _NAME.fullmatch(name):
        raise VirtualBoardError(f"{name!r} is no name for a virtual board; expected up to 32 small letters, digits and hyphens")
    return cache_folder() / "virtual" / name


def find(name: str) -> VirtualBoard:
    """Return a board by name. Raises VirtualBoardError, which lists those that exist."""
    folder = folder_of(name)
    if not (folder / "board.json").is_file():
        known = ", ".join(board.name for board in every()) or "none yet"
        sudo = "" if os.geteuid() == 0 else "; boards that were made with sudo are reached with sudo"
        raise VirtualBoardError(
            f"there is no virtual board {name!r} (known: {known}){sudo}; make it: edgekit virtual create {name}"
        )
    try:
        about = json.loads((folder / "board.json").read_text("utf-8"))
        board, arch, cpu = str(about["board"]), str(about["arch"]), str(about["cpu"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VirtualBoardError(
            f"{folder / 'board.json'} cannot be read ({error}); remove the board and make it again: edgekit virtual remove {name}"
        ) from error
    port = None
    if _pid(folder) is not None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            port = int(json.loads((folder / "running.json").read_text("utf-8"))["port"])
    return VirtualBoard(name=name, board=board, arch=arch, cpu=cpu, port=port)


def every() -> tuple[VirtualBoard, ...]:
    """Return all boards, by name."""
    home = cache_folder() / "virtual"
    names = sorted(path.name for path in home.iterdir()) if home.is_dir() else []
    return tuple(find(name) for name in names if _NAME.fullmatch(name) and (home / name / "board.json").is_file())


def create(name: str, *, board: str, arch: str, report: Callable[[str], None], wheels_folder: Path | None = None) -> VirtualBoard:
    """Make a board. wheels_folder: its wheels are installed for the board's own Python.

    Raises VirtualBoardError: the name is taken, this machine cannot, or a wheel is not for such a board.
    """
    folder, emulated, system = folder_of(name), model(board), architecture(arch)
    with locked(folder.with_name(f".{name}.lock"), report):
        return _create(folder, emulated, system, report, wheels_folder)


def _create(
    folder: Path, emulated: VirtualModel, system: Architecture, report: Callable[[str], None], wheels_folder: Path | None
) -> VirtualBoard:
    name = folder.name
    if folder.exists() and (folder / "board.json").exists():
        raise VirtualBoardError(f"there already is a virtual board {name!r}; remove it first, or choose another name")
    installed = [] if wheels_folder is None else board_wheels.find(wheels_folder, system)
    host.check(global_binfmt=True, building=True)
    if folder.exists():
        _remove_tree(folder)
    source = rootfs.template(cache_folder() / "rootfs", system, report)
    folder.mkdir(parents=True)
    report(f"making {name}")
    rootfs.copy(source, folder / "rootfs")
    root = folder / "rootfs"
    board_wheels.unpack(installed, root)
    fakes.write(folder / "fake", emulated, system)
    _generate_key(folder / "key", f"edgekit-{name}")
    _generate_key(root / "etc/ssh/ssh_host_ed25519_key", name)
    authorized = root / f"home/{rootfs.USER}/.ssh/authorized_keys"
    authorized.write_text((folder / "key.pub").read_text())
    os.chown(authorized, 1000, 1000)
    public = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
    (folder / "known_hosts").write_text(f"{_alias(name)} {public[0]} {public[1]}\n")
    cpu = system.cpu or emulated.cpu
    # Last: a folder without it is the rest of something interrupted.
    (folder / "board.json").write_text(json.dumps({"board": emulated.board, "arch": system.debian, "cpu": cpu}) + "\n")
    return find(name)


def start(name: str, *, global_binfmt: bool = False) -> VirtualBoard:
    """Start a board and wait until its SSH server answers. One that runs stays as it is. Raises VirtualBoardError."""
    found, folder = find(name), folder_of(name)
    if found.port is not None:
        return found
    host.check(global_binfmt=global_binfmt)
    binfmt_name, registration = host.binfmt(architecture(found.arch))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (folder / "rootfs/etc/ssh/sshd_config").write_text(_server_config(port, found.cpu))
    settings = {
        "port": port,
        "cpu": found.cpu,
        "binfmt_name": binfmt_name,
        "binfmt": registration,
        "global_binfmt": global_binfmt,
    }
    (folder / "running.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            own_python.command("devices.virtual.machine", str(folder)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    if not _answers(port, process):
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        said = (folder / "log").read_text("utf-8", "replace").splitlines()
        raise VirtualBoardError(f"{name} did not start: {said[-1] if said else 'it said nothing'} (log: {folder / 'log'})")
    process.returncode = 0  # it is meant to outlive us: no warning that nobody waited for it
    return find(name)


def stop(name: str) -> bool:
    """Stop a board; return whether it ran. Raises VirtualBoardError if it does not go."""
    find(name)
    folder = folder_of(name)
    pid = _pid(folder)
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGTERM)
            _wait_for(handle)
        finally:
            os.close(handle)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    if _pid(folder) is not None:
        raise VirtualBoardError(f"{name} did not stop (process {pid}); end it with: sudo kill -9 {pid}")
    return True


def remove(name: str) -> None:
    """Remove a board. Refuses one that runs or has something mounted; never leaves its folder or its file system."""
    folder = folder_of(name)
    if not folder.exists():
        find(name)
    if _pid(folder) is not None:
        raise VirtualBoardError(f"{name} is running; stop it first: edgekit virtual stop {name}")
    _remove_tree(folder)


def target(name: str) -> SshTarget:
    """Return how to reach a running board. Raises VirtualBoardError if it does not run."""
    found = find(name)
    if found.port is None:
        raise VirtualBoardError(f"the virtual board {name!r} is not running; start it: edgekit virtual start {name}")
    folder = folder_of(name)
    return SshTarget(
        text=f"virtual:{name}",
        host="127.0.0.1",
        user=rootfs.USER,
        port=found.port,
        config=Path("/dev/null"),  # nothing in the user's settings concerns it
        options=(
            ("IdentityFile", str(folder / "key")),
            ("IdentitiesOnly", "yes"),
            ("IdentityAgent", "none"),
            ("UserKnownHostsFile", str(folder / "known_hosts")),
            ("GlobalKnownHostsFile", "none"),
            ("HostKeyAlias", _alias(name)),
        ),
    )


def _server_config(port: int, cpu: str) -> str:
    return f"""\
Port {port}
ListenAddress 127.0.0.1
HostKey /etc/ssh/ssh_host_ed25519_key
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
MaxStartups 100
SetEnv QEMU_CPU={cpu} QEMU_UNAME={_KERNEL}
Subsystem sftp /usr/lib/openssh/sftp-server
"""


def _pid(folder: Path) -> int | None:
    """Return the process of a running board: whoever holds its lock."""
    try:
        with (folder / "lock").open("r+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(stream.read() or 0) or None
    except (OSError, ValueError):
        return None
    return None


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    for _ in range(int(_START_S / 0.1)):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            if connection.recv(4) == b"SSH-":
                return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
            return False
    return False


def _wait_for(handle: int) -> None:
    select.select([handle], [], [], _STOP_S)


def _generate_key(path: Path, comment: str) -> None:
    for old in (path, path.with_name(f"{path.name}.pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True)


def _alias(name: str) -> str:
    return f"edgekit-virtual-{name}"


def _remove_tree(folder: Path) -> None:
    """Remove a board's folder. Nothing that is mounted below it is entered, and no link is followed."""
    if folder.is_symlink() or folder.parent != cache_folder() / "virtual":
        raise VirtualBoardError(f"{folder} is not a folder that edgekit made; remove it by hand")
    real = str(folder.resolve())
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        mounted = [fields[4] for fields in map(str.split, stream) if fields[4] == real or fields[4].startswith(f"{real}/")]
    if mounted:
        raise VirtualBoardError(f"something is mounted in {folder} ({mounted[0]}); unmount it first: sudo umount {mounted[0]}")
    device = folder.stat().st_dev
    for path in folder.rglob("*"):
        if path.lstat().st_dev != device:
            raise VirtualBoardError(f"{path} lies on another file system; unmount it first")
    shutil.rmtree(folder)
