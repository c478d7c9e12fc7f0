"""``edgekit classify FILE IMAGE...``: the classes of pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ImageError
from . import model_flags, output_flags, source_flags

if TYPE_CHECKING:
    from ..runtime.classify import Classification
    from ..runtime.model import Model


_EXAMPLES = """\
examples:
  edgekit classify flowers.int8.tflite rose.jpg
  edgekit classify flowers.int8.tflite photos/*.jpg --top 3 --json answers.json
  edgekit classify foreign.tflite rose.jpg --preprocess inception --labels labels.txt
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "classify",
        help="say what is on pictures",
        description="Say what is on pictures: the best classes, with their scores.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a .tflite")
    parser.add_argument(
        "images", metavar="IMAGE", nargs="+", help="JPEG, PNG, BMP, WebP, GIF or TIFF; HEIC and AVIF with the extra [heif]"
    )
    parser.add_argument("--top", type=source_flags.count, default=5, metavar="K", help="how many classes to show (default 5)")
    parser.add_argument("--output", metavar="NAME", help="the output to read, where the model has several with classes")
    model_flags.add_runtime(parser)
    model_flags.add_foreign(parser)
    output_flags.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Classify each picture; one that cannot be read does not keep the others from their answer, and the exit code is 2 then."""
    model = model_flags.load(args)
    answers = [_answer(model, image, args) for image in args.images]
    report = {
        "file": args.file,
        "model_sha256": model.container.model_sha256,
        "runtime": model.runtime.to_dict(),
        "images": answers,
    }
    text = "\n".join(_text(answer) for answer in answers if "classes" in answer)
    if text or args.json is not None:
        output_flags.emit(args, report, text)
    for answer in answers:
        if "error" in answer:
            print(f"edgekit: error: {answer['error']}", file=sys.stderr)
    return ImageError.exit_code if any("error" in answer for answer in answers) else 0


def _answer(model: Model, image: str, args: argparse.Namespace) -> dict[str, Any]:
    try:
        found = model.classify(image, output=args.output)
    except ImageError as error:
        return {"image": image, "error": _elsewhere(image, args.file) or str(error)}
    if not found.is_finite:
        name = model.class_output(args.output).name
        return {
            "image": image,
            "error": f"{image}: {args.file} answers with NaN or infinity (output {name!r}): that is no answer",
        }
    best = found.top(args.top)
    return {"image": image, "classes": [_class(item) for item in best]}


def _elsewhere(image: str, model: str) -> str | None:
    """Return what to do with something that holds many pictures, None for anything else."""
    from ..live.frames import VIDEO_SUFFIXES

    path = Path(image)
    if not path.is_dir() and path.suffix.lower() not in VIDEO_SUFFIXES:
        return None
    kind = "folder" if path.is_dir() else "video"
    return f"{image}: is a {kind}, classify takes single pictures; all of it: edgekit watch {model} {image} --output ANSWERED"


def _class(item: Classification) -> dict[str, Any]:
    return {"class_id": item.class_id, "label": item.label, "score": item.score}


def _text(answer: dict[str, Any]) -> str:
    lines = [f"  {item['score']:6.1%}  {item['label'] or 'class ' + str(item['class_id'])}" for item in answer["classes"]]
    return "\n".join([answer["image"], *lines])
