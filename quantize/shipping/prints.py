"""What a step depends on, as one SHA-256: of the models' contents, of the names, sizes and times of the photos."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from edge.data.dataset import LabelledImages
from edge.files import sha256_file
from edge.version import __version__

from .steps import Step

GONE = "gone"


class Prints:
    """Remembers the hashes of what did not change meanwhile, and each list of photos for as long as it lives."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, int, int], str] = {}
        self._photos: dict[str, str] = {}

    def key(self, step: Step) -> str:
        """Return the SHA-256 over all that decides what a step finds."""
        files = {path: self.file(path) for path in step.files}
        photos = {path: self.photos(path) for path in step.photos}
        plain = {"edgekit": __version__, "words": step.words, "files": files, "photos": photos, "machine": step.machine}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    def file(self, path: str) -> str:
        """Return the SHA-256 of a file, `GONE` where there is none; of a folder (a SavedModel) that of its files' sizes and times."""
        place = Path(path)
        try:
            if place.is_dir():
                return _digest(str(each.relative_to(place)) + _seen(each) for each in sorted(place.rglob("*")) if each.is_file())
            found = place.stat()
            known = (path, found.st_size, found.st_mtime_ns)
            if known not in self._files:
                self._files[known] = sha256_file(place)
            return self._files[known]
        except OSError:
            return GONE

    def photos(self, path: str) -> str:
        """Return the SHA-256 of a folder's or manifest's names, sizes and times. Raises DatasetError."""
        if path not in self._photos:
            listed = LabelledImages.open(path, unlabelled=True)
            lines = (f"{item.id} {source} {_seen(source)}" for item in listed for source in item.sources)
            own = [self.file(path)] if Path(path).is_file() else []
            self._photos[path] = _digest([*own, *lines])
        return self._photos[path]


def _seen(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return GONE
    return f" {found.st_size} {found.st_mtime_ns}"


def _digest(lines: Iterable[str]) -> str:
    found = hashlib.sha256()
    for line in lines:
        found.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()
