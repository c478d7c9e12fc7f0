"""``edgekit import``: networks from elsewhere become a Keras model and an artefact, checked against what they came from."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.system.mistakes import Mistakes

    from ..loading.slim.source import SlimOptions

KINDS = ("slim",)
_OUTPUTS = {"aux": "AUXILIARY", "logits": "LOGITS", "predictions": "PREDICTIONS"}
_MOST_PHOTOS = 16  # compared with the graph; each more says the same again

DESCRIPTION = """\
Bring TF-slim's Inception-ResNet-v2 (Open Model Zoo's inception-resnet-v2-tf) in: a frozen graph (.pb), a meta graph (.meta with
its checkpoint) or a checkpoint. Writes NAME.keras, with the same weights, for training and all else that takes a Keras model, and
NAME.float32.tflite, which carries its contract. Both answer as the graph does, within 1e-4 of the largest answer, or nothing is
written. Nothing in the graph is run before it was searched for ops that run code or touch files.
"""

EXAMPLES = """\
examples:
  edgekit import inception_resnet_v2.pb --as slim --labels imagenet.txt --images photos/ --out out/
  edgekit import inception_resnet_v2_2016_08_30.ckpt --as slim --output predictions --labels imagenet.txt
  edgekit import inception_resnet_v2.pb --as slim --input-order bgr --fold-preprocessing     (takes pixels as a camera gives them)
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    from edge.commands import output_flags, preprocess_flags

    from .source_flags import shape

    parser = subparsers.add_parser(
        "import",
        help="bring TF-slim's Inception-ResNet-v2 in: a Keras model and a .tflite from a graph or checkpoint",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", type=Path, help="a .pb, a .meta, or a checkpoint's prefix or file")
    parser.add_argument("--as", dest="kind", choices=KINDS, default="slim", help="what it is (default: %(default)s)")
    parser.add_argument("--name", help="of the files that are made (default: the source's)")
    parser.add_argument("--out", default=".", type=Path, metavar="DIR", help="where the files go (default: here)")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="one class name a line: 1001, or 1000 without the background")
    parser.add_argument(
        "--images", type=Path, metavar="DIR|CSV", help="photos to compare with the graph (default: two that are here)"
    )
    network = parser.add_argument_group("what the network is")
    network.add_argument(
        "--output",
        default="aux",
        metavar="HEAD",
        help="aux: the auxiliary head, 30.2 million parameters (default); predictions or logits: of the whole network, 55.9 million;"
        " or the name of one of these nodes",
    )
    network.add_argument("--input", default="input", metavar="NODE", help="where the pixels come in (default: %(default)s)")
    network.add_argument("--checkpoint", type=Path, metavar="PREFIX", help="of a .meta file, where it is not beside it")
    network.add_argument("--input-shape", type=shape, metavar="HxW", help="where the file leaves it open (default: 299x299)")
    network.add_argument(
        "--background", type=int, metavar="INDEX", help="the class that means nothing, -1 for none (default: 0 of 1001 classes)"
    )
    changed = parser.add_argument_group("what the new files take, with the same answers")
    changed.add_argument(
        "--input-order", choices=("rgb", "bgr"), default="rgb", help="bgr: the first convolution's channels are re-ordered"
    )
    changed.add_argument(
        "--fold-preprocessing", action="store_true", help="mean and scale go into the first convolution, which takes 0..255"
    )
    preprocess_flags.add_preprocess(parser)
    output_flags.add_json(parser)
    parser.set_defaults(run=run, mistakes=look)


def look(args: argparse.Namespace, found: Mistakes) -> None:
    """Look at all that can be wrong before TensorFlow is there."""
    from edge.artefact import labels as class_labels
    from edge.system.mistakes import check_out_folder

    from ..loading import load
    from ..loading.slim import files as slim_files
    from . import mistakes

    found.attempt(slim_files.check_there, args.source, where=str(args.source))
    found.attempt(_options, args)
    found.attempt(_preprocess, args)
    found.attempt(load.three, args.input_shape)
    if args.labels is not None:
        found.attempt(class_labels.read, args.labels)
    mistakes.look_at_pictures(found, args.images)
    found.attempt(check_out_folder, args.out)


