"""Labelled images on disk: a folder with one sub-folder per class, a flat folder without labels, or a CSV manifest.

A manifest has a header. The column called path, file, image or filename (else the first with pictures) is the image's path, relative
to the manifest. ``label``, in any case, is the class, without one ``class``, ``target`` or ``category``; every other column is kept as
text under its name and read when an output of that name asks for it (a regression target, a second label), or a model's input of that
name (see `edge.runtime.extra_inputs`). Without a header the columns are ``path`` and ``label``. A path cell may have several pictures,
``OLDEST.jpg;...;NEWEST.jpg``, for models that take stacked frames. `edge.data.manifest_text` knows the dialects.
"""

from __future__ import annotations

import os
import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from devices import links
from devices.links import LinkError
from devices.manifests import frames, hidden, suffix

from ..errors import DatasetError
from . import image_list, manifest_text, picture_kinds
from .image_list import NO_LABEL, ImageItem, ImageList, Rows

__all__ = ["LABEL_COLUMN", "MOST_SHOWN", "ImageItem", "LabelledImages", "class_folders", "match_labels", "normal", "shown"]

LABEL_COLUMN = "label"

MOST_SHOWN = 8  # names shown in a message before "and N more"
_DIGITS = 9  # of a class number; what has more is a name


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImages:
    """Images in a fixed order (by id). Only names are held, never pixels, and as packed text (`edge.data.image_list`).

    ``labels``: the class names that ``ImageItem.label`` counts in; the model's, when they were given. Empty: nothing is labelled,
    or the labels are bare class numbers. ``skipped``: pictures in the folder of a kind that is not read, as ids.
    """

    root: Path
    items: Sequence[ImageItem]
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
        if not found.labelled:
            every = found.images(None)
            return cls(root=root, items=every, labels=tuple(labels or ()), columns=columns, skipped=tuple(skipped))
        names = sorted(found.names)
        known, index = match_labels(names, labels, where=str(root), background=background, label_offset=label_offset)
        return cls(root=root, items=found.images(index), labels=known, columns=columns, skipped=tuple(skipped))

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[ImageItem]:
        return iter(self.items)

    @property
    def labelled(self) -> bool:
        """Whether every image has a class."""
        return bool(self.items) and bool(np.all(self.label_ids() != NO_LABEL))

    def label_ids(self) -> NDArray[np.int32]:
        """Return the class index of every image (N,), -1 where it has none."""
        return image_list.labels_of(self.items)

    def take(self, positions: NDArray[np.integer[Any]]) -> LabelledImages:
        """Return the images at ``positions``, in their order."""
        return replace(self, items=image_list.take(self.items, positions))

    def counts(self) -> dict[int, int]:
        """Return the number of images per class index, for the classes that have any."""
        labels, images = np.unique(self.label_ids(), return_counts=True)
        return {int(label): int(count) for label, count in zip(labels, images, strict=True) if label != NO_LABEL}

    def subset(self, count: int) -> LabelledImages:
        """Return ``count`` images at equal spacing: each class keeps its share, and the same ones are taken every time."""
        if count < 1:
            raise DatasetError(f"{self.root}: asked for {count} images, expected at least 1")
        total = len(self.items)
        if count >= total:
            return self
        return self.take(np.arange(count) * total // count)

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
        if isinstance(self.items, ImageList):
            return self.items.column(position)
        return tuple(item.targets[position] for item in self.items)


def normal(name: str) -> str:
    """Return ``name`` as it is compared: composed (NFC), case folded, runs of ``_``, ``-`` and blanks as one blank."""
    return " ".join(_composed(name).casefold().replace("_", " ").replace("-", " ").split())


def shown(names: Sequence[str], total: int | None = None) -> str:
    """Return the first few of ``names`` for a message. total: how many there are, where only the first are given."""
    text, total = ", ".join(names[:MOST_SHOWN]), total or len(names)
    return text if total <= MOST_SHOWN else f"{text} and {total - MOST_SHOWN} more"


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
    numbers = all(name.isascii() and name.isdigit() and len(name.lstrip("0")) <= _DIGITS for name in names)
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
            f" the model has {len(labels)} classes: {shown(labels)}",
            ways=((None, "rename the folders or labels"), ("--unlabelled", "ignore them (--unlabelled)")),
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
        ways = [("--label-offset", "say --label-offset 1 where number 0 is the first real class")]
        ways += [] if shifted else [("--label-offset", "--label-offset 0 where it is the background")]
        raise DatasetError(
            f"{where}: its classes are bare numbers, and the model's class {background} is the background, which {why}",
            ways=(*ways, (None, "give the classes by their names")),
        )
    lowest = min(numbers.values(), default=0)
    if offset is not None and lowest + offset < 0:
        raise DatasetError(f"{where}: class number {lowest} with label offset {offset} is {lowest + offset}, expected 0 or more")
    return {name: number + (offset or 0) for name, number in numbers.items()}


def _scan(root: Path, *, unlabelled: bool, follow_links: bool, skipped: list[str]) -> Rows:
    """Return every image below ``root`` with its class folder; hidden files and folders are none of the user's data.

    Pictures of other kinds are added to ``skipped``.
    """
    found = Rows(base=root)
    boundary, readable = root.resolve(), picture_kinds.readable()
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_refuse):
        here = Path(folder)
        subfolders[:] = sorted(name for name in subfolders if not hidden(name))
        for name in subfolders:
            _check_link(here / name, boundary, follow_links=follow_links)
        inside = here.relative_to(root)
        prefix = f"{inside.as_posix()}/" if inside.parts else ""
        label = _composed(inside.parts[0]) if inside.parts and not unlabelled else None
        for name in sorted(files):
            kind = suffix(name)
            if name.startswith(".") or kind not in picture_kinds.PICTURES:
                if picture_kinds.is_nameless_picture(here / name):
                    skipped.append(prefix + name)
                continue
            if kind not in readable:
                skipped.append(prefix + name)
                continue
            if os.path.islink(os.path.join(folder, name)):
                _check_link(here / name, boundary, follow_links=follow_links)
            found.add(prefix + name, label)
    if not found:
        others = f" ({len(skipped)} of other kinds: {shown(skipped)}; {picture_kinds.advice(skipped)})" if skipped else ""
        raise DatasetError(f"{root}: no images here{others}; expected files ending in {', '.join(sorted(readable))}")
    loose = found.name_of.count(NO_LABEL)
    if loose and loose < len(found) and not unlabelled:
        named = shown([found.ids[i] for i, name in enumerate(found.name_of) if name == NO_LABEL][: MOST_SHOWN + 1], loose)
        raise DatasetError(
            f"{root}: {loose} images lie beside the class folders ({named})",
            ways=(
                (None, "move them into a class folder"),
                ("--unlabelled", "take everything without labels (--unlabelled)"),
            ),
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
    try:
        links.check(path, boundary, follow_links=follow_links)
    except LinkError as error:
        ways = (("--follow-links", "allow it with --follow-links"), (None, "list the pictures in a manifest (.csv)"))
        raise DatasetError(str(error), ways=ways if error.outside else ()) from None


def _read_manifest(path: Path, *, unlabelled: bool) -> tuple[Rows, tuple[str, ...]]:
    """Return the rows, with the text of their labels, and the names of the other columns."""
    manifest = manifest_text.read(path)
    header, at = manifest.header, manifest.path_at
    label_at = None if unlabelled else manifest.label_at
    others = [i for i in range(len(header)) if i not in (at, label_at)]
    found = Rows(base=path.parent, columns=len(others))
    lines = array("Q")
    for line, cells in manifest.rows:
        sources = tuple(manifest_text.picture(path.parent, part)[0] for part in frames(cells[at]))
        name, _ = manifest_text.picture(path.parent, cells[at])
        label = cells[label_at] if label_at is not None else None
        if label == "":
            raise DatasetError(f"{path}: line {line} ({name}) has no label; fill it in or leave the row out")
        several = sources if len(sources) > 1 else ()
        found.add(name, None if label is None else _composed(label), [cells[i] for i in others], several)
        lines.append(line)
    twice = found.repeated()
    if twice is not None:
        first, again = twice
        raise DatasetError(f"{path}: line {lines[again]} lists {found.ids[again]} again (first on line {lines[first]})")
    return found, tuple(header[i] for i in others)
