"""``edgekit init [DIR]``: writes an ``edgekit.toml`` with what is in a folder, so that commands need not be told again and again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import output_flags

_DESCRIPTION = """\
Look at a folder and write an edgekit.toml: which network, photos and labels are there, and everything else that commands can be told, as
comments. Commands take from it what their command line leaves out, and say so in one line; flags win.
"""

_EXAMPLES = """\
examples:
  edgekit init
  edgekit init ../flowers
  edgekit init --json -                         what is there, and nothing is written
  EDGEKIT_PROJECT= edgekit validate ...         a command without the project's defaults
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "init",
        help="write an edgekit.toml: defaults for all commands in a folder",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="DIR", nargs="?", default=".", help="the project's folder (default: here)")
    output_flags.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look, and write unless one is there."""
    from ...errors import UsageError
    from ...files import atomic_write_text
    from ...project import look
    from ...project.settings import NAME

    folder = Path(args.folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no folder; name the one that your network and photos are in")
    place = folder / NAME
    if args.json != "-" and place.exists():
        raise UsageError(f"{place} is there already and stays as it is; edit it, or move it away and run edgekit init again")
    found = look.look(folder)
    text = look.written(found)
    if args.json != "-":
        atomic_write_text(place, text)
    lines = [f"{place}: written"]
    lines += [f"  {name:20} {value}" for name, value in found.values.items()]
    missing = [name for name in ("model.file", "photos.train", "photos.test") if name not in found.values]
    lines += [f"  {name:20} not found here; write it into the file" for name in missing]
    lines += [f"note: {note}" for note in found.notes]
    output_flags.emit(
        args, {"file": str(place), "found": dict(found.values), "missing": missing, "notes": found.notes}, "\n".join(lines)
    )
    return 0
