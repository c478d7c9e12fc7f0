"""``--format``: one command's answer as Markdown or JUnit XML, and into the summary of a CI job."""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_FORMATS = ("text", "md", "junit")


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add ``--format``, and say who writes the answer of a board in it: this machine, as a board has no reports."""
    parser.set_defaults(told=text_of)
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default="text",
        help="print text (default), Markdown for a pull request, or JUnit XML; a GitHub Actions job gets a summary too",
    )


def text_of(chosen: str, report: Mapping[str, Any], text: str) -> str:
    """Return a command's answer in the chosen format; ``text`` is what it prints by default."""
    summary = os.environ.get("GITHUB_STEP_SUMMARY") and importlib.util.find_spec("edge.report") is not None
    if chosen == "text" and not summary:
        return text
    from ..history.record import from_report
    from ..history.store import iso
    from ..report import gathering
    from ..report import text as formats

    run = from_report(report, time=iso(datetime.now(UTC)))
    facts = gathering.gather([] if run is None else [run])
    formats.add_to_job_summary(facts)
    return {"text": lambda _: text, "md": formats.to_markdown, "junit": formats.to_junit}[chosen](facts).rstrip("\n")
