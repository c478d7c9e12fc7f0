"""What a run of shrinking is remembered and told by: the text, and the front as a picture. Loads no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from edge.numbers import statistics
from edge.validation import headline

_WIDTH, _HEIGHT, _MARGIN = 720, 400, 64
_COLOURS = {"original": "#4a7ebb", "candidate": "#888888", "front": "#d08a2e", "shrunk": "#2f8f4e"}


def points(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return all that was measured: ``kind`` is original, candidate, front or shrunk."""
    front = set(report["front"])
    entries = [("original", report["original"])]
    entries += [("front" if each["name"] in front else "candidate", each) for each in report["candidates"]]
    entries += [("shrunk", report["shrunk"])]
    return [
        {
            "kind": kind,
            "name": entry["name"],
            "ms": entry["ms"],
            "bytes": entry["bytes"],
            "error": entry["int8"]["error"],
            "agreement": entry["int8"]["agreement"],
        }
        for kind, entry in entries
    ]


def plot(report: Mapping[str, Any]) -> str:
    """Return an SVG of the front: milliseconds across, output error upwards, the size of a dot by the bytes of its file."""
    rows = points(report)
    most_ms: float = 1.05 * max(row["ms"] for row in rows)
    most_error: float = 1.1 * max(max(row["error"] for row in rows), 1e-6)
    most_bytes = max(row["bytes"] for row in rows)

    def x(ms: float) -> float:
        return _MARGIN + (_WIDTH - 2 * _MARGIN) * ms / most_ms

    def y(error: float) -> float:
        return _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * error / most_error

    title = f"{report['name']}: int8 milliseconds ({report['where']}) and output error on held-out photos"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_MARGIN}" y="24" font-size="14">{escape(title)}</text>',
    ]
    for i in range(5):
        error, ms = most_error * i / 4, most_ms * i / 4
        parts.append(f'<line x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{y(error):.1f}" y2="{y(error):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_MARGIN - 6}" y="{y(error) + 4:.1f}" text-anchor="end">{error:.2g}</text>')
        parts.append(f'<text x="{x(ms):.1f}" y="{_HEIGHT - _MARGIN + 18}" text-anchor="middle">{ms:.3g}</text>')
    line = sorted((row for row in rows if row["kind"] in ("front", "original")), key=lambda row: row["ms"])
    joined = " ".join(f"{x(row['ms']):.1f},{y(row['error']):.1f}" for row in line)
    parts.append(f'<polyline points="{joined}" fill="none" stroke="#bbb" stroke-dasharray="5 4"/>')
    for row in rows:
        radius = 3 + 7 * (row["bytes"] / most_bytes) ** 0.5
        colour = _COLOURS[row["kind"]]
        tip = f"{row['name']}: {row['ms']:.3g} ms, {row['bytes'] / 2**20:.2f} MiB, error {row['error']:.4f}"
        parts.append(
            f'<circle cx="{x(row["ms"]):.1f}" cy="{y(row["error"]):.1f}" r="{radius:.1f}" fill="{colour}" fill-opacity="0.8">'
            f"<title>{escape(tip)}</title></circle>"
        )
    for i, (kind, colour) in enumerate(_COLOURS.items()):
        parts.append(f'<text x="{_MARGIN + 110 * i}" y="{_HEIGHT - 12}" fill="{colour}">{kind}</text>')
    parts.append(f'<text x="{_WIDTH - _MARGIN}" y="{_HEIGHT - 12}" text-anchor="end">milliseconds; area: bytes</text></svg>')
    return "\n".join(parts) + "\n"


def to_text(report: Mapping[str, Any]) -> str:
    """Return the report for people."""
    lines = [f"{'':46}{'ms':>8}{'MiB':>8}{'error':>9}{'agreement':>11}"]
    for row in points(report):
        mark = {"front": " *", "shrunk": " ="}.get(row["kind"], "")
        agreement = headline.shown("agreement", row["agreement"])
        name = "original" if row["kind"] == "original" else row["name"]
        lines.append(f"{name + mark:46}{row['ms']:8.3g}{row['bytes'] / 2**20:8.2f}{row['error']:9.4f}{agreement:>11}")
    lines.append(
        f"int8 files on {report['choice']} held-out photos, ms {report['timed']}; * nothing beats it in time, size and error; = chosen,"
        " trained and finished"
        if report["training"]["seconds"]
        else f"int8 files on {report['choice']} held-out photos, ms {report['timed']}; * nothing beats it in time, size and error; = chosen"
    )
    if report["training"]["seconds"]:
        first, best = report["training"]["looks"][0], report["training"]["best"]
        lines.append(
            f"training: {report['training']['seconds'] / 60:.1f} min, {best['step']} steps to the best; error {first['error']:.4f} ->"
            f" {best['error']:.4f}, agreement {headline.shown('agreement', first['agreement'])} ->"
            f" {headline.shown('agreement', best['agreement'])}"
        )
    lines.append(_result(report))
    lines.append(_verdict(report["validation"]))
    lines.append(f"deploy {report['int8']}")
    return "\n".join(lines)


def _result(report: Mapping[str, Any]) -> str:
    before, after = report["original"], report["shrunk"]
    return (
        f"{report['shrunk']['name']}: {before['ms'] / after['ms']:.2f} times faster in int8 ({before['ms']:.3g} -> {after['ms']:.3g} ms),"
        f" {before['bytes'] / 2**20:.1f} -> {after['bytes'] / 2**20:.1f} MiB, {before['macs'] / 1e6:,.0f} -> {after['macs'] / 1e6:,.0f}"
        " million MACs"
    )


def _verdict(found: Mapping[str, Any]) -> str:
    figure = found["figure"]
    if figure == "agreement":
        return (
            f"{found['output']}: the validation photos have no labels, so what was lost is undecided;"
            f" {headline.shown('agreement', found['shrunk'])} of {found['images']} get the original's answer"
        )
    shares = figure in headline.SHARES
    unit, factor = (" points", 100.0) if shares else ("", 1.0)
    low, high = found["interval"]
    looks = f", look {found['look']} at these photos" if found["look"] > 1 else ""
    text = (
        f"{found['output']}: {headline.TITLES[figure]} {headline.shown(figure, found['original'])} ->"
        f" {headline.shown(figure, found['shrunk'])} on {found['images']} photos; lost {factor * found['drop']:+.3g}{unit}"
        f" ({factor * low:+.3g} to {factor * high:+.3g} at {found['confidence']:.1%}{looks}); at most {factor * found['max_drop']:g}{unit}:"
        f" {found['verdict']}"
    )
    if found["verdict"] == statistics.UNDECIDED and found["enough"]:
        text += f"; about {found['enough']:,} photos would decide it"
    return text
