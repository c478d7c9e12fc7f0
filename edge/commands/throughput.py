"""``edgekit throughput FILE SOURCE...``: several streams at once, frames a second and latency."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from . import model_flags, output_flags, source_flags

if TYPE_CHECKING:
    from ..live.frame import FrameSource

_EXAMPLES = """\
examples:
  edgekit throughput flowers.int8.tflite photos/ --streams 4
  edgekit throughput flowers.int8.tflite drive.mp4 --streams 4 --fps 10    can it follow four cameras at 10 frames a second?
  edgekit throughput flowers.int8.tflite 0 1 --seconds 30 --json rates.json
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "throughput",
        help="measure several streams of frames at once",
        description="Answer several streams at once, each with its own interpreter: frames a second, latency, memory.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a .tflite")
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help=source_flags.SOURCE_HELP)
    parser.add_argument(
        "--streams", type=source_flags.streams, metavar="N", help="how many; files are shared out in turn (default: one a source)"
    )
    parser.add_argument(
        "--seconds", type=source_flags.positive, default=10.0, metavar="S", help="how long to measure (default 10)"
    )
    source_flags.add_fps(parser)
    model_flags.add_runtime(parser)
    model_flags.add_foreign(parser)
    output_flags.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Open the streams, measure, report."""
    from ..interrupt import termination_interrupts
    from ..live.throughput import measure

    if args.threads is None:
        args.threads = 1  # of each stream: streams side by side beat threads inside one
    with termination_interrupts():
        report = measure(args.file, _streams(args), seconds=args.seconds, load=lambda: model_flags.load(args, timed_only=True))
    output_flags.emit(args, report.to_dict(), report.to_text())
    return 130 if report.interrupted else 0


def _streams(args: argparse.Namespace) -> list[FrameSource]:
    from ..errors import UsageError
    from ..live.frames import is_camera, open_source
    from ..live.throughput import MAX_STREAMS

    wanted = len(args.sources) if args.streams is None else args.streams
    if not len(args.sources) <= wanted <= MAX_STREAMS:
        raise UsageError(f"{wanted} streams for {len(args.sources)} sources, expected {len(args.sources)} to {MAX_STREAMS}")
    names = [args.sources[number % len(args.sources)] for number in range(wanted)]
    for name in args.sources:
        if is_camera(name) and names.count(name) > 1:
            raise UsageError(f"{name}: a camera gives one stream, not {names.count(name)}; name each camera once")
    return [open_source(name, fps=args.fps) for name in names]
