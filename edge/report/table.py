"""The rows of the tables of variants and of predictions.

All figures of a row are of one variant and one origin; what comes from elsewhere has its own row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from devices.origin import Origin

from .chart import distinct, one_real_machine
from .facts import Facts, Timing, Validation, Variant
from .verdict import points

PREDICTED = ("board", "variant", "fits", "memory, MiB", "ms per image", "Edge TPU")
_FITS = {True: "yes", False: "no", None: "unknown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """``origin``: of the validation and the time; None where nothing was measured, or the reference's answers were stored.

    ``as_reference``: top-1 of a variant that others were compared with. ``name`` tells the row from all others.
    """

    variant: Variant
    origin: Origin | None
    validation: Validation | None
    as_reference: float | None
    timing: Timing | None
    name: str

    @property
    def mib(self) -> str:
        return "-" if self.variant.size_bytes is None else f"{self.variant.size_bytes / 2**20:.1f}"

    @property
    def ms(self) -> str:
        return "-" if self.timing is None else f"{self.timing.p50_ms:.3g}{'' if self.timing.quotable else ' (not quotable)'}"

    @property
    def top1(self) -> str:
        found = self.as_reference if self.validation is None else self.validation.top1
        return "-" if found is None else f"{found:.2%}"

    @property
    def drop(self) -> str:
        entry = self.validation
        if entry is None or entry.drop is None or entry.reference == entry.variant:
            return "-"
        return f"{points(entry.drop.top1)} ({points(entry.drop.low)} to {points(entry.drop.high)})"

    @property
    def flips(self) -> str:
        entry = self.validation
        counts = None if entry is None or entry.reference == entry.variant else entry.drop or entry.sequential
        return "-" if counts is None else f"{counts.lost}/{counts.won}"

    @property
    def verdict(self) -> str:
        entry = self.validation
        if entry is None:
            return "-" if self.as_reference is None else "reference"
        if entry.reference == entry.variant:
            return "reference"
        return (entry.verdict or "-") + (", sequential" if entry.sequential is not None else "")


def rows(facts: Facts) -> tuple[Row, ...]:
    """Return the rows in the order of the variants; names have the place where more than one is told of, or an emulation."""
    found = [row for variant in facts.variants for row in _of(facts, variant)]
    origins = [row.origin for row in found if row.origin is not None]
    entries = [row.validation for row in found if row.validation is not None]
    names = dict(zip(map(id, entries), distinct(facts, entries, origins), strict=True))
    bare = one_real_machine(origins)

    def name(row: Row) -> str:
        if row.validation is not None:
            return names[id(row.validation)]
        return row.variant.name if bare or row.origin is None else f"{row.variant.name}, {row.origin}"

    return tuple(replace(row, name=name(row)) for row in found)


def predicted(facts: Facts) -> Iterator[tuple[str, ...]]:
    """Yield the rows of what `edgekit check` predicted, those of one board together. Their heads are `PREDICTED`."""
    for origin in facts.origins:
        for entry in (entry for entry in facts.predictions if entry.origin == origin):
            latency = "-"
            if entry.expected_ms is not None and entry.low_ms is not None and entry.high_ms is not None:
                latency = f"{entry.expected_ms:.3g} ({entry.low_ms:.3g} to {entry.high_ms:.3g})"
            tpu = "-" if entry.mapped is None else f"{entry.mapped} ops, {entry.on_cpu} on the CPU"
            name = facts.variant(entry.variant).name
            yield (origin.place, name, _FITS[entry.fits], f"{entry.peak_mib:.0f}", latency, tpu)


def certified(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield (variant, sentence) for each board on which an accuracy holds that was measured elsewhere."""
    for entry in facts.validations:
        for found in entry.holds_on:
            name = facts.variant(entry.variant).name
            images = f"{found.images} image{'' if found.images == 1 else 's'}"
            yield (
                name,
                f"the same bits on {found.origin} ({images} compared), so the accuracy measured on {entry.origin} holds there",
            )


def _of(facts: Facts, variant: Variant) -> Iterator[Row]:
    validations = [entry for entry in facts.validations if entry.variant == variant.key]
    left = {timing.origin: timing for timing in facts.timings if timing.variant == variant.key}

    def row(origin: Origin | None, validation: Validation | None = None, as_reference: float | None = None) -> Row:
        timing = None if origin is None else left.pop(origin, None)
        return Row(variant=variant, origin=origin, validation=validation, as_reference=as_reference, timing=timing, name="")

    if validations:
        yield from (row(entry.origin, entry) for entry in validations)
    else:
        by_origin = {
            entry.reference_origin: entry.reference_top1
            for entry in facts.validations
            if entry.reference == variant.key and entry.reference_top1 is not None
        }
        yield from (row(origin, as_reference=top1) for origin, top1 in by_origin.items())
        if not by_origin and not left:
            yield row(None)
    yield from (row(origin) for origin in list(left))
