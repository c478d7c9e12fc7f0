"""``edgekit shrink``: a smaller network, not only smaller numbers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.system.mistakes import Mistakes

    from ..shrinking.config import ShrinkConfig

_DESCRIPTION = """\
Take out of a trained network what it can do without (residual blocks, channels, input pixels), repair what is left in closed
form, train it to answer as the original does, and make an int8 file of it. No labels are needed but for the verdict,
which is given on photos that nothing else has seen. Exit code 1: what was lost is not proven to be within --max-drop.
"""

_EPILOG = """\
examples:
  edgekit shrink flowers.keras --images train/ --validation test/ --max-drop 0.01 --speedup 2 --preprocess inception --out out/
  edgekit shrink flowers.keras --images train/ --validation test/ --max-drop 0.015 --board pi-4b --max-ms 300 --preprocess inception
  edgekit shrink flowers.keras --images train/ --validation test/ --max-drop 0.01 --input-sizes 224,192 --preprocess inception
  edgekit shrink flowers.keras --images train/ --validation test/ --max-drop 0.01 --minutes 120 --out out/ --resume

Without --speedup and --max-ms it looks for the fastest network that --max-drop is expected to allow. --images and --validation must not
share a photo. Writes NAME.shrunk.keras, NAME.shrunk.int8.tflite and NAME.shrunk/record.json with a plot of all that was tried. --resume
goes on where an interrupted run stopped, also after a kill.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    from edge.commands import output_flags

    from .source_flags import add_source

    parser = subparsers.add_parser(
        "shrink",
        help="a smaller network: fewer blocks, channels and pixels, trained to answer as the original",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source(parser)
    data = parser.add_argument_group("images")
    data.add_argument(
        "--images", metavar="DIR|CSV", required=True, help="photos to rank, repair and train with; labels are not needed"
    )
    data.add_argument("--validation", metavar="DIR|CSV", required=True, help="labelled photos for the verdict; none of --images")
    budget = parser.add_argument_group("budget")
    budget.add_argument("--max-drop", type=float, required=True, metavar="D", help="what may be lost: 0.01 is one point of top-1; for"
                        " an output of numbers the mean absolute error, in their unit")  # fmt: skip
    budget.add_argument("--speedup", type=float, metavar="N", help="how many times faster in int8")
    budget.add_argument("--max-ms", type=float, metavar="MS", help="milliseconds of one photo in int8")
    budget.add_argument("--board", metavar="NAME", help="predict milliseconds for it (default: one thread is timed here)")
    budget.add_argument("--input-sizes", default="", metavar="H,H,...", help="heights of smaller inputs to try too, in pixels")
    how = parser.add_argument_group("work")
    how.add_argument("--minutes", type=float, default=30.0, metavar="M", help="of the whole run (default: %(default)g)")
    how.add_argument("--no-training", action="store_true", help="stop after the repair in closed form")
    how.add_argument("--count", type=int, default=200, metavar="N", help="photos that set the ranges (default: %(default)s)")
    how.add_argument("--learning-rate", type=float, default=1e-4, metavar="R", help="the highest, of Adam (default: %(default)g)")
    how.add_argument("--batch-size", type=int, metavar="N", help="photos at once in training (default: by the input size)")
    how.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    how.add_argument("--resume", action="store_true", help="go on from what an interrupted run left in --out")
    parser.add_argument("--io", default="int8", choices=("int8", "uint8", "float32"), help="of the file (default: %(default)s)")
    parser.add_argument("--out", default=".", metavar="DIR", help="where the files go (default: here)")
    output_flags.add_json(parser)
    parser.set_defaults(run=run, mistakes=look)


def look(args: argparse.Namespace, found: Mistakes) -> None:
    """Look at all that can be wrong before TensorFlow is there."""
    from . import mistakes

    found.attempt(_config, args)
    mistakes.look(args, found)
    mistakes.look_at_pictures(found, args.images, args.validation)


def run(args: argparse.Namespace) -> int:
    """Shrink, and say what came of it."""
    from edge.commands import output_flags
    from edge.numbers import statistics

    from ..shrinking import record
    from ..shrinking.api import shrink
    from .source_flags import load_source

    config = _config(args)
    source = load_source(args, images=_named(args.images, args.validation))
    result = shrink(source, args.images, args.validation, config, out=args.out, resume=args.resume)
    output_flags.emit(args, result.report, record.to_text(result.report))
    return 0 if result.verdict == statistics.PASS else 1


def _config(args: argparse.Namespace) -> ShrinkConfig:
    from ..shrinking.config import ShrinkConfig

    return ShrinkConfig(
        max_drop=args.max_drop,
        speedup=args.speedup,
        max_ms=args.max_ms,
        board=args.board or "",
        input_sizes=_sizes(args.input_sizes),
        minutes=args.minutes,
        training=not args.no_training,
        learning_rate=args.learning_rate,
        batch_size=args.batch_size,
        representative=args.count,
        io=args.io,
        seed=args.seed,
    )


def _named(images: str, validation: str) -> str:
    """Return the photos whose sub-folders name the classes: those for training need none."""
    from pathlib import Path

    from edge.data.dataset import class_folders

    return images if not Path(images).is_dir() or class_folders(Path(images))[0] else validation


def _sizes(given: str) -> tuple[int, ...]:
    from edge.errors import UsageError

    try:
        return tuple(int(part) for part in given.split(",") if part.strip())
    except ValueError:
        raise UsageError(f"--input-sizes {given!r}: expected heights in pixels, such as 224,192") from None
