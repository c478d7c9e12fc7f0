"""``edgekit qat``: train a network as the int8 file that it will be."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.system.mistakes import Mistakes

    from ..qat.config import QatConfig

EXAMPLES = """\
examples:
  edgekit qat flowers.keras --images train/ --validation validation/ --epochs 5 --preprocess inception --out out/
  edgekit qat flowers.keras --images train/ --validation validation/ --preprocess inception --per-tensor
  edgekit qat flowers.keras --images train/ --validation validation/ --preprocess inception --float-control
  edgekit qat flowers.keras --images photos/ --validation validation/ --preprocess inception --unlabelled
  edgekit qat flowers.keras --images train/ --validation validation/ --epochs 5 --preprocess inception --out out/ --resume

--unlabelled: no labels are needed, it learns from the float network's answers. --resume goes on where an interrupted run stopped.
--images and --validation must not share a photo. Writes NAME.int8-qat.tflite (the best epoch), NAME.int8.tflite (post-training
quantization, for comparison) and NAME.qat/record.json with a plot, and says which file to deploy. --float-control adds
NAME.int8-control.tflite: fine-tuned as long in float, quantized afterwards. Only that tells what fake quantization itself gains.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    from edge.commands import output_flags

    from .source_flags import add_source

    parser = subparsers.add_parser(
        "qat",
        help="quantization-aware training to a full-integer int8 .tflite, where post-training quantization loses too much",
        description="Train a Keras network with fake quantization where TFLite rounds, and convert it with the ranges it learned.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source(parser)
    data = parser.add_argument_group("images")
    data.add_argument(
        "--images", metavar="DIR|CSV", required=True, help="training photos: class folders, a flat folder, or a manifest"
    )
    data.add_argument(
        "--validation", metavar="DIR|CSV", required=True, help="photos that choose the best epoch; none of --images"
    )
    data.add_argument(
        "--unlabelled", action="store_true", help="ignore the labels of --images; learn from the float network alone"
    )
    data.add_argument("--augment", default="", metavar="LIST", help="comma-separated: flip, shift, light (default: none)")
    data.add_argument(
        "--representative", type=int, default=200, metavar="N", help="images that set the first ranges (default 200)"
    )
    how = parser.add_argument_group("training")
    how.add_argument("--epochs", type=int, default=5, help="default: %(default)s")
    how.add_argument("--learning-rate", type=float, metavar="R", help="the highest, of Adam (default: 1e-5; 1e-6 without labels)")
    how.add_argument("--batch-size", type=int, default=16, metavar="N", help="default: %(default)s")
    how.add_argument("--distill", action=argparse.BooleanOptionalAction, help="learn from the float network's answers too (default:"
                     " only for outputs without labels)")  # fmt: skip
    how.add_argument("--balanced", action="store_true", help="let classes weigh alike, however many photos they have")
    how.add_argument("--loss-weights", default="", metavar="NAME=W,...", help="of several outputs (default: 1 each)")
    how.add_argument("--freeze-from", type=float, metavar="SHARE", help="of the run after which batch norm statistics and"
                     " ranges stand still (default: 0.5; 0 without labels)")  # fmt: skip
    how.add_argument(
        "--patience", type=int, default=5, metavar="N", help="epochs without a better int8 file (default: %(default)s)"
    )
    how.add_argument("--float-control", action="store_true", help="train the float network as long too and quantize it afterwards:"
                     " what fine-tuning alone gains (about half the time again)")  # fmt: skip
    how.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    how.add_argument("--resume", action="store_true", help="go on from the state that an interrupted run left in --out")
    small = parser.add_argument_group("smaller downloads", "The file compresses better; its RAM and speed stay the same.")
    small.add_argument("--sparsity", type=float, default=0.0, metavar="SHARE", help="of weights set to zero and kept there")
    small.add_argument("--clusters", type=int, metavar="N", help="distinct values in each kernel (2 to 256)")
    what = parser.add_argument_group("what to make")
    what.add_argument("--io", default="int8", choices=("int8", "uint8", "float32"), help="of both files (default: %(default)s)")
    what.add_argument("--per-tensor", action="store_true", help="one weight scale per tensor, not per channel")
    what.add_argument("--out", default=".", metavar="DIR", help="where the files go (default: here)")
    output_flags.add_json(parser)
    parser.set_defaults(run=run, mistakes=look)


def look(args: argparse.Namespace, found: Mistakes) -> None:
    """Look at all that can be wrong before TensorFlow is there."""
    from . import mistakes

    found.attempt(_config, args)
    mistakes.look(args, found)
    mistakes.look_at_pictures(found, args.images, args.validation)
    mistakes.look_at_space(args, found, ("int8", "int8-qat"))


def run(args: argparse.Namespace) -> int:
    """Train, and print what came out."""
    from edge.commands import output_flags

    from ..qat.api import quantization_aware
    from ..qat.report import to_text
    from .source_flags import load_source

    config = _config(args)
    source = load_source(args, images=args.images)
    out = Path(args.out)
    result = quantization_aware(source, args.images, args.validation, config, out=out, resume=args.resume)
    report = result.to_dict()
    output_flags.emit(args, report, to_text(report))
    return 0


def _config(args: argparse.Namespace) -> QatConfig:
    from ..qat.config import QatConfig

    return QatConfig(
        epochs=args.epochs,
        learning_rate=args.learning_rate,
        batch_size=args.batch_size,
        distill=args.distill,
        balanced=args.balanced,
        loss_weights=_weights(args.loss_weights),
        augment=tuple(name.strip() for name in args.augment.split(",") if name.strip()),
        freeze_from=args.freeze_from,
        patience=args.patience,
        unlabelled=args.unlabelled,
        representative=args.representative,
        io=args.io,
        per_channel=not args.per_tensor,
        sparsity=args.sparsity,
        clusters=args.clusters,
        float_control=args.float_control,
        seed=args.seed,
    )


def _weights(given: str) -> dict[str, float]:
    from ..errors import TrainingError

    weights = {}
    for part in filter(None, (part.strip() for part in given.split(","))):
        name, _, number = part.partition("=")
        try:
            weights[name.strip()] = float(number)
        except ValueError:
            raise TrainingError(f"--loss-weights {part!r}: expected NAME=NUMBER") from None
    return weights
