"""What stays on the board between sessions, for how long, and what makes way when the disk runs full.

    releases/           the last ones, see `releases.Releases.prune`
    env/KEY, wheels/KEY as long as a release uses it; one that was made for measuring only until the next deployment, or until it was
                        not used for a week
    uploads/            until the next deployment; what an environment was made of until a session measures with it; a part that was
                        interrupted until nothing was added for a week
    cache/images/       pictures by their SHA-256, cache/SHA.SUFFIX models, answers, labels, cache/validate/ what interrupted
                        validations have answered: together at most the cap (2 GiB, or an eighth of the disk where that is less, unless the
                        workstation says otherwise), least recently used first
    cache/sets/KEY/     the names of the last validation's pictures, as links: until the next one
    cache/SHA.part      as uploads/
    cache/tried/        which models ran here once: small, and bounded by who writes it
    cache/weights/      packed weights of models that ran here, bounded by who writes it; a release makes its own anew where they are gone
    cache/images-*/     pictures as earlier versions kept them, cache/report-*.json of an interrupted run: gone when a session measures

Where a disk is full, all but releases, their environments, and what the running command uses makes way, least recently used
first. The last use is in the time of access, set on purpose: the time of change belongs to what a validation resumes by.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from . import layers
from .disk import plain, remove
from .link import FULL, Answer
from .shelf import Shelf

T = TypeVar("T")

_CAP_BYTES = 2 << 30
_CAP_SHARE = 8
_WEIGHTS = ".weights"
_UNUSED_S = 7 * 24 * 3600.0
_AT_ONCE_BYTES = 8 << 20  # makes way where a write finds the disk full


class Kept:
    """Knows what may make way. ``environment``, ``wheels``: the ones in use. ``names``: the folder in ``cache/sets`` in use."""

    def __init__(self, root: Path) -> None:
        self.environment: str | None = None
        self.wheels: str | None = None
        self.names: Path | None = None
        self.cap_bytes: int | None = None
        self._root = root
        self._held: set[Path] = set()
        self._cached: list[tuple[float, int, Path]] = []  # the next to go comes last
        self._others: list[tuple[float, int, Path]] = []
        self._total: int | None = None  # of the cache, once it was looked through

    def hold(self, path: Path) -> None:
        """Keep a file, there or to come, until `let_go` or the end of the session."""
        self._held.add(path)

    def used(self, path: Path) -> None:
        """Hold a file that is there, and remember when it was used."""
        self.hold(path)
        _touch(path)

    def let_go(self, paths: Iterable[Path]) -> None:
        """No longer keep these."""
        self._held.difference_update(paths)

    def arrived(self, path: Path) -> None:
        """Count a file that is new in the cache."""
        if self._total is not None:
            self._total += _bytes(path.stat())

    def retried(self, action: Callable[[], T]) -> T:
        """Return what ``action`` does. Whenever the disk is full, something makes way, and it is done again."""
        while True:
            try:
                return action()
            except OSError as error:
                if error.errno not in FULL or not self._make_way(_AT_ONCE_BYTES):
                    raise

    def write(self, stream: io.FileIO, data: bytes) -> None:
        """Write all of ``data``."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.retried(functools.partial(stream.write, rest)) :]

    def trim(self) -> None:
        """Keep the cache to its cap."""
        disk = os.statvfs(self._root)
        cap = self.cap_bytes if self.cap_bytes is not None else min(_CAP_BYTES, disk.f_blocks * disk.f_frsize // _CAP_SHARE)
        if self._total is None:
            self._look()
        while (self._total or 0) > cap and self._remove_oldest(cached=True):
            pass

    def free(self, wanted_bytes: int) -> int:
        """Return the free space, once what is not in use has made way for ``wanted_bytes`` as far as it can."""
        while (found := self._free()) < wanted_bytes and self._make_way(wanted_bytes - found):
            pass
        return found

    def uploads(self) -> list[Path]:
        """Return what this session has sent for an environment or a release."""
        return [path for path in self._held if path.parent == self._root / "uploads"]

    def remove_unused(self) -> None:
        """Remove parts and environments that nobody used for a week."""
        parts = [_last_use(path) for path in (self._root / "cache").glob("*.part")]
        before = time.time() - _UNUSED_S
        for used, _, path in (*parts, *self._unneeded()):
            if used < before and path not in self._held and path.suffix != _WEIGHTS:
                _remove(path)
        self._total = None  # looked through anew

    def _make_way(self, wanted_bytes: int) -> bool:
        """Remove the least recently used, as much as that. Returns whether there was anything."""
        found = False
        while wanted_bytes > 0 and (freed := self._remove_oldest(cached=False)):
            found = True
            wanted_bytes -= freed
        return found

    def _remove_oldest(self, *, cached: bool) -> int:
        """Remove one that is not held, of the cache or of all, and return what it took on the disk; 0 where there is none."""
        looked = False
        while True:
            lists = [known for known in ((self._cached,) if cached else (self._cached, self._others)) if known]
            if not lists:
                if looked:
                    return 0
                self._look()  # some were let go or used since then, and passed over
                looked = True
                continue
            oldest = min(lists, key=lambda known: known[-1][0])
            used, size, path = oldest.pop()
            if path in self._held or not path.exists() or (oldest is self._cached and _last_use(path)[0] > used):
                continue
            _remove(path)
            if oldest is self._cached:
                self._total = (self._total or 0) - size
            return max(size, 1)

    def _look(self) -> None:
        cache = self._root / "cache"
        for path in _inside(cache / "sets"):
            if path != self.names:
                remove(path)  # its links would keep the pictures on the disk
        self._cached = sorted((_last_use(path) for path in _files(cache)), reverse=True)
        self._others = sorted(self._unneeded(), reverse=True)
        self._total = sum(size for _, size, _ in self._cached)

    def _unneeded(self) -> Iterator[tuple[float, int, Path]]:
        for path in _inside(self._root / "uploads"):
            yield _last_use(path)
        yield from _weights(self._root / "cache" / "weights")
        if self.environment is None:
            return
        environments, wheels = Shelf(self._root).used()
        environments.add(self.environment)
        wheels |= {str(layers.wheels_of(self._root / "env" / self.environment)), str(self.wheels)}
        # Roughly what they take: thousands of files are not counted for it.
        for name, needed, size in (("env", environments, 2 << 20), ("wheels", wheels, 128 << 20)):
            for path in _inside(self._root / name):
                if path.name not in needed and (path / layers.MARK).exists():
                    used, _, _ = _last_use(path / layers.MARK)
                    yield used, size, path

    def _free(self) -> int:
        disk = os.statvfs(self._root)
        return disk.f_bavail * disk.f_frsize


class Keeper:
    """What can be asked about room."""

    def __init__(self, root: Path, kept: Kept) -> None:
        self._root = root
        self._kept = kept

    def tidy(self, environment: str, cap_bytes: int | None) -> Answer:
        """Before something is measured in ``environment``: remove what is of no use any more. ``cap_bytes``: see `trim`."""
        cache = self._root / "cache"
        self._kept.environment, self._kept.cap_bytes = plain(environment), cap_bytes
        _touch(self._root / "env" / environment / layers.MARK)
        for path in (*cache.glob("images-*"), *cache.glob("report-*.json"), *self._kept.uploads()):
            _remove(path)
        self._kept.remove_unused()
        return {}

    def trim(self) -> Answer:
        """Keep the cache to its cap. Asked when all is there that a command needs, and so held."""
        self._kept.trim()
        return {}

    def make_room(self, needed_bytes: int, environment: str | None = None, wheels: str | None = None) -> Answer:
        """Return the free space, once what is not in use has made way for ``needed_bytes``."""
        if environment is not None:
            self._kept.environment, self._kept.wheels = plain(environment), wheels
        return {"free_bytes": self._kept.free(needed_bytes)}


def _files(cache: Path) -> Iterator[Path]:
    for place in (cache / "images", cache / "validate"):
        for folder, _, names in os.walk(place):
            yield from (Path(folder) / name for name in names)
    yield from (path for path in _inside(cache) if path.is_file() and not path.is_symlink())


def _weights(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Yield the files of packed weights. When one was used is when any of the records was touched that lie beside them."""
    files = [path for path in _inside(folder) if path.suffix == _WEIGHTS]
    used = max((path.stat().st_mtime for path in folder.glob("*.json")), default=0.0) if files else 0.0
    for path in files:
        yield max(used, path.stat().st_mtime), _bytes(path.stat()), path


def _inside(folder: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return list(folder.iterdir())
    return []


def _last_use(path: Path) -> tuple[float, int, Path]:
    status = path.lstat()
    return max(status.st_atime, status.st_mtime), _bytes(status), path


def _bytes(status: os.stat_result) -> int:
    return status.st_blocks * 512  # what it takes on the disk


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):  # not there, or another user's: then it counts as not used
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        (path / layers.MARK).unlink(missing_ok=True)  # from here on it is a rest
        remove(path)
    else:
        path.unlink(missing_ok=True)
