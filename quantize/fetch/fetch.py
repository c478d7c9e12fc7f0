"""``edgekit fetch``: a published file, downloaded once, verified each time, unpacked beside it.

Everything is in one folder for each entry of the catalogue: the file, ``fetched.json`` (what was found out about it) and
``unpacked``. Where its publisher gives no hash, the one of the first download is kept, and another one later is an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.errors import OutputError
from edge.files import atomic_write_text
from edge.progress import stage
from edge.validation.journal import cache_folder

from ..errors import FetchError, UnreachableError
from . import unpacking
from .catalogue import Published
from .download import Expected, digest, download, verify

if sys.platform != "win32":
    import fcntl

RECORD = "fetched.json"
UNPACKED = "unpacked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A file that is there. ``use`` is what to give to other commands: the file, or the archive's member. ``verified``: by what.

    ``fresh``: it was not there before. ``first_seen``: the day of the first download, where only that stands for its content.
    """

    name: str
    file: Path
    files: tuple[Path, ...]
    use: Path
    bytes: int
    sha256: str
    verified: str
    fresh: bool
    first_seen: str | None


def fetch(
    entry: Published, *, folder: Path | None = None, source: Path | None = None, accept_new: bool = False, **options: Any
) -> Fetched:
    """Return the file of ``entry``: from the cache, else from ``source`` (a local file that stands in), else from its server.

    folder: the cache (default ``EDGEKIT_HOME``, else the user's cache folder, and in it ``fetched``). accept_new: forget the hash
    that was seen first. options: of ``download``.
    Raises FetchError (UnreachableError without a network) and OutputError; then nothing new is there under the file's name.
    """
    place = (folder or cache_folder() / "fetched") / entry.name
    target = place / entry.filename
    with _alone(place):
        known = {} if accept_new and entry.digest is None else _record(place)
        expected = _expected(entry, known)
        fresh = source is not None or not _intact(target, expected)
        if fresh:
            if source is not None:
                _take(source, target, expected)
            else:
                _download(entry, target, expected, options)
        sha256 = known.get("sha256") if not fresh and expected.algorithm == "sha256" else digest(target, "sha256")
        assert isinstance(sha256, str)
        first_seen = str(known.get("first_seen") or time.strftime("%Y-%m-%d"))
        files = _unpacked(target, place / UNPACKED, fresh=fresh) if entry.member is not None else (target,)
        use = next((file for file in files if entry.member is None or file.name == entry.member), None)
        if use is None:
            names = ", ".join(file.name for file in files[:5])
            raise FetchError(f"{target}: holds {names or 'nothing'}, expected {entry.member}; it is another archive")
        size = target.stat().st_size
        # Last: what turned out to be something else is not what later files are held to.
        record = {"name": entry.name, "sha256": sha256, "bytes": size, "first_seen": first_seen}
        atomic_write_text(place / RECORD, json.dumps(record, indent=1) + "\n")
    return Fetched(
        name=entry.name,
        file=target,
        files=files,
        use=use,
        bytes=size,
        sha256=sha256,
        verified=_verified(entry, known),
        fresh=fresh,
        first_seen=first_seen if entry.digest is None else None,
    )


def _expected(entry: Published, known: dict[str, Any]) -> Expected:
    if entry.digest is not None:
        return Expected(size=entry.size, algorithm=entry.algorithm, digest=entry.digest)
    if isinstance(known.get("sha256"), str):
        return Expected(size=entry.size, algorithm="sha256", digest=known["sha256"])
    return Expected(size=entry.size)


def _verified(entry: Published, known: dict[str, Any]) -> str:
    size = f" and the size of {entry.size:,} bytes" if entry.size is not None else ""
    if entry.digest is not None:
        return f"{entry.algorithm} of {entry.hash_source}{size}"
    if "sha256" in known:
        return f"the sha256 first seen here on {known.get('first_seen', 'an unknown day')}{size}"
    return f"nothing: no hash is published, and this is the first one seen{size}"


def _intact(target: Path, expected: Expected) -> bool:
    """Whether the file is there as expected. Without any hash, a file whose record is lost does not count."""
    if not target.is_file() or expected.algorithm is None:
        return False
    try:
        verify(target, expected, where=str(target))
    except FetchError:
        return False
    return True


def _take(source: Path, target: Path, expected: Expected) -> None:
    """Copy a local file to its place after it was verified."""
    if not source.is_file():
        raise FetchError(f"{source}: no such file; --from takes the file as its server has it ({target.name})")
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with stage(f"copy {source}"):
            shutil.copyfile(source, beside)
        verify(beside, expected, where=str(source))
        os.replace(beside, target)
    except OSError as error:
        if isinstance(error, FetchError):
            raise
        raise OutputError(
            f"{target}: cannot be written ({error.strerror or error}); free some space or set EDGEKIT_HOME"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def _download(entry: Published, target: Path, expected: Expected, options: dict[str, Any]) -> None:
    """Try the entry's servers one after the other; another one is asked only where the one before cannot be reached."""
    for url in entry.urls[:-1]:
        with contextlib.suppress(UnreachableError):
            return download(url, target, expected, **options)
    download(entry.urls[-1], target, expected, **options)


def _unpacked(archive: Path, folder: Path, *, fresh: bool) -> tuple[Path, ...]:
    if folder.is_dir() and not fresh:
        return tuple(sorted(path for path in folder.rglob("*") if path.is_file()))
    with stage(f"unpack {archive.name}"):
        return unpacking.unpack(archive, folder)


def _record(place: Path) -> dict[str, Any]:
    try:
        record = json.loads((place / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Keep a second fetch of the same entry out. The system frees the lock, however this process ends."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        stream = (place / ".lock").open("w")
    except OSError as error:
        raise OutputError(f"{place}: cannot be written ({error.strerror}); choose another place with EDGEKIT_HOME") from error
    with stream:
        if sys.platform != "win32":
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise FetchError(f"{place}: another edgekit fetches this file just now; wait for it") from error
        yield
