"""``edgekit tune MODEL --images DIR --validation DIR --max-drop D``: mixed precision within an accuracy budget."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.system.mistakes import Mistakes

_DESCRIPTION = """\
Find the fastest file whose drop of top-1 is proven to be within the budget: full int8 if that passes, else with as few blocks in
float as needed, else int16x8. Blocks are ranked on two fifths of the validation photos; the other three fifths decide, by the
bound of the interval. An interrupted run goes on where it stopped. Exit code 1: no candidate is proven.
"""

_EPILOG = """\
examples:
  edgekit tune flowers.keras --images train/ --validation test/ --max-drop 0.01 --preprocess inception --out out/
  edgekit tune flowers.keras --images train/ --validation test/ --max-drop 0.01 --preprocess inception --board pi-4b
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    from edge.commands import output_flags

    from .source_flags import add_source

    parser = subparsers.add_parser(
        "tune",
        help="mixed precision: as few blocks in float as an accuracy budget allows",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source(parser)
    parser.add_argument("--images", metavar="DIR|CSV", required=True, help="representative photos, from the training set")
    parser.add_argument("--count", type=int, default=200, help="how many of them (default: %(default)s)")
    parser.add_argument("--validation", metavar="DIR|CSV", required=True, help="labelled photos that training did not see")
    parser.add_argument("--max-drop", type=float, required=True, metavar="D", help="budget: 0.005 is half a point of top-1")
    parser.add_argument("--board", metavar="NAME", help="predict milliseconds for it (default: one thread is timed here)")
    parser.add_argument("--accelerator", metavar="NAME", help="an Edge TPU attached to the board: then nothing may stay in float")
    parser.add_argument("--out", default=".", metavar="DIR", help="where NAME.tuned.tflite goes (default: here)")
    output_flags.add_json(parser)
    parser.set_defaults(run=run, mistakes=look)


def look(args: argparse.Namespace, found: Mistakes) -> None:
    """Look at all that can be wrong before TensorFlow is there."""
    from . import mistakes

    found.attempt(_facts, args)
    mistakes.look(args, found)
    mistakes.look_at_pictures(found, args.images, args.validation)


def run(args: argparse.Namespace) -> int:
    """Make int8, search, write what passed."""
    from edge.commands import output_flags
    from edge.files import atomic_write

    from ..analyse import tune
    from ..analyse.paired import Photos
    from ..analyse.tune_files import finished, int8_and_float
    from ..calibrate.representative import RepresentativeDataset
    from .source_flags import load_source

    board, on_tpu = _target(args)
    source = load_source(args, images=args.images)
    representative = RepresentativeDataset.open(args.images, source=source, count=args.count, validation=args.validation)
    photos = Photos.open(args.validation, source.contract)
    at_least = tune.candidates_of(1, integer_only=on_tpu)  # how many blocks there are is not known yet
    warning = tune.too_few(tune.deciding(photos), args.max_drop, at_least)
    if warning:
        print(f"edgekit: warning: {warning}", file=sys.stderr)
    reference, int8 = int8_and_float(source, representative)
    predict = None if board is None else tune.predictor(board)
    found = tune.tune(
        reference,
        int8,
        photos,
        source.contract,
        max_drop=args.max_drop,
        integer_only=on_tpu,
        predict_ms=predict,
        board=args.board or "",
    )
    report = found.to_dict()
    if found.flatbuffer is not None and found.chosen is not None:
        path = Path(args.out) / f"{source.name}.tuned.tflite"
        atomic_write(path, finished(source, representative, found.chosen, found.flatbuffer))
        report["file"] = str(path)
    output_flags.emit(args, report, "\n".join([found.to_text(), *([report["file"]] if "file" in report else [])]))
    if found.chosen is None and on_tpu:
        raise tune.refuse_islands(args.accelerator or args.board)
    return 0 if found.chosen is not None else 1


def _facts(args: argparse.Namespace) -> tuple[Any, Any]:
    """Return the board and the accelerator that the flags name, each None without. Raises UsageError for unknown ones."""
    from devices.boards import board_files, profiles
    from devices.errors import DeviceError
    from edge.errors import UsageError

    try:
        board = None if args.board is None else profiles.board(args.board, board_files.read())
        accelerator = None if args.accelerator is None else profiles.accelerator(args.accelerator)
    except DeviceError as error:
        raise UsageError(str(error)) from error
    return board, accelerator


def _target(args: argparse.Namespace) -> tuple[Any, bool]:
    board, accelerator = _facts(args)
    own = board is not None and board.edgetpu is not None and board.edgetpu.value is not None
    chosen = accelerator or (board if own else None)
    if chosen is not None and chosen.end_of_life is not None:
        print(f"note: {chosen.title}: end of life {chosen.end_of_life.value}", file=sys.stderr)
    return board, own or accelerator is not None
