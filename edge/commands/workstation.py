"""The commands of `edge` that no board gets: they predict, remember and report (see `edge.commands`)."""

from __future__ import annotations

COMMANDS = {
    "check": "edge.commands.check",
    "runs": "edge.commands.runs",
    "report": "edge.commands.report",
}
REMEMBERED = ("check",)
