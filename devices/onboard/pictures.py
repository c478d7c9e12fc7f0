"""The pictures of a validation: each once, under its SHA-256, and compared with it before every run; a set gives them their names.

So a touched or renamed picture is not sent again, and one that the card has damaged is not used.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import shutil
from pathlib import Path

from .disk import plain, remove, whole
from .kept import Kept
from .link import FULL, Answer, Link, Refused


class Pictures:
    """What can be asked about pictures. They are sent between `begin_set` and `finish_set`."""

    def __init__(self, root: Path, link: Link, kept: Kept) -> None:
        self._cache = root / "cache"
        self._link = link
        self._kept = kept
        self._names: list[tuple[Path, Path]] = []  # place in the set, picture
        self._asked: dict[Path, bool] = {}  # whether it is as it should be

    def begin_set(self, key: str) -> Answer:
        """Begin the set of a run, and forget the one before: its pictures stay, and are no longer held."""
        self._kept.let_go(self._asked)
        self._names, self._asked = [], {}
        self._kept.names = self._cache / "sets" / plain(key)
        remove(self._cache / "sets")
        return {}

    def want(self, count: int) -> Answer:
        """Add pictures to the set: ``count`` bytes of JSON follow, a list of [name, SHA-256, bytes].

        Returns the SHA-256 of those that have to be sent, because they are not there or are not what they were.
        """
        rows = json.loads(b"".join(self._link.exactly(count)))
        missing: dict[str, None] = {}
        for name, sha256_hex, size in rows:
            path = self._place(sha256_hex)
            if path not in self._asked:
                self._kept.hold(path)
                self._asked[path] = path.exists() and path.stat().st_size == size and whole(path, sha256_hex)
                if self._asked[path]:
                    self._kept.used(path)
            self._names.append((self._inside(name), path))
            if not self._asked[path]:
                missing[sha256_hex] = None
        return {"missing": list(missing)}

    def receive(self, files: list[tuple[str, int]]) -> Answer:
        """Take in pictures, which follow the request one after the other: [SHA-256, bytes] of each. Returns which arrived damaged."""
        left = sum(size for _, size in files)
        damaged = []
        arriving = self._cache / "images" / "arriving"
        self._kept.hold(arriving)
        try:
            arriving.parent.mkdir(parents=True, exist_ok=True)
            for sha256_hex, size in files:
                place, digest = self._place(sha256_hex), hashlib.sha256()
                with arriving.open("wb", buffering=0) as stream:
                    for piece in self._link.exactly(size):
                        left -= len(piece)
                        digest.update(piece)
                        self._kept.write(stream, piece)
                if digest.hexdigest() == sha256_hex:
                    self._keep(arriving, place)
                else:
                    damaged.append(sha256_hex)
        except (OSError, Refused):
            self._link.skip(left)
            arriving.unlink(missing_ok=True)
            raise
        return {"damaged": damaged}

    def adopt(self, sha256_hex: str) -> Answer:
        """Take a picture from a sealed upload in ``cache``: large ones arrive like that, and go on where they stopped."""
        self._keep(self._cache / f"{plain(sha256_hex)}.part", self._place(sha256_hex))
        return {}

    def finish_set(self) -> Answer:
        """Give the pictures their names, and return the folder."""
        assert self._kept.names is not None
        self._kept.names.mkdir(parents=True, exist_ok=True)
        for place, path in self._names:
            self._kept.retried(functools.partial(_name, path, place))
        return {"path": str(self._kept.names)}

    def _keep(self, arrived: Path, path: Path) -> None:
        """Move it to its place. It need not reach the disk at once: it is compared before it is used."""
        self._kept.hold(path)
        self._kept.retried(functools.partial(path.parent.mkdir, parents=True, exist_ok=True))
        self._kept.retried(functools.partial(os.replace, arrived, path))
        self._kept.arrived(path)
        self._asked[path] = True

    def _place(self, sha256_hex: str) -> Path:
        return self._cache / "images" / plain(sha256_hex)[:2] / sha256_hex

    def _inside(self, name: str) -> Path:
        path = Path(name)
        if self._kept.names is None or path.is_absolute() or ".." in path.parts or not path.parts:
            raise Refused(f"an image with the name {name!r}")
        return self._kept.names / path


def _name(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, place)
    except OSError as error:
        if error.errno in (*FULL, errno.ENOENT, errno.EEXIST):
            raise
        # A file system without links, or too many of one picture. With its times, by which a validation is resumed.
        shutil.copy2(path, place)
