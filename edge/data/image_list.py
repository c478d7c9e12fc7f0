"""A million images in some fifty bytes each: names, classes and columns as packed text, an `ImageItem` only while it is looked at."""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

NO_LABEL = -1
_MOST_PICTURE_BYTES = 512 << 20

# Of file names that are no text, as `os.fsdecode` gives them. The order of the bytes is that of the characters with it too.
_ENCODING = ("utf-8", "surrogatepass")


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
        """Return the file's content, or that of each frame. Raises OSError, also for what is no file or larger than a picture is."""
        return [_content(path) for path in self.frames] if self.frames else _content(self.path)


class Texts:
    """Texts one behind the other, found by where they end."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._ends = array("Q", [0])

    def append(self, text: str) -> None:
        self._data += text.encode(*_ENCODING)
        self._ends.append(len(self._data))

    def raw(self, i: int) -> bytes:
        """Return a text as bytes, which stand in the order of the texts."""
        return bytes(self._data[self._ends[i] : self._ends[i + 1]])

    def __getitem__(self, i: int) -> str:
        return self.raw(i).decode(*_ENCODING)

    def __len__(self) -> int:
        return len(self._ends) - 1


@dataclass(slots=True, kw_only=True)
class Rows:
    """What a folder or a manifest lists, row by row. ``base`` is the folder that the ids are relative to.

    ``names``: what each row's class is called, each name once; ``name_of`` has its position for each row, `NO_LABEL` without one.
    """

    base: Path
    columns: int = 0
    ids: Texts = field(default_factory=Texts)
    names: dict[str, int] = field(default_factory=dict)
    name_of: array[int] = field(default_factory=lambda: array("i"))
    targets: tuple[Texts, ...] = ()
    frames: Texts = field(default_factory=Texts)

    def __post_init__(self) -> None:
        self.targets = tuple(Texts() for _ in range(self.columns))

    def add(self, name: str, label: str | None, targets: Sequence[str] = (), frames: Sequence[str] = ()) -> None:
        """Add an image. name: its id; frames: the ids of its pictures where it has several."""
        self.ids.append(name)
        self.frames.append("\0".join(frames))
        self.name_of.append(NO_LABEL if label is None else self.names.setdefault(label, len(self.names)))
        for column, text in zip(self.targets, targets, strict=True):
            column.append(text)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labelled(self) -> bool:
        """Whether every image has a class."""
        return bool(len(self)) and NO_LABEL not in self.name_of

    def images(self, index: dict[str, int] | None) -> ImageList:
        """Return the images, sorted by id. index: the class of each name, None where the images are to have none."""
        label_of = np.full(len(self.names) + 1, NO_LABEL, np.int32)  # the last is that of NO_LABEL
        for name, position in self.names.items():
            label_of[position] = NO_LABEL if index is None else index[name]
        labels = label_of[np.frombuffer(self.name_of, np.int32)] if len(self) else np.zeros(0, np.int32)
        return ImageList(self, labels, self._order())

    def repeated(self) -> tuple[int, int] | None:
        """Return the rows of an id that is there twice, the one first repeated; None where all differ."""
        order = self._order()
        pairs = zip(order[:-1].tolist(), order[1:].tolist(), strict=True)
        found = [(first, again) for first, again in pairs if self.ids.raw(first) == self.ids.raw(again)]
        return min(found, key=lambda pair: pair[1], default=None)

    def _order(self) -> NDArray[np.int64]:
        """Return the rows in the order of their ids, equal ones as they came."""
        return np.fromiter(sorted(range(len(self)), key=self.ids.raw), np.int64, len(self))


class ImageList(Sequence[ImageItem]):
    """Images in a fixed order. A part of it (a slice, `take`) shares the text with the whole."""

    def __init__(self, rows: Rows, labels: NDArray[np.int32], order: NDArray[np.int64]) -> None:
        self._rows = rows
        self._labels = labels
        self._order = order

    @overload
    def __getitem__(self, index: int) -> ImageItem: ...
    @overload
    def __getitem__(self, index: slice) -> ImageList: ...
    def __getitem__(self, index: int | slice) -> ImageItem | ImageList:
        if isinstance(index, slice):
            return ImageList(self._rows, self._labels, self._order[index])
        return self._item(int(self._order[index]))

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[ImageItem]:
        return (self._item(int(row)) for row in self._order)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def take(self, positions: NDArray[np.integer[Any]]) -> ImageList:
        """Return the images at ``positions``, in their order."""
        return ImageList(self._rows, self._labels, self._order[positions])

    def labels(self) -> NDArray[np.int32]:
        """Return the class of every image (N,), `NO_LABEL` where it has none."""
        return self._labels[self._order]

    def ids(self) -> Iterator[str]:
        """Yield the id of every image, which is all that is made of it."""
        return (self._rows.ids[int(row)] for row in self._order)

    def column(self, position: int) -> tuple[str, ...]:
        """Return the text of a column for every image; equal texts are kept once."""
        texts, known = self._rows.targets[position], dict[str, str]()
        return tuple(known.setdefault(text, text) for text in (texts[int(row)] for row in self._order))

    def _item(self, row: int) -> ImageItem:
        rows = self._rows
        name, label = rows.ids[row], int(self._labels[row])
        frames = tuple(rows.base / frame for frame in rows.frames[row].split("\0") if frame)
        return ImageItem(
            id=name,
            path=frames[-1] if frames else rows.base / name,
            label=None if label == NO_LABEL else label,
            targets=tuple(column[row] for column in rows.targets),
            frames=frames,
        )


def take(items: Sequence[ImageItem], positions: NDArray[np.integer[Any]]) -> Sequence[ImageItem]:
    """Return the images at ``positions``."""
    return items.take(positions) if isinstance(items, ImageList) else tuple(items[int(i)] for i in positions)


def labels_of(items: Iterable[ImageItem]) -> NDArray[np.int32]:
    """Return the class of every image (N,), `NO_LABEL` where it has none."""
    if isinstance(items, ImageList):
        return items.labels()
    return np.array([NO_LABEL if item.label is None else item.label for item in items], np.int32)


def ids_of(items: Iterable[ImageItem]) -> Iterator[str]:
    """Yield the id of every image."""
    return items.ids() if isinstance(items, ImageList) else (item.id for item in items)


def _content(path: Path) -> bytes:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for without end
        raise OSError(errno.EINVAL, "is no file", os.fspath(path))
    if status.st_size > _MOST_PICTURE_BYTES:
        raise OSError(errno.EFBIG, f"has more than {_MOST_PICTURE_BYTES >> 20} MiB", os.fspath(path))
    return path.read_bytes()
