"""``--on TARGET``: validate, benchmark and selftest on a board. Hooked around those commands by the root, and loaded only for them."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from ..errors import DeviceError

_FOLDER = ".edgekit"
_OF_BOARDS = {"sequential": False, "certify": None, "shard": False, "folder": _FOLDER, "ssh_config": None, "wheels": None}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--on`` and what belongs to it to a command that can also be carried out on a board."""
    group = parser.add_argument_group("on a board")
    group.add_argument(
        "--on",
        action="append",
        metavar="TARGET",
        help="do it there: local, [user@]host[:port] or virtual:NAME; may be repeated, or @FILE.toml with a list 'targets'",
    )
    if parser.prog.endswith("validate"):
        group.add_argument("--sequential", action="store_true", help="stop as soon as --max-drop is decided (a sequential test)")
        group.add_argument(
            "--certify",
            type=int,
            metavar="N",
            help="compare N images bit by bit; if all are equal, this machine's accuracy holds there and is measured here",
        )
        group.add_argument("--shard", action="store_true", help="share the images among equal boards, and give one report")
    group.add_argument("--folder", default=_FOLDER, metavar="DIR", help="edgekit's folder on the board (default: %(default)s)")
    group.add_argument("--ssh-config", metavar="FILE", help="read by ssh instead of ~/.ssh/config")
    group.add_argument("--wheels", metavar="DIR", help="a folder with the board's wheels, where this machine cannot fetch them")


def check(args: argparse.Namespace) -> None:
    """Raise DeviceError for flags of a board without a board: what they ask for would be left undone without a word."""
    given = [flag for flag, default in _OF_BOARDS.items() if getattr(args, flag, default) != default]
    if given and not args.on:
        flags = ", ".join(f"--{flag.replace('_', '-')}" for flag in given)
        raise DeviceError(f"{flags}: of use on a board only; name it with --on TARGET (local: this machine, as a board)")


def run(args: argparse.Namespace) -> int:
    """Carry out the command line ``args.argv`` on the targets of ``--on``. Returns the worst exit code."""
    from ..fleet import fleet
    from ..measure import remote, request, shards
    from ..transport.shell import Shell
    from .common import Reporter, on_targets, say
    from .output_flags import emit

    args.targets = args.on
    args.ssh_config = Path(args.ssh_config) if args.ssh_config else None
    wanted = request.read(args)
    if getattr(args, "shard", False):
        outcome = shards.validate(fleet.expand(args.on), wanted, say, config=args.ssh_config)
        args.report = outcome.report
        emit(args.json, outcome.to_dict(), outcome.to_text())
        return outcome.exit_code

    def work(shell: Shell, report: Reporter) -> remote.BoardReport:
        outcome = remote.carry_out(shell, wanted, report)
        told = getattr(args, "told", None)  # by the command, where it has a --format
        return outcome if told is None else dataclasses.replace(outcome, text=told(args.format, outcome.report, outcome.text))

    return on_targets(args, work, lambda outcome: outcome.exit_code == 0)
