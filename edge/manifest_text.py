"""A manifest's file: its text is read by `devices.manifests`, the pictures that it names are found here."""

from __future__ import annotations

from pathlib import Path

from devices import manifests
from devices.manifests import Manifest

from .errors import DatasetError


def read(path: Path) -> Manifest:
    """Return what a manifest says. Raises DatasetError."""
    try:
        return manifests.parse(path.read_bytes(), text_list=path.suffix.lower() == ".txt")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except manifests.ManifestError as error:
        raise DatasetError(f"{path}: {error}") from error


def picture(folder: Path, cell: str) -> tuple[str, Path]:
    """Return the id and path of a picture, in the first spelling under which there is one. Backslashes are separators else."""
    if cell.isascii() and "\\" not in cell:
        return Path(cell).as_posix(), folder / cell  # without looking: a list may be long
    found = next((text for text in manifests.spellings(cell) if (folder / text).exists()), cell.replace("\\", "/"))
    return Path(found).as_posix(), folder / found
