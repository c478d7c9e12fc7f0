"""``edgekit check FILE --board NAME``: will it fit, will it map, how fast will it be."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from devices.boards import board_files

from ...predict import board_choice
from .. import output_flags

if TYPE_CHECKING:
    from ...artefact.container import Container
    from ...predict.check import CheckReport

_EXAMPLES = """\
examples:
  edgekit check flowers.int8.tflite                                     one table over all boards
  edgekit check flowers.int8.tflite --board pi-4b --board pi-5          one over these
  edgekit check flowers.int8.tflite --board pi-4b --memory 2GiB --accelerator coral-usb
  edgekit check flowers.int8.tflite --board coral-dev-board -n 2        split over two Edge TPUs
  edgekit check flowers.int8.tflite --board pi-4b --learn bench.json    refine by a run measured on that board
  edgekit check flowers.int8.tflite --board coral-dev-board --compile out/
  edgekit check a.tflite --board coral-dev-board --learn bench.json --compiled out/a_edgetpu.tflite

exit codes: 0 it fits, 1 it does not or nobody knows, 2 wrong usage or input
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "check",
        help="predict whether it fits a board, maps to its Edge TPU, and how fast it is",
        description="Predict memory, Edge TPU mapping (every op with its reason) and latency on a board, and what would help."
        " Predictions with intervals, never measurements; needs no board and no compiler.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a .tflite")
    parser.add_argument(
        "--board",
        action="append",
        metavar="NAME",
        help="a board of `edgekit boards`; may be repeated, for a table (default: all)",
    )
    parser.add_argument(
        "--accelerator",
        metavar="NAME",
        help="an Edge TPU attached to it: coral-usb, coral-m2 or coral-pcie (all at their end of life)",
    )
    board_choice.add_flags(parser)
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all cores, at most 4)")
    parser.add_argument(
        "--clock",
        type=int,
        metavar="MHZ",
        help="the CPU's clock, where boards differ or are overclocked (default: the stock clock)",
    )
    parser.add_argument("--ops", action="store_true", help="list every op with its reason")
    compiler = parser.add_argument_group("the Edge TPU compiler")
    compiler.add_argument(
        "--compiler-version", default="16.0", metavar="V", help="whose limits hold (default 16.0, the last one)"
    )
    compiler.add_argument(
        "-m", "--min-runtime", type=int, default=14, metavar="N", help="its -m: oldest Edge TPU runtime (default 14)"
    )
    compiler.add_argument("-a", "--all-subgraphs", action="store_true", help="its -a: map every part, not only the first")
    compiler.add_argument("-n", "--segments", type=int, default=1, metavar="N", help="its -n: a pipeline over N Edge TPUs")
    compiler.add_argument("--after", action="append", default=[], metavar="FILE", help="compiled together, this model first")
    compiler.add_argument(
        "--compile", metavar="DIR", help="run edgetpu_compiler too, compare, and write the compiled artefact to DIR"
    )
    compiler.add_argument("--docker", metavar="IMAGE", help="with --compile: run it in this Docker image")
    parser.add_argument(
        "--learn", metavar="JSON", help="the JSON of `edgekit benchmark` run on that board: refines predictions from now on"
    )
    parser.add_argument(
        "--compiled", metavar="FILE", help="with --learn: the file that was measured on an Edge TPU, compiled from this one"
    )
    output_flags.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict, compile if asked for, and report."""
    from devices.predict.fit import CompilerOptions

    from ...errors import UsageError
    from ...predict import check as checking
    from ...predict import check_report

    if args.threads is not None and args.threads < 1:
        raise UsageError(f"--threads is {args.threads}, expected 1 or more")
    if args.clock is not None and not 100 <= args.clock <= 10000:
        raise UsageError(f"--clock is {args.clock}, expected MHz from 100 to 10000")
    options = CompilerOptions(
        version=args.compiler_version,
        min_runtime=args.min_runtime,
        all_subgraphs=args.all_subgraphs,
        segments=args.segments,
    )
    if args.learn:
        _learn(args, options)
    report = checking.check(
        args.file,
        args.board or "all",
        args.accelerator,
        threads=args.threads,
        options=options,
        before=tuple(args.after),
        own=board_files.read(args.boards_file),
        memory_mib=None if args.memory is None else board_choice.parse_memory(args.memory),
        clock_mhz=args.clock,
    )
    data, text = check_report.to_dict(report), check_report.to_text(report)
    if args.ops:
        text = "\n".join([text, "", *_op_lines(report)])
    if args.compile:
        text, data = _compile(args, report, text, data)
    output_flags.emit(args, data, text)
    # Of all boards one that fits is a yes; of those that were named each has to.
    named = "all" not in (args.board or ["all"])
    return 0 if (all(board.fits for board in report.boards) if named else report.fits) else 1


def _op_lines(report: CheckReport) -> list[str]:
    tpu = report.boards[0].tpu if len(report.boards) == 1 else None
    if tpu is None:
        return ["no Edge TPU takes part: name a board that has one, or an accelerator"]
    lines = []
    for op in tpu.prediction.per_op:
        unsure = f"not sure: {op.doubt}" if op.doubt else ""
        detail = "".join(f"; {part}" for part in (op.detail, op.way_out, unsure) if part)
        lines.append(f"{op.index:4} {op.op} v{op.version}: {op.reason}{detail}")
    return lines


def _learn(args: argparse.Namespace, options: Any) -> None:
    from pathlib import Path

    from devices import jsontext
    from devices.boards import profiles
    from devices.predict import fit

    from ... import report_schema, schema
    from ...artefact import container
    from ...errors import UsageError
    from ...predict import refinement
    from ...predict.op_list import network_of

    if not args.board or len(args.board) > 1 or args.board == ["all"]:
        raise UsageError("--learn needs the one --board that was measured")
    try:
        measured = jsontext.loads(Path(args.learn).read_bytes(), mend=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"{args.learn}: cannot be read as JSON ({error})") from error
    source = container.read(args.file)
    ran = container.read(args.compiled) if args.compiled else source
    if ran is not source:
        _check_compiled(ran, source)
    if not isinstance(measured, dict) or measured.get("model_sha256") != ran.model_sha256:
        hint = "" if args.compiled or not args.accelerator else " (of a compiled file: name it with --compiled)"
        raise UsageError(
            f"{args.learn}: is no measurement of {ran.path}{hint}; run edgekit benchmark {ran.path} --json FILE on the board"
        )
    wrong = schema.problem(measured, report_schema.MEASUREMENT)
    if wrong is not None:
        raise UsageError(f"{args.learn}: not as edgekit benchmark writes it: {wrong}")
    network = network_of(source.graph, source.path, file_bytes=source.file_bytes)
    attached = profiles.accelerator(args.accelerator) if args.accelerator else None
    threads = measured.get("threads") if isinstance(measured.get("threads"), int) else None
    board = profiles.board(args.board[0], board_files.read(args.boards_file))
    clock = refinement.measured_clock(board, measured)
    found = fit.on_board(network, board, attached, options=options, threads=threads, clock_mhz=clock)
    refinement.learn(network, found, measured, board=board, model_sha256=source.model_sha256)


def _check_compiled(compiled: Container, source: Container) -> None:
    """Raise UsageError if ``compiled`` is no compiled file, or was visibly compiled from another model."""
    from devices.edgetpu.ops import COMPILED

    from ...errors import UsageError

    if not any(op.name == COMPILED for op in compiled.graph.ops):
        raise UsageError(f"{compiled.path}: is not compiled for the Edge TPU (it has no {COMPILED})")
    if compiled.contract and source.contract and compiled.contract.source != source.contract.source:
        raise UsageError(f"{compiled.path}: was not compiled from {source.path}: its contract names another source")


def _compile(args: argparse.Namespace, report: CheckReport, text: str, data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    from ...errors import UsageError
    from ...predict import check_report, edgetpu_compiler

    tpu = report.boards[0].tpu if len(report.boards) == 1 else None
    if tpu is None:
        raise UsageError("--compile needs a --board with an Edge TPU, or an --accelerator")
    done = edgetpu_compiler.compile_model(
        args.file,
        args.compile,
        image=args.docker,
        min_runtime=args.min_runtime if args.min_runtime < 14 else None,
        all_subgraphs=args.all_subgraphs,
        segments=args.segments,
    )
    lines = [text, "", "edgetpu_compiler against the prediction", *(f"  {line}" for line in check_report.compared(tpu, done.log))]
    if done.log.compiler and not done.log.compiler.startswith(f"{args.compiler_version}."):
        lines.append(f"  the compiler is {done.log.compiler}, the prediction is for {args.compiler_version} (--compiler-version)")
    lines += [f"  wrote {path}" for path in done.files]
    return "\n".join(lines), {
        **data,
        "compiled": done.to_dict(),
        "comparison": check_report.comparison(tpu, done.log),
    }
