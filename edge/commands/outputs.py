"""``edgekit outputs FILE --images DIR --out FILE.npz``: what a model answers here, kept to validate against elsewhere."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from . import image_flags, model_flags, output_flags

if TYPE_CHECKING:
    from ..system.mistakes import Mistakes

_EPILOG = """\
examples:
  edgekit outputs flowers.float32.tflite --images test/ --out flowers.npz
  edgekit validate flowers.int8.tflite --images test/ --reference flowers.npz --max-drop 0.01
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "outputs",
        help="store what a model answers to images, to validate against it elsewhere",
        description="Run a model over images and store its answers as a reference for edgekit validate, so that a slow board need"
        " not run the reference itself.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a .tflite")
    parser.add_argument("--images", required=True, metavar="DIR", help="a folder of images, or a manifest (.csv)")
    parser.add_argument("--out", required=True, metavar="FILE.npz", help="where the answers go")
    parser.add_argument("--limit", type=int, metavar="N", help="take N of the images, evenly spread over all")
    image_flags.add_follow_links(parser)
    model_flags.add_runtime(parser)
    model_flags.add_foreign(parser)
    output_flags.add_json(parser)
    parser.set_defaults(run=run, mistakes=look)


def look(args: argparse.Namespace, found: Mistakes) -> None:
    """Look at the files and the images before the model is loaded."""
    from ..data.first_look import check_pictures

    model_flags.look(args, found)
    found.attempt(check_pictures, args.images, follow_links=args.follow_links)


def run(args: argparse.Namespace) -> int:
    """Run the model over the images and store its answers."""
    from ..data.dataset import LabelledImages
    from ..progress import Progress
    from ..validation.findings import about_skipped
    from ..validation.reference import store

    model = model_flags.load(args)
    images = LabelledImages.open(args.images, unlabelled=True, follow_links=args.follow_links)
    images = images if args.limit is None else images.subset(args.limit)
    with Progress(len(images), "outputs", sys.stderr) as progress:
        unreadable, silent = store(model, images, args.out, progress.advance)
    text = f"{args.out}: the answers to {len(images) - len(unreadable)} images"
    if unreadable:
        text += f"; {len(unreadable)} could not be read"
    if silent:
        text += f"; {silent} of them are NaN or infinity, and no limit is proven against such a reference"
    text += "".join(f"\nwarning: {finding.message}" for finding in about_skipped(images))
    output_flags.emit(args, {"file": args.out, "images": len(images), "unreadable": unreadable, "not_finite": silent}, text)
    return 0
