"""What the charts of a page have in common. Each is a Vega-Lite specification, and the same data as a table for who cannot see it.

Colours are CSS variables of the page (``var(--c0)``...), so that light, dark and print need nothing from here. Text from runs is
only ever data: it never stands in an expression.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from devices.origin import Origin

from .facts import Facts, Validation

Spec = dict[str, Any]
COLOURS = 8  # of the page; more variants share them
PERCENT = ".1%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """``alt``: what is to be seen, in words. ``specs``: one, or several to choose from by their names. ``narrow``: half a page."""

    id: str
    title: str
    alt: str
    specs: dict[str, Spec]
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    narrow: bool = False


def colours(facts: Facts, shown: Iterable[str] | None = None) -> dict[str, Any]:
    """Return the colour scale of the variants; a variant has the same colour in all charts. shown: only of these names."""
    wanted = None if shown is None else set(shown)
    names = [variant.name for variant in facts.variants]
    pairs = [(name, f"var(--c{place % COLOURS})") for place, name in enumerate(names) if wanted is None or name in wanted]
    return {"domain": [name for name, _ in pairs], "range": [colour for _, colour in pairs]}


def distinct(facts: Facts, found: Iterable[Validation], origins: Iterable[Origin] = ()) -> list[str]:
    """Name validations by their variant, by origin where that is not clear, and by number where several are still called the same.

    It is not clear where they, or the other ``origins`` that are told of beside them, are several, or emulations.
    """
    entries = list(found)
    names = [facts.variant(entry.variant).name for entry in entries]
    if not one_real_machine((*origins, *(entry.origin for entry in entries))):
        names = [f"{name}, {entry.origin}" for name, entry in zip(names, entries, strict=True)]
    counts = Counter(names)
    numbers = Counter[str]()
    for i, name in enumerate(names):
        numbers[name] += 1
        names[i] = name if counts[name] == 1 else f"{name}, {numbers[name]}"
    return names


def one_real_machine(origins: Iterable[Origin]) -> bool:
    """Return whether all of them are the same real machine, which then need not be named everywhere."""
    found = set(origins)
    return len(found) <= 1 and not any(origin.emulated for origin in found)


def told_apart(names: Sequence[str]) -> Spec:
    """Return how strong the marks of one variant are that come from several places or images."""
    steps = max(len(names) - 1, 1)
    strengths = [round(1 - 0.65 * place / steps, 2) for place in range(len(names))]
    return {"field": "name", "type": "nominal", "scale": {"domain": list(names), "range": strengths}, "title": None}


def log_axis(low: float, high: float, title: str) -> Spec:
    """Return what a logarithmic axis from ``low`` to ``high`` needs; its marks are 1, 2 and 5 times the powers of ten."""
    marks = [step * 10.0**power for power in range(-6, 9) for step in (1, 2, 5)]
    values = [round(mark, 6) for mark in marks if low <= mark <= high]
    return {
        "scale": {"type": "log", "domain": [low, high], "nice": False},
        "title": title,
        "axis": {"values": values, "format": "~g"},
    }


def spec(layers: Sequence[Spec], rows: Sequence[Any], *, height: int) -> Spec:
    """Return a chart of one view as wide as its place on the page; ``rows`` are the data of layers without data of their own."""
    return {"data": {"values": list(rows)}, "width": "container", "height": height, "layer": list(layers)}


def scale_of(low: float, high: float) -> Spec:
    """Return a linear scale from ``low`` to ``high``, no more and no less."""
    return {"domain": [low, high], "zero": False, "nice": False}


def at_value(scale: Spec | None) -> Spec:
    """Return the place of a line or a word at ``at``, on a scale that it shares."""
    return {"field": "at", "type": "quantitative", **({} if scale is None else {"scale": scale})}


def tips(*fields: str) -> list[Spec]:
    """Return a tooltip with these fields, by their names."""
    return [
        {"field": field, "type": "quantitative" if field in ("seconds", "value", "epoch", "loss") else "nominal"}
        for field in fields
    ]
