"""``edgekit compare A B C --images DIR``: which generation or variant is the best, and what each made worse."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from . import image_flags, output_flags

if TYPE_CHECKING:
    from ..system.mistakes import Mistakes

_EPILOG = """\
examples:
  edgekit compare bot-1.tflite bot-2.tflite bot-3.tflite --images test.csv
  edgekit compare out/*.tflite --reference out/flowers.float32.tflite --images test/ --max-drop 0.01
  edgekit compare flowers.float32.tflite flowers.int8.tflite --images test/ --json compare.json
  edgekit compare a.tflite b.tflite --images test.csv --output steering --no-latency
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "compare",
        help="rank generations or variants by accuracy, size and latency; list what each made worse",
        description="Run two or more artefacts over the same labelled images, rank them (accuracy paired, image by image), and list"
        " the images that each answers worse than the one before it on the command line.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="artefacts of edgekit, the oldest generation first")
    parser.add_argument(
        "--images", required=True, metavar="DIR|CSV", help="labelled images, or a manifest with the outputs' columns"
    )
    parser.add_argument("--reference", metavar="FILE", help="compare each with this one too, such as the float32 file")
    parser.add_argument("--max-drop", type=float, metavar="D", help="what each may lose against it, a fraction: a verdict each")
    parser.add_argument("--output", metavar="NAME", help="which output (default: the first that all have)")
    parser.add_argument("--limit", type=int, metavar="N", help="take N of the images, evenly spread")
    image_flags.add_follow_links(parser)
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.1,
        metavar="F",
        help="numbers: an image is worse when its error grew by this share of the targets' range (default: %(default)s)",
    )
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="to time each for (default: %(default)s)")
    parser.add_argument("--no-latency", action="store_true", help="do not time them")
    output_flags.add_json(parser)
    parser.set_defaults(run=run, mistakes=look)


def look(args: argparse.Namespace, found: Mistakes) -> None:
    """Look at all files and the images before the first is loaded."""
    from ..artefact import container
    from ..data.first_look import check_pictures

    for file in (*args.files, *([] if args.reference is None else [args.reference])):
        found.attempt(container.look, file)
    found.attempt(check_pictures, args.images, follow_links=args.follow_links)


def run(args: argparse.Namespace) -> int:
    """Run, rank and report."""
    from ..validation import generations

    report = generations.compare(
        args.files,
        args.images,
        output=args.output,
        limit=args.limit,
        follow_links=args.follow_links,
        latency_seconds=0.0 if args.no_latency else args.seconds,
        tolerance=args.tolerance,
        reference=args.reference,
        max_drop=args.max_drop,
        progress=sys.stderr,
    )
    output_flags.emit(args, report.to_dict(), report.to_text())
    return report.exit_code
