"""Small pieces of HTML for objects in a notebook: tables and bars, without scripts, styles of their own or requests to anybody."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_BAR = "display:inline-block;height:0.8em;background:#4c78a8;vertical-align:middle"


class Raw(str):
    """HTML that is put in as it is; every other text is escaped."""


def table(rows: Iterable[Sequence[object]], headers: Sequence[str] = (), *, caption: str = "") -> str:
    """Return a table; numbers and other objects as ``str`` has them."""
    title = f"<caption>{_cell(caption)}</caption>" if caption else ""
    head = "".join(f"<th>{_cell(name)}</th>" for name in headers)
    body = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table>{title}{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"


def bar(share: float) -> Raw:
    """Return a bar for a share of 0 to 1."""
    return Raw(f'<span style="{_BAR};width:{min(max(share, 0.0), 1.0) * 12:.2f}em"></span>')


def interval(low: float, value: float, high: float, *, limit: float | None = None) -> Raw:
    """Return a drawing of an interval around a value, with zero and, where there is one, a limit."""
    marks = [low, high, 0.0, *([] if limit is None else [limit])]
    begin, end = min(marks), max(marks)
    width = (end - begin) or 1.0

    def x(number: float) -> float:
        return 6 + 188 * (number - begin) / width

    parts = [
        f'<line x1="{x(0):.1f}" x2="{x(0):.1f}" y1="2" y2="18" stroke="#888"/>',
        f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="10" y2="10" stroke="#4c78a8" stroke-width="3"/>',
        f'<circle cx="{x(value):.1f}" cy="10" r="4" fill="#4c78a8"/>',
    ]
    if limit is not None:
        parts.append(f'<line x1="{x(limit):.1f}" x2="{x(limit):.1f}" y1="2" y2="18" stroke="#d62728" stroke-dasharray="3 2"/>')
    return Raw(f'<svg width="200" height="20" role="img" aria-label="{low:.4g} to {high:.4g}">{"".join(parts)}</svg>')


def _cell(value: object) -> str:
    return value if isinstance(value, Raw) else html.escape(str(value))
