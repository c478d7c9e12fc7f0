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


def check_place(place: str) -> None:
    """Raise OutputError where ``--json`` names a file in a folder that is not there: mistyped, more likely than meant to be made.

    What edgekit keeps for itself it makes itself (a board's ``cache``, in which its answers lie until they are fetched).
    """
    if place == "-":
        return
    folder = os.path.dirname(place) or os.curdir
    own = Path(os.path.realpath(cache.folder()))
    if not os.path.isdir(folder) and not Path(os.path.realpath(folder)).is_relative_to(own):
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
