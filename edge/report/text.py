"""The same answer for a terminal, for a pull request, and for a CI job: text with bars, Markdown, JUnit XML."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from ..statistics import PASS
from .chart import distinct
from .facts import Drop, Facts
from .verdict import judge, points, title_of

FORMATS = ("html", "text", "md", "junit")

_BAR = 25  # characters of the interval's bar
_MARKS = {"pass": "✅", "fail": "❌", "undecided": "❔", "none": "ℹ️"}
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPECIAL = re.compile(r"([\\`*_\[\]<>#!|~&])")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    name: str
    mib: str
    top1: str
    drop: str
    flips: str
    ms: str
    verdict: str
    bar: str


def exit_code(facts: Facts) -> int:
    """Return 0 if every verdict in the report is pass, or none was asked for, else 1."""
    return int(any(entry.verdict not in (None, PASS) for entry in facts.validations))


def to_text(facts: Facts) -> str:
    """Return the verdict and a table of the variants, each drop as a bar on a common scale (``|`` is zero, ``!`` the limit)."""
    verdict = judge(facts)
    lines = [title_of(facts), ""]
    rows = list(_rows(facts))
    if rows:
        titles = _Row(name="variant", mib="MiB", top1="top-1", drop="drop in points (95 %)", flips="lost/won", ms="ms", verdict="verdict",
                      bar="")  # fmt: skip
        cells = [[getattr(row, name) for name in _Row.__slots__] for row in (titles, *rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
        lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
        lines.append("")
    for entry in facts.predictions:
        fits = {True: "fits", False: "does not fit", None: "fits: unknown"}[entry.fits]
        expected = "" if entry.expected_ms is None else f", about {entry.expected_ms:.3g} ms"
        lines.append(f"predicted: {facts.variant(entry.variant).name} on {entry.place}: {fits}{expected}")
    for name, validation in zip(distinct(facts, facts.validations), facts.validations, strict=True):
        lines += [f"{severity}: {name}: {message}" for severity, message in validation.findings]
    lines += [f"left out: {reason}" for reason in facts.left_out]
    status = "" if verdict.status == "none" else f"{verdict.status.upper()}: "
    return "\n".join([*lines, *([""] if lines[-1] else []), f"{status}{verdict.sentence}"])


def to_markdown(facts: Facts) -> str:
    """Return the same for a pull request or a job's summary; text from runs stays text there too."""
    verdict = judge(facts)
    lines = [f"### {escaped(title_of(facts))}", "", f"{_MARKS[verdict.status]} **{escaped(verdict.sentence)}**", ""]
    rows = list(_rows(facts))
    if rows:
        lines.append("| variant | MiB | top-1 | drop in points (95 %) | lost / won | ms | verdict |")
        lines.append("|---|--:|--:|--:|--:|--:|---|")
        for row in rows:
            mark = f"{_MARKS[row.verdict]} {row.verdict}" if row.verdict in _MARKS else escaped(row.verdict)
            cells = (row.name, row.mib, row.top1, row.drop, row.flips, row.ms)
            lines.append(f"| {' | '.join(escaped(cell) for cell in cells)} | {mark} |")
        lines.append("")
    found = [
        f"- {severity}: {escaped(name)}: {escaped(message)}"
        for name, entry in zip(distinct(facts, facts.validations), facts.validations, strict=True)
        for severity, message in entry.findings
    ]
    return "\n".join([*lines, *found, *([""] if found else [])])


