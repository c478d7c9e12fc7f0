"""The process that is a running virtual board: ``python -m devices.virtual.machine FOLDER``.

It makes private user, mount, process, host name and IPC namespaces, mounts what a board has in them, registers qemu in a binfmt
registry of their own, and becomes the board's SSH server. Ending this one process removes all of it; the host is never changed.
With ``--global-binfmt`` (Linux before 6.7 has one registry for all) qemu is registered machine-wide and stays so.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000
_PR_SET_PDEATHSIG = 1
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_libc = ctypes.CDLL(None, use_errno=True)


def main(folder: Path) -> int:
    """Run the board in ``folder`` until this process is ended."""
    settings = json.loads((folder / "running.json").read_text("utf-8"))
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by this process and its children: how others see that it runs
    os.truncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    unshared_read, unshared_write = os.pipe()
    mapped_read, mapped_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(unshared_read)
        os.close(mapped_write)
        _hold_namespaces(folder, settings, unshared_write, mapped_read)
    os.close(unshared_write)
    os.close(mapped_read)
    if not os.read(unshared_read, 1):
        return 1
    if not settings["global_binfmt"]:
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{child}/{name}").write_text("0 0 65536\n")
    os.write(mapped_write, b"x")
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 255


def _hold_namespaces(folder: Path, settings: dict[str, Any], unshared: int, mapped: int) -> NoReturn:
    _die_with_the_parent()
    _check(_libc.unshare((0 if settings["global_binfmt"] else _NEWUSER) | _NEWNS | _NEWPID | _NEWUTS | _NEWIPC), "unshare")
    os.write(unshared, b"x")
    os.read(mapped, 1)
    os.setgid(0)
    os.setuid(0)
    board = os.fork()
    if board == 0:
        _die_with_the_parent()
        _mount_everything(folder, settings)
        _become_the_server(folder / "rootfs", settings)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(board, 0)[1]) & 255)


def _mount_everything(folder: Path, settings: dict[str, Any]) -> None:
    root = folder / "rootfs"
    _mount("none", "/", None, _RECURSIVE | _PRIVATE)
    dev = root / "dev"
    _mount("tmpfs", dev, "tmpfs", data="mode=755,size=1m")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):  # mknod is impossible in a user namespace
        (dev / name).touch()
        _mount(f"/dev/{name}", dev / name, None, _BIND)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    _mount("devpts", dev / "pts", "devpts", data="newinstance,ptmxmode=0666,mode=620,gid=5")
    (dev / "ptmx").symlink_to("pts/ptmx")
    _mount("tmpfs", dev / "shm", "tmpfs", data="mode=1777")
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (dev / name).symlink_to(target)
    _mount("tmpfs", root / "run", "tmpfs", data="mode=755")
    (root / "run/sshd").mkdir()
    _mount("proc", root / "proc", "proc")
    _mount(folder / "fake/sys", root / "sys", None, _BIND)
    # It stays mounted for the board's life: unmounting the last one drops its entries.
    registry = root / "proc/sys/fs/binfmt_misc"
    _mount("binfmt_misc", registry, "binfmt_misc")
    if not (registry / settings["binfmt_name"]).exists():
        (registry / "register").write_bytes(settings["binfmt"].encode("latin-1"))
    for name in ("cpuinfo", "meminfo"):
        _mount(folder / "fake" / name, root / "proc" / name, None, _BIND)
    _check(_libc.sethostname(b"raspberrypi", 11), "sethostname")


def _become_the_server(root: Path, settings: dict[str, Any]) -> NoReturn:
    os.chroot(root)
    os.chdir("/")
    server = ["/usr/sbin/sshd", "-D", "-e"]
    os.execve(server[0], server, {"PATH": _PATH, "HOME": "/root", "QEMU_CPU": settings["cpu"]})


def _mount(source: str | Path, target: str | Path, kind: str | None, flags: int = 0, data: str | None = None) -> None:
    def encoded(text: str | Path | None) -> bytes | None:
        return os.fsencode(text) if text is not None else None

    _check(_libc.mount(encoded(source), encoded(target), encoded(kind), flags, encoded(data)), f"mount {source} on {target}")


def _die_with_the_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
