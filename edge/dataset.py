"""Labelled images on disk: a folder with one sub-folder per class, a flat folder without labels, or a CSV manifest.

A manifest has a header. The column called path, file, image or filename (else the first with pictures) is the image's path, relative
to the manifest. ``label``, in any case, is the class, without one ``class``, ``target`` or ``category``; every other column is kept as
text under its name and read when an output of that name asks for it (a regression target, a second label), or a model's input of that
name (see `edge.extra_inputs`). Without a header the columns are ``path`` and ``label``. A path cell may have several pictures,
``OLDEST.jpg;...;NEWEST.jpg``, for models that take stacked frames. `edge.manifest_text` knows the dialects.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from devices.manifests import frames, hidden, suffix

from . import manifest_text, picture_kinds
from .errors import DatasetError

LABEL_COLUMN = "label"

_SHOWN = 8  # names shown in a message before "and N more"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageItem:
    """One image. ``id`` is its path relative to the dataset, with forward slashes: the same on every machine.

    ``label`` is an index into ``LabelledImages.labels``, or None. ``targets`` is the text of the manifest's other columns, in the
    order of ``LabelledImages.columns``. ``frames`` are the pictures of a row that has several, the oldest first; ``path`` is then
    the newest.
    """

    id: str
    path: Path
    label: int | None = None
    targets: tuple[str, ...] = ()
    frames: tuple[Path, ...] = ()

    @property
    def sources(self) -> tuple[Path, ...]:
        """The picture's path, or those of all frames."""
        return self.frames or (self.path,)

    def read(self) -> bytes | list[bytes]:
        """Return the file's content, or that of each frame. Raises OSError."""
        return [path.read_bytes() for path in self.frames] if self.frames else self.path.read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImages:
    """Images in a fixed order (by id). Only names are held, never pixels.

    ``labels``: the class names that ``ImageItem.label`` counts in; the model's, when they were given. Empty: nothing is labelled,
    or the labels are bare class numbers. ``skipped``: pictures in the folder of a kind that is not read, as ids.
    """

    root: Path
    items: tuple[ImageItem, ...]
    labels: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        labels: Sequence[str] | None = None,
        unlabelled: bool = False,
        follow_links: bool = False,
        background: int | None = None,
        label_offset: int | None = None,
    ) -> LabelledImages:
        """List the images of a folder or manifest.

        labels: the model's class names. Sub-folders and manifest labels are matched to them: exactly, else without regard to case
        and to ``_``, ``-`` and blanks. Without them the sorted names in the data are the classes. Bare class numbers (folders
        ``0``, ``1``, ... or such a label column) count in the model's own class order.
        unlabelled: give no image a class: sub-folder names are ignored, and ``label`` is a column like the others.
        follow_links: accept symbolic links that lead out of the folder; without it they are an error, never followed in silence.
        background: the model's class that means nothing. With one, bare class numbers may count it or not, so they need
        label_offset, what is added to a bare class number to give the model's: 1 where the data do not count a background at 0.

        Raises DatasetError: no images, names that match no class, a manifest that cannot be read.
        """
        root = Path(path)
        columns: tuple[str, ...] = ()
        skipped: list[str] = []
        if root.is_dir():
            found = _scan(root, unlabelled=unlabelled, follow_links=follow_links, skipped=skipped)
        elif root.is_file() and root.suffix.lower() in (".csv", ".txt"):
            found, columns = _read_manifest(root, unlabelled=unlabelled)
        elif root.exists():
            raise DatasetError(f"{root}: neither a folder of images nor a manifest (.csv)")
        else:
            raise DatasetError(f"{root}: no such folder or manifest")
        found = [(item, None if name is None else _composed(name)) for item, name in found]
        names = sorted({name for _, name in found if name is not None})
        if any(name is None for _, name in found) or not names:
            every = _sorted(item for item, _ in found)
            return cls(root=root, items=every, labels=tuple(labels or ()), columns=columns, skipped=tuple(skipped))
        known, index = match_labels(names, labels, where=str(root), background=background, label_offset=label_offset)
        items = _sorted(replace(item, label=index[name]) for item, name in found if name is not None)
        return cls(root=root, items=items, labels=known, columns=columns, skipped=tuple(skipped))

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[ImageItem]:
        return iter(self.items)

    @property
    def labelled(self) -> bool:
        """Whether every image has a class."""
        return bool(self.items) and all(item.label is not None for item in self.items)

    def counts(self) -> dict[int, int]:
        """Return the number of images per class index, for the classes that have any."""
        return dict(sorted(Counter(item.label for item in self.items if item.label is not None).items()))

    def subset(self, count: int) -> LabelledImages:
        """Return ``count`` images at equal spacing: each class keeps its share, and the same ones are taken every time."""
        if count < 1:
            raise DatasetError(f"{self.root}: asked for {count} images, expected at least 1")
        total = len(self.items)
        if count >= total:
            return self
        return replace(self, items=tuple(self.items[i * total // count] for i in range(count)))

    def label_text(self, item: ImageItem) -> str:
        """Return the class name of ``item``, its number where there are no names, or an empty text."""
        if item.label is None:
            return ""
        return self.labels[item.label] if self.labels else str(item.label)

    def column(self, name: str) -> tuple[str, ...] | None:
        """Return the text of manifest column ``name`` for every image, or None where there is no such column."""
        if name not in self.columns:
            return None
        position = self.columns.index(name)
        return tuple(item.targets[position] for item in self.items)


def normal(name: str) -> str:
    """Return ``name`` as it is compared: composed (NFC), case folded, runs of ``_``, ``-`` and blanks as one blank."""
    return " ".join(_composed(name).casefold().replace("_", " ").replace("-", " ").split())


def shown(names: Sequence[str]) -> str:
    """Return the first few of ``names`` for a message."""
    text = ", ".join(names[:_SHOWN])
    return text if len(names) <= _SHOWN else f"{text} and {len(names) - _SHOWN} more"


def match_labels(
    names: Sequence[str],
    labels: Sequence[str] | None,
    *,
    where: str,
    background: int | None = None,
    label_offset: int | None = None,
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the class names and the index of each of ``names`` in them.

    Offsets (a background class, 1001 against 1000 classes) are never guessed: names are looked up, and numbers are the model's own
    plus ``label_offset``, which must be said for a model with a ``background`` class unless the numbers leave no doubt.
    """
    numbers = all(name.isascii() and name.isdigit() for name in names)
    if label_offset is not None and not numbers:
        raise DatasetError(
            f"{where}: its classes are names ({shown(names)}); --label-offset is for bare class numbers, leave it out"
        )
    if labels is None or not labels:
        if numbers:
            return (), _numbered(names, None, background, label_offset, where=where)
        return tuple(names), {name: i for i, name in enumerate(names)}
    exact: dict[str, list[int]] = {}
    loose: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        exact.setdefault(_composed(label), []).append(i)
        loose.setdefault(normal(label), []).append(i)
    index: dict[str, int] = {}
    for name in names:
        candidates = exact.get(_composed(name)) or loose.get(normal(name), [])
        if len(candidates) > 1:
            # ImageNet has two cranes: a bird and a machine.
            which = shown([str(i) for i in candidates])
            raise DatasetError(
                f"{where}: {name!r} is the name of {len(candidates)} of the model's classes ({which});"
                " give the class numbers instead (a manifest with a label column of numbers)"
            )
        if candidates:
            index[name] = candidates[0]
    missing = [name for name in names if name not in index]
    if missing and numbers:
        index = _numbered(names, len(labels), background, label_offset, where=where)
        beyond = [name for name in names if not 0 <= index[name] < len(labels)]
        if not beyond:
            return tuple(labels), index
        missing = beyond
    if missing:
        raise DatasetError(
            f"{where}: {len(missing)} of {len(names)} classes are none of the model's: {shown(missing)};"
            f" the model has {len(labels)} classes: {shown(labels)}; rename the folders or labels, or ignore them (--unlabelled)"
        )
    taken: dict[int, str] = {}
    for name in names:
        other = taken.setdefault(index[name], name)
        if other != name:
            raise DatasetError(f"{where}: {other!r} and {name!r} both are the model's class {labels[index[name]]!r}; merge them")
    return tuple(labels), index


def _composed(name: str) -> str:
    """Return ``name`` with accents as most systems write them: macOS unpacks ``Ä`` as ``A`` and an accent (NFD)."""
    return unicodedata.normalize("NFC", name)


def _numbered(
    names: Sequence[str], classes: int | None, background: int | None, offset: int | None, *, where: str
) -> dict[str, int]:
    """Return the class of each bare number. Raises DatasetError where it is open whether they count the background class."""
    numbers = {name: int(name) for name in names}
    if offset is None and background is not None and (classes is None or classes - 1 not in numbers.values()):
        shifted = background in numbers.values()
        why = "is among them" if shifted else "is not among them, which need not mean that it is counted"
        more = "" if shifted else ", or --label-offset 0 where it is the background"
        raise DatasetError(
            f"{where}: its classes are bare numbers, and the model's class {background} is the background, which {why};"
            f" say --label-offset 1 where number 0 is the first real class{more}"
        )
    lowest = min(numbers.values(), default=0)
    if offset is not None and lowest + offset < 0:
        raise DatasetError(f"{where}: class number {lowest} with label offset {offset} is {lowest + offset}, expected 0 or more")
    return {name: number + (offset or 0) for name, number in numbers.items()}


def _sorted(items: Iterator[ImageItem]) -> tuple[ImageItem, ...]:
    return tuple(sorted(items, key=lambda item: item.id))


def _scan(root: Path, *, unlabelled: bool, follow_links: bool, skipped: list[str]) -> list[tuple[ImageItem, str | None]]:
    """Return (item, class folder) for every image below ``root``; hidden files and folders are none of the user's data.

    Pictures of other kinds are added to ``skipped``.
    """
    found: list[tuple[ImageItem, str | None]] = []
    boundary, readable = root.resolve(), picture_kinds.readable()
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_refuse):
        here = Path(folder)
        subfolders[:] = sorted(name for name in subfolders if not hidden(name))
        for name in subfolders:
            _check_link(here / name, boundary, follow_links=follow_links)
        for name in sorted(files):
            kind = suffix(name)
            if name.startswith(".") or kind not in picture_kinds.PICTURES:
                continue
            if kind not in readable:
                skipped.append((here / name).relative_to(root).as_posix())
                continue
            path = here / name
            _check_link(path, boundary, follow_links=follow_links)
            relative = path.relative_to(root)
            found.append((ImageItem(id=relative.as_posix(), path=path), relative.parts[0] if len(relative.parts) > 1 else None))
    if not found:
        others = f" ({len(skipped)} of other kinds: {shown(skipped)}; {picture_kinds.advice(skipped)})" if skipped else ""
        raise DatasetError(f"{root}: no images here{others}; expected files ending in {', '.join(sorted(readable))}")
    if unlabelled:
        return [(item, None) for item, _ in found]
    loose = [item.id for item, name in found if name is None]
    if loose and len(loose) < len(found):
        raise DatasetError(
            f"{root}: {len(loose)} images lie beside the class folders ({shown(loose)}); move them into a class folder, or take"
            " everything without labels (--unlabelled)"
        )
    return found


def class_folders(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the sub-folders of ``root`` that hold images at any depth, and those that hold none, each sorted as on disk.

    Hidden folders, and what archivers leave (``__MACOSX``), are in neither. Raises DatasetError where a folder cannot be listed.
    """
    full: list[str] = []
    empty: list[str] = []
    try:
        folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not hidden(entry.name))
    except OSError as error:
        _refuse(error)
    for name in folders:
        (full if _holds_image(root / name) else empty).append(name)
    return tuple(full), tuple(empty)


def _holds_image(folder: Path) -> bool:
    readable = picture_kinds.readable()
    for _, subfolders, files in os.walk(folder, onerror=_refuse):
        subfolders[:] = [name for name in subfolders if not hidden(name)]
        if any(not name.startswith(".") and suffix(name) in readable for name in files):
            return True
    return False


def _refuse(error: OSError) -> NoReturn:
    raise DatasetError(f"{error.filename}: cannot be listed ({error.strerror})") from error


def _check_link(path: Path, boundary: Path, *, follow_links: bool) -> None:
    if not path.is_symlink():
        return
    target = path.resolve()
    if path.is_dir() and target in (boundary, *boundary.parents, *(p.resolve() for p in path.parents)):
        raise DatasetError(f"{path}: a symbolic link to a folder above it ({target}) would go round for ever; remove it")
    if not follow_links and not target.is_relative_to(boundary):
        raise DatasetError(f"{path}: a symbolic link that leads out of the dataset ({target}); allow it with --follow-links")


def _read_manifest(path: Path, *, unlabelled: bool) -> tuple[list[tuple[ImageItem, str | None]], tuple[str, ...]]:
    """Return (item, label text) per row and the names of the other columns."""
    manifest = manifest_text.read(path)
    header, at = manifest.header, manifest.path_at
    label_at = None if unlabelled else manifest.label_at
    others = [i for i in range(len(header)) if i not in (at, label_at)]
    found: list[tuple[ImageItem, str | None]] = []
    seen: dict[str, int] = {}
    for line, cells in manifest.rows:
        sources = tuple(manifest_text.picture(path.parent, part)[1] for part in frames(cells[at]))
        name, _ = manifest_text.picture(path.parent, cells[at])
        if name in seen:
            raise DatasetError(f"{path}: line {line} lists {name} again (first on line {seen[name]})")
        seen[name] = line
        label = cells[label_at] if label_at is not None else None
        if label == "":
            raise DatasetError(f"{path}: line {line} ({name}) has no label; fill it in or leave the row out")
        several = sources if len(sources) > 1 else ()
        item = ImageItem(id=name, path=sources[-1], targets=tuple(cells[i] for i in others), frames=several)
        found.append((item, label))
    return found, tuple(header[i] for i in others)