def run(args: argparse.Namespace) -> int:
    """Read, rebuild, compare, and only then write."""
    from edge.artefact import labels as class_labels
    from edge.commands import output_flags
    from edge.progress import stage

    from .. import ptq
    from ..loading import keras_files
    from ..loading.slim import source as slim_source

    options = _options(args)
    labels = None if args.labels is None else class_labels.read(args.labels)
    shape = None if args.input_shape is None else (*args.input_shape, 3)[:3]
    with stage("read the network and rebuild it"):
        imported = slim_source.load(
            args.source, options, name=args.name, preprocess=_preprocess(args), labels=labels, input_shape=shape
        )
    agreement, compared = imported.agreement, "made-up pictures"
    if imported.has_graph:
        photos, compared = _photos(args.images)
        with stage(f"compare {len(photos)} photos with the graph"):
            agreement = imported.compare(photos)
    source = imported.source
    artefact = ptq.post_training(source, None, "float32")
    args.out.mkdir(parents=True, exist_ok=True)
    keras_file = args.out / f"{source.name}.keras"
    keras_files.save(source.model, keras_file)
    file = artefact.save(args.out)
    report = {
        "name": source.name,
        "source": source.contract.to_dict()["source"],
        "input": source.contract.to_dict()["input"],
        "output": {"node": options.output, **source.contract.to_dict()["outputs"][0]},
        "agreement": None if agreement is None else {**asdict(agreement), "with": compared},
        "notes": list(source.notes),
        "keras": str(keras_file),
        "float32": artefact.to_dict(file),
    }
    output_flags.emit(args, report, _text(report))
    return 0


def _options(args: argparse.Namespace) -> SlimOptions:
    from ..loading.slim.source import SlimOptions

    return SlimOptions(
        output=_output(args.output),
        input_node=args.input,
        checkpoint=args.checkpoint,
        background=args.background,
        input_order=args.input_order,
        fold_preprocessing=args.fold_preprocessing,
    )


def _output(text: str) -> str:
    from ..loading.slim import network as slim_network

    return str(getattr(slim_network, _OUTPUTS[text])) if text in _OUTPUTS else text


def _preprocess(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the flags change about how slim's network is fed: -1..1, the centre of the picture."""
    from edge.commands import preprocess_flags

    from ..loading.slim.source import CROP_FRACTION

    if args.preprocess is None and args.mean is None and args.scale is None:
        args.preprocess = "inception"
    return {"crop_fraction": CROP_FRACTION, **(preprocess_flags.input_fields(args) or {})}


def _photos(images: Path | None) -> tuple[list[Any], str]:
    from edge.data.dataset import LabelledImages

    if images is None:
        from ..demo import photographs

        return photographs(), "two photos that come with scikit-learn"
    items = LabelledImages.open(images, unlabelled=True).subset(_MOST_PHOTOS).items
    return [item.path for item in items], str(images)


def _text(report: dict[str, Any]) -> str:
    source, output, fed = report["source"], report["output"], report["input"]
    lines = [
        f"{report['name']}: {output['node']}, {source['parameters']:,} parameters, from a {source['format'].replace('_', ' ')}"
    ]
    lines.append(
        f"  takes {fed['width']}x{fed['height']} {fed['color'].upper()}, (pixel - {_one(fed['mean'])}) / {_one(fed['scale'])},"
        f" {fed['crop_fraction']:g} of each side; gives {output['kind']}"
    )
    agreement = report["agreement"]
    if agreement is None:
        lines.append("  not compared: a checkpoint holds no graph")
    else:
        lines.append(
            f"  as the graph within {agreement['relative']:.1e} of the largest answer ({agreement['absolute']:.1e}), same first answer on"
            f" {agreement['same_first']:.0%} of {agreement['pictures']} pictures ({agreement['with']})"
        )
    lines += [f"  note: {note}" for note in report["notes"]]
    lines += [f"  {report['keras']}", f"  {report['float32']['file']}"]
    return "\n".join([*lines, f"train it further with: {_flags(report)}"])


def _flags(report: dict[str, Any]) -> str:
    """Return the command that takes the Keras file as it must be fed and read, which a Keras file cannot say itself."""
    fed, output = report["input"], report["output"]
    words = ["edgekit qat", report["keras"], f"--mean {_one(fed['mean'])} --scale {_one(fed['scale'])}"]
    words += [f"--color {fed['color']}"] if fed["color"] != "rgb" else []
    words += [f"--fit {fed['fit']}"] if fed["fit"] != "stretch" else []
    words += [f"--crop-fraction {fed['crop_fraction']:g}"] if fed["crop_fraction"] != 1.0 else []
    words += [f"--outputs {output['kind']}"] if output["kind"] == "logits" else []
    words += [f"--background {output['background_index']}"] if output["background_index"] is not None else []
    return " ".join([*words, "--labels LABELS --images TRAIN --validation VALIDATION"])


def _one(values: Any) -> str:
    """``127.5`` for three times the same number, else all of them."""
    return f"{values[0]:g}" if len(set(values)) == 1 else ",".join(f"{value:g}" for value in values)
