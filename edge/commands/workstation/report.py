"""``edgekit report RUN…``: what runs found, as one HTML page, as text, as Markdown, or as JUnit XML."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .. import output_flags

_DESCRIPTION = """\
Put runs together: the verdict in one sentence; size, accuracy and latency of all variants and boards; the paired drop; images
lost and won; classes; latency; per-layer error; a map of the network; training; provenance. RUN is a number of edgekit runs, a
range of them (12-17), a JSON file that a command wrote with --json, or a folder of such files.

The page is one file that asks no server for anything; it needs the [report] extra. Text, Markdown and JUnit need nothing. In a
GitHub Actions job the Markdown is added to the job's summary too.
"""

_EPILOG = """\
examples:
  edgekit report results/ --out report.html
  edgekit report 12-17 --out report.html --redact           no pictures, no names of files and folders
  edgekit report results/                                   a table here
  edgekit report int8.json --format md                      for a pull request
  edgekit report int8.json --format junit --out accuracy.xml

exit codes: 0 every verdict is pass (or nobody asked for one), 1 a verdict is not, 2 wrong usage or input
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "report",
        help="runs as one HTML page, a table, Markdown or JUnit XML",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="a number, a range of numbers, a JSON file, or a folder of them")
    parser.add_argument("--out", metavar="FILE", help="where it goes (default: standard output; a page needs it)")
    parser.add_argument("--format", choices=("html", "text", "md", "junit"), help="default: by the name of --out, else text")
    parser.add_argument("--redact", action="store_true", help="leave out pictures and the names of files, folders and targets")
    parser.add_argument("--images", metavar="DIR", help="where the images are now, if not where the validation found them")
    parser.add_argument("--title", metavar="TEXT", help="of the page (default: the models' name)")
    parser.add_argument("--store", metavar="FILE", help="the history with the numbered runs (default: see edgekit runs --help)")
    output_flags.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Collect, sort and write."""
    from ...errors import UsageError
    from ...files import atomic_write_text
    from ...history.store import RunStore
    from ...report import gathering, sections, sources, text, verdict
    from ...report.facts import figures

    made = args.format or _by_name(args.out)
    if made == "html" and args.out is None:
        raise UsageError("--format html needs --out FILE: a page is no text for a terminal")
    runs, left_out = sources.collect(args.runs, RunStore(args.store))
    facts = gathering.gather(runs, left_out)
    if made == "html":
        from ...report import page

        written = page.render(facts, redact=args.redact, images=args.images, title=args.title)
    else:
        facts = sections.redacted(facts) if args.redact else facts
        written = {"text": text.to_text, "md": text.to_markdown, "junit": text.to_junit}[made](facts)
    answer = verdict.judge(facts)
    found = {
        "status": answer.status,
        "sentence": answer.sentence,
        "runs": [run.id if run.id is not None else run.source for run in facts.runs],
        "left_out": list(facts.left_out),
        "figures": figures(facts),
        "out": args.out,
    }
    if args.out is not None:
        atomic_write_text(args.out, written if written.endswith("\n") else written + "\n")
        said = f"{args.out}: {answer.sentence}"
    else:
        said = written.rstrip("\n")
    for reason in left_out:
        print(f"left out: {reason}", file=sys.stderr)
    output_flags.emit(args, found, said)
    text.add_to_job_summary(facts)
    return text.exit_code(facts)


def _by_name(out: str | None) -> str:
    suffixes = {".html": "html", ".htm": "html", ".md": "md", ".xml": "junit"}
    return next((kind for suffix, kind in suffixes.items() if out is not None and out.lower().endswith(suffix)), "text")
