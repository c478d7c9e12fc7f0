"""``edgekit quantize``: a trained model in, one ``.tflite`` for each variant out."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.system.mistakes import Mistakes

    from ..ptq import PtqConfig

EXAMPLES = """\
examples:
  edgekit quantize flowers.keras --images train/ --preprocess inception --out out/
  edgekit quantize bot.keras --images frames/ --preprocess inception --outputs regression --variants int8,float32
  edgekit quantize bot.keras --images frames.csv --preprocess inception --outputs regression --input speed:scale=30 --keep-float lstm
  edgekit quantize flowers.keras --images train/ --preprocess inception --variants int8 --io uint8     (for MediaPipe, Android)
  edgekit quantize flowers.h5 --images train/ --preprocess inception --runtime tflite-runtime-2.14     (32-bit Raspberry Pi OS)
  edgekit quantize flowers.weights.h5 --architecture inception_resnet_v2 --classes 5 --input-shape 96x96 --images train/ \\
      --preprocess inception

Each file is NAME.VARIANT.tflite and carries its contract (how to feed and read it), labels and golden samples.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    from edge.commands import image_flags, output_flags

    from .source_flags import add_source

    parser = subparsers.add_parser(
        "quantize",
        help="make float32, float16, dynamic, int8 and int16x8 .tflite files of a trained model",
        description="Post-training quantization: every variant of a trained Keras model, each as one self-describing .tflite.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source(parser)
    data = parser.add_argument_group("representative dataset")
    data.add_argument("--images", metavar="DIR|CSV", help="photos that set the ranges: a folder (of classes) or a manifest")
    data.add_argument("--count", type=int, default=200, help="how many of them (default: %(default)s), stratified by class")
    data.add_argument("--seed", type=int, default=0, help="of the choice (default: %(default)s)")
    data.add_argument("--validation", metavar="DIR|CSV", help="the validation photos, to make sure that none is in --images")
    data.add_argument(
        "--max-unreadable", type=float, default=0.01, metavar="SHARE", help="give up above it (default: %(default)s)"
    )
    image_flags.add_follow_links(data)
    what = parser.add_argument_group("what to make")
    what.add_argument(
        "--variants", default="all", help="comma-separated: float32, float16, dynamic, int8, int16x8 (default: all)"
    )
    what.add_argument(
        "--io", default="int8", choices=("int8", "uint8", "float32"), help="of the int8 file (default: %(default)s)"
    )
    what.add_argument(
        "--ranges", default="auto", metavar="METHOD", help="of the int8 file: auto, converter, minmax, mean, ... (docs/ranges.md)"
    )
    what.add_argument(
        "--keep-float",
        metavar="OP,...",
        help="ops of the int8 file that stay in float, such as lstm (UNIDIRECTIONAL_SEQUENCE_LSTM); the rest is int8",
    )
    what.add_argument(
        "--quantizer",
        default="tensorflow",
        choices=("tensorflow", "litert-quantizer"),
        help="what makes the int8 file of the float one and the ranges (default: %(default)s; the other is the extra"
        " edgekit[litert-quantizer])",
    )
    what.add_argument("--per-tensor", action="store_true", help="one weight scale per tensor in the int8 file, not per channel")
    what.add_argument(
        "--runtime", metavar="NAME", help="the interpreter that must load it: tflite-runtime-2.14, ai-edge-litert-2.3"
    )
    what.add_argument("--out", default=".", metavar="DIR", help="where the files go (default: here)")
    output_flags.add_json(parser)
    parser.set_defaults(run=run, mistakes=look)


def look(args: argparse.Namespace, found: Mistakes) -> None:
    """Look at all that can be wrong before TensorFlow is there."""
    from .. import variants as known
    from . import mistakes

    variants = found.attempt(known.parse_variants, args.variants)
    found.attempt(_config, args)
    mistakes.look(args, found)
    calibrated = None if variants is None else found.attempt(_calibrated, args, variants)
    if variants is None or calibrated:  # the others leave --images unread
        mistakes.look_at_pictures(found, args.images, args.validation, follow_links=args.follow_links)
    mistakes.look_at_space(args, found, variants or ())


def run(args: argparse.Namespace) -> int:
    """Make the variants; each file is complete as soon as it is there."""
    from edge.commands import output_flags

    from .. import ptq
    from .. import variants as known
    from .source_flags import load_source

    variants = known.parse_variants(args.variants)
    config = _config(args)
    out = Path(args.out)
    source = load_source(args, images=args.images)
    representative = _representative(args, source, variants)
    out.mkdir(parents=True, exist_ok=True)
    entries = []
    notes = list(source.notes)
    for artefact in ptq.post_training_variants(source, representative, variants, config=config):
        entries.append(artefact.to_dict(artefact.save(out)))
        notes += [f"{artefact.variant}: {note}" for note in artefact.contract.notes if note not in source.notes]
    report = {
        "name": source.name,
        "source": source.contract.to_dict()["source"],
        "notes": notes,
        "findings": [asdict(finding) for finding in representative.findings] if representative else [],
        "variants": entries,
    }
    output_flags.emit(args, report, _text(report))
    return 0


def _config(args: argparse.Namespace) -> PtqConfig:
    from ..ptq import PtqConfig

    return PtqConfig(
        io=args.io,
        per_channel=not args.per_tensor,
        ranges=args.ranges,
        runtime=args.runtime,
        keep_float=tuple(op.strip() for op in args.keep_float.split(",")) if args.keep_float else (),
        quantizer=args.quantizer,
    )


def _calibrated(args: argparse.Namespace, variants: tuple[str, ...]) -> tuple[str, ...]:
    """Return which of the variants need representative images. Raises CalibrationError where there are none for them."""
    from ..errors import CalibrationError
    from ..variants import CALIBRATED

    calibrated = tuple(variant for variant in variants if variant in CALIBRATED)
    if calibrated and args.images is None:
        raise CalibrationError(
            f"{' and '.join(calibrated)} need representative images; give --images DIR (training photos, not test photos)"
        )
    return calibrated


def _representative(args: argparse.Namespace, source: Any, variants: tuple[str, ...]) -> Any:
    from ..calibrate.representative import RepresentativeDataset

    if not _calibrated(args, variants):
        return None
    return RepresentativeDataset.open(
        args.images,
        count=args.count,
        seed=args.seed,
        source=source,
        validation=args.validation,
        max_unreadable=args.max_unreadable,
        follow_links=args.follow_links,
    )


def _text(report: dict[str, Any]) -> str:
    lines = [f"{'variant':10}{'MiB':>8}{'seconds':>9}{'float ops':>11}  file"]
    for entry in report["variants"]:
        mib = entry["bytes"] / 2**20
        lines.append(f"{entry['name']:10}{mib:8.1f}{entry['seconds']:9.1f}{entry['float_ops']:11}  {entry['file']}")
    lines += [f"note: {note}" for note in report["notes"]]
    lines += [f"{finding['severity']}: {finding['message']}" for finding in report["findings"]]
    return "\n".join(lines)
