"""``edgekit undeploy TARGET``: nothing of edgekit stays on a board."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from ..rollout import releases
from ..transport.shell import Shell
from .common import Reporter, add_target_flags, examples, on_targets

_EXAMPLES = examples(
    ("edgekit undeploy pi@raspberrypi.local", "one board"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Removed:
    target: str
    left: tuple[str, ...] | None

    def to_text(self) -> str:
        if self.left is None:
            return f"{self.target}: nothing is deployed, so nothing was removed"
        stays = f"; not made by edgekit and still there: {', '.join(self.left)}" if self.left else ""
        return f"{self.target}: everything that edgekit deployed is removed{stays}"

    def to_dict(self) -> dict[str, Any]:
        return {"target": self.target, "deployed": self.left is not None, "left": list(self.left or ())}


def add_parser(subparsers: Any) -> None:
    """Add ``undeploy`` to the root command."""
    parser = subparsers.add_parser(
        "undeploy",
        help="remove from a board everything that deploy made",
        description="Removes releases, environments and the service from the board, and nothing else.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_target_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Clear the targets."""

    def work(shell: Shell, report: Reporter) -> _Removed:
        return _Removed(target=shell.name, left=releases.undeploy(shell, folder=args.folder))

    return on_targets(args, work, lambda _: True)
