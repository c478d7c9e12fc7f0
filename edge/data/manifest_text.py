"""A manifest's file: its text is read by `devices.manifests`, the pictures that it names are found here."""

from __future__ import annotations

import re
from pathlib import Path

from devices import manifests
from devices.manifests import Manifest

from ..errors import DatasetError

_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]")


def read(path: Path) -> Manifest:
    """Return what a manifest says. Raises DatasetError."""
    try:
        found = manifests.parse(path.read_bytes(), text_list=path.suffix.lower() == ".txt")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except manifests.ManifestError as error:
        raise DatasetError(f"{path}: {error}") from error
    _check_first(path, found)
    return found


def _check_first(path: Path, found: Manifest) -> None:
    """Raise DatasetError where the first row shows that the list was made for another machine, or has no pictures' names."""
    line, row = found.rows[0]
    cell = row[found.path_at]
    if all(picture(path.parent, part)[1].exists() for part in manifests.frames(cell)):
        return
    if _WINDOWS_PATH.match(cell):
        raise DatasetError(f"{path}: line {line}: {cell} is a path of another machine; write the paths relative to the list")
    column = found.header[found.path_at]
    if not manifests.suffix(cell) and column.lower() not in manifests.PATH_COLUMNS:
        raise DatasetError(
            f"{path}: none of the columns {', '.join(found.header)} names pictures: {cell!r} on line {line} is no file here; expected a"
            " column called path, file, image or filename, relative to the list"
        )


def picture(folder: Path, cell: str) -> tuple[str, Path]:
    """Return the id and path of a picture, in the first spelling under which there is one. Backslashes are separators else."""
    if cell.isascii() and "\\" not in cell:
        return Path(cell).as_posix(), folder / cell  # without looking: a list may be long
    found = next((text for text in manifests.spellings(cell) if (folder / text).exists()), cell.replace("\\", "/"))
    return Path(found).as_posix(), folder / found
