"""What accuracy it cost: the paired drop, step by step, by class, and in confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .chart import Chart, Spec, at_value, colours, distinct, scale_of, spec, tips, told_apart
from .facts import Explanation, Facts, Validation
from .verdict import points

_CLASSES = 30  # shown in the chart of classes
_WRITTEN = 20  # classes up to which a confusion matrix has numbers


def drops(facts: Facts) -> Chart | None:
    """Return the paired drop of each validation with its interval, and the limits."""
    found = [entry for entry in facts.validations if entry.drop is not None and entry.variant != entry.reference]
    if not found:
        return None
    names = distinct(facts, found)
    rows = [
        {
            "name": name,
            "verdict": entry.verdict or "no limit",
            "points": 100 * entry.drop.top1,
            "low": 100 * entry.drop.low,
            "high": 100 * entry.drop.high,
            "said": f"{points(entry.drop.top1)} ({points(entry.drop.low)} to {points(entry.drop.high)})",
            "flips": f"{entry.drop.lost} lost, {entry.drop.won} won",
        }
        for name, entry in zip(names, found, strict=True)
        if entry.drop is not None
    ]
    limits = sorted({100 * entry.max_drop for entry in found if entry.max_drop is not None})
    return _interval_chart(
        "drops", "Drop of top-1 with its 95 % interval", rows, limits, "drop in points (right is worse)", found
    )


def ladder(explanation: Explanation, number: int) -> Chart | None:
    """Return what each step from float to int8 costs."""
    rows = [
        {
            "name": name,
            "verdict": "no limit",
            "points": 100 * drop,
            "low": 100 * (drop if low is None else low),
            "high": 100 * (drop if high is None else high),
            "said": f"{points(drop)}" + ("" if low is None or high is None else f" ({points(low)} to {points(high)})"),
            "flips": "",
        }
        for name, drop, low, high in explanation.rungs
        if drop is not None
    ]
    if not rows:
        return None
    title = f"From float to int8, step by step ({explanation.images} images, {explanation.origin})"
    return _interval_chart(f"ladder-{number}", title, rows, [], "drop in points against the step before", None)


def _interval_chart(
    name: str, title: str, rows: list[dict[str, Any]], limits: list[float], axis: str, validations: Sequence[Validation] | None
) -> Chart:
    order = [row["name"] for row in rows]
    at_y = {"field": "name", "type": "nominal", "sort": order, "title": None, "axis": {"labelLimit": 180}}
    ends = [*(row["low"] for row in rows), *(row["high"] for row in rows), *limits, 0.0]
    pad = 0.06 * max(max(ends) - min(ends), 0.1)
    scale = scale_of(min(ends) - pad, max(ends) + pad)
    at_x = {"field": "points", "type": "quantitative", "scale": scale, "title": axis}
    verdicts = {
        "domain": ["pass", "fail", "undecided", "no limit"],
        "range": ["var(--pass)", "var(--fail)", "var(--undecided)", "var(--accent)"],
    }
    colour = {"field": "verdict", "type": "nominal", "scale": verdicts, "legend": None}
    layers: list[Spec] = [
        {"data": {"values": [{"at": 0}]}, "mark": {"type": "rule", "color": "var(--muted)"}, "encoding": {"x": at_value(scale)}},
        *(
            {
                "data": {"values": [{"at": limit, "text": f"limit {limit:.2f}"}]},
                "mark": {"type": "rule", "color": "var(--fail)", "strokeDash": [5, 4]},
                "encoding": {"x": at_value(scale)},
            }
            for limit in limits
        ),
        {
            "mark": {"type": "rule", "strokeWidth": 5, "opacity": 0.35, "strokeCap": "round"},
            "encoding": {"y": at_y, "x": {**at_x, "field": "low"}, "x2": {"field": "high"}, "color": colour},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 110},
            "name": "marks",
            "encoding": {"y": at_y, "x": at_x, "color": colour, "tooltip": tips("name", "said", "flips", "verdict")},
        },
        *(
            {
                "data": {"values": [{"at": limit, "text": f"limit {limit:.2f}"}]},
                "mark": {"type": "text", "align": "right", "baseline": "bottom", "dx": -4, "y": -2, "color": "var(--fail)"},
                "encoding": {"x": at_value(scale), "text": {"field": "text"}},
            }
            for limit in limits
        ),
    ]
    flips = validations is not None
    headers = ("what", "drop in points (95 % interval)", *(("images", "verdict") if flips else ()))
    body = tuple((row["name"], row["said"], *((row["flips"], row["verdict"]) if flips else ())) for row in rows)
    worst = max(rows, key=lambda row: row["points"])
    return Chart(
        id=name,
        title=title,
        alt=f"{len(rows)} interval{'' if len(rows) == 1 else 's'}; the largest drop is {worst['said']} points, of {worst['name']}.",
        specs={"": spec(layers, rows, height=34 * len(rows) + 24)},
        headers=headers,
        rows=body,
    )


def classes(facts: Facts) -> Chart | None:
    """Return what each class lost, by variant: the classes that changed most."""
    paired = [entry for entry in facts.validations if entry.variant != entry.reference]
    found = [entry for entry in paired if any(row.reference is not None for row in entry.classes)]
    changes: list[Any] = []
    for name, entry in zip(distinct(facts, found), found, strict=True):
        for row in entry.classes:
            if row.reference is not None:
                variant = facts.variant(entry.variant).name
                change = 100 * (row.candidate - row.reference)
                said = f"{row.reference:.1%} to {row.candidate:.1%} ({change:+.1f})"
                counts = f"{row.lost} lost, {row.won} won of {row.images}"
                changes.append(
                    {"name": name, "class": row.label, "change": change, "said": said, "n": counts, "variant": variant}
                )
    if not any(row["change"] for row in changes):
        return None
    moved: dict[str, float] = {}
    for row in changes:
        moved[row["class"]] = max(moved.get(row["class"], 0.0), abs(row["change"]))
    order = sorted(moved, key=lambda label: -moved[label])
    shown = [row for row in changes if row["class"] in order[:_CLASSES]]
    series = list(dict.fromkeys(row["name"] for row in shown))
    wide = 1 + max(abs(row["change"]) for row in shown)
    at_y = {"field": "class", "type": "nominal", "sort": order[:_CLASSES], "title": None, "axis": {"labelLimit": 180}}
    layers: list[Spec] = [
        {"data": {"values": [{"at": 0}]}, "mark": {"type": "rule", "color": "var(--muted)"}, "encoding": {"x": at_value(None)}},
        {
            "mark": {"type": "bar", "minBandSize": 2},
            "name": "marks",
            "encoding": {
                "y": at_y,
                "yOffset": {"field": "name", "type": "nominal", "sort": series},
                "x": {
                    "field": "change",
                    "type": "quantitative",
                    "scale": scale_of(-wide, wide),
                    "title": "change in points (left is worse)",
                },
                "color": {
                    "field": "variant",
                    "type": "nominal",
                    "scale": colours(facts, (row["variant"] for row in shown)),
                    "title": None,
                },
                **({"opacity": told_apart(series)} if len(series) > len({row["variant"] for row in shown}) else {}),
                "tooltip": tips("class", "name", "said", "n"),
            },
        },
    ]
    height = len(order[:_CLASSES]) * max(22, 9 * len(series)) + 20
    worst = min(shown, key=lambda row: row["change"])
    rest = "" if len(order) <= _CLASSES else f" (the {_CLASSES} of {len(order)} that changed most)"
    return Chart(
        id="classes",
        title=f"Change of each class{rest}",
        alt=f"The class that lost most is {worst['class']} with {worst['name']}: {worst['said']}.",
        specs={"": spec(layers, shown, height=height)},
        headers=("class", "variant", "right", "images"),
        rows=tuple(
            (row["class"], row["name"], row["said"], row["n"]) for row in sorted(shown, key=lambda r: order.index(r["class"]))
        ),
    )


def confusion(facts: Facts, candidate: str | None) -> list[Chart]:
    """Return the matrices of reference and candidate, of the candidate's validation."""
    found = [entry for entry in facts.validations if entry.confusion]
    entry = next((entry for entry in found if entry.variant == candidate), found[0] if found else None)
    if entry is None or not entry.confusion:
        return []
    several = len({one.origin for one in found}) > 1 or entry.origin.emulated
    labels = [row.label for row in entry.classes]
    size = len(next(iter(entry.confusion.values())))
    # Classes without images have no row of their own among the classes.
    if len(labels) != size or len(set(labels)) != size:
        labels = [str(i) for i in range(size)]
    reference = entry.confusion.get("reference")
    result = []
    for side in ("reference", "candidate"):
        if side in entry.confusion:
            key = entry.reference if side == "reference" else entry.variant
            known = [variant.name for variant in facts.variants if variant.key == key]
            name = (known[0] if known else side) + (f", {entry.origin}" if several and side == "candidate" else "")
            result.append(_matrix(side, name, labels, entry.confusion[side], None if side == "reference" else reference))
    return result


