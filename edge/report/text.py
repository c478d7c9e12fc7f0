"""The same answer for a terminal, for a pull request, and for a CI job: text with bars, Markdown, JUnit XML."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree import ElementTree

from ..errors import OutputError
from ..numbers.statistics import PASS
from . import energy, table
from .chart import distinct
from .facts import Drop, Facts
from .verdict import NONE, judge, points, title_of

FORMATS = ("html", "text", "md", "junit")

_BAR = 25  # characters of the interval's bar
_MARKS = {"pass": "✅", "fail": "❌", "undecided": "❔", "none": "ℹ️"}
_TITLES = ["variant", "MiB", "top-1", "drop in points (95 %)", "lost/won", "ms", "verdict", ""]
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPECIAL = re.compile(r"([\\`*_\[\]<>#!|~&])")


def exit_code(facts: Facts) -> int:
    """Return 0 if every verdict in the report is pass, or none was asked for, else 1."""
    return int(judge(facts).status not in (PASS, NONE))


def to_text(facts: Facts) -> str:
    """Return the verdict and a table of the variants, each drop as a bar on a common scale (``|`` is zero, ``!`` the limit)."""
    verdict = judge(facts)
    lines = [title_of(facts), ""]
    found = table.rows(facts)
    if found:
        cells = [_TITLES, *([*_cells(row), bar] for row, bar in zip(found, _bars(facts, found), strict=True))]
        widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
        lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
        lines.append("")
    lines += [f"certified: {name}: {said}" for name, said in table.certified(facts)]
    lines += [f"energy: {name}: {said}" for name, said in energy.sentences(facts)]
    lines += [f"predicted: {said}" for said in _predicted(facts)]
    for name, validation in zip(distinct(facts, facts.validations), facts.validations, strict=True):
        lines += [f"{severity}: {name}: {message}" for severity, message in validation.findings]
    lines += [f"left out: {reason}" for reason in facts.left_out]
    status = "" if verdict.status == "none" else f"{verdict.status.upper()}: "
    return "\n".join([*lines, *([""] if lines[-1] else []), f"{status}{verdict.sentence}"])


def to_markdown(facts: Facts) -> str:
    """Return the same for a pull request or a job's summary; text from runs stays text there too."""
    verdict = judge(facts)
    lines = [f"### {escaped(title_of(facts))}", "", f"{_MARKS[verdict.status]} **{escaped(verdict.sentence)}**", ""]
    rows = table.rows(facts)
    if rows:
        lines.append("| variant | MiB | top-1 | drop in points (95 %) | lost / won | ms | verdict |")
        lines.append("|---|--:|--:|--:|--:|--:|---|")
        for row in rows:
            *cells, said = _cells(row)
            mark = _MARKS.get(said.partition(",")[0])
            lines.append(f"| {' | '.join(map(escaped, cells))} | {f'{mark} ' if mark else ''}{escaped(said)} |")
        lines.append("")
    lines += [f"- certified: {escaped(name)}: {escaped(said)}" for name, said in table.certified(facts)]
    lines += [f"- energy: {escaped(name)}: {escaped(said)}" for name, said in energy.sentences(facts)]
    lines += [f"- predicted: {escaped(said)}" for said in _predicted(facts)]
    lines += [""] * bool(lines[-1])
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
        if entry.verdict is None:
            ElementTree.SubElement(case, "skipped", message="no limit was set (--max-drop)")
        elif entry.verdict != PASS:
            limit = 100 * (entry.max_drop or 0.0)
            measured = f"drop {_interval(drop)} points" if drop is not None else ""
            if (flips := entry.sequential) is not None:
                measured = f"{flips.lost} lost, {flips.won} won of {entry.images} images in a sequential test"
            said = f"{entry.verdict}: {measured}, at most {limit:.2f} points are allowed"
            failure = ElementTree.SubElement(case, "failure", type=entry.verdict, message=said)
            failure.text = _xml("\n".join(f"{flip.image}: {flip.reference} -> {flip.candidate}" for flip in entry.lost[:50]))
        cases.append(case)
    for expected in facts.predictions:
        name = f"{facts.variant(expected.variant).name} on {expected.origin.place}"
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
    """Append the Markdown to the summary of a GitHub Actions job, where this is one (``GITHUB_STEP_SUMMARY`` names its file).

    Raises OutputError if it cannot be written.
    """
    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if place:
        try:
            with open(place, "a", encoding="utf-8") as stream:
                stream.write(to_markdown(facts) + "\n")
        except OSError as error:
            raise OutputError(
                f"{place}: cannot be written ({error.strerror or error}); GITHUB_STEP_SUMMARY names it, unset it for no summary"
            ) from error


def escaped(text: str) -> str:
    """Return ``text`` so that Markdown shows it as it is."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _cells(row: table.Row) -> list[str]:
    return [row.name, row.mib, row.top1, row.drop, row.flips, row.ms, row.verdict]


def _predicted(facts: Facts) -> Iterator[str]:
    for entry in facts.predictions:
        fits = {True: "fits", False: "does not fit", None: "fits: unknown"}[entry.fits]
        expected = "" if entry.expected_ms is None else f", about {entry.expected_ms:.3g} ms"
        yield f"{facts.variant(entry.variant).name} on {entry.origin.place}: {fits}{expected}"


def _bars(facts: Facts, found: Sequence[table.Row]) -> Iterator[str]:
    paired = [entry for entry in facts.validations if entry.drop is not None and entry.variant != entry.reference]
    ends = [0.0, *(entry.max_drop for entry in facts.validations if entry.max_drop is not None)]
    ends += [end for entry in paired if entry.drop is not None for end in (entry.drop.low, entry.drop.high)]
    for row in found:
        entry = row.validation
        if entry is None or entry.drop is None or entry.reference == entry.variant:
            yield ""
        else:
            yield _bar(entry.drop, entry.max_drop, min(ends), max(ends))


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
