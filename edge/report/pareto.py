"""Size, accuracy and latency of the variants on each machine and board, and which of them nothing beats.

A panel has times of one origin only: what was measured on a board and what is predicted for it are two panels.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

from devices.origin import Origin

from .chart import PERCENT, Chart, Spec, colours, log_axis, scale_of, spec, tips
from .facts import Facts, Validation
from .verdict import points

# Where a name may stand: how far to the side in halves of its width, how far below in pixels, and the mark's properties.
_SIDES: dict[str, tuple[float, float, Spec]] = {
    "right above": (1, -10, {"align": "left", "dx": 13, "dy": -10}),
    "left above": (-1, -10, {"align": "right", "dx": -13, "dy": -10}),
    "right below": (1, 12, {"align": "left", "dx": 13, "dy": 12}),
    "left below": (-1, 12, {"align": "right", "dx": -13, "dy": 12}),
    "above": (0, -24, {"align": "center", "dy": -24}),
    "below": (0, 26, {"align": "center", "dy": 26}),
}
_YES = {True: "yes", False: "no"}
_PANEL = (400, 260)  # pixels, about: on a wide screen


def pareto(facts: Facts) -> list[Chart]:
    """Return one panel an origin of times: latency, accuracy and size of each variant, and which nothing beats."""
    rows = [row for origin in facts.origins for row in _at(facts, origin)]
    if not rows:
        return []
    lows, highs = [row["low"] for row in rows], [row["high"] for row in rows]
    pad = 0.1 * max(max(highs) - min(lows), 0.002)
    y = scale_of(min(lows) - pad, max(highs) + pad)
    x = log_axis(min(row["fast"] for row in rows) / 1.4, max(row["slow"] for row in rows) * 1.8, "ms per image (log)")
    sizes = [row["mib"] for row in rows if row["mib"]]
    size = {"type": "linear", "domain": [0, max(sizes, default=1.0)], "range": [30, 700]}
    result = []
    for number, origin in enumerate(facts.origins):
        here = [row for row in rows if row["origin"] == str(origin)]
        if here:
            result.append(_panel(facts, f"pareto-{number}", origin, here, x, y, size))
    return result


def _panel(facts: Facts, name: str, origin: Origin, rows: list[dict[str, Any]], x: Any, y: Any, size: Any) -> Chart:
    front = sorted((row for row in rows if row["front"]), key=lambda row: row["ms"])
    tip = tips("variant", "top1", "accuracy from", "drop", "latency", "how", "size")
    at_x = {"field": "ms", "type": "quantitative", **x}
    at_y = {"field": "accuracy", "type": "quantitative", "scale": y, "title": "top-1", "axis": {"format": PERCENT}}
    _place_names(rows, x["scale"]["domain"], y["domain"])
    colour = {"field": "variant", "type": "nominal", "scale": colours(facts), "legend": None}
    bars: Spec = {"mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.6}}
    names: list[Spec] = [
        {
            "transform": [{"filter": {"field": "side", "equal": side}}],
            "mark": {"type": "text", "fontSize": 12, "color": "var(--ink)", **how},
            "encoding": {"x": at_x, "y": at_y, "text": {"field": "variant"}},
        }
        for side, (_, _, how) in _SIDES.items()
        if any(row["side"] == side for row in rows)
    ]
    layers: list[Spec] = [
        {
            "data": {"values": front},
            "mark": {"type": "line", "interpolate": "step-after", "color": "var(--muted)", "strokeDash": [4, 4]},
            "encoding": {"x": at_x, "y": at_y},
        },
        {**bars, "encoding": {"x": at_x, "y": {**at_y, "field": "low"}, "y2": {"field": "high"}, "color": colour}},
        {**bars, "encoding": {"x": {**at_x, "field": "fast"}, "x2": {"field": "slow"}, "y": at_y, "color": colour}},
        {
            "mark": {"type": "point", "filled": True, "strokeWidth": 2, "stroke": "var(--card)"},
            "name": "marks",
            "encoding": {
                "x": at_x,
                "y": at_y,
                "color": colour,
                "size": {"field": "mib", "type": "quantitative", "scale": size, "legend": None},
                "opacity": {"condition": {"test": "datum.measured", "value": 0.95}, "value": 0.5},
                "tooltip": tip,
            },
        },
        *names,
    ]
    best, sources = ", ".join(row["variant"] for row in front), {row["accuracy from"] for row in rows}
    elsewhere = "" if sources == {origin.place} else f"measured on {', '.join(sorted(sources))}"
    return Chart(
        id=name,
        title=f"{origin.place} ({'time ' if elsewhere else ''}{origin.how})",
        alt=f"{len(rows)} variant{'' if len(rows) == 1 else 's'} on {origin.place} by milliseconds per image and top-1. Nothing beats:"
        f" {best}.{f' Top-1: {elsewhere}.' if elsewhere else ''}",
        specs={"": spec(layers, rows, height=300)},
        headers=("variant", "ms per image", "how", "top-1", "measured on", "drop in points", "size", "nothing beats it"),
        rows=tuple(
            (*(row[key] for key in ("variant", "latency", "how", "top1", "accuracy from", "drop", "size")), _YES[row["front"]])
            for row in rows
        ),
        narrow=True,
    )


def _place_names(rows: list[Any], x: list[float], y: list[float]) -> None:
    """Choose for each name a side of its dot (``side``) on which it hides no other, as well as that can be done."""
    width, height = math.log(x[1] / x[0]), y[1] - y[0]
    at = [(_PANEL[0] * math.log(row["ms"] / x[0]) / width, _PANEL[1] * (y[1] - row["accuracy"]) / height) for row in rows]
    taken = [(left - 9, top - 9, left + 9, top + 9) for left, top in at]
    for row, (left, top) in zip(rows, at, strict=True):
        half = 3.6 * len(row["variant"])
        boxes = {
            side: (left + dx * (half + 13) - half, top + dy - 7, left + dx * (half + 13) + half, top + dy + 7)
            for side, (dx, dy, _) in _SIDES.items()
        }
        row["side"] = min(boxes, key=lambda side: _hidden(boxes[side], taken))
        taken.append(boxes[row["side"]])


def _hidden(box: tuple[float, ...], taken: list[tuple[float, float, float, float]]) -> float:
    """Return how much of ``taken`` a name would cover, and of itself lose over the edge, in square pixels."""
    covered = max(0.0, box[2] - _PANEL[0]) * 14 + max(0.0, -box[0]) * 14
    for left, top, right, bottom in taken:
        covered += max(0.0, min(box[2], right) - max(box[0], left)) * max(0.0, min(box[3], bottom) - max(box[1], top))
    return covered


def _at(facts: Facts, origin: Origin) -> list[dict[str, Any]]:
    rows = []
    for variant in facts.variants:
        accuracy = _accuracy(facts, variant.key, origin.place)
        timing = next((entry for entry in facts.timings if (entry.variant, entry.origin) == (variant.key, origin)), None)
        expected = next((entry for entry in facts.predictions if (entry.variant, entry.origin) == (variant.key, origin)), None)
        if timing is not None:
            ms, fast, slow, how = timing.p50_ms, timing.min_ms, timing.p90_ms, "measured: median, fastest to 90th percentile"
            how += "" if timing.quotable else "; throttled or disturbed, not this board's speed"
        elif (
            expected is not None and expected.fits is not False and expected.expected_ms and expected.low_ms and expected.high_ms
        ):
            ms, fast, slow, how = expected.expected_ms, expected.low_ms, expected.high_ms, "predicted"
        else:
            continue
        if accuracy is None:
            continue
        top1, low, high, drop, source = accuracy
        mib = variant.size_bytes / 2**20 if variant.size_bytes else None
        rows.append(
            {
                "variant": variant.name,
                "origin": str(origin),
                "accuracy from": source,
                "accuracy": top1,
                "low": low,
                "high": high,
                "drop": drop,
                "ms": ms,
                "fast": fast,
                "slow": slow,
                "mib": mib,
                "how": how,
                "measured": timing is not None,
                "top1": f"{top1:.2%} ({low:.2%} to {high:.2%})",
                "latency": f"{ms:.3g} ({fast:.3g} to {slow:.3g})",
                "size": "unknown" if mib is None else f"{mib:.1f} MiB",
            }
        )
    for row in rows:
        row["front"] = not any(_beats(other, row) for other in rows)
    return rows


def _beats(one: dict[str, Any], other: dict[str, Any]) -> bool:
    keys = [(one["ms"], other["ms"]), (-one["accuracy"], -other["accuracy"]), (one["mib"] or 0, other["mib"] or 0)]
    return all(mine <= theirs for mine, theirs in keys) and any(mine < theirs for mine, theirs in keys)


def _accuracy(facts: Facts, key: str, place: str) -> tuple[float, float, float, str, str] | None:
    """Return top-1, its interval, the drop in words and where it was measured; what was measured at ``place`` itself goes first, and
    an emulation last.
    """

    def order(entry: Validation) -> tuple[bool, bool, bool]:
        held = any(found.origin.place == place for found in entry.holds_on)
        return entry.origin.place != place, not held, entry.origin.emulated

    found = [entry for entry in facts.validations if entry.variant == key and entry.top1 is not None]
    for entry in sorted(found, key=order):
        assert entry.top1 is not None
        if entry.drop is not None and entry.reference_top1 is not None:
            # Paired: as wide as the doubt about the difference to the reference, not about both. From the reference's top-1 on
            # the most images, so that a variant that was validated on some of them is not better for having had the easier ones.
            alike = (e for e in facts.validations if (e.reference, e.origin) == (entry.reference, entry.origin))
            fullest = max(alike, key=lambda e: e.images)
            before = entry.reference_top1 if fullest.reference_top1 is None else fullest.reference_top1
            drop = entry.drop
            return before - drop.top1, before - drop.high, before - drop.low, points(drop.top1), entry.origin.place
        return entry.top1, *_wilson(entry.top1, entry.images), "unknown", entry.origin.place
    as_reference = [entry for entry in facts.validations if entry.reference == key and entry.reference_top1 is not None]
    for entry in sorted(as_reference, key=order):
        assert entry.reference_top1 is not None
        source = "stored answers" if entry.reference_origin is None else entry.reference_origin.place
        return entry.reference_top1, entry.reference_top1, entry.reference_top1, "reference", source
    return None


def _wilson(rate: float, images: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion (E. B. Wilson, JASA 22 (1927) 209-212)."""
    z = NormalDist().inv_cdf(0.975)
    centre = (rate + z * z / (2 * images)) / (1 + z * z / images)
    half = z / (1 + z * z / images) * math.sqrt(rate * (1 - rate) / images + z * z / (4 * images * images))
    return centre - half, centre + half
