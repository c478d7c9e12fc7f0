"""The images of a validation on a board: only those that are needed, in batches, and none that is there already."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from .errors import DeviceError
from .session import Session

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})  # as edge.dataset's
_MANIFESTS = (".csv", ".txt")
_PATH_COLUMNS = ("path", "file", "image", "filename")
_BATCH_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Images of this machine: ``names`` are relative to ``folder``, with forward slashes, sorted.

    ``header`` and ``rows`` (a line of the manifest by name) are there where a manifest lists them. There a name may stand for
    several files, ``OLDEST.jpg;...;NEWEST.jpg``.
    """

    folder: Path
    names: tuple[str, ...]
    header: str | None = None
    rows: Mapping[str, str] | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The files behind the names, each once."""
        if self.rows is None:
            return self.names
        return tuple(dict.fromkeys(file for name in self.names for file in _frames(name)))

    def only(self, names: Sequence[str]) -> Listing:
        """Return a part of it."""
        return replace(self, names=tuple(names))

    def spread(self, limit: int | None) -> Listing:
        """Return ``limit`` of the images, evenly spread, as validate takes them."""
        total = len(self.names)
        if limit is None or limit >= total:
            return self
        if limit < 1:
            raise DeviceError(f"--limit is {limit}, expected at least 1")
        return self.only([self.names[i * total // limit] for i in range(limit)])

    def manifest(self) -> str | None:
        """Return the text of a manifest of these images alone; None where a folder says it all."""
        if self.rows is None:
            return None
        return "".join(
            line + "\n" for line in (*([self.header] if self.header else []), *(self.rows[name] for name in self.names))
        )

    def copy_to(self, folder: Path) -> Path:
        """Copy the images, and return what to give to ``--images``."""
        for name in self.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.folder / name, folder / name)
        text = self.manifest()
        if text is None:
            return folder
        (folder / _manifest_name(text)).write_text(text, "utf-8")
        return folder / _manifest_name(text)


def listed(place: Path, limit: int | None) -> Listing:
    """Return the images below a folder, or those that a manifest (.csv) lists; with a limit that many, evenly spread.

    Raises DeviceError if there are none, or the manifest cannot be used on a board.
    """
    if place.is_dir():
        return Listing(folder=place, names=tuple(sorted(_below(place)))).spread(limit)
    if place.is_file() and place.suffix.lower() in _MANIFESTS:
        return _read_manifest(place).spread(limit)
    raise DeviceError(
        f"{place}: with --on the images must be a folder (class sub-folders or flat), a manifest (.csv), or board:DIR on the board"
    )


def send(session: Session, listing: Listing, report: Callable[[str], None]) -> str:
    """See to it that the board has these images, and return what to give to ``--images`` there.

    What arrived before an interruption stays.
    """
    folder, names, text = listing.folder, listing.files, listing.manifest()
    digest = hashlib.sha256((text or "").encode())
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
            _send_zip(session, Path(scratch), key, {name: (folder / name).read_bytes() for name in batch})
        if text is None:
            return str(there["path"])
        if _manifest_name(text) not in there["files"]:
            _send_zip(session, Path(scratch), key, {_manifest_name(text): text.encode()})
    return f"{there['path']}/{_manifest_name(text)}"


def _below(folder: Path) -> list[str]:
    found: list[str] = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                found.append((Path(place) / name).relative_to(folder).as_posix())
    if not found:
        raise DeviceError(f"{folder}: no images here; expected files ending in {', '.join(sorted(SUFFIXES))}")
    return found


def _read_manifest(path: Path) -> Listing:
    """Return what a manifest lists; its format is that of `edge.dataset`, which looks closer."""
    try:
        rows = [row for row in csv.reader(io.StringIO(path.read_text("utf-8-sig")), strict=True) if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DeviceError(f"{path}: cannot be read as a manifest ({error})") from error
    header = [cell.strip() for cell in rows[0]] if rows else []
    headless = bool(header) and Path(header[0]).suffix.lower() in SUFFIXES
    at = 0 if headless else next((i for i, name in enumerate(header) if name.lower() in _PATH_COLUMNS), 0)
    found: dict[str, str] = {}
    for row in rows if headless else rows[1:]:
        name = PurePosixPath(row[at].strip()).as_posix() if at < len(row) else ""
        for file in map(PurePosixPath, _frames(name)):
            if file.is_absolute() or ".." in file.parts or not file.parts:
                raise DeviceError(f"{path}: {row} names no image beside or below the manifest, so it cannot be sent to a board")
            if not (path.parent / file).is_file():
                raise DeviceError(f"{path}: there is no image {file}")
        if name in found:
            raise DeviceError(f"{path}: {name} is listed twice")
        found[name] = _line(row)
    if not found:
        raise DeviceError(f"{path}: it lists no images")
    return Listing(folder=path.parent, names=tuple(sorted(found)), header=None if headless else _line(rows[0]), rows=found)


def _frames(name: str) -> list[str]:
    parts = [part.strip() for part in name.split(";")]
    return parts if all(Path(part).suffix.lower() in SUFFIXES for part in parts) else [name]


def _line(row: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(row)
    return text.getvalue()


def _manifest_name(text: str) -> str:
    return f"manifest-{hashlib.sha256(text.encode()).hexdigest()[:12]}.csv"


def _send_zip(session: Session, scratch: Path, key: str, files: Mapping[str, bytes]) -> None:
    packed = scratch / "batch.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    with packed.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    session.upload(packed, sha256, where="cache")
    session.ask("unpack", sha256_hex=sha256, folder=key, timeout_s=600)


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
