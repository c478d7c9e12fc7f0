"""Unpacking an archive from elsewhere: plain files only, inside one folder, no more than was allowed."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from edge.errors import OutputError

from ..errors import FetchError

MAX_MEMBERS = 1_000
MAX_BYTES = 2 << 30
_PIECE = 1 << 20


def unpack(archive: Path, folder: Path, *, max_bytes: int = MAX_BYTES, max_members: int = MAX_MEMBERS) -> tuple[Path, ...]:
    """Unpack a ``.tar.gz`` into ``folder``, which is complete afterwards or not there at all. Returns the files, sorted.

    Raises FetchError, having written nothing, for members that are links or devices, that lie outside of the folder or twice in
    it, for more members or unpacked bytes than allowed, and for an archive that is damaged.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        try:
            _extract(archive, beside, max_bytes, max_members)
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, UnicodeError, ValueError) as error:
            if isinstance(error, FetchError):
                raise
            raise FetchError(f"{archive}: the archive is damaged ({error}); fetch it again") from error
        except OSError as error:
            if isinstance(error, FetchError):
                raise
            raise OutputError(
                f"{folder}: cannot be written ({error.strerror or error}); free some space or set EDGEKIT_HOME"
            ) from error
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return tuple(sorted(path for path in folder.rglob("*") if path.is_file()))


def _extract(archive: Path, folder: Path, max_bytes: int, max_members: int) -> None:
    total, count = 0, 0
    # One pass over the stream, and no byte more of it than allowed: headers can be as long as files.
    with archive.open("rb") as packed, gzip.open(packed) as stream:
        limited = _Limited(stream, max_bytes + max_members * 10_240 + (1 << 20), archive)
        with tarfile.open(fileobj=io.BufferedReader(limited, _PIECE), mode="r|", errorlevel=2) as members:
            for member in members:
                count += 1
                if count > max_members:
                    raise FetchError(f"{archive}: has more than {max_members:,} members; it is not unpacked")
                target = folder.joinpath(*_parts(archive, member.name))
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                if not member.isreg() or member.issparse():
                    kind = "a link" if member.issym() or member.islnk() else "no plain file"
                    raise FetchError(f"{archive}: its member {member.name!r} is {kind}; it is not unpacked")
                total += member.size
                if total > max_bytes:
                    raise FetchError(f"{archive}: unpacks to more than {max_bytes:,} bytes; it is not unpacked")
                if target.exists():
                    raise FetchError(f"{archive}: its member {member.name!r} is there twice; it is not unpacked")
                content = members.extractfile(member)
                assert content is not None
                _write(content, target, member, archive)


def _write(content: IO[bytes], target: Path, member: tarfile.TarInfo, archive: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        shutil.copyfileobj(content, file, _PIECE)
        if file.tell() != member.size:
            raise FetchError(f"{archive}: its member {member.name!r} is cut off; fetch it again")


def _parts(archive: Path, name: str) -> tuple[str, ...]:
    """Return the parts of a member's path. Raises FetchError for one that leads out of the folder, on any system."""
    path = PurePosixPath(name)
    parts = path.parts
    foreign = any(char in name for char in "\\:\0") or any(ord(char) < 32 for char in name)
    if path.is_absolute() or ".." in parts or foreign or not parts and name not in ("", "."):
        raise FetchError(f"{archive}: its member {name!r} leads out of the folder; it is not unpacked")
    return parts


class _Limited(io.RawIOBase):
    """Reads another stream, up to a number of bytes."""

    def __init__(self, stream: gzip.GzipFile, limit: int, archive: Path) -> None:
        super().__init__()
        self._stream, self._left, self._archive = stream, limit, archive

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._stream.read(min(len(buffer), _PIECE))
        self._left -= len(piece)
        if self._left < 0:
            raise FetchError(f"{self._archive}: unpacks to far more than it should; it is not unpacked")
        buffer[: len(piece)] = piece
        return len(piece)
