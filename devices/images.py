"""The images of a validation on a board: only those that are needed, in batches, and none that is there already."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .errors import DeviceError
from .session import Session

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})  # as edge.dataset's
_BATCH_BYTES = 8 << 20


def listed(folder: Path, limit: int | None) -> tuple[str, ...]:
    """Return the images below ``folder`` as relative paths, sorted; with a limit that many, evenly spread, as validate takes them.

    Raises DeviceError if it is no folder or has no images.
    """
    if not folder.is_dir():
        raise DeviceError(
            f"{folder}: with --on the images must be a folder (class sub-folders or flat), or board:DIR on the board"
        )
    found: list[str] = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                found.append((Path(place) / name).relative_to(folder).as_posix())
    found.sort()
    if not found:
        raise DeviceError(f"{folder}: no images here; expected files ending in {', '.join(sorted(SUFFIXES))}")
    if limit is None or limit >= len(found):
        return tuple(found)
    if limit < 1:
        raise DeviceError(f"--limit is {limit}, expected at least 1")
    return tuple(found[i * len(found) // limit] for i in range(limit))


def send(session: Session, folder: Path, names: tuple[str, ...], report: Callable[[str], None]) -> str:
    """See to it that the board has these images, and return the folder there. What arrived before an interruption stays."""
    digest = hashlib.sha256()
    for name in names:
        status = (folder / name).stat()
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    key = f"images-{digest.hexdigest()[:16]}"
    there = session.ask("present", folder=key)
    missing = [name for name in names if there["files"].get(name) != (folder / name).stat().st_size]
    if missing:
        size = sum((folder / name).stat().st_size for name in missing)
        report(f"sending {len(missing)} of {len(names)} images ({size / 1e6:.1f} MB)")
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        for batch in _batches(folder, missing):
            packed = Path(scratch) / "batch.zip"
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
                for name in batch:
                    archive.write(folder / name, name)
            with packed.open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            session.upload(packed, sha256, where="cache")
            session.ask("unpack", sha256_hex=sha256, folder=key, timeout_s=600)
    return str(there["path"])


def _batches(folder: Path, names: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for name in names:
        batch.append(name)
        size += (folder / name).stat().st_size
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
