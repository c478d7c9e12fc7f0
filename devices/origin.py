"""Where a figure comes from: which machine, a real one or an emulation of it, and whether it was measured or predicted.

Every figure of a report has its origin with it, and figures of different origins are never put together: not in a row of a table, not in
a ratio, not in one panel of a chart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MEASURED, PREDICTED = "measured", "predicted"
EMULATED = ", emulated"  # behind the name of a board where what answered was an emulation of it
THIS_MACHINE = "this machine"  # in `measured_on`: not the board that the report is about, but the machine that compared its bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """``machine``: the board's name, or the processor. ``how``: measured or predicted."""

    machine: str
    emulated: bool = False
    how: str = MEASURED

    @property
    def place(self) -> str:
        """The machine; an emulation is never called by the board's name alone."""
        return f"{self.machine}{EMULATED if self.emulated else ''}"

    def __str__(self) -> str:
        return self.place if self.how == MEASURED else f"{self.place}, {self.how}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"machine": self.machine, "emulated": self.emulated, "how": self.how}


def of_board(report: Mapping[str, Any]) -> Origin:
    """Return the board that a report is about: by its profile, its model, or its processor."""
    board, host = report.get("board"), report.get("host")
    board = board if isinstance(board, Mapping) else {}
    processor = host.get("processor") if isinstance(host, Mapping) and report.get("measured_on") != THIS_MACHINE else None
    return Origin(
        machine=str(board.get("profile") or board.get("model") or processor or "a board"), emulated=bool(board.get("virtual"))
    )


def of_report(report: Mapping[str, Any], host: Mapping[str, Any] | None = None) -> Origin:
    """Return the origin of what a command measured, from its report. host: what else is known of the machine that ran the command."""
    board, own = report.get("board"), report.get("host")
    processors = [about.get("processor") for about in (own, host) if isinstance(about, Mapping)]
    processor = next((str(name) for name in processors if name), None)
    machine = report.get("machine")
    here = processor or (f"{THIS_MACHINE} ({machine})" if machine else THIS_MACHINE)
    if isinstance(board, Mapping) and report.get("measured_on") != THIS_MACHINE:
        return of_board(report)
    return Origin(machine=here)
