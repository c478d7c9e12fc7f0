"""The images of a validation on a board: only those that are needed, in batches, and none whose content is there already."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from .. import links, manifests
from ..errors import DeviceError, RemoteError
from ..links import LinkError
from ..manifests import MAGIC_BYTES, ManifestError, begins_like_a_picture, frames, hidden, is_nameless, suffix
from ..transport import room
from ..transport.session import Session
from . import digests

_SENT = manifests.SUFFIXES
# A board has no decoder for HEIC, and one for AVIF only with a new Pillow.
_OTHERS = manifests.HEIF_SUFFIXES | manifests.AVIF_SUFFIXES | manifests.OTHER_PICTURES
_MANIFESTS = (".csv", ".txt")
_BATCH_BYTES = 4 << 20  # sent at once; what is larger goes in pieces, and goes on in its middle
_COMPARED_BYTES = 256 << 20  # compared by the board at once
_BATCH_FILES = 2000
_COMPARING_S = 600.0
_ATTEMPTS = 2
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Images of this machine: ``names`` are relative to ``folder``, with forward slashes, sorted.

    ``header`` and ``rows`` (a line of the manifest by name) are there where a manifest lists them. There a name may stand for
    several files, ``OLDEST.jpg;...;NEWEST.jpg``. ``left_out``: pictures in the folder of kinds that a board may not be able to read.
    """

    folder: Path
    names: tuple[str, ...]
    header: str | None = None
    rows: Mapping[str, str] | None = None
    left_out: tuple[str, ...] = ()

    def warning(self) -> str:
        """Return the sentence that names the pictures which are not sent, or nothing."""
        if not self.left_out:
            return ""
        more = f" and {len(self.left_out) - _SHOWN:,} more" if len(self.left_out) > _SHOWN else ""
        return (
            f"{len(self.left_out):,} pictures are of kinds that are not sent to a board, and left out:"
            f" {', '.join(self.left_out[:_SHOWN])}{more}; convert them to JPEG or PNG"
        )

    @property
    def files(self) -> tuple[str, ...]:
        """The files behind the names, each once."""
        if self.rows is None:
            return self.names
        return tuple(dict.fromkeys(file for name in self.names for file in frames(name)))

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


def listed(place: Path, limit: int | None, *, follow_links: bool = False) -> Listing:
    """Return the images below a folder, or those that a manifest (.csv) lists; with a limit that many, evenly spread.

    follow_links: also links that lead out of the folder.
    Raises DeviceError if there are none, or the manifest cannot be used on a board.
    """
    if place.is_dir():
        names, others = _below(place, follow_links=follow_links)
        return Listing(folder=place, names=tuple(names), left_out=tuple(others)).spread(limit)
    if place.is_file() and place.suffix.lower() in _MANIFESTS:
        return _read_manifest(place).spread(limit)
    raise DeviceError(
        f"{place}: with --on the images must be a folder (class sub-folders or flat), a manifest (.csv), or board:DIR on the board"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """What is under a name of the set: of a file, or the manifest's text."""

    name: str
    sha256: str
    size: int
    data: bytes | None = None


def send(session: Session, listing: Listing, report: Callable[[str], None]) -> str:
    """See to it that the board has these images, and return what to give to ``--images`` there.

    The board compares all that it has with its SHA-256 first, and gets what is new or damaged. What arrived before an interruption
    stays. Raises BoardRefusedError where the board has no room for them; DeviceError for a file that cannot be read, or changed
    meanwhile; RemoteError where it arrives damaged twice.
    """
    rows, text = [_content(listing.folder, name) for name in listing.files], listing.manifest()
    if text is not None:
        data = text.encode()
        manifest = _Content(name=_manifest_name(text), sha256=hashlib.sha256(data).hexdigest(), size=len(data), data=data)
        rows.append(manifest)
    key = hashlib.sha256(b"".join(os.fsencode(row.name) + b"\0" + row.sha256.encode() for row in rows)).hexdigest()[:16]
    session.ask("begin_set", key=key)
    wanted: set[str] = set()
    compared = list(_batches(rows, _COMPARED_BYTES))
    if len(compared) > 1:  # minutes, on a slow card
        report(f"comparing {len(rows):,} images ({sum(row.size for row in rows) / 1e6:.0f} MB) with those on the board")
    for batch in compared:
        payload = json.dumps([(row.name, row.sha256, row.size) for row in batch]).encode()
        wanted.update(session.ask("want", count=len(payload), payload=payload, timeout_s=_COMPARING_S)["missing"])
    missing = list({row.sha256: row for row in rows if row.sha256 in wanted}.values())
    if missing:
        size = sum(row.size for row in missing)
        room.make(session, size, hint=", send fewer images (--limit N)")
        count = sum(row.data is None for row in missing)
        if count:
            report(f"sending {count} of {len(listing.files)} images ({size / 1e6:.1f} MB)")
    for batch in _batches(missing, _BATCH_BYTES):
        _send_batch(session, listing.folder, batch)
    place = session.ask("finish_set", timeout_s=_COMPARING_S)["path"]
    return str(place) if text is None else f"{place}/{_manifest_name(text)}"


def _content(folder: Path, name: str) -> _Content:
    sha256, size = digests.of_file(folder / name)
    return _Content(name=name, sha256=sha256, size=size)


def _send_batch(session: Session, folder: Path, batch: Sequence[_Content]) -> None:
    if batch[0].size > _BATCH_BYTES and batch[0].data is None:
        session.upload(folder / batch[0].name, batch[0].sha256, where="cache")
        session.ask("adopt", sha256_hex=batch[0].sha256)
        return
    left = list(batch)
    for _ in range(_ATTEMPTS):
        payload = b"".join(_read(folder, row) for row in left)
        answer = session.ask("receive", files=[(row.sha256, row.size) for row in left], payload=payload)
        left = [row for row in left if row.sha256 in answer["damaged"]]
        if not left:
            return
    raise RemoteError(
        f"{session.shell.name}: {left[0].name} arrived damaged twice; look at the connection and the board's memory"
    )


def _read(folder: Path, row: _Content) -> bytes:
    """Return what is to be sent. Raises DeviceError where that is no longer what the board was asked for."""
    path = folder / row.name
    try:
        data = row.data if row.data is not None else path.read_bytes()
    except OSError as error:
        raise DeviceError(f"{path}: cannot be read ({error.strerror})") from error
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise DeviceError(f"{path}: changed while the images were sent; run the same command again")
    return data


def _below(folder: Path, *, follow_links: bool) -> tuple[list[str], list[str]]:
    """Return the pictures that are sent, and those of kinds that a board may not be able to read."""
    found: list[str] = []
    others: list[str] = []
    boundary, kinds = folder.resolve(), _SENT | _OTHERS
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not hidden(name)]
        for name in folders:
            _check_link(Path(place) / name, boundary, follow_links=follow_links)
        for name in files:
            kind = suffix(name)
            if not name.startswith(".") and kind in kinds:
                _check_link(Path(place) / name, boundary, follow_links=follow_links)
                (found if kind in _SENT else others).append((Path(place) / name).relative_to(folder).as_posix())
            elif is_nameless(name) and _begins_like_a_picture(Path(place) / name):
                others.append((Path(place) / name).relative_to(folder).as_posix())
    if not found:
        raise DeviceError(f"{folder}: no images here; expected files ending in {', '.join(sorted(_SENT))}")
    return sorted(found), sorted(others)


