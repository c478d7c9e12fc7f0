"""Files arrive: in pieces, continued where they stopped, checked before anything is made of them."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

from .disk import fsync, plain, sha256, whole
from .kept import Kept
from .link import FULL, Answer, Link, Refused


class Uploads:
    """What can be asked about files that are sent. ``where`` is ``uploads`` (for a release) or ``cache`` (for one run)."""

    def __init__(self, root: Path, link: Link, kept: Kept) -> None:
        self._root = root
        self._link = link
        self._kept = kept

    def part(self, sha256_hex: str, where: str) -> Answer:
        """Return how much of a file is there, and the SHA-256 of that."""
        path = self._path(sha256_hex, where)
        if not path.exists():
            return {"bytes": 0, "sha256": hashlib.sha256().hexdigest()}
        return {"bytes": path.stat().st_size, "sha256": sha256(path)}

    def append(self, sha256_hex: str, where: str, offset: int, count: int) -> Answer:
        """Add ``count`` bytes, which follow the request, at ``offset``: the file's end, or 0 to start again."""
        path = self._path(sha256_hex, where)
        left = count
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if offset == 0:
                path.unlink(missing_ok=True)  # and a new file: what is linked to the old one stays as it is
            present = path.stat() if path.exists() else None
            if offset != (present.st_size if present else 0) or (present and present.st_nlink > 1):
                raise OSError(errno.EINVAL, "the upload does not continue where it stopped")
            with path.open("ab", buffering=0) as stream:
                for piece in self._link.exactly(count):
                    left -= len(piece)
                    self._kept.write(stream, piece)
        except OSError as error:
            self._link.skip(left)
            if error.errno in FULL:
                path.unlink(missing_ok=True)  # a full disk harms the board more than sending again harms us
            raise
        return {"bytes": path.stat().st_size}

    def have(self, sha256_hex: str, suffix: str) -> Answer:
        """Return the path of a file in ``cache``, or None if it is not there as it should be."""
        path = self._root / "cache" / f"{plain(sha256_hex)}{suffix}"
        if not whole(path, sha256_hex):
            return {"path": None}
        self._kept.used(path)
        return {"path": str(path)}

    def seal(self, sha256_hex: str, where: str, suffix: str = "") -> Answer:
        """Check a file that has arrived, and see it to the disk; with a suffix it is renamed to it. A damaged one is removed."""
        path = self._path(sha256_hex, where)
        found = sha256(path)
        if found != sha256_hex:
            path.unlink()
            raise Refused(f"what arrived has SHA-256 {found[:12]}..., expected {sha256_hex[:12]}...", "damaged")
        fsync(path)
        if suffix:
            named = self._root / plain(where) / plain(f"{sha256_hex}{suffix}")
            os.replace(path, named)
            path = named
            self._kept.hold(path)
            self._kept.arrived(path)
        fsync(path.parent)
        return {"path": str(path)}

    def take(self, name: str, limit_bytes: int) -> Answer:
        """Return a text file in ``cache``, and remove it."""
        path = self._root / "cache" / plain(name)
        with path.open("rb") as stream:
            data = stream.read(limit_bytes + 1)
        path.unlink()
        if len(data) > limit_bytes:
            raise Refused(f"{name} has more than {limit_bytes >> 20} MiB", "failed")
        return {"text": data.decode("utf-8", "replace")}

    def _path(self, sha256_hex: str, where: str) -> Path:
        path = self._root / plain(where) / f"{plain(sha256_hex)}.part"
        self._kept.hold(path)
        return path
