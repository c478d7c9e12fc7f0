"""Where deployments are made to fail: a folder on this machine, the same behind a real SSH server, or one on an emulated board.

Everything lies on a small disk of its own (a tmpfs), which can be filled. What is on it is read and damaged from outside the board.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devices.transport.local import LocalShell
from devices.transport.ssh import SshShell, SshTarget
from devices.virtual import boards

from .loopback import missing, running_server

DISK = "700m"  # an environment takes about 150 MB, and hard links the rest
TARGETS = ("local", "ssh", "virtual")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder on a board: ``there`` is its name on the board, ``here`` is how this machine sees it.

    ``target`` is None for this machine itself. ``python``: the board's interpreter. ``small``: its disk can be filled. ``root``:
    the board's user may do everything, so that missing rights stop nothing.
    """

    name: str
    there: str
    here: Path
    target: SshTarget | None
    python: str
    small: bool
    root: bool

    def shell(self, python: str | None = None) -> LocalShell | SshShell:
        """Return a new connection; ``python``: what is run instead of the board's interpreter."""
        if self.target is None:
            return LocalShell(python or self.python)
        shell = SshShell(self.target)
        shell.python = python or self.python
        return shell


@contextlib.contextmanager
def open_place(name: str) -> Iterator[Place]:
    """Make a place, and remove all of it afterwards. Raises RuntimeError, VirtualBoardError where that is impossible."""
    if name == "virtual":
        with _virtual() as place:
            yield place
        return
    with tempfile.TemporaryDirectory(prefix="edgekit-faults-") as folder, _disk(Path(folder)) as (disk, small):
        fields = {"there": str(disk), "here": disk, "python": sys.executable, "small": small, "root": os.geteuid() == 0}
        if name == "local":
            yield Place(name=name, target=None, **fields)  # type: ignore[arg-type]
            return
        if (problem := missing()) is not None:
            raise RuntimeError(problem)
        with tempfile.TemporaryDirectory() as keys, running_server(Path(keys), None) as server:
            yield Place(name=name, target=server.target(), **fields)  # type: ignore[arg-type]


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Mount a small disk, if that is allowed here; else a plain folder."""
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=755", "tmpfs", str(disk)]
    small = os.geteuid() == 0 and subprocess.run(command, check=False).returncode == 0
    try:
        yield disk, small
    finally:
        if small:
            subprocess.run(["umount", str(disk)], check=True)


@contextlib.contextmanager
def _virtual() -> Iterator[Place]:
    name = f"faults-{os.getpid()}"
    try:
        boards.create(name, board="pi-4b", arch="arm64", report=lambda text: print(text, file=sys.stderr))
        boards.start(name)
        target = boards.target(name)
        there = "/home/pi/faults"
        shell = SshShell(target)
        try:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},uid=1000,gid=1000,mode=755", "tmpfs", there]
            shell.run(["mkdir", there], timeout_s=60)
            shell.run(["sudo", *mount], timeout_s=60)
        finally:
            shell.close()
        inside = Path(f"/proc/{_server(boards.folder_of(name))}/root")
        yield Place(name="virtual", there=there, here=inside / there[1:], target=target, python="python3", small=True, root=False)
    finally:
        if (boards.folder_of(name) / "board.json").exists():
            boards.stop(name)
        if boards.folder_of(name).exists():
            boards.remove(name)


def _server(folder: Path) -> int:
    """Return the process that is the board's SSH server: the innermost of the board's own."""
    process = int((folder / "lock").read_text())
    while children := Path(f"/proc/{process}/task/{process}/children").read_text().split():
        process = int(children[0])
        if os.readlink(f"/proc/{process}/root") != "/":
            break
    return process