def _begins_like_a_picture(path: Path) -> bool:
    if not path.is_file():  # a pipe would wait for ever
        return False
    try:
        with path.open("rb") as stream:
            return begins_like_a_picture(stream.read(MAGIC_BYTES))
    except OSError:
        return False


def _check_link(path: Path, boundary: Path, *, follow_links: bool) -> None:
    try:
        links.check(path, boundary, follow_links=follow_links)
    except LinkError as error:
        raise DeviceError(f"{error}; allow it with --follow-links" if error.outside else str(error)) from None


def _read_manifest(path: Path) -> Listing:
    """Return what a manifest lists, each picture under the name that `edge.data.dataset` gives it."""
    try:
        manifest = manifests.parse(path.read_bytes(), text_list=suffix(path.name) == ".txt")
    except (OSError, ManifestError) as error:
        raise DeviceError(f"{path}: cannot be read as a manifest ({getattr(error, 'strerror', None) or error})") from error
    found: dict[str, str] = {}
    for line, cells in manifest.rows:
        cell = cells[manifest.path_at]
        files = [_spelled(path, part, line) for part in frames(cell)]
        name = files[0] if len(files) == 1 else cell.replace("\\", "/")
        if name in found:
            raise DeviceError(f"{path}: {name} is listed twice")
        found[name] = _line([*cells[: manifest.path_at], name, *cells[manifest.path_at + 1 :]])
    header = None if manifest.headless else _line(manifest.header)
    return Listing(folder=path.parent, names=tuple(sorted(found)), header=header, rows=found)


def _spelled(manifest: Path, cell: str, line: int) -> str:
    """Return the picture of a cell as its file is called. Raises DeviceError where there is none that can be sent."""
    there = [PurePosixPath(text) for text in manifests.spellings(cell) if (manifest.parent / text).is_file()]
    found = there[0] if there else PurePosixPath(cell.replace("\\", "/"))
    if found.is_absolute() or ".." in found.parts or not found.parts:
        raise DeviceError(
            f"{manifest}: line {line}: {cell!r} names no image beside or below the manifest, so it cannot be sent to a board"
        )
    if not there:
        raise DeviceError(f"{manifest}: line {line}: there is no image {found}")
    return found.as_posix()


def _line(row: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(row)
    return text.getvalue()


def _manifest_name(text: str) -> str:
    return f"manifest-{hashlib.sha256(text.encode()).hexdigest()[:12]}.csv"


def _batches(rows: Iterable[_Content], most_bytes: int) -> Iterator[list[_Content]]:
    """Yield lists of at most so many bytes; what has more is alone."""
    batch: list[_Content] = []
    size = 0
    for row in rows:
        if batch and (size + row.size > most_bytes or len(batch) == _BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row.size
    if batch:
        yield batch
