"""``--json FILE|-``: the same answer for a program. Shared by all commands."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import atomic_write_text
from ..system import cache


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument(
        "--json", metavar="FILE|-", help="write the result as JSON to a file, or to standard output instead of the text"
    )


def check_place(place: str, *, out: str | os.PathLike[str] | None = None) -> None:
    """Raise OutputError where ``--json`` names a file in a folder that is not there: mistyped, more likely than meant to be made.

    What edgekit makes itself need not be there: the folder ``out`` of a command's files and those above it, and what it keeps for
    itself (a board's ``cache``, in which answers lie until they are fetched).
    """
    if place == "-":
        return
    folder = os.path.dirname(place) or os.curdir
    whole = Path(os.path.realpath(folder))
    on_the_way = out is not None and Path(os.path.realpath(out)).is_relative_to(whole)
    if not os.path.isdir(folder) and not on_the_way and not whole.is_relative_to(os.path.realpath(cache.folder())):
        why = "is no folder" if os.path.exists(folder) else "is not there"
        raise OutputError(f"{place}: cannot be written ({folder} {why}); make that folder, or choose another place for --json")
    if os.path.isdir(place):
        raise OutputError(f"{place}: cannot be written (it is a folder); name a file for --json")


def emit(args: argparse.Namespace, report: dict[str, Any], text: str) -> None:
    """Print ``text``, or ``report`` where ``--json -`` asks for it; with ``--json FILE`` do both. ``args.report`` keeps it."""
    args.report = report
    if args.json == "-":
        json.dump(report, sys.stdout, indent=1, allow_nan=False)
        print()
        return
    if args.json is not None:
        atomic_write_text(args.json, json.dumps(report, indent=1, allow_nan=False) + "\n")
    print(text)