def to_junit(facts: Facts) -> str:
    """Return JUnit XML: one test for each validation with a limit, and for each prediction whether it fits."""
    cases = []
    for name, entry in zip(distinct(facts, facts.validations), facts.validations, strict=True):
        case = ElementTree.Element("testcase", classname="edgekit.validate", name=_xml(name), time=_seconds(entry.run.seconds))
        drop = entry.drop
        if entry.verdict is None or drop is None:
            ElementTree.SubElement(case, "skipped", message="no limit was set (--max-drop)")
        elif entry.verdict != PASS:
            limit = 100 * (entry.max_drop or 0.0)
            said = f"{entry.verdict}: drop {_interval(drop)} points, at most {limit:.2f} are allowed"
            failure = ElementTree.SubElement(case, "failure", type=entry.verdict, message=said)
            failure.text = _xml("\n".join(f"{flip.image}: {flip.reference} -> {flip.candidate}" for flip in entry.lost[:50]))
        cases.append(case)
    for expected in facts.predictions:
        name = f"{facts.variant(expected.variant).name} on {expected.place}"
        case = ElementTree.Element("testcase", classname="edgekit.check", name=_xml(name), time="0")
        if expected.fits is not True:
            # A prediction for one of many boards is no gate; that is what the exit code of edgekit check is for.
            ElementTree.SubElement(
                case, "skipped", message="does not fit" if expected.fits is False else "nobody knows if it fits"
            )
        cases.append(case)
    failures = sum(case.find("failure") is not None for case in cases)
    skipped = sum(case.find("skipped") is not None for case in cases)
    counts: dict[str, Any] = {"tests": str(len(cases)), "failures": str(failures), "errors": "0", "skipped": str(skipped)}
    suite = ElementTree.Element("testsuite", name=_xml(f"edgekit {title_of(facts)}"), **counts)
    suite.extend(cases)
    root = ElementTree.Element("testsuites", counts)
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def add_to_job_summary(facts: Facts) -> None:
    """Append the Markdown to the summary of a GitHub Actions job, where this is one (``GITHUB_STEP_SUMMARY`` names its file)."""
    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if place:
        with open(place, "a", encoding="utf-8") as stream:
            stream.write(to_markdown(facts) + "\n")


def escaped(text: str) -> str:
    """Return ``text`` so that Markdown shows it as it is."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _rows(facts: Facts) -> Iterator[_Row]:
    found = facts.validations
    drops = [entry.drop for entry in found if entry.drop is not None and entry.variant != entry.reference]
    limits = [entry.max_drop for entry in found if entry.max_drop is not None]
    ends = [*(drop.low for drop in drops), *(drop.high for drop in drops), *limits, 0.0]
    names = dict(zip((id(entry) for entry in found), distinct(facts, found), strict=True))
    for variant in facts.variants:
        mib = "-" if variant.size_bytes is None else f"{variant.size_bytes / 2**20:.1f}"
        mine = [entry for entry in found if entry.variant == variant.key]
        ms = _times(facts, variant.key, mine[0].place if mine else None, {entry.place for entry in mine[1:]})
        if not mine:
            top1 = next((e.reference_top1 for e in found if e.reference == variant.key and e.reference_top1 is not None), None)
            said = "-" if top1 is None else f"{top1:.2%}"
            yield _Row(name=variant.name, mib=mib, top1=said, drop="-", flips="-", ms=ms, verdict="-" if top1 is None else "reference",
                       bar="")  # fmt: skip
        for entry in mine:
            drop = None if entry.reference == entry.variant else entry.drop
            yield _Row(
                name=names[id(entry)],
                mib=mib,
                top1="-" if entry.top1 is None else f"{entry.top1:.2%}",
                drop="-" if drop is None else _interval(drop),
                flips="-" if drop is None else f"{drop.lost}/{drop.won}",
                ms=ms if entry is mine[0] else _times(facts, variant.key, entry.place, set(facts.places) - {entry.place}),
                verdict="reference" if entry.reference == entry.variant else entry.verdict or "-",
                bar="" if drop is None else _bar(drop, entry.max_drop, min(ends), max(ends)),
            )


def _times(facts: Facts, variant: str, place: str | None, elsewhere: set[str]) -> str:
    """Return the medians of a variant that belong into a row about ``place``: its own, and others with the place they are from.

    elsewhere: places that have a row of their own, or are none of this row's. A time from another place never stands there bare.
    """
    times = [timing for timing in facts.timings if timing.variant == variant and timing.place not in elsewhere]
    alone = place is None and len({timing.place for timing in times}) == 1
    said = [
        f"{timing.p50_ms:.3g}" if alone or timing.place == place else f"{timing.p50_ms:.3g} ({timing.place})" for timing in times
    ]
    return " / ".join(said) or "-"


def _interval(drop: Drop) -> str:
    return f"{points(drop.top1)} ({points(drop.low)} to {points(drop.high)})"


def _bar(drop: Drop, limit: float | None, low: float, high: float) -> str:
    def place(value: float) -> int:
        return round((value - low) / (high - low) * (_BAR - 1)) if high > low else 0

    cells = [" "] * _BAR
    for position in range(place(drop.low), place(drop.high) + 1):
        cells[position] = "-"
    cells[place(0.0)] = "|"
    if limit is not None:
        cells[place(limit)] = "!"
    cells[place(drop.top1)] = "o"
    return f"[{''.join(cells)}]"


def _seconds(value: float | None) -> str:
    return f"{value or 0.0:.3f}"


def _xml(text: str) -> str:
    return _NOT_IN_XML.sub("�", text)
