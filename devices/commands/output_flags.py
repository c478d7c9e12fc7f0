"""``--json FILE|-``: the same answer for a program. Shared by all commands."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from pathlib import Path
from typing import Any

from ..errors import DeviceError


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument(
        "--json", metavar="FILE|-", help="write the result as JSON to a file, or to standard output instead of the text"
    )


def emit(place: str | None, data: dict[str, Any], text: str) -> None:
    """Print ``text``, or ``data`` as JSON where ``place`` is ``-``; with a file, do both."""
    if place != "-":
        print(text)
    if place is not None:
        write_json(place, data)


def write_json(place: str, data: dict[str, Any]) -> None:
    """Write JSON to standard output (``-``), or to a file: beside it, then renamed. Raises DeviceError."""
    text = json.dumps(data, indent=1) + "\n"
    if place == "-":
        print(text, end="")
        return
    path = Path(place)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise DeviceError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error
    finally:
        with contextlib.suppress(OSError):  # where the folder is none, nothing is there to be removed
            beside.unlink(missing_ok=True)
