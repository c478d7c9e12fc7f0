"""``edgekit validate FILE --images DIR --reference FILE``: what the accuracy is, what it lost, and whether that is acceptable."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from . import image_flags, model_flags, output_flags

if TYPE_CHECKING:
    from ..runtime.model import Model
    from ..system.mistakes import Mistakes

_DESCRIPTION = """\
Run a model over a folder of images (one sub-folder per class), a flat folder (no labels) or a CSV manifest (a header with path
and label, or with one column per output), alone or against a reference, and report accuracy, the paired drop with its 95 %
interval, the images lost and won, and what looks wrong. An interrupted run goes on where it stopped.

The verdict of --max-drop comes from the interval, never from the drop measured: pass, fail, or undecided (exit code 1).
"""

_FOREIGN_FLAGS = (
    *("preprocess", "color", "fit", "resample", "crop_fraction", "letterbox_fill", "mean", "scale", "no_antialias"),
    *("labels", "kind", "background"),
)

_FORMATS = ("text", "md", "junit")

_EPILOG = """\
examples:
  edgekit validate flowers.int8.tflite --images test/
  edgekit validate flowers.int8.tflite --images test/ --reference flowers.float32.tflite --max-drop 0.01
  edgekit validate flowers.int8.tflite --images test/ --reference flowers.reference.npz --json report.json
  edgekit validate foreign.tflite --images test/ --preprocess inception --labels labels.txt
  edgekit validate slim.int8.tflite --images val.csv --published top1=0.7782,top5=0.9403,images=50000 --label-offset 1
  edgekit validate flowers.int8.tflite --on pi@raspberrypi.local --images test/ --reference flowers.npz --max-drop 0.01 --certify 50
  edgekit validate flowers.int8.tflite --images test/ --reference flowers.reference.npz --max-drop 0.01 --format junit
  edgekit validate --plan --max-drop 0.01 --discordant 0.03        how many images are needed
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "validate",
        help="prove the accuracy: drop against a reference with its interval, and a verdict",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="a .tflite")
    parser.add_argument("--images", metavar="DIR", help="a folder of images, or a manifest (.csv)")
    parser.add_argument("--reference", metavar="FILE", help="a float .tflite, or stored outputs (.npz) of the original network")
    parser.add_argument("--max-drop", type=float, metavar="D", help="acceptable drop of top-1, a fraction: 0.01 is one point")
    parser.add_argument("--limit", type=int, metavar="N", help="take N of the images, evenly spread over all")
    parser.add_argument("--unlabelled", action="store_true", help="ignore the names of sub-folders and the label column")
    parser.add_argument(
        "--label-offset",
        type=int,
        metavar="N",
        help="added to bare class numbers of the data: 1 where they do not count the model's background class 0",
    )
    parser.add_argument(
        "--published",
        metavar="CARD|top1=F,...",
        help="compare with a published accuracy: omz:inception-resnet-v2-tf, keras:InceptionResNetV2, or its numbers and images",
    )
    image_flags.add_follow_links(parser)
    parser.add_argument(
        "--max-unreadable", type=float, default=0.01, metavar="F", help="share of images that may be unreadable (default 0.01)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="interpreters at work, of --threads each (default: one single-threaded per core, as memory allows)",
    )
    parser.add_argument(
        "--diagnose",
        choices=("auto", "always", "never"),
        default="auto",
        help="look for swapped channels, wrong scale and shifted labels: when top-1 is below 0.7 (auto), always or never",
    )
    parser.add_argument("--no-resume", action="store_true", help="start again even if an interrupted run could go on")
    plan = parser.add_argument_group("planning: how many images are needed (no model is run)")
    plan.add_argument("--plan", action="store_true", help="answer for --max-drop and leave")
    plan.add_argument(
        "--discordant", type=float, default=0.03, metavar="F", help="share of images right in only one of the two (default 0.03)"
    )
    plan.add_argument("--drop", type=float, default=0.0, metavar="D", help="true drop to plan for (default 0)")
    plan.add_argument("--power", type=float, default=0.8, metavar="P", help="probability of a verdict (default 0.8)")
    model_flags.add_runtime(parser)
    model_flags.add_foreign(parser)
    _add_format(parser)
    output_flags.add_json(parser)
    parser.set_defaults(run=run, mistakes=look)


