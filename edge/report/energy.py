"""What a run takes in joules, wherever something measured power. Readings of different meters see different parts of a machine."""

from __future__ import annotations

from collections.abc import Iterator

from ..bench.energy import said
from .facts import Facts, Joules, Timing

TEXT = (
    "Power as a sensor measured it, less what the machine took at rest; the interval is of 95 %. Sensors see different parts of a"
    " machine: compare variants on one, not machines."
)
HEADERS = ("variant", "where", "a run above rest", "with it", "what was measured")


def rows(facts: Facts) -> tuple[tuple[str, ...], ...]:
    """Return the rows of the table, those of one place together; empty where nothing was measured."""
    return tuple(
        (facts.variant(timing.variant).name, str(timing.origin), _above(found), said(found.joules_with_rest), _measured(found))
        for timing, found in _metered(facts)
    )


def sentences(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield (variant, sentence) for each measurement."""
    for timing, found in _metered(facts):
        yield (
            facts.variant(timing.variant).name,
            f"{_above(found)} a run above rest on {timing.origin}, {said(found.joules_with_rest)} with it ({_measured(found)})",
        )


def _metered(facts: Facts) -> Iterator[tuple[Timing, Joules]]:
    for origin in facts.origins:
        yield from ((one, one.energy) for one in facts.timings if one.origin == origin and one.energy is not None)


def _above(found: Joules) -> str:
    return f"{said(found.joules)} ± {said(found.uncertainty_j)}"


def _measured(found: Joules) -> str:
    return f"{found.meter}: {found.scope}"
