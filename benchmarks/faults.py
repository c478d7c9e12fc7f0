"""The faults of a deployment: in the board's own process, or in the middle of any message that the client sends to it."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any, cast

from devices.errors import BoardBusyError, DeviceError
from devices.transport.local import LocalShell
from devices.transport.shell import CommandResult, Shell
from devices.transport.ssh import SshShell

from .fault_places import Place

# Runs in the board's process before everything else: counts what touches files below the folder, and fails the wanted one.
HOOK = """\
import errno as _errno, os as _os, sys as _sys
_kind, _at, _mark, _below = open({fault!r}).read().split(':', 3)
_seen = [0]
def _hook(event, args):
    if event not in ('open', 'os.mkdir', 'os.rename', 'os.remove', 'os.rmdir', 'os.link', 'os.symlink', 'os.truncate', 'shutil.rmtree'):
        return
    if not any(isinstance(a, (str, bytes, _os.PathLike)) and _os.fsdecode(a).startswith(_below) for a in args[:2]):
        return
    _seen[0] += 1
    if _seen[0] == int(_at):
        _os.mkdir(_mark)
        if _kind == 'kill':
            _os._exit(137)
        raise OSError(getattr(_errno, _kind), 'injected')
_sys.addaudithook(_hook)
"""


_BEGINNINGS = (b'[["link"', b'{"op": ')  # of the program that is sent first, and of each request after it


class InterruptedShell:
    """A shell that does something in the middle of the nth message of a session. ``hit``: whether there was an nth."""

    def __init__(self, inner: LocalShell | SshShell, at: int, act: Callable[[], None]) -> None:
        self.inner, self.name, self.python = inner, inner.name, inner.python
        self.hit = False
        self._at, self._act = at, act

    def run(self, args: Sequence[str], *, timeout_s: float, check: bool = True, stdin: bytes = b"") -> CommandResult:
        return self.inner.run(args, timeout_s=timeout_s, check=check, stdin=stdin)

    def open(self, args: Sequence[str], *, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        process = self.inner.open(args, stderr=stderr)
        process.stdin = cast(IO[bytes], _Pipe(process.stdin, self._at, self._interrupt))
        return process

    def connect(self) -> None:
        self.inner.connect()

    def close(self) -> None:
        self.inner.close()

    def _interrupt(self) -> None:
        self.hit = True
        self._act()


class _Pipe:
    """The client's end of a session. A message is written in two halves where something is to happen in its middle."""

    def __init__(self, pipe: Any, at: int, act: Callable[[], None]) -> None:
        self._pipe, self._left, self._act = pipe, at, act

    def detach(self) -> _Pipe:
        self._pipe = self._pipe.detach()
        return self

    def write(self, data: bytes | memoryview) -> int | None:
        if bytes(data[:8]).startswith(_BEGINNINGS):
            self._left -= 1
            if self._left == 0:
                written: int | None = self._pipe.write(data[: len(data) // 2])
                self._act()
                return written
        taken: int | None = self._pipe.write(data)
        return taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipe, name)


def write_hook(folder: Path, place: Place) -> str:
    """Write the interpreter that fails where the file ``fault`` says, and return its path on the board."""
    (folder / "hook.py").write_text(HOOK.format(fault=f"{place.there}/fault"))
    python = folder / "faulty-python"
    # The session runs `PYTHON -I -u -c CODE ...`: the hook goes before CODE.
    hook = shlex.quote(f"{place.there}/hook.py")
    python.write_text(f'#!/bin/sh\nshift 3\ncode=$1\nshift\nexec {place.python} -I -u -c "$(cat {hook})\n$code" "$@"\n')
    python.chmod(0o755)
    return f"{place.there}/{python.name}"


def cut(shell: InterruptedShell) -> None:
    """End the connection at this moment, without a word to the other side."""
    assert isinstance(shell.inner, SshShell)
    asked = [*shell.inner._command("-O", "check"), "--", shell.inner.target.destination]
    said = subprocess.run(asked, capture_output=True, text=True, check=False)
    os.kill(int((said.stdout + said.stderr).partition("pid=")[2].partition(")")[0]), signal.SIGKILL)


def damage(root: Path, kept: Iterable[str]) -> None:
    """Change one byte of the artefact that has arrived: in the upload, and in the release that was made of it."""
    made = [path / "model.tflite" for path in (root / "releases").iterdir() if path.name not in set(kept)]
    for path in {found.stat().st_ino: found for found in (*root.glob("uploads/*.part"), *made) if found.exists()}.values():
        with path.open("r+b") as stream:
            stream.seek(path.stat().st_size // 2)
            byte = stream.read(1)
            stream.seek(-1, os.SEEK_CUR)
            stream.write(bytes([byte[0] ^ 1]))


def fill(disk: Path) -> None:
    """Leave no free byte on a disk."""
    with (disk / "filler").open("wb") as stream:
        room = os.fstatvfs(stream.fileno())
        if room.f_bavail:
            os.posix_fallocate(stream.fileno(), 0, room.f_bavail * room.f_frsize)


def forbid(folders: Iterable[Path], mode: int) -> dict[Path, int]:
    """Take rights from folders, and return what they had."""
    before = {}
    for folder in folders:
        if folder.is_dir():
            before[folder] = folder.stat().st_mode & 0o7777
            folder.chmod(mode)
    return before


def second_client(shell: Shell, work: Callable[[Shell], object], said: list[str]) -> None:
    """Deploy with another client in the middle of a deployment. ``said`` gets what came of it."""
    try:
        work(shell)
        said.append("done")
    except BoardBusyError:
        said.append("busy")
    except DeviceError as error:
        said.append(str(error))
    finally:
        with contextlib.suppress(DeviceError):
            shell.close()
