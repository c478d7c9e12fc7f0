"""The SHA-256 of files of this machine, each read once while a command runs, whoever asks."""

from __future__ import annotations

import functools
import hashlib
import threading
from pathlib import Path

from ..errors import DeviceError

_ONE_AT_A_TIME = threading.Lock()  # several boards ask for the same files: the second waits, and finds them known


def of_file(path: Path) -> tuple[str, int]:
    """Return the SHA-256 and the size of a file. Raises DeviceError where it cannot be read.

    A file that changed since is read again: nobody can set back the time of its last change of status.
    """
    try:
        found = path.stat()
        with _ONE_AT_A_TIME:
            return _digest(path, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)), found.st_size
    except OSError as error:
        raise DeviceError(f"{path}: cannot be read ({error.strerror})") from error


@functools.cache
def _digest(path: Path, status: tuple[int, ...]) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
