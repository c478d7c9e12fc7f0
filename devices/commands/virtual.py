"""``edgekit virtual``: emulated boards. Every action takes ``--json``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ..virtual import boards
from ..virtual.models import ARCHITECTURES, MODELS
from .common import examples, say
from .output_flags import add_json, emit

_EXAMPLES = examples(
    ("sudo edgekit virtual create desk --board pi-5", "about half a minute the first time"),
    ("sudo edgekit virtual start desk", "then virtual:desk is a target like any other"),
    ("sudo edgekit deploy flowers.int8.tflite virtual:desk", "sudo: the board and its key belong to who made it"),
    ("sudo edgekit virtual stop desk", "a board that was stopped can be started again"),
    ("sudo edgekit virtual remove desk", "nothing of it stays"),
)


def add_parser(subparsers: Any) -> None:
    """Add ``virtual`` to the root command."""
    parser = subparsers.add_parser(
        "virtual",
        help="emulated boards: rehearse a deployment without hardware",
        description="A Debian 12 ARM system under qemu with a real SSH server on the loopback (Linux, root). It proves deployment,"
        " wheels, accuracy and equality of bits, and says nothing about speed.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a board")
    create.add_argument("--board", default="pi-4b", choices=[model.board for model in MODELS], help="default: %(default)s")
    create.add_argument("--arch", default="arm64", choices=[arch.debian for arch in ARCHITECTURES], help="default: %(default)s")
    create.add_argument("--wheels", type=Path, metavar="DIR", help="install these wheels (*.whl) for the board's own Python")
    start = actions.add_parser("start", help="start a board, and wait until it answers")
    start.add_argument(
        "--global-binfmt", action="store_true", help="register qemu for the whole machine (needed on Linux before 6.7)"
    )
    stop = actions.add_parser("stop", help="stop a board")
    remove = actions.add_parser("remove", help="remove a board that does not run")
    listing = actions.add_parser("list", help="list the boards")
    for action, run in ((create, _create), (start, _start), (stop, _stop), (remove, _remove)):
        action.add_argument("name", metavar="NAME", help="small letters, digits and hyphens")
        action.set_defaults(run=run)
    listing.set_defaults(run=_list)
    for action in (create, start, stop, remove, listing):
        add_json(action)
    parser.set_defaults(run=_list)


def _create(args: argparse.Namespace) -> int:
    board = boards.create(args.name, board=args.board, arch=args.arch, report=say, wheels_folder=args.wheels)
    emit(
        args.json,
        board.to_dict(),
        f"{board.name} is made ({board.board}, {board.arch}); start it: edgekit virtual start {board.name}",
    )
    return 0


def _start(args: argparse.Namespace) -> int:
    board = boards.start(args.name, global_binfmt=args.global_binfmt)
    if args.global_binfmt:
        print("qemu is now registered for ARM programs on this whole machine, until its next start", file=sys.stderr)
    emit(args.json, board.to_dict(), f"{board.name} is running: use it as virtual:{board.name}")
    return 0


def _stop(args: argparse.Namespace) -> int:
    ran = boards.stop(args.name)
    emit(args.json, {"name": args.name, "ran": ran}, f"{args.name} {'is stopped' if ran else 'was not running'}")
    return 0


def _remove(args: argparse.Namespace) -> int:
    boards.remove(args.name)
    emit(args.json, {"name": args.name, "removed": True}, f"{args.name} is removed")
    return 0


def _list(args: argparse.Namespace) -> int:
    found = boards.every()
    lines = [f"{board.name:20}{board.board:12}{board.arch:8}{'running' if board.port else 'stopped'}" for board in found]
    text = "\n".join(lines) or "no virtual boards yet: edgekit virtual create NAME"
    emit(args.json, {"boards": [board.to_dict() for board in found]}, text)
    return 0
