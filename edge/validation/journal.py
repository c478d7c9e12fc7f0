"""Results of a long run, appended to a file as they come, so that an interrupted run goes on where it stopped.

One file per run, named by a key over everything that the results depend on. A line of JSON, then records of a fixed size, each
with its CRC-32. Whatever stops the run (Ctrl-C, SIGKILL, a power cut), the intact records from the start are used again and the
rest is cut off. The results are read back from the same file, in place: memory does not grow with their number.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError
from ..system import cache

if sys.platform != "win32":
    import fcntl

_COPIED_AT_ONCE = 4096  # records


def cache_folder() -> Path:
    """Return where edgekit keeps what it can make again: ``EDGEKIT_HOME``, else ``edgekit`` in the user's cache folder."""
    return Path(cache.folder())


def key(*parts: Any) -> str:
    """Return the hexadecimal SHA-256 of ``parts`` as JSON."""
    return key_of(parts)


def key_of(parts: Iterable[Any]) -> str:
    """Return the same of parts of which only one is held at a time."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(part, sort_keys=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()


class Journal:
    """An append-only file of records of one dtype. Opened for reading and writing; locked against a second run of the same key.

    ``note`` says why the run cannot be resumed, where that is so: the place is read-only or full, or another run holds the file.
    The results then go to a temporary file. ``resume=False`` forgets what an earlier run left. Raises OutputError where results
    cannot be written; those before stay, for a run that goes on from there.
    """

    def __init__(self, folder: Path, name: str, dtype: np.dtype[Any], *, resume: bool = True) -> None:
        self.note: str | None = None
        self._dtype = np.dtype([("record", dtype), ("crc", "<u4")])
        self._header = json.dumps({"edgekit_journal": 1, "key": name, "record_bytes": dtype.itemsize}).encode() + b"\n"
        self._path: Path | None = folder / f"{name[:32]}.journal"
        self._stream: IO[bytes] = self._open(self._path)
        try:
            self.count = self._recover(resume=resume)
        except OSError as error:
            self._abandon()
            self._stream = self._temporary(f"{folder}: {error.strerror or error}")
            self.count = self._recover(resume=resume)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Keep the records of an interrupted run; a run that came to its end needs them no more."""
        with contextlib.suppress(OSError):
            self._stream.flush()
            if kind is None and self._path is not None:
                self._path.unlink(missing_ok=True)
        self._abandon()

    def extend(self, records: NDArray[Any]) -> None:
        """Add records (N,) of the journal's dtype."""
        try:
            for record in records:
                data = record.tobytes()
                self._stream.write(data + zlib.crc32(data).to_bytes(4, "little"))
            # Out of this process at once: what was appended survives a SIGKILL.
            self._stream.flush()
        except OSError as error:
            place = tempfile.gettempdir() if self._path is None else self._path.parent
            name = "TMPDIR" if self._path is None else "EDGEKIT_HOME"
            raise OutputError(
                f"{place}: the results so far cannot be kept ({error.strerror or error}) after {self.count} images; free some"
                f" space there, or set {name} to a folder elsewhere"
            ) from error
        self.count += len(records)

    def records(self, positions: NDArray[np.intp] | None = None) -> NDArray[Any]:
        """Return all records (count,), still in the file, or those at ``positions``. Valid until the journal is closed.

        Some of them are written to another file first, as a copy in memory may be larger than it.
        """
        self._stream.flush()
        if not self.count:
            return np.zeros(0, self._dtype)["record"]
        mapped: NDArray[Any] = np.memmap(self._stream, dtype=self._dtype, mode="r", offset=len(self._header), shape=(self.count,))
        if positions is not None:
            mapped = self._copied(mapped, positions)
        records: NDArray[Any] = mapped["record"]
        return records

    def _copied(self, records: NDArray[Any], positions: NDArray[np.intp]) -> NDArray[Any]:
        if not positions.size:
            return records[:0]
        try:
            # Beside the journal: where that has room for all, there is room for a part.
            with tempfile.TemporaryFile(dir=None if self._path is None else self._path.parent) as stream:
                for start in range(0, positions.size, _COPIED_AT_ONCE):
                    stream.write(records[positions[start : start + _COPIED_AT_ONCE]].tobytes())
                stream.flush()
                return np.memmap(stream, dtype=self._dtype, mode="r", shape=(positions.size,))
        except OSError:
            return records[positions]

    def _open(self, path: Path) -> IO[bytes]:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = open(path, "a+b")  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            return self._temporary(f"{path.parent}: {error.strerror or error}")
        if sys.platform != "win32":
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                stream.close()
                return self._temporary(f"another run of the same comparison is using {path}")
        return stream

    def _abandon(self) -> None:
        # Closing flushes again what could not be written before.
        with contextlib.suppress(OSError):
            self._stream.close()

    def _temporary(self, reason: str) -> IO[bytes]:
        self.note = f"this run cannot be resumed ({reason})"
        self._path = None
        return tempfile.TemporaryFile()

    def _recover(self, *, resume: bool) -> int:
        """Cut the file after its last intact record and return how many there are."""
        self._stream.seek(0)
        count = 0
        if resume and self._stream.read(len(self._header)) == self._header:
            for data in _pieces(self._stream, self._dtype.itemsize):
                if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
                    break
                count += 1
        else:
            self._stream.truncate(0)
            self._stream.seek(0)
            self._stream.write(self._header)
            self._stream.flush()
        end = len(self._header) + count * self._dtype.itemsize
        self._stream.truncate(end)
        self._stream.seek(end)
        return count


def _pieces(stream: IO[bytes], size: int) -> Iterator[bytes]:
    while len(data := stream.read(size)) == size:
        yield data
