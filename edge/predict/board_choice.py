"""Which board is meant: the flags for the user's own boards, and for the memory of those that come in several sizes."""

from __future__ import annotations

import argparse
import dataclasses
import re

from devices.boards import board_files
from devices.boards.records import BoardProfile, derived

from ..errors import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(m|g)(?:i?b)?", re.IGNORECASE)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--boards-file`` and ``--memory``."""
    parser.add_argument("--boards-file", metavar="FILE", help=f"your own boards, in TOML (default: {board_files.SHOWN_PLACE})")
    parser.add_argument("--memory", metavar="SIZE", help="of a board that comes in several sizes: 2GiB (default: the smallest)")


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
