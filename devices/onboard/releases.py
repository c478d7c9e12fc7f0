"""Releases on the board: made beside the current one, switched to in one step, kept for going back."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
from pathlib import Path

from .disk import fsync, plain, read_json, remove, sha256, write
from .link import Answer, Link, Refused

MARK = "edgekit.json"
_OURS = ("releases", "env", "uploads", "cache", "log")


class Releases:
    """What can be asked about releases."""

    def __init__(self, root: Path, link: Link) -> None:
        self._root = root

    def state(self) -> Answer:
        """Return the releases, the current one and the one before it, and the free space."""
        existing = next(path for path in (self._root, *self._root.parents) if path.exists())
        disk = os.statvfs(existing)
        current = self._current()
        about = self._about(current) if current is not None else {}
        return {
            "ours": (self._root / MARK).exists(),
            "root": str(self._root),
            "releases": [self._about(path) for path in self._live()],
            "current": about.get("id"),
            "previous": self._previous(about),
            "environment": read_json(self._root / "env" / str(about.get("environment")) / "complete.json"),
            "python": platform.python_version(),
            "free_bytes": disk.f_bavail * disk.f_frsize,
        }

    def hash(self, release: str) -> Answer:
        """Return the SHA-256 of a release's model as it is on the disk now."""
        return {"sha256": sha256(self._root / "releases" / plain(release) / "model.tflite")}

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
        current = self._current()
        about = {**about, "id": name, "sha256": sha256_hex, "previous": current.name if current is not None else None}
        write(folder / "release.json", json.dumps(about))
        return {"id": name, "path": str(folder / "model.tflite")}

    def switch(self, release: str) -> Answer:
        """Make a release the current one: first everything to the disk, then one rename."""
        folder = self._root / "releases" / plain(release)
        about = self._about(folder)
        if not about or sha256(folder / "model.tflite") != about["sha256"]:
            raise Refused(f"release {release} is damaged on the board's disk; deploy again", "damaged")
        # The release's own folder is on the disk since release.json, the last file in it, was written.
        for path in (folder / "model.tflite", folder.parent, self._root):
            fsync(path)
        beside = self._root / ".current.new"
        beside.unlink(missing_ok=True)
        os.symlink(Path("releases", folder.name), beside)
        os.replace(beside, self._root / "current")
        fsync(self._root)
        write(folder / "live", "")
        return {}

    def prune(self, keep: int) -> Answer:
        """Remove all but the last ``keep`` releases, never the current one or the one before it; and what only they needed."""
        live, current = self._live(), self._current()
        kept = set(live[-keep:]) if keep > 0 else set()
        if current is not None:
            kept |= {current, self._root / "releases" / str(self._about(current).get("previous"))}
        removed = [path for path in live if path not in kept]
        for path in removed:
            (path / "live").unlink()  # from here on it is a rest, which the next session removes should we be stopped
            remove(path)
        used = {str(self._about(path).get("environment")) for path in self._live()}
        for path in self._folders("env"):
            if path.name not in used:
                (path / "complete.json").unlink(missing_ok=True)
                remove(path)
        remove(self._root / "uploads")
        return {"removed": [path.name for path in removed]}

    def remove_all(self) -> Answer:
        """Remove everything that deployments made, and nothing else: what others put into the folder stays."""
        (self._root / "current").unlink(missing_ok=True)
        for name in _OURS:
            remove(self._root / name)
        for name in (".current.new", f".{MARK}.new", "lock", MARK):
            (self._root / name).unlink(missing_ok=True)
        left = sorted(path.name for path in self._root.iterdir())
        if not left:
            self._root.rmdir()
        return {"left": left}

    def heal(self) -> None:
        """Remove what an interrupted session left. Uploads stay: they are continued."""
        (self._root / ".current.new").unlink(missing_ok=True)
        current = self._current()
        if current is not None and not (current / "live").exists():
            write(current / "live", "")
        for name, mark in (("releases", "live"), ("env", "complete.json")):
            for path in self._folders(name):
                if not (path / mark).exists():
                    remove(path)

    def _current(self) -> Path | None:
        try:
            name = Path(os.readlink(self._root / "current")).name
        except OSError:
            return None
        path = self._root / "releases" / name
        return path if (path / "release.json").exists() else None

    def _previous(self, about: Answer) -> str | None:
        name = about.get("previous")
        return str(name) if name and (self._root / "releases" / str(name) / "live").exists() else None

    def _about(self, folder: Path) -> Answer:
        return read_json(folder / "release.json") or {}

    def _live(self) -> list[Path]:
        return [path for path in self._folders("releases") if (path / "live").exists()]

    def _folders(self, name: str) -> list[Path]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(path for path in (self._root / name).iterdir() if path.is_dir() and not path.is_symlink())
        return []
