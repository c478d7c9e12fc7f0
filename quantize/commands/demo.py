"""``edgekit demo``: the whole job on embedded data, from training to a recommendation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

EXAMPLES = """\
examples:
  edgekit demo                    train (once), quantize, validate, recommend; about six minutes on two cores
  edgekit demo --out /tmp/demo    keep the files elsewhere; a second run reuses the trained network
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    from edge.commands import output_flags

    parser = subparsers.add_parser(
        "demo",
        help="the whole job on data that is already here: train, quantize, validate, recommend",
        description="Train InceptionResNetV2 on real handwritten digits, make every variant, and say which one to deploy.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", default="edgekit-demo", metavar="DIR", help="where everything goes (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=6, help="of the training (default: %(default)s)")
    parser.add_argument("--max-drop", type=float, default=0.01, help="what int8 may cost in top-1 (default: %(default)s)")
    parser.add_argument("--retrain", action="store_true", help="train again even where a trained network is there")
    output_flags.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train unless that is done, compare all variants, recommend one, and write the report."""
    from edge.commands import output_flags
    from edge.errors import MissingExtraError

    from .. import demo

    out = Path(args.out)
    demo.digits_dataset(out / "photos")
    trained = out / "digits.keras"
    if args.retrain or not trained.exists():
        top1 = demo.train(out / "photos", trained, epochs=args.epochs)
        print(f"trained: {top1:.1%} of {demo.TEST_IMAGES} held-out digits right; {trained}")
    else:
        print(f"reusing the trained network {trained} (--retrain trains again)")
    rows = demo.compare(out, trained, max_drop=args.max_drop)
    recommendation = demo.recommend(rows, max_drop=args.max_drop)
    data = {"variants": rows, "recommendation": recommendation}
    text = demo.table(rows) + "\n\n" + recommendation
    try:
        page = demo.write_page(out)
    except MissingExtraError as error:
        text += f"\nNo report as a page: {error}"
    else:
        data["report"] = str(page)
        text += f"\nAll of it as a page: {page}"
    output_flags.emit(args, data, text)
    return 0
