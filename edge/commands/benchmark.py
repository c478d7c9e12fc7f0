"""``edgekit benchmark FILE``: how long one run takes here."""

from __future__ import annotations

import argparse
from typing import Any

from . import model_flags, output_flags

_EXAMPLES = """\
examples:
  edgekit benchmark flowers.int8.tflite
  edgekit benchmark flowers.int8.tflite --threads 1 --seconds 30 --json latency.json
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "benchmark",
        help="measure latency and memory here",
        description="Measure single runs, at least 100 and for 10 seconds: percentiles, peak memory, heat.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a .tflite")
    parser.add_argument("--runs", type=int, default=100, metavar="N", help="at least so many runs (default 100)")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="and at least so long (default 10)")
    model_flags.add_runtime(parser)
    model_flags.add_foreign(parser)
    output_flags.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Load, measure and report."""
    import time

    from ..benchmarking import benchmark

    start = time.perf_counter()
    model = model_flags.load(args)
    report = benchmark(model, min_runs=args.runs, min_seconds=args.seconds, load_s=time.perf_counter() - start)
    output_flags.emit(args, report.to_dict(), report.to_text())
    return 0
