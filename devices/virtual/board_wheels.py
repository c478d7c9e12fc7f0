"""Wheels that a virtual board is made with, for its own Python: a runtime of one's own can be tried before it is on any index."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import VirtualBoardError
from ..onboard.disk import site_name
from ..onboard.link import Refused
from .models import Architecture

PYTHON = "cp311"  # Debian 12's
_SITE = "usr/local/lib/python3.11/dist-packages"


def find(folder: Path, architecture: Architecture) -> list[Path]:
    """Return the wheels in a folder. Raises VirtualBoardError if there are none, or one is for another Python or processor."""
    found = sorted(folder.glob("*.whl")) if folder.is_dir() else []
    if not found:
        raise VirtualBoardError(f"{folder}: no wheels here; expected a folder with files ending in .whl")
    for path in found:
        parts = path.name.removesuffix(".whl").split("-")
        if len(parts) < 5:
            raise VirtualBoardError(f"{path}: not the name of a wheel (NAME-VERSION-PYTHON-ABI-PLATFORM.whl)")
        python, abi, platform = parts[-3:]
        right_python = python == PYTHON or "py3" in python.split(".") or abi == "abi3"
        if not right_python or not (platform == "any" or platform.endswith(f"_{architecture.machine}")):
            raise VirtualBoardError(f"{path.name} is for {python} on {platform}, the board is {PYTHON} on {architecture.machine}")
    return found


def unpack(wheels: Sequence[Path], root: Path) -> None:
    """Unpack wheels into a board's system: what belongs into site-packages; no scripts. Raises VirtualBoardError."""
    for path in wheels:
        try:
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    name = site_name(entry.filename)
                    if name is None or entry.is_dir():
                        continue
                    place = root / _SITE / name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(archive.read(entry))
        except (OSError, zipfile.BadZipFile, ValueError, RuntimeError, Refused) as error:
            raise VirtualBoardError(f"{path}: cannot be unpacked ({error})") from error
