"""How a network was made smaller: what was tried, and a map of the blocks with what is gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from devices.origin import Origin

from ..validation import headline
from .chart import Chart, Spec, log_axis, spec, tips
from .facts import Shrinking

_KINDS = {"original": "var(--c0)", "tried": "var(--muted)", "nothing beats it": "var(--c3)", "made": "var(--c4)"}


def shrinking(entry: Shrinking, number: int) -> list[Chart]:
    """Return the front of milliseconds, size and likeness, and the map of the network."""
    return [_front(entry, number), _map(entry, number)]


def nameless(entry: Shrinking, number: int, origin: Origin) -> Shrinking:
    """Return it without the names of the network and its layers."""
    parts = tuple(replace(part, name=f"{part.how} {place + 1}") for place, part in enumerate(entry.parts))
    return replace(entry, name=f"network {number + 1}", origin=origin, reason="", parts=parts)


def _front(entry: Shrinking, number: int) -> Chart:
    rows: list[dict[str, Any]] = [
        {
            "name": point.name,
            "kind": point.kind,
            "ms": point.ms,
            "error": point.error,
            "mib": point.bytes / 2**20,
            "size": f"{point.bytes / 2**20:.2f} MiB",
            "agreement": headline.shown("agreement", point.agreement),
        }
        for point in entry.points
    ]
    fastest, slowest = min(point.ms for point in entry.points), max(point.ms for point in entry.points)
    colour = {"domain": list(_KINDS), "range": list(_KINDS.values())}
    encoding: Spec = {
        "x": {
            "field": "ms",
            "type": "quantitative",
            **log_axis(fastest / 1.2, slowest * 1.2, f"ms per image, {entry.timed} (log)"),
        },
        "y": {"field": "error", "type": "quantitative", "title": "output error on held-out photos"},
        "color": {"field": "kind", "type": "nominal", "scale": colour, "title": None},
        "size": {"field": "mib", "type": "quantitative", "scale": {"range": [40, 500], "zero": True}, "legend": None},
        "tooltip": tips("name", "ms", "size", "agreement"),
    }
    best = [point.name for point in entry.points if point.kind == "nothing beats it"]
    return Chart(
        id=f"front-{number}",
        title=f"{entry.name}: what was tried",
        alt=f"{len(rows)} int8 files by milliseconds and output error. Nothing that was tried beats: {', '.join(best) or 'none'}.",
        specs={"": spec([{"mark": {"type": "point", "filled": True}, "name": "marks", "encoding": encoding}], rows, height=260)},
        headers=("network", "what it is", "ms per image", "size", "output error", "the original's answer"),
        rows=tuple(
            (row["name"], row["kind"], f"{row['ms']:.3g}", row["size"], f"{row['error']:.4f}", row["agreement"]) for row in rows
        ),
    )


def _map(entry: Shrinking, number: int) -> Chart:
    rows: list[dict[str, Any]] = [
        {"place": place, "part": part.name, "left": part.left, "how": part.how, "share": f"{part.left:.0%}"}
        for place, part in enumerate(entry.parts)
    ]
    encoding: Spec = {
        "x": {
            "field": "place",
            "type": "ordinal",
            "title": "blocks and convolutions, the first ones left",
            "axis": {"labels": False},
        },
        "y": {
            "field": "left",
            "type": "quantitative",
            "scale": {"domain": [0, 1]},
            "title": "share left",
            "axis": {"format": ".0%"},
        },
        "color": {
            "field": "how",
            "type": "nominal",
            "scale": {"domain": ["block", "channels"], "range": ["var(--c0)", "var(--c3)"]},
            "title": None,
        },
        "tooltip": tips("part", "how", "share"),
    }
    gone = sum(part.how == "block" and part.left == 0 for part in entry.parts)
    blocks = sum(part.how == "block" for part in entry.parts)
    narrower = sum(part.how == "channels" and part.left < 1 for part in entry.parts)
    return Chart(
        id=f"gone-{number}",
        title=f"{entry.name}: what is gone",
        alt=f"{gone} of {blocks} blocks are gone, and {narrower} convolutions are narrower.",
        specs={"": spec([{"mark": {"type": "bar"}, "name": "marks", "encoding": encoding}], rows, height=160)},
        headers=("part", "what it is", "left"),
        rows=tuple((row["part"], row["how"], row["share"]) for row in rows),
    )
