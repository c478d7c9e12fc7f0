"""Hashing and writing files: an output is complete under its name, or not there at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path

from .errors import OutputError

# No space, no quota, a file larger than allowed: whatever was being written.
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits. Reads in small pieces: no copy of the file in memory."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_bytes(data: bytes | memoryview) -> str:
    """Return the SHA-256 of ``data`` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk is full; also one of libraries that have errors of their own (TensorFlow, h5py)."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(os.strerror(number) in str(error) for number in _FULL[:2])


def full(error: BaseException, what: str = "") -> OutputError:
    """Return what a full disk is for the user. ``what``: the file or kind of file, where the error does not name it."""
    if isinstance(error, OSError):
        named, reason = error.filename, error.strerror
    else:  # TensorFlow's: "FILE; No space left on device"
        begin = str(error).partition("; ")[0]
        named, reason = begin if os.path.isabs(begin) else None, None
    name = named or what or "an output, the cache (EDGEKIT_HOME) or a temporary file (TMPDIR)"
    return OutputError(
        f"{name}: cannot be written ({reason or os.strerror(errno.ENOSPC)}); free some space there, or choose another place"
    )


def atomic_write(path: str | os.PathLike[str], data: bytes | memoryview) -> None:
    """Write ``data`` beside ``path`` and rename it: a reader sees the old file or the new one, never a part of it.

    The folder is made if it is missing. Raises OutputError if the place cannot be written to; whatever interrupts the writing
    (Ctrl-C too), nothing is left behind.
    """
    target = Path(path)
    # The process id keeps two writers apart; a leftover of a killed one with the same id is overwritten.
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error}); choose another place") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8, as `atomic_write` does."""
    atomic_write(path, text.encode("utf-8"))
