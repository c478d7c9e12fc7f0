"""``edgekit benchmark FILE``: how long one run takes here."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from . import model_flags, output_flags

if TYPE_CHECKING:
    from ..runtime.model import Model

_EXAMPLES = """\
examples:
  edgekit benchmark flowers.int8.tflite
  edgekit benchmark flowers.int8.tflite --threads 1 --seconds 30 --json latency.json
  edgekit benchmark flowers.int8.tflite --sweep-threads          which number of threads is the fastest
  edgekit benchmark flowers.int8.tflite --per-op                 where the time goes, and which ops left the fast kernels
  edgekit benchmark flowers.int8.tflite --soak 10m               what it takes once the board is warm
  edgekit benchmark flowers.int8.tflite --on @fleet.toml         on several boards, one table
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "benchmark",
        help="measure latency, memory and heat here",
        description="Measure single runs, at least 100 and for 10 seconds: percentiles, peak memory, temperature, clock and"
        " throttling flags before, during and after, and joules where something measures power. A run that was throttled, or had to"
        " share its cores with other programs, is marked: it is not the board's speed.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a .tflite")
    parser.add_argument("--runs", type=int, default=100, metavar="N", help="at least so many runs (default 100)")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="and at least so long (default 10)")
    parser.add_argument("--sweep-threads", action="store_true", help="measure 1, 2, ... threads, and name the best number")
    parser.add_argument("--per-op", action="store_true", help="also say where the time goes: per op, per block and per kernel")
    parser.add_argument("--soak", metavar="TIME", help="run so long (90s, 10m, 1h) and report what it takes at the end of it")
    model_flags.add_runtime(parser)
    model_flags.add_foreign(parser)
    output_flags.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Load, measure and report."""
    import time

    from ..bench import latency as bench_latency
    from ..bench import soak

    if args.sweep_threads and (args.soak is not None or args.threads is not None):
        raise UsageError("--sweep-threads tries all numbers of threads; leave --threads and --soak out")
    if args.per_op and args.soak is not None:
        raise UsageError("--soak measures one run after the other; leave --per-op out")
    if args.per_op:
        from ..bench import op_times  # brings the profiler, the graph and its blocks: only for this

        op_times.require_profiler(args.file)  # before seconds go into a measurement
    report: bench_latency.BenchmarkReport | soak.SoakReport
    if args.soak is not None:
        seconds = soak.parse_duration(args.soak)
        report = soak.soak(model_flags.load(args, timed_only=True), seconds, advance=_say)
    elif args.sweep_threads:

        def open_model(threads: int) -> Model:
            return model_flags.load(argparse.Namespace(**{**vars(args), "threads": threads}), timed_only=True)

        report = bench_latency.sweep(open_model, min_runs=args.runs, min_seconds=args.seconds, advance=_say)
    else:
        start = time.perf_counter()
        model = model_flags.load(args, timed_only=True)
        loaded_s = time.perf_counter() - start
        report = bench_latency.benchmark(model, min_runs=args.runs, min_seconds=args.seconds, load_s=loaded_s)
    if args.per_op and isinstance(report, bench_latency.BenchmarkReport):
        report = replace(report, per_op=op_times.measure(args.file, threads=report.runtime.threads))
    output_flags.emit(args, report.to_dict(), report.to_text())
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