def _matrix(side: str, name: str, labels: list[str], cells: list[list[int]], before: list[list[int]] | None) -> Chart:
    rows: list[Any] = []
    for i, row in enumerate(cells):
        total = max(sum(row), 1)
        for j, images in enumerate(row):
            change = images - before[i][j] if before is not None else 0
            rows.append(
                {
                    "truth": labels[i],
                    "answer": labels[j],
                    "share": images / total,
                    "text": str(images) if images or change else "",
                    "delta": f"{change:+d}" if change else "",
                    "dark": images / total > 0.8,
                    "changed": bool(change),
                    "images": f"{images}{f' ({change:+d} against the reference)' if change else ''}",
                }
            )
    axis = {"labelLimit": 90, "labelOverlap": len(labels) > _WRITTEN}
    at_x = {
        "field": "answer",
        "type": "nominal",
        "sort": labels,
        "title": "answer",
        "axis": {"labelAngle": -40, **axis},
    }
    at_y = {"field": "truth", "type": "nominal", "sort": labels, "title": "true class", "axis": axis}
    layers: list[Spec] = [
        {
            "mark": {"type": "rect", "color": "var(--accent)"},
            "name": "marks",
            "encoding": {
                "x": at_x,
                "y": at_y,
                "fillOpacity": {
                    "field": "share",
                    "type": "quantitative",
                    "scale": {"domain": [0, 1], "range": [0.04, 1]},
                    "legend": None,
                },
                "stroke": {"value": "var(--card)"},
                "tooltip": tips("truth", "answer", "images"),
            },
        }
    ]
    changed = {"transform": [{"filter": "datum.changed"}]}
    if before is not None:
        frame = {"type": "rect", "fillOpacity": 0, "stroke": "var(--ink)", "strokeWidth": 1.5}
        layers.append({**changed, "mark": frame, "encoding": {"x": at_x, "y": at_y}})
    if len(labels) <= _WRITTEN:
        colour = {"condition": {"test": "datum.dark", "value": "var(--on-accent)"}, "value": "var(--ink)"}
        where = {"x": at_x, "y": at_y, "color": colour}
        same = {"transform": [{"filter": "!datum.changed"}]}
        text = {**where, "text": {"field": "text"}}
        layers += [
            {**same, "mark": {"type": "text", "fontSize": 11}, "encoding": text},
            {**changed, "mark": {"type": "text", "fontSize": 11, "dy": -6}, "encoding": text},
            {**changed, "mark": {"type": "text", "fontSize": 10, "dy": 7}, "encoding": {**where, "text": {"field": "delta"}}},
        ]
    right = sum(cells[i][i] for i in range(len(cells)))
    return Chart(
        id=f"confusion-{side}",
        title=f"{name} ({side})",
        alt=f"Confusion matrix of {name}: {right:,} of {sum(map(sum, cells)):,} images on the diagonal.",
        specs={"": spec(layers, rows, height=min(460, max(220, 44 * len(labels))))},
        headers=("true class", *labels),
        rows=tuple((labels[i], *(str(images) for images in row)) for i, row in enumerate(cells)),
        narrow=True,
    )
