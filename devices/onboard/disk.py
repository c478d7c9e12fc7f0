"""Files on the board: written so that a power cut leaves the old one or the new one, removed so that no link is followed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

from .link import PIECE_BYTES, Answer, Refused


def site_name(name: str) -> Path | None:
    """Return where a wheel's file goes below site-packages, or None for scripts and headers. Raises Refused for a way out."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise Refused(f"an archive with the name {name!r} in it", "damaged")
    if path.parts[0].endswith(".data"):
        return Path(*path.parts[2:]) if len(path.parts) > 2 and path.parts[1] in ("purelib", "platlib") else None
    return path


def plain(name: str) -> str:
    """Return ``name`` if it is a single name that leads nowhere else. Raises Refused."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise Refused(f"{name!r} is no name")
    return name


def read_json(path: Path) -> Answer | None:
    """Return the object in a JSON file, or None where there is none."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read from the disk in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while data := stream.read(PIECE_BYTES):
            digest.update(data)
    return digest.hexdigest()


def whole(path: Path, sha256_hex: str) -> bool:
    """Return whether a file is there and has that SHA-256. One that the card cannot read any more is removed."""
    try:
        return path.exists() and sha256(path) == sha256_hex
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        path.unlink()
        return False


def write(path: Path, text: str) -> None:
    """Write a text beside ``path``, see it to the disk, and rename it."""
    beside = path.with_name(f".{path.name}.new")
    for place in (beside, path):
        if place.is_dir() and not place.is_symlink():
            remove(place)  # nobody made a folder there, and a file cannot replace it
    with beside.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(beside, path)
    fsync(path.parent)


def fsync(path: Path) -> None:
    """See a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def folders(parent: Path) -> list[Path]:
    """Return the folders in a folder by name, and nothing where there is no such folder."""
    with contextlib.suppress(OSError):
        return sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
    return []


def remove(path: Path) -> None:
    """Remove what is there, a folder with everything in it; links are removed, never followed."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except PermissionError:
        # Ours to remove: a folder whose rights somebody took away would otherwise stop every session that clears up.
        path.chmod(0o700)
        for place, names, _ in os.walk(path):
            for folder in (Path(place, name) for name in names):
                if not folder.is_symlink():
                    folder.chmod(0o700)
        shutil.rmtree(path)
