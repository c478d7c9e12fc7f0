"""How long a run takes, how time and heat went on, and where the time goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .chart import Chart, Spec, colours, log_axis, spec, tips
from .facts import Facts, Split, Timing

SPLIT_TEXT = (
    "Of one run, as the profiler of the runtime tells it (edgekit benchmark --per-op). Built-in kernels are what an op falls back to"
    " that XNNPACK does not take."
)
SPLIT_HEADERS = ("variant and place", "kernel", "ran by", "ms", "share")


def latencies(facts: Facts) -> Chart | None:
    """Return where the times of single runs lie, and what is predicted for boards."""
    rows: list[Any] = []
    runs: list[Any] = []
    for origin in facts.origins:
        for timing in (entry for entry in facts.timings if entry.origin == origin):
            variant = facts.variant(timing.variant).name
            name = f"{variant}, {origin}"
            spoiled = "" if timing.quotable else "; throttled or disturbed, not this board's speed"
            said = f"p50 {timing.p50_ms:.3g}, p90 {timing.p90_ms:.3g}, p99 {timing.p99_ms:.3g} ms"
            how = f"{timing.runs:,} runs, {timing.threads} threads{spoiled}"
            base = {"name": name, "variant": variant, "said": said, "how": how, "predicted": False}
            rows.append({**base, "mid": timing.p50_ms, "low": timing.min_ms, "high": timing.p99_ms, "most": timing.p90_ms})
            runs += [{**base, "ms": value, "percentile": at} for at, value in enumerate(timing.percentiles_ms)]
        for expected in (entry for entry in facts.predictions if entry.origin == origin):
            if expected.expected_ms and expected.low_ms and expected.high_ms:
                variant = facts.variant(expected.variant).name
                said = f"about {expected.expected_ms:.3g} ms ({expected.low_ms:.3g} to {expected.high_ms:.3g})"
                ends = {"mid": expected.expected_ms, "low": expected.low_ms, "high": expected.high_ms, "most": None}
                base = {"name": f"{variant}, {origin}", "variant": variant, "said": said, "how": "predicted", "predicted": True}
                rows.append({**base, **ends})
    if not rows:
        return None
    order = [row["name"] for row in rows]
    at_y = {"field": "name", "type": "nominal", "sort": order, "title": None, "axis": {"labelLimit": 210}}
    low, high = min(row["low"] for row in rows) / 1.15, max(row["high"] for row in rows) * 1.15
    axis = log_axis(low, high, "ms (log)")
    runs = [row for row in runs if low <= row["ms"] <= high]  # a slowest run far beyond the others would shrink all of the chart
    at_x = {"field": "mid", "type": "quantitative", **axis}
    colour = {"field": "variant", "type": "nominal", "scale": colours(facts), "legend": None}
    tip = tips("name", "said", "how")
    layers: list[Spec] = [
        {
            "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.8},
            "encoding": {
                "y": at_y,
                "x": {**at_x, "field": "low"},
                "x2": {"field": "high"},
                "color": colour,
                "strokeDash": {"condition": {"test": "datum.predicted", "value": [3, 3]}, "value": [1, 0]},
            },
        },
        {
            "data": {"values": runs},
            "mark": {"type": "tick", "thickness": 2, "size": 14, "opacity": 0.22},
            "encoding": {"y": at_y, "x": {**at_x, "field": "ms"}, "color": colour},
        },
        {
            "mark": {"type": "point", "size": 90, "strokeWidth": 2},
            "name": "marks",
            "encoding": {
                "y": at_y,
                "x": at_x,
                "color": colour,
                "fill": {**colour, "condition": {"test": "datum.predicted", "value": "var(--card)"}},
                "tooltip": tip,
            },
        },
    ]
    return Chart(
        id="latency",
        title="Time of a single run",
        alt="Median, range and distribution of single runs; dashed lines are predictions.",
        specs={"": spec(layers, rows, height=24 * len(rows) + 16)},
        headers=("variant and place", "time", "how"),
        rows=tuple((row["name"], row["said"], row["how"]) for row in rows),
    )


def traces(facts: Facts) -> list[Chart]:
    """Return time and temperature over the measurements that kept them; without a second chart where no board told its heat."""
    kept = [timing for timing in facts.timings if len(timing.trace) > 1]
    result = []
    for name, title, column, unit in (
        ("trace", "How the time went on", 1, "ms (median of a stretch)"),
        ("heat", "How hot it became", 2, "degrees Celsius"),
    ):
        rows = [
            {
                "seconds": at[0],
                "value": at[column],
                "name": _timing_name(facts, timing),
                "variant": facts.variant(timing.variant).name,
            }
            for timing in kept
            for at in timing.trace
            if at[column] is not None
        ]
        if rows:
            result.append(_trace(facts, name, title, unit, rows, kept, log=name == "trace"))
    return result


def _trace(facts: Facts, name: str, title: str, unit: str, rows: list[Any], kept: Sequence[Timing], *, log: bool) -> Chart:
    encoding = {
        "x": {"field": "seconds", "type": "quantitative", "title": "seconds since the start"},
        "y": {
            "field": "value",
            "type": "quantitative",
            **(
                log_axis(min(row["value"] for row in rows) / 1.2, max(row["value"] for row in rows) * 1.2, unit)
                if log
                else {"title": unit, "scale": {"zero": False}}
            ),
        },
        "color": {
            "field": "variant",
            "type": "nominal",
            "scale": colours(facts, (row["variant"] for row in rows)),
            "title": None,
        },
        "detail": {"field": "name", "type": "nominal"},
        "tooltip": tips("name", "seconds", "value"),
    }
    layers: list[Spec] = [{"mark": {"type": "line", "strokeWidth": 1.8}, "name": "marks", "encoding": encoding}]
    summary = []
    for timing in kept:
        values = [row["value"] for row in rows if row["name"] == _timing_name(facts, timing)]
        if values:
            summary.append((_timing_name(facts, timing), f"{values[0]:.3g}", f"{max(values):.3g}", f"{values[-1]:.3g}"))
    return Chart(
        id=name,
        title=title,
        alt="; ".join(f"{who}: {first} at first, {last} at the end" for who, first, _, last in summary) + f" ({unit}).",
        specs={"": spec(layers, rows, height=220)},
        headers=("measurement", "first", "highest", "last"),
        rows=tuple(summary),
    )


def _timing_name(facts: Facts, timing: Timing) -> str:
    return f"{facts.variant(timing.variant).name}, {timing.origin}"


def splits(facts: Facts) -> Iterator[Chart]:
    """Yield a chart for each measurement that has times per op."""
    measured = [timing for timing in facts.timings if timing.split is not None]
    for number, timing in enumerate(measured):
        if timing.split is not None:
            yield _split_chart(facts, timing, timing.split, number)


def _split_chart(facts: Facts, timing: Timing, split: Split, number: int) -> Chart:
    parts = split.blocks or split.kernels
    rows = [
        {
            "number": at,
            "name": f"{at + 1}. {name}",
            "ms": ms,
            "share": f"{ms:.3g} ms, {ms / _total(split):.1%}",
            "by": "built-in" if ran_by == "built-in" else "XNNPACK",
        }
        for at, (name, ran_by, ms) in enumerate(parts)
    ]
    layers: list[Spec] = [
        {
            "mark": {"type": "bar", "cornerRadiusEnd": 2},
            "name": "marks",
            "encoding": {
                "y": {
                    "field": "name",
                    "type": "nominal",
                    "sort": {"field": "number"},
                    "title": None,
                    "axis": {"labelLimit": 210},
                },
                "x": {"field": "ms", "type": "quantitative", "title": "ms"},
                "opacity": {"condition": {"test": "datum.by === 'built-in'", "value": 0.45}, "value": 0.9},
                "tooltip": tips("name", "share", "by"),
            },
        }
    ]
    name = _timing_name(facts, timing)
    kind = "block" if split.blocks else "kernel"
    return Chart(
        id=f"split-{number}",
        title=f"Where the time of a run goes: {name}",
        alt=f"Milliseconds per {kind}, {split.threads} thread{'s' if split.threads > 1 else ''}; {'; '.join(split.findings)}",
        specs={"": spec(layers, rows, height=16 * len(rows) + 16)},
        headers=("where", "of a run", "kernels"),
        rows=tuple((str(row["name"]), str(row["share"]), str(row["by"])) for row in rows),
    )


def _total(split: Split) -> float:
    return sum(ms for _, _, ms in split.kernels) or 1.0


def split_rows(facts: Facts) -> tuple[tuple[str, ...], ...]:
    """Return the rows of the table of kernels, and of findings."""
    found: list[tuple[str, ...]] = []
    for timing in facts.timings:
        if timing.split is None:
            continue
        where = _timing_name(facts, timing)
        total = _total(timing.split)
        found += [(where, name, ran_by, f"{ms:.3g}", f"{ms / total:.1%}") for name, ran_by, ms in timing.split.kernels]
        found += [(where, finding, "", "", "") for finding in timing.split.findings]
    return tuple(found)
