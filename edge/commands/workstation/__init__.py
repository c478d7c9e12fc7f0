"""The commands of `edge` that no board gets: they predict, remember, report, and set up a project (see `edge.commands`).

May use: every room of `edge`, inside ``run``.
Read first: check.py.
"""

from __future__ import annotations

COMMANDS = {
    "init": "edge.commands.workstation.init",
    "check": "edge.commands.workstation.check",
    "runs": "edge.commands.workstation.runs",
    "report": "edge.commands.workstation.report",
    "completion": "edge.commands.workstation.completion",
}
REMEMBERED = ("check",)
