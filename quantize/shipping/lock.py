"""One at a time in a folder of results. The lock is the kernel's: it goes with the processes that hold it, however they end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.errors import OutputError, UsageError

FILE = ".ship.lock"


@contextlib.contextmanager
def locked(folder: Path, say: Callable[[str], None]) -> Iterator[int]:
    """Hold the folder's lock, and yield its descriptor, which a step's process holds too.

    Raises UsageError where another one works there. The last step of one that was killed is waited for: it ends by itself.
    """
    import fcntl

    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error}); choose another place with --out") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(descriptor)
            if owner is None or _lives(owner):
                raise UsageError(
                    f"{folder}: another edgekit ship works there{f' (process {owner})' if owner else ''}; wait for it, or give another"
                    " --out"
                ) from None
            say(f"waiting for the last step of process {owner}, which was killed")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _owner(descriptor: int) -> int | None:
    text = os.pread(descriptor, 20, 0)
    return int(text) if text.isdigit() else None


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(process)


def _is_zombie(process: int) -> bool:
    """Whether it has ended and its parent has not looked yet. Linux only; elsewhere it counts as alive."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] == ["Z"]
