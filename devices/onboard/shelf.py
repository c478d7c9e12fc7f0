"""What the disk tells about the releases: which there are, which of them can be used, and what they use."""

from __future__ import annotations

import os
from pathlib import Path

from . import layers
from .disk import folders, read_json
from .link import Answer


class Shelf:
    """The releases as they are found during one operation: each record is read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._records: dict[Path, Answer | None] = {}

    def current(self) -> Path | None:
        """Return the folder to which the link `current` leads, None where it is lost or leads nowhere."""
        name = leads_to(self._root / "current") or "."
        path = self._root / "releases" / name
        return path if not name.startswith(".") and path.is_dir() else None

    def previous(self, current: Path | None) -> Path | None:
        """Return what was current before; where that is damaged, or the current release does not tell, the next that is whole."""
        if current is None:
            return None
        record = self.record(current)
        if record is not None and record.get("previous") is None:
            return None
        whole = [path for path in self.live() if path != current and self.damage(path) is None]
        named = [path for path in whole if record is not None and path.name == record["previous"]]
        earlier = [path for path in whole if path.name < current.name]
        return next(iter(named[-1:] or earlier[-1:] or (whole[-1:] if record is None else [])), None)

    def record(self, release: Path) -> Answer | None:
        """Return what was written about a release, None where that is lost."""
        if release not in self._records:
            self._records[release] = _readable(release)
        return self._records[release]

    def damage(self, release: Path) -> str | None:
        """Return what keeps a release from being used, as far as can be told without reading its model."""
        record, model = self.record(release), release / "model.tflite"
        if record is None:
            return "its record release.json is lost"
        if not model.is_file():
            return "its file model.tflite is missing"
        size = model.stat().st_size
        if size != record.get("bytes", size):
            return f"its file model.tflite has {size} bytes instead of {record['bytes']}"
        if leads_to(release / "env") != record["environment"]:
            return "its link to the environment is lost"
        return None

    def told(self, release: Path) -> Answer:
        """Return what the workstation hears about a release."""
        return {**(self.record(release) or {"id": release.name}), "damage": self.damage(release)}

    def used(self) -> tuple[set[str], set[str]]:
        """Return the keys of the environments that releases use, and of the wheels that these use."""
        environments = {
            str(key)
            for path in self.live()
            for key in ((self.record(path) or {}).get("environment"), leads_to(path / "env"))
            if key
        }
        return environments, {str(layers.wheels_of(self._root / "env" / key)) for key in environments}

    def live(self) -> list[Path]:
        """Return the releases that are or were current: their marks say so, or else the current one and what it says of the last."""
        current = self.current()
        proven = {"" if current is None else current.name, (self.record(current) or {}).get("previous") if current else None}
        return [path for path in folders(self._root / "releases") if path.name in proven or (path / "live").exists()]


def leads_to(link: Path) -> str | None:
    """Return the name of what a link leads to, None where it is no link."""
    try:
        return Path(os.readlink(link)).name
    except OSError:
        return None


def _readable(release: Path) -> Answer | None:
    found = read_json(release / "release.json") or {}
    digest, environment, previous = (found.get(name) for name in ("sha256", "environment", "previous"))
    texts = isinstance(digest, str) and isinstance(environment, str) and isinstance(previous, str | None)
    if found.get("id") != release.name or not texts:
        return None
    key = str(environment)
    return found if key and "/" not in key and not key.startswith(".") else None
