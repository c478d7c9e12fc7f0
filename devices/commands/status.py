"""``edgekit status TARGET``: what is deployed on a board."""

from __future__ import annotations

import argparse
from typing import Any

from .. import releases
from ..shell import Shell
from .common import Reporter, add_target_flags, examples, on_targets

_EXAMPLES = examples(
    ("edgekit status pi@raspberrypi.local", "one board"),
    ("edgekit status @boards.toml --json -", "all boards of an inventory, for a program"),
)


def add_parser(subparsers: Any) -> None:
    """Add ``status`` to the root command."""
    parser = subparsers.add_parser(
        "status",
        help="what is deployed on a board",
        description="Lists the releases on a board and compares the current one with its SHA-256. Ends with 1 if it is damaged.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_target_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is deployed. Returns 1 if a board's current release has a problem."""

    def work(shell: Shell, report: Reporter) -> releases.Status:
        return releases.status(shell, folder=args.folder)

    return on_targets(args, work, lambda status: status.problem is None)