def look(args: argparse.Namespace, found: Mistakes) -> None:
    """Look at the files and the images before a model is hashed or a folder of thousands is read. On a board, `devices` does."""
    if args.plan or args.file is None or args.images is None or getattr(args, "on", None):
        return
    from ..artefact import container
    from ..data.first_look import check_pictures
    from ..validation import published, reference

    if args.reference is None:
        model_flags.look(args, found)
    else:  # what is said of models without a contract may be said of the reference alone
        found.attempt(container.look, args.file)
        found.attempt(reference.check_there if args.reference.endswith(reference.SUFFIX) else container.look, args.reference)
    if args.published is not None:
        found.attempt(published.parse, args.published)
    found.attempt(check_pictures, args.images, follow_links=args.follow_links)


def run(args: argparse.Namespace) -> int:
    """Plan, or load, validate and report."""
    if args.plan:
        return _plan(args)
    if args.file is None or args.images is None:
        raise UsageError("give a FILE and --images DIR, or --plan --max-drop D (see edgekit validate --help)")
    from ..validation import paired, published, reference
    from ..validation import run as validation_run

    card = None if args.published is None else published.parse(args.published)
    workers, threads = paired.share_cores(args.workers, args.threads, args.file, args.reference)
    stored = args.reference is None or args.reference.endswith(reference.SUFFIX)
    try:
        model = _load(args, args.file, threads)
        report = validation_run.validate(
            model,
            args.images,
            reference=args.reference if stored else _load(args, args.reference, threads),
            max_drop=args.max_drop,
            limit=args.limit,
            unlabelled=args.unlabelled,
            follow_links=args.follow_links,
            label_offset=args.label_offset,
            workers=workers,
            threads=threads,
            max_unreadable=args.max_unreadable,
            diagnose=args.diagnose,
            resume=not args.no_resume,
            progress=sys.stderr,
        )
    except KeyboardInterrupt:
        print("edgekit: what is done so far is kept; the same command goes on from here", file=sys.stderr)
        raise
    if card is not None:
        report = dataclasses.replace(report, published=published.compare(report, card, fed=model.contract.input))
    data = report.to_dict()
    output_flags.emit(args, data, text_of(args.format, data, report.to_text()))
    return report.exit_code


def _load(args: argparse.Namespace, file: str, threads: int) -> Model:
    """Load candidate or reference. What the flags say about models without a contract is left out for one that has its own."""
    from ..artefact import container

    chosen = argparse.Namespace(**{**vars(args), "file": file, "threads": threads})
    said = [name for name in _FOREIGN_FLAGS if getattr(args, name) is not None]
    if args.reference is not None and said and container.read(file).contract is not None:
        vars(chosen).update(dict.fromkeys(said))
    return model_flags.load(chosen)


def _plan(args: argparse.Namespace) -> int:
    from ..numbers import statistics
    from ..validation import text as validation_text

    if args.max_drop is None:
        raise UsageError("--plan needs --max-drop, a fraction: --plan --max-drop 0.01")
    try:
        plan = statistics.plan(args.max_drop, drop=args.drop, discordant=args.discordant, power=args.power)
    except ValueError as error:
        raise UsageError(str(error)) from error
    output_flags.emit(args, dataclasses.asdict(plan), validation_text.plan_text(plan))
    return 0


def _add_format(parser: argparse.ArgumentParser) -> None:
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
    from datetime import UTC, datetime

    from ..history.record import from_report
    from ..history.store import iso
    from ..report import gathering
    from ..report import text as formats

    run = from_report(report, time=iso(datetime.now(UTC)))
    facts = gathering.gather([] if run is None else [run])
    formats.add_to_job_summary(facts)
    return {"text": lambda _: text, "md": formats.to_markdown, "junit": formats.to_junit}[chosen](facts).rstrip("\n")
