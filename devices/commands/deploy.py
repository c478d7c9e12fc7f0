"""``edgekit deploy FILE TARGET``: make an artefact the current release on a board."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..boards.wheels import RUNTIMES
from ..errors import DeviceError
from ..rollout import deploy, service
from ..transport.shell import Shell
from .common import Reporter, add_target_flags, examples, on_targets

_EXAMPLES = examples(
    ("edgekit deploy flowers.int8.tflite pi@raspberrypi.local", "one board"),
    ("edgekit deploy flowers.int8.tflite @boards.toml", "every board of an inventory, in parallel"),
    ("edgekit deploy flowers.int8.tflite virtual:desk", "rehearse it on a virtual board"),
)


def add_parser(subparsers: Any) -> None:
    """Add ``deploy`` to the root command."""
    parser = subparsers.add_parser(
        "deploy",
        help="make an artefact the current release on a board, over SSH",
        description="Sets up an environment on the board once, sends the artefact, checks its SHA-256 there, replays its golden samples"
        " there, and only then makes it the current release. The one before stays for edgekit rollback. Run it again after any"
        " interruption.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the .tflite artefact")
    add_target_flags(parser)
    parser.add_argument(
        "--keep", type=int, default=deploy.KEEP, metavar="N", help="how many releases stay (default: %(default)s)"
    )
    parser.add_argument("--runtime", choices=RUNTIMES, help="the interpreter (default: the first that has a wheel for the board)")
    parser.add_argument(
        "--wheels", type=Path, metavar="DIR", help="a folder with the wheels, where this machine cannot fetch them"
    )
    parser.add_argument("--skip-selftest", action="store_true", help="for a file without golden samples; status tells")
    parser.add_argument(
        "--service", action="store_true", help="a systemd unit that self-tests at every start of the board (needs sudo)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Deploy to the targets. Errors of one board stop no other."""
    if args.keep < 1:
        raise DeviceError(f"--keep is {args.keep}, expected at least 1")
    deploy.check_artefact(args.file)
    if not args.skip_selftest:
        deploy.check_samples(args.file)
    options = deploy.Options(
        folder=args.folder, keep=args.keep, runtime=args.runtime, wheels=args.wheels, selftest=not args.skip_selftest
    )

    def work(shell: Shell, report: Reporter) -> deploy.Deployment:
        done = deploy.deploy(shell, args.file, options, report)
        if args.service:
            name = service.install(shell, done.root)
            report(f"{name} tests the current release at every start of the board; what it says: journalctl -u {name}")
        return done

    return on_targets(args, work, lambda _: True)
