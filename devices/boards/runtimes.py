"""Which releases of the interpreter were checked, and what was seen of them.

``runtimes.json`` is written by ``benchmarks/runtimes.py --record``: an InceptionResNetV2 opened by every release, in every way, on one
machine. What it says of bits and speed holds for that machine; that a release cannot be opened in some way holds everywhere.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SLOWER = 1.05  # times the pinned release's time
_TABLE = Path(__file__).with_name("runtimes.json")
_USED = ("Interpreter", "packed weights")  # what edgekit opens a model with
_PACKED = _USED[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of a release.

    ``faults`` change answers, or lose speed beyond the noise of the table; ``lacks`` say why it opens nothing with packed weights.
    """

    package: str
    version: str
    text: str
    faults: tuple[str, ...]
    lacks: tuple[str, ...]


def seen(package: str, version: str, *, table: Mapping[str, Any] | None = None) -> Seen | None:
    """Return what was seen of a release; None for one that was not checked. table: default ``runtimes.json``."""
    table = _table() if table is None else table
    rows = [row for row in table["rows"] if row["version"] == version and row["package"].removesuffix("-nightly") == package]
    if not rows:
        return None
    used = [row for row in rows if row["way"] in _USED]
    faults, lacks = [], []
    noise = _noise(table)
    for row in used:
        kind = f"{row['file']} by {row['way']}"
        if not row["loads"]:
            if row["way"] == _PACKED:
                lacks.append(str(row["error"]))
            else:
                faults.append(f"{kind}: {row['error']}")
        elif row["bits"] is False:
            faults.append(f"{kind}: other bits than {table['pinned']} answered")
        if row["ms_ratio_ci95"] is not None and row["ms_ratio_ci95"][0] > SLOWER * noise:
            faults.append(f"{kind}: {row['ms_ratio']:.2f} times the time of {table['pinned']}")
    ratios = [row["ms_ratio"] for row in used if row["ms_ratio"] is not None]
    speed = f", {min(ratios):.2f} to {max(ratios):.2f} times the time of {table['pinned']}" if ratios else ""
    bits = "the same bits" if all(row["bits"] is not False for row in used) else "OTHER bits"
    return Seen(
        package=package,
        version=version,
        text=f"checked {rows[0].get('date', table['date'])} on {table['machine']}: {bits}{speed}",
        faults=tuple(faults),
        lacks=tuple(dict.fromkeys(lacks)),
    )


def _noise(table: Mapping[str, Any]) -> float:
    """Return how many times its own time the pinned release may take in this table: the highest end of its intervals against itself."""
    own = [row["ms_ratio_ci95"] for row in table["rows"] if row["version"] == table["pinned"]]
    return max([1.0, *(float(ends[1]) for ends in own if ends is not None)])


def checked() -> tuple[str, ...]:
    """Return the versions that were checked, the oldest first."""
    return tuple(dict.fromkeys(str(row["version"]) for row in _table()["rows"]))


@functools.cache
def _table() -> Mapping[str, Any]:
    table: Mapping[str, Any] = json.loads(_TABLE.read_text("utf-8"))
    return table
