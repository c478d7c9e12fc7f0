"""What the figures of the pages have in common: a Vega-Lite specification with its data, drawn as one SVG on a card of its own.

A figure is seen on GitHub and on the site, in light and in dark. A picture in a page knows none of the page's colours, so it brings
its own background. Numbers are rounded to six digits before they are drawn: on another machine the last bit may differ, and the digest of a
figure would differ with it.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Spec = dict[str, Any]

TEAL, ORANGE, BLUE, RED, GREY, PALE = "#00796b", "#d9730d", "#3767b0", "#b3261e", "#6b7280", "#d7dce2"
WIDTH = 480
RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
_CONFIG: Spec = {
    "background": "#ffffff",
    # The reader's font may be wider than the one that the room for words is reckoned with.
    "padding": {"left": 34, "right": 20, "top": 14, "bottom": 14},
    "config": {
        "font": "Arial, Helvetica, Liberation Sans, sans-serif",
        "view": {"stroke": None},
        "axis": {
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "gridColor": "#eceff1",
            "labelLimit": 260,
            "labelOverlap": "greedy",
            "labelSeparation": 8,
        },
        "legend": {"labelFontSize": 12, "title": None, "orient": "bottom", "labelLimit": 320, "columns": 4, "columnPadding": 26},
        "header": {"labelFontSize": 12, "titleFontSize": 12, "labelFontWeight": "bold"},
        "title": {"anchor": "start", "frame": "bounds", "fontSize": 15, "subtitleFontSize": 11.5, "subtitleColor": "#4b5563"},
        "text": {"fontSize": 12},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """``name``: of its file. ``alt``: what is to be seen, in words and without numbers. ``stands_for``: what is digested in place of
    pictures, whose files differ with the library that packs them.
    """

    name: str
    alt: str
    spec: Spec
    stands_for: str | None = None

    def digest(self) -> str:
        """Return the SHA-256 of what is drawn: the data, the words and the marks."""
        drawn: object = _rounded(self.spec) if self.stands_for is None else self.stands_for
        said = json.dumps([self.alt, _CONFIG, drawn], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(said.encode()).hexdigest()

    def svg(self) -> str:
        """Draw it. Needs the ``[report]`` extra."""
        import vl_convert

        drawn: str = vl_convert.vegalite_to_svg(json.dumps({**_CONFIG, **_rounded(self.spec)}))
        alt = html.escape(self.alt, quote=True)
        drawn = re.sub(
            r' aria-(?:label|roledescription)="[^"]*"| role="graphics-\w+"', "", drawn
        )  # mark by mark: half of the file
        start = f'<svg role="img" aria-label="{alt}" data-figure-sha256="{self.digest()}" '
        return drawn.replace("<svg ", start, 1).replace(">", f"><title>{alt}</title>", 1) + "\n"


def entries(result: str) -> list[Any]:
    """Return the runs of a benchmark, oldest first."""
    return list(json.loads((RESULTS / f"{result}.json").read_text(encoding="utf-8")))


def source(result: str, found: list[Any], words: str) -> list[str]:
    """Return the lines that say what was measured, on which days, and where the numbers are."""
    days = sorted({entry["date"] for entry in found})
    day = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return [words, f"{day}, benchmarks/results/{result}.json"]


def title(text: str, *lines: str) -> Spec:
    """Return what stands above a figure: what it shows, and below it how and when that was seen."""
    return {"text": text, "subtitle": [part for line in lines for part in textwrap.wrap(line, 68)], "offset": 12}


def values(rows: list[Spec]) -> Spec:
    """Return rows as data."""
    return {"values": rows}


def number(field: str, words: str | None, **axis: Any) -> Spec:
    """Return an axis of numbers; ``scale`` among ``axis`` is the axis's scale."""
    scale = axis.pop("scale", {})
    return {"field": field, "type": "quantitative", "title": words, "scale": scale, "axis": axis or {}}


def name(field: str, **more: Any) -> Spec:
    """Return an axis of names, in the order of the rows."""
    return {"field": field, "type": "nominal", "title": None, "sort": None, **more}


def shades(field: str, pairs: dict[str, str]) -> Spec:
    """Return the colours of names."""
    return {"field": field, "type": "nominal", "title": None, "scale": {"domain": list(pairs), "range": list(pairs.values())}}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value
