"""``--json FILE|-``: the same answer for a program. Shared by all commands."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from ..files import atomic_write_text


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument(
        "--json", metavar="FILE|-", help="write the result as JSON to a file, or to standard output instead of the text"
    )


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
