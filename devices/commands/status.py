"""``edgekit status TARGET``: what is deployed on a board."""

from __future__ import annotations

import argparse
from typing import Any

from ..rollout import releases
from ..transport.shell import Shell
from .common import Reporter, add_target_flags, examples, on_targets

_EXAMPLES = examples(
    ("edgekit status pi@raspberrypi.local", "one board"),
    ("edgekit status --verify pi@raspberrypi.local", "read every file there: what has the card damaged?"),
    ("edgekit status @boards.toml --json -", "all boards of an inventory, for a program"),
)


def add_parser(subparsers: Any) -> None:
    """Add ``status`` to the root command."""
    parser = subparsers.add_parser(
        "status",
        help="what is deployed on a board",
        description="Lists the releases on a board and compares the current one with its SHA-256. Ends with 1 if it is damaged, with"
        " --verify also if any file of a release or of its environment is.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_target_flags(parser)
    parser.add_argument(
        "--verify", action="store_true", help="compare every file of the releases and their environments with what was sent"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is deployed. Returns 1 if a board's current release has a problem, or anything differs with --verify."""

    def work(shell: Shell, report: Reporter) -> releases.Status:
        return releases.status(shell, folder=args.folder, verify=args.verify)

    return on_targets(args, work, lambda status: status.is_good)
