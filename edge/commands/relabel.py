"""``edgekit relabel FILE LABELS``: the same network with other class names."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import UsageError
from . import output_flags

_EXAMPLES = """\
examples:
  edgekit relabel flowers.int8.tflite labels.txt                           writes flowers.int8.relabelled.tflite
  edgekit relabel flowers.int8.tflite labels.txt --out fixed.int8.tflite
  edgekit relabel bot.int8.tflite keys.txt --output keys                   one of several outputs
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "relabel",
        help="put other class names into an artefact",
        description="Write a new artefact around the same network with the class names of a text file: one a line in the order of the"
        " classes, or each behind its class number. Weights, ranges, golden samples and what is said of the network's origin stay.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="an artefact of edgekit")
    parser.add_argument("labels", type=Path, metavar="LABELS", help="one class name a line, or each behind its class number")
    parser.add_argument("--output", metavar="NAME", help="which output's classes, where several name classes")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: FILE with .relabelled in front of .tflite; never overwritten"
    )
    output_flags.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read, relabel, check and write."""
    from .. import files
    from ..artefact import container, labels
    from ..runtime.relabel import relabel

    source = Path(args.file)
    target: Path = args.out or source.with_name(f"{source.name.removesuffix('.tflite')}.relabelled.tflite")
    if target.exists():
        raise UsageError(f"{target}: is there already; give another --out")
    before = container.read(source)
    data = relabel(before, labels.read(args.labels), output=args.output)
    files.atomic_write(target, data)
    after = container.read(target)
    assert before.contract is not None and after.contract is not None
    changes = [
        {"output": new.name, "class": i, "before": old.labels[i] if old.labels else None, "after": label}
        for old, new in zip(before.contract.outputs, after.contract.outputs, strict=True)
        for i, label in enumerate(new.labels)
        if not old.labels or old.labels[i] != label
    ]
    lines = [f"{target}: {len(changes)} class names changed, the same weights (model {after.model_sha256[:12]})"]
    lines += [
        f"  {entry['output']} {entry['class']}: {entry['before'] or '(no name)'} -> {entry['after']}" for entry in changes[:20]
    ]
    lines += [f"  and {len(changes) - 20} more"] if len(changes) > 20 else []
    report = {"file": str(target), "from": str(source), "model_sha256": after.model_sha256, "changes": changes}
    output_flags.emit(args, report, "\n".join(lines))
    return 0
