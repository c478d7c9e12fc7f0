"""``edgekit doctor TARGET``: what a board is, what is wrong with it, and the command that mends it."""

from __future__ import annotations

import argparse
from typing import Any

from ..doctor import examine, probe
from ..transport.shell import Shell
from .common import Reporter, add_target_flags, examples, on_targets

_EXAMPLES = examples(
    ("edgekit doctor pi@raspberrypi.local", "one board"),
    ("edgekit doctor @boards.toml", "all boards of an inventory"),
    ("edgekit doctor virtual:desk --json -", "for a program"),
)


def add_parser(subparsers: Any) -> None:
    """Add ``doctor`` to the root command."""
    parser = subparsers.add_parser(
        "doctor",
        help="look at a board: what it is, what is wrong, what mends it",
        description="Looks and changes nothing; works before anything is installed on the board. Ends with 1 if something must be"
        " mended before a deployment can work.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_target_flags(parser, folder=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Examine the targets. Returns 1 if one of them is not ready."""

    def work(shell: Shell, report: Reporter) -> examine.Diagnosis:
        return examine.examine(shell.name, probe.ask(shell))

    return on_targets(args, work, lambda diagnosis: diagnosis.healthy)
