"""``--on TARGET``: validate, benchmark and selftest on a board. Hooked around those commands by the root, and loaded only for them."""

from __future__ import annotations

import argparse


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--on`` and what belongs to it to a command that can also be carried out on a board."""
    group = parser.add_argument_group("on a board")
    group.add_argument(
        "--on", action="append", metavar="TARGET", help="do it there: local, [user@]host[:port] or virtual:NAME; may be repeated"
    )
    if parser.prog.endswith("validate"):
        group.add_argument("--sequential", action="store_true", help="stop as soon as --max-drop is decided (a sequential test)")
    group.add_argument("--folder", default=".edgekit", metavar="DIR", help="edgekit's folder on the board (default: %(default)s)")
    group.add_argument("--ssh-config", metavar="FILE", help="read by ssh instead of ~/.ssh/config")
    group.add_argument("--wheels", metavar="DIR", help="a folder with the board's wheels, where this machine cannot fetch them")


def run(args: argparse.Namespace) -> int:
    """Carry out the command line ``args.argv`` on the targets of ``--on``. Returns the worst exit code."""
    from .. import remote
    from ..shell import Shell
    from .common import Reporter, on_targets

    args.targets = args.on
    wanted = remote.read(args)

    def work(shell: Shell, report: Reporter) -> remote.Outcome:
        return remote.carry_out(shell, wanted, report)

    return on_targets(args, work, lambda outcome: outcome.exit_code == 0)
