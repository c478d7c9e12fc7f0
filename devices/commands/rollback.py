"""``edgekit rollback TARGET``: back to the release before, or to any that is there."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from ..rollout import releases
from ..transport.shell import Shell
from .common import Reporter, add_target_flags, examples, on_targets

_EXAMPLES = examples(
    ("edgekit rollback pi@raspberrypi.local", "to the release before the current one"),
    ("edgekit rollback --to 0003 pi@raspberrypi.local", "to the release whose name begins so; edgekit status lists them"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rollback:
    target: str
    left: str
    current: str

    def to_text(self) -> str:
        if self.left == self.current:
            return f"{self.target}: {self.current} is the current release already; nothing was changed"
        return f"{self.target}: {self.current} is the current release again (was {self.left})"

    def to_dict(self) -> dict[str, Any]:
        return {"target": self.target, "left": self.left, "current": self.current}


def add_parser(subparsers: Any) -> None:
    """Add ``rollback`` to the root command."""
    parser = subparsers.add_parser(
        "rollback",
        help="make the release before the current one again",
        description="Replays the golden samples of the release before the current one (or of the one that --to names) on the board,"
        " then makes it current.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_target_flags(parser)
    parser.add_argument("--to", metavar="RELEASE", help="its name, or the beginning of it (default: the one before)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Go back on the targets."""

    def work(shell: Shell, report: Reporter) -> _Rollback:
        left, current = releases.rollback(shell, report, folder=args.folder, to=args.to)
        return _Rollback(target=shell.name, left=left, current=current)

    return on_targets(args, work, lambda _: True)
