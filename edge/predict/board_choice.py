"""Which board is meant: edgekit's profiles, the user's own in a TOML file, and the memory of those that come in several sizes."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
from pathlib import Path

from devices.boards import own_boards
from devices.boards.records import BoardProfile, derived
from devices.errors import BoardFileError

from ..errors import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(m|g)(?:i?b)?", re.IGNORECASE)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--boards-file`` and ``--memory``."""
    parser.add_argument(
        "--boards-file",
        metavar="FILE",
        help="your own boards, in TOML (default: boards.toml in EDGEKIT_HOME or ~/.config/edgekit)",
    )
    parser.add_argument("--memory", metavar="SIZE", help="of a board that comes in several sizes: 2GiB (default: the smallest)")


def own(path: str | None = None) -> tuple[BoardProfile, ...]:
    """Return the user's own boards: of a file, else of the default place, where there need be none. Raises BoardFileError."""
    home = os.environ.get("EDGEKIT_HOME")
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "edgekit"
    place = Path(path) if path is not None else (Path(home) if home else settings) / own_boards.FILE_NAME
    try:
        text = place.read_text("utf-8")
    except FileNotFoundError:
        if path is None:
            return ()
        raise BoardFileError(f"{place}: no such file of boards") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BoardFileError(f"{place}: cannot be read ({error})") from error
    return own_boards.parse(text, where=str(place))


def parse_memory(text: str) -> int:
    """Return the MiB in ``2GiB``, ``512M`` and the like (powers of two in any spelling). Raises UsageError."""
    match = _SIZE.fullmatch(text.strip())
    size = round(float(match[1]) * (1024 if match[2].lower() == "g" else 1)) if match else 0
    if size < 1:
        raise UsageError(f"--memory is {text!r}, expected a size such as 2GiB or 512MiB")
    return size


def sized(board: BoardProfile, memory_mib: int | None) -> BoardProfile:
    """Return ``board`` with one size of memory. Raises UsageError for one that it is not sold with."""
    if memory_mib is None:
        return board
    if board.memory_mib is None:
        return dataclasses.replace(board, memory_mib=derived((memory_mib,), "given with --memory"))
    if memory_mib not in board.memory_mib.value:
        sizes = ", ".join(f"{size / 1024:g}GiB" if size >= 1024 else f"{size}MiB" for size in board.memory_mib.value)
        raise UsageError(f"{board.name} does not come with {memory_mib} MiB of memory, but with {sizes}")
    return dataclasses.replace(board, memory_mib=dataclasses.replace(board.memory_mib, value=(memory_mib,)))
