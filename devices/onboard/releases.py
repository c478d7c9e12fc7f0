"""Releases on the board: made beside the current one, switched to in one step, kept for going back."""

from __future__ import annotations

import json
import os
import platform
import shutil
from pathlib import Path

from . import layers
from .disk import folders, fsync, plain, remove, sha256, write
from .link import Answer, Refused
from .shelf import Shelf, leads_to

MARK = "edgekit.json"
_OURS = ("releases", "env", "wheels", "uploads", "cache", "log")


def is_ours(root: Path) -> bool:
    """Return whether deployments made a folder: its mark says so, or where that is lost, what they left in it."""
    made = ("releases/*/live", "releases/*/release.json", f"env/*/{layers.MARK}", f"wheels/*/{layers.MARK}")
    return (root / MARK).exists() or any(path for pattern in made for path in root.glob(pattern))


class Releases:
    """What can be asked about releases."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def state(self) -> Answer:
        """Return the releases, the current one and the one before it, and the free space."""
        existing = next(path for path in (self._root, *self._root.parents) if path.exists())
        disk = os.statvfs(existing)
        shelf = Shelf(self._root)
        current = shelf.current()
        record = {} if current is None else shelf.record(current) or {}
        previous = shelf.previous(current)
        return {
            "ours": is_ours(self._root),
            "root": str(self._root),
            "releases": [shelf.told(path) for path in shelf.live()],
            "current": None if current is None else current.name,
            "previous": None if previous is None else previous.name,
            "environment": layers.about(self._root / "env" / str(record.get("environment"))),
            "python": platform.python_version(),
            "free_bytes": disk.f_bavail * disk.f_frsize,
            "weight_cache_bytes": sum(
                path.stat().st_blocks * 512 for path in (self._root / "cache" / "weights").glob("*.weights")
            ),
        }

    def hash(self, release: str) -> Answer:
        """Return the SHA-256 of a release's model as it is on the disk now, None where it cannot be read."""
        try:
            return {"sha256": sha256(self._root / "releases" / plain(release) / "model.tflite")}
        except OSError:
            return {"sha256": None}

    def stage(self, sha256_hex: str, about: Answer) -> Answer:
        """Make the next release from a sealed upload. It is not current, and gone with the next session unless it becomes so."""
        releases = self._root / "releases"
        releases.mkdir(exist_ok=True)
        numbers = [int(path.name.partition("-")[0]) for path in releases.iterdir() if path.name.partition("-")[0].isdigit()]
        name = f"{max(numbers, default=0) + 1:04d}-{sha256_hex[:12]}"
        folder = releases / name
        folder.mkdir()
        upload = self._root / "uploads" / f"{plain(sha256_hex)}.part"
        try:
            os.link(upload, folder / "model.tflite")
        except OSError:
            shutil.copyfile(upload, folder / "model.tflite")  # a file system without links
        os.symlink(Path("..", "..", "env", plain(about["environment"])), folder / "env")
        shelf = Shelf(self._root)
        current = shelf.current()
        before = current if current is not None and self._is_as_sent(shelf, current) else shelf.previous(current)
        about = {**about, "id": name, "sha256": sha256_hex, "previous": None if before is None else before.name}
        write(folder / "release.json", json.dumps(about))
        return {"id": name, "path": str(folder / "model.tflite")}

    def switch(self, release: str) -> Answer:
        """Make a release the current one: first everything to the disk, then one rename."""
        folder = self._root / "releases" / plain(release)
        if not self._is_as_sent(Shelf(self._root), folder):
            raise Refused(f"release {release} is damaged on the board's disk; deploy its file again", "damaged")
        # The release's own folder is on the disk since release.json, the last file in it, was written.
        for path in (folder / "model.tflite", folder.parent, self._root):
            fsync(path)
        beside, link = self._root / ".current.new", self._root / "current"
        remove(beside)
        os.symlink(Path("releases", folder.name), beside)
        if link.is_dir() and not link.is_symlink():
            remove(link)  # no deployment made this folder, and a link cannot replace it
        os.replace(beside, link)
        fsync(self._root)
        write(folder / "live", "")
        return {}

    def prune(self, keep: int) -> Answer:
        """Remove all but the last ``keep`` releases, never the current one or the one before it; and what only they needed."""
        shelf = Shelf(self._root)
        live, current = shelf.live(), shelf.current()
        whole = [path for path in live if shelf.damage(path) is None]
        kept = {*whole[-keep:], *(path for path in (current, shelf.previous(current)) if path is not None)}
        removed = [path for path in live if path not in kept]
        for path in removed:
            remove(path / "live")  # from here on it is a rest, which the next session removes should we be stopped
            remove(path)
        environments, wheels = shelf.used()
        layers.prune(self._root / "env", environments)
        layers.prune(self._root / "wheels", wheels)
        remove(self._root / "uploads")
        return {"removed": [path.name for path in removed]}

    def remove_all(self) -> Answer:
        """Remove everything that deployments made, and nothing else: what others put into the folder stays."""
        for name in ("current", *_OURS, ".current.new", f".{MARK}.new", "lock", MARK):
            remove(self._root / name)
        left = sorted(path.name for path in self._root.iterdir())
        if not left:
            self._root.rmdir()
        return {"left": left}

    def heal(self) -> None:
        """Remove what an interrupted session left, and mend what can be told from the rest. Uploads stay: they are continued."""
        remove(self._root / ".current.new")
        for name in _OURS:
            path = self._root / name
            if path.is_file() and not path.is_symlink():
                remove(path)
        for path in [*self._within("uploads"), *self._within("releases")]:
            if path.is_dir() != (path.parent.name == "releases"):
                remove(path)  # a folder where only files are, or the other way round
        shelf = Shelf(self._root)
        live = shelf.live()
        for path in folders(self._root / "releases"):
            if path not in live:
                remove(path)
            elif not (path / "live").exists():
                write(path / "live", "")
        for path in live:
            record = shelf.record(path)
            if record is not None and leads_to(path / "env") != record["environment"]:
                remove(path / "env")
                os.symlink(Path("..", "..", "env", record["environment"]), path / "env")
        environments, wheels = shelf.used()
        layers.heal(self._root / "env", environments)
        layers.heal(self._root / "wheels", wheels)

    def _is_as_sent(self, shelf: Shelf, release: Path) -> bool:
        record = shelf.record(release)
        return record is not None and self.hash(release.name)["sha256"] == record["sha256"]

    def _within(self, name: str) -> list[Path]:
        folder = self._root / name
        return sorted(folder.iterdir()) if folder.is_dir() else []
