"""The rows of a manifest as spreadsheets and other tools write it: encoding, separator, which column is what."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from .errors import DatasetError

_PATH_COLUMNS = ("path", "file", "image", "filename", "image_path", "filepath", "file_name", "image_name")
_LABEL_COLUMNS = ("label", "class", "target", "category", "class_name")  # the first of them that is there

Rows = list[tuple[int, list[str]]]


def rows(path: Path, suffixes: frozenset[str]) -> Rows:
    """Return (line number, cells) of every line that is not blank. suffixes: of pictures. Raises DatasetError."""
    try:
        data = path.read_bytes()
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as UTF-8 text ({error}); save it as CSV UTF-8") from error
    if "\0" in text or (wide and "\n" not in text):
        raise DatasetError(f"{path}: a binary file, no text; expected a manifest, saved as CSV UTF-8")
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = _separator(first, suffixes)
    if separator == "," and "," not in first and path.suffix.lower() == ".txt":
        # Caffe's lists: a blank before the label; a path may have blanks too.
        return [(number, line.rsplit(maxsplit=1)) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    try:
        found = enumerate(csv.reader(io.StringIO(text), strict=True, delimiter=separator, skipinitialspace=True), 1)
        return [(number, row) for number, row in found if any(map(str.strip, row))]
    except csv.Error as error:
        raise DatasetError(f"{path}: not a CSV file ({error})") from error


def path_column(header: Sequence[str], cells: Sequence[str], suffixes: frozenset[str]) -> int:
    """Return which column has the pictures: by its name, else the first whose ``cells`` name one, else the first."""
    named = next((i for i, name in enumerate(header) if name.lower() in _PATH_COLUMNS), None)
    if named is not None:
        return named
    return next((i for i, cell in enumerate(cells) if PurePosixPath(cell.strip()).suffix.lower() in suffixes), 0)


def label_column(header: Sequence[str]) -> int | None:
    """Return which column has the classes, by its name whatever its case; None without one."""
    names = [name.lower() for name in header]
    return next((names.index(name) for name in _LABEL_COLUMNS if name in names), None)


def picture(folder: Path, cell: str) -> tuple[str, Path]:
    """Return the id and path of a picture. Backslashes are separators, unless a file has that very name."""
    if "\\" in cell and not (folder / cell).exists():
        cell = cell.replace("\\", "/")
    return Path(cell).as_posix(), folder / cell


def _separator(first: str, suffixes: frozenset[str]) -> str:
    if "\t" in first:
        return "\t"
    parts = first.split(";")
    # Stacked frames are separated by semicolons within a cell.
    frames = all(PurePosixPath(part.strip()).suffix.lower() in suffixes for part in parts)
    return ";" if len(parts) > 1 and "," not in first and not frames else ","
