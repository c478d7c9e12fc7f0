"""Which files are pictures, and lists of pictures as spreadsheets and other tools write them.

Plain functions over names and bytes, used on the workstation (`edge.data.dataset`) and for what is sent to a board
(`devices.measure.images`), so that both list the same pictures under the same names.
"""

from __future__ import annotations

import codecs
import csv
import posixpath
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
"""Pictures that are read everywhere."""
HEIF_SUFFIXES, AVIF_SUFFIXES = frozenset({".heic", ".heif"}), frozenset({".avif"})
"""Pictures that are read where the extra ``heif`` is installed."""
OTHER_PICTURES = frozenset(
    {".jp2", ".jxl", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".svg", ".tga", ".ppm", ".pgm", ".ico"}
)
"""Pictures that are not read: to be converted, and never left out without a word."""
BESIDE_PICTURES = frozenset(
    {".txt", ".csv", ".tsv", ".json", ".xml", ".md", ".html", ".yaml", ".yml", ".npy", ".npz", ".db", ".ini"}
)
"""Files that lie beside pictures and are none: never looked into."""
MAGIC_BYTES = 12
"""So many bytes at its beginning tell whether a file is a picture."""
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_BRANDS = frozenset({b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis"})  # of HEIC and AVIF, behind "ftyp"
LITTER = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found"})  # what archivers and file systems leave beside the data

PATH_COLUMNS = ("path", "file", "image", "filename", "image_path", "filepath", "file_name", "image_name")
LABEL_COLUMNS = ("label", "class", "target", "category", "class_name")  # the first of them that is there
_PICTURES = SUFFIXES | HEIF_SUFFIXES | AVIF_SUFFIXES


class ManifestError(ValueError):
    """A list of pictures cannot be read. The message lacks the file's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A list of pictures: cells without blanks around them, each row with its line's number.

    ``header`` has a name for every column, also where the file has none (``headless``). ``path_at`` is the column with the pictures,
    ``label_at`` that with the classes, if there is one.
    """

    header: tuple[str, ...]
    headless: bool
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    path_at: int
    label_at: int | None


def suffix(name: str) -> str:
    """Return what a file's name ends in, in small letters, with the dot."""
    return posixpath.splitext(name)[1].lower()


def is_nameless(name: str) -> bool:
    """Return whether only a file's content can tell if it is a picture: its name ends in nothing that is known."""
    kind = suffix(name)
    return not name.startswith(".") and kind not in _PICTURES | OTHER_PICTURES | BESIDE_PICTURES


def begins_like_a_picture(head: bytes) -> bool:
    """Return whether a file whose first `MAGIC_BYTES` these are is a JPEG, PNG, GIF, TIFF, WebP, HEIC or AVIF."""
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return head.startswith(_MAGIC) or webp or (head[4:8] == b"ftyp" and head[8:12] in _BRANDS)


def hidden(folder: str) -> bool:
    """Return whether a folder of this name is none of the user's data."""
    return folder.startswith(".") or folder in LITTER


def is_label(column: str) -> bool:
    """Return whether a column of this name has the classes."""
    return column.lower() in LABEL_COLUMNS


def frames(cell: str) -> list[str]:
    """Return the paths in a cell: several, separated by ``;``, where each of them looks like a picture."""
    parts = [part.strip() for part in cell.split(";")]
    return parts if all(suffix(part) in _PICTURES for part in parts) else [cell]


def spellings(cell: str) -> Iterator[str]:
    r"""Yield what a path in a list may mean, the likeliest first: as it is, with ``\\`` as ``/``, and with accents written otherwise."""
    for text in dict.fromkeys((cell, cell.replace("\\", "/"))):
        yield from dict.fromkeys((text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)))


def parse(data: bytes, *, text_list: bool) -> Manifest:
    """Return what a manifest says. text_list: the file is a ``.txt``, where a blank may stand before the label.

    Raises ManifestError.
    """
    rows = _rows(data, text_list=text_list)
    if not rows:
        raise ManifestError("empty; expected a header such as path,label and one row per image")
    header = rows[0][1]
    first = next((i for i, cell in enumerate(header) if suffix(cell) in _PICTURES), None)
    if first is None:
        rows = rows[1:]
        if len(set(header)) != len(header):
            raise ManifestError(f"two columns have the same name: {', '.join(header)}")
    else:
        names = {first: "path", int(first == 0): "label"}
        header = tuple(names.get(i, f"column{i + 1}") for i in range(len(header)))
    for line, row in rows:
        if len(row) != len(header):
            raise ManifestError(f"line {line} has {len(row)} columns, expected {len(header)} ({', '.join(header)})")
    if not rows:
        raise ManifestError("a header and no rows")
    at = _path_column(header, rows[0][1]) if first is None else first
    return Manifest(header=header, headless=first is not None, rows=tuple(rows), path_at=at, label_at=_label_column(header))


def _rows(data: bytes, *, text_list: bool) -> list[tuple[int, tuple[str, ...]]]:
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(f"cannot be read as UTF-8 text ({error}); save it as CSV UTF-8") from error
    if "\0" in text or (wide and "\n" not in text and "\r" not in text):
        raise ManifestError("a binary file, no text; expected a manifest, saved as CSV UTF-8")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first = next((line for line in lines if line.strip()), "")
    separator = _separator(first)
    if separator == "," and "," not in first and text_list:
        # Caffe's lists: a blank before the label; a path may have blanks too.
        return [(number, tuple(line.rsplit(maxsplit=1))) for number, line in enumerate(lines, 1) if line.strip()]
    reader = csv.reader((line + "\n" for line in lines), strict=True, delimiter=separator, skipinitialspace=True)
    try:
        found = [(number, tuple(cell.strip() for cell in row)) for number, row in enumerate(reader, 1)]
    except csv.Error as error:
        raise ManifestError(f"not a CSV file ({error})") from error
    return [(number, row) for number, row in found if any(row)]


def _separator(first: str) -> str:
    if "\t" in first:
        return "\t"
    parts = first.split(";")
    # Stacked frames are separated by semicolons within a cell.
    stacked = all(suffix(part.strip()) in _PICTURES for part in parts)
    return ";" if len(parts) > 1 and "," not in first and not stacked else ","


def _path_column(header: Sequence[str], cells: Sequence[str]) -> int:
    """Return which column has the pictures: by its name, else the first whose ``cells`` name one, else the first."""
    named = next((i for i, name in enumerate(header) if name.lower() in PATH_COLUMNS), None)
    if named is not None:
        return named
    return next((i for i, cell in enumerate(cells) if suffix(cell) in _PICTURES), 0)


def _label_column(header: Sequence[str]) -> int | None:
    names = [name.lower() for name in header]
    return next((names.index(name) for name in LABEL_COLUMNS if name in names), None)
