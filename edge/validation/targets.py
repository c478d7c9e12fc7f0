"""What a dataset says about one output of a model: class ids, which labels apply, or numbers. None where it says nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..artefact.contract import OutputSpec
from ..data.dataset import LABEL_COLUMN, LabelledImages, match_labels, normal, shown
from ..errors import DatasetError
from ..runtime.classify import class_count

_SEPARATOR = re.compile(r"[;|]")
_NO, _YES = frozenset({"0", "false", "no", ""}), frozenset({"1", "true", "yes"})


def class_ids(dataset: LabelledImages, spec: OutputSpec, size: int, *, headline: bool) -> NDArray[np.int32] | None:
    """Return the class id of every image (N,), from folder names or the manifest.

    size: the output's values per image.
    headline: the output that the dataset's labels belong to; others are found in the column with their name. A manifest may also have a
    column of 0 and 1 for each class.
    """
    size = class_count(spec, size)
    column = dataset.column(spec.name)
    if column is not None:
        _, index = match_labels(sorted(set(column)), spec.labels, where=f"{dataset.root}, column {spec.name}")
        ids = np.fromiter((index[name] for name in column), np.int32, len(column))
    elif headline and dataset.labelled:
        ids = dataset.label_ids()
    elif spec.labels and all(label in dataset.columns for label in spec.labels):
        ids = _one_hot(dataset, spec.labels)
    else:
        return None
    beyond = np.flatnonzero(ids >= size)
    if beyond.size:
        item = dataset.items[int(beyond[0])]
        raise DatasetError(
            f"{dataset.root}: image {item.id} has class number {ids[beyond[0]]}, output {spec.name!r} has classes 0 to {size - 1};"
            " where the model counts a background class or starts elsewhere, give class names instead of numbers"
        )
    background = spec.background_index
    if background is not None and background in ids:
        first = dataset.items[int(np.flatnonzero(ids == background)[0])]
        raise DatasetError(
            f"{dataset.root}: image {first.id} is of class {background}, the background class, which is never an answer;"
            " leave those images out, or give class names instead of numbers if the counting is off by one"
        )
    return ids


def _one_hot(dataset: LabelledImages, labels: Sequence[str]) -> NDArray[np.int32]:
    flags = np.stack([_flags(dataset, label) for label in labels], axis=1)
    wrong = np.flatnonzero(flags.sum(axis=1) != 1)
    if wrong.size:
        row, many = int(wrong[0]), int(flags[wrong[0]].sum())
        raise DatasetError(
            f"{dataset.root}: image {dataset.items[row].id} is of {many} classes by its columns {shown(labels)}; expected one"
        )
    found: NDArray[np.int32] = flags.argmax(axis=1).astype(np.int32)
    return found


def label_truth(dataset: LabelledImages, spec: OutputSpec, size: int, *, only: bool) -> NDArray[np.bool_] | None:
    """Return which labels of a multi-label output apply, (N, labels).

    From one column of 0/1 per label, or one column (named like the output, or ``label`` if it is the model's only one) with the
    names that apply, separated by ``;``.
    """
    names = spec.labels or tuple(str(i) for i in range(size))
    if all(name in dataset.columns for name in names):
        return np.stack([_flags(dataset, name) for name in names], axis=1)
    cells = dataset.column(spec.name) or (dataset.column(LABEL_COLUMN) if only else None)
    if cells is None:
        return None
    position = {normal(name): i for i, name in enumerate(names)}
    truth = np.zeros((len(cells), len(names)), np.bool_)
    for row, (item, cell) in enumerate(zip(dataset, cells, strict=True)):
        for name in filter(None, map(str.strip, _SEPARATOR.split(cell))):
            if normal(name) not in position:
                raise DatasetError(f"{dataset.root}: image {item.id} has label {name!r}, output {spec.name!r} has {shown(names)}")
            truth[row, position[normal(name)]] = True
    return truth


def numbers(dataset: LabelledImages, spec: OutputSpec, size: int, *, only: bool) -> NDArray[np.float64] | None:
    """Return the targets of a regression output, (N, values).

    From the column named like the output, or columns ``NAME[0]``, ``NAME[1]``, ...; ``label`` or ``target`` if it is the model's
    only output and one number.
    """
    names = [spec.name] if size == 1 else [f"{spec.name}[{i}]" for i in range(size)]
    if only and size == 1 and spec.name not in dataset.columns:
        names = [name for name in (LABEL_COLUMN, "target") if name in dataset.columns][:1]
    present = [name for name in names if name in dataset.columns]
    if not present:
        return None
    if len(present) < len(names):
        missing = [name for name in names if name not in present]
        raise DatasetError(f"{dataset.root}: output {spec.name!r} has {size} values, the columns {shown(missing)} are missing")
    return np.stack([_column(dataset, name) for name in names], axis=1)


def _column(dataset: LabelledImages, name: str) -> NDArray[np.float64]:
    values = np.zeros(len(dataset))
    for row, (item, cell) in enumerate(zip(dataset, dataset.column(name) or (), strict=True)):
        try:
            values[row] = float(cell)
        except ValueError:
            values[row] = math.nan
        if not math.isfinite(values[row]):
            raise DatasetError(f"{dataset.root}: image {item.id} has {cell!r} in column {name}, expected a number")
    return values


def _flags(dataset: LabelledImages, name: str) -> NDArray[np.bool_]:
    cells = dataset.column(name) or ()
    for item, cell in zip(dataset, cells, strict=True):
        if cell.lower() not in _NO | _YES:
            raise DatasetError(f"{dataset.root}: image {item.id} has {cell!r} in column {name}, expected 0 or 1")
    return np.array([cell.lower() in _YES for cell in cells], np.bool_)
