"""``edgekit explain FILE --reference FLOAT --images DIR``: where the accuracy of an int8 file goes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.system.mistakes import Mistakes

_DESCRIPTION = """\
Compare an int8 file with its float32 variant on the same photos: a ladder from float to int8 in single steps, each paired with
the one before; the error of every op; and how much better the answer gets with each block alone in float.
"""

_EPILOG = """\
examples:
  edgekit explain flowers.int8.tflite --reference flowers.float32.tflite --images test/
  edgekit explain flowers.int8.tflite --reference flowers.float32.tflite --images test/ --keras flowers.keras
  edgekit explain flowers.int8.tflite --reference flowers.float32.tflite --images test/ --limit 200 --no-blocks --json -
  edgekit explain flowers.int8.tflite --reference flowers.float32.tflite --images test/ --no-blocks --on pi@garden
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    from edge.commands import output_flags

    parser = subparsers.add_parser(
        "explain",
        help="where the accuracy of an int8 file goes: weights, activations, kernels, ops, blocks",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="an int8 .tflite made by edgekit")
    parser.add_argument("--reference", metavar="FILE", required=True, help="the float32 .tflite of the same network")
    parser.add_argument("--images", metavar="DIR|CSV", required=True, help="photos, best those of the validation")
    parser.add_argument("--limit", type=int, metavar="N", help="take N of the images, evenly spread over all")
    parser.add_argument("--keras", metavar="MODEL", help="the original network, for a rung before the float32 file")
    parser.add_argument("--no-ops", action="store_true", help="leave out the error of each op")
    parser.add_argument("--no-blocks", action="store_true", help="leave out the blocks, which take longest")
    parser.add_argument("--refine", type=int, default=1, metavar="N", help="blocks to take apart op by op (default: %(default)s)")
    board = parser.add_argument_group("on a board")
    # Not "on": a command with that is carried out on the board as a whole, and here only one rung is.
    board.add_argument(
        "--on", dest="target", metavar="TARGET", help="a last rung there: local, [user@]host[:port] or virtual:NAME"
    )
    board.add_argument("--folder", metavar="DIR", help="edgekit's folder on the board (default: .edgekit)")
    board.add_argument("--ssh-config", metavar="FILE", help="read by ssh instead of ~/.ssh/config")
    board.add_argument("--wheels", metavar="DIR", help="a folder with the board's wheels, where this machine cannot fetch them")
    output_flags.add_json(parser)
    parser.set_defaults(run=run, mistakes=look)


def look(args: argparse.Namespace, found: Mistakes) -> None:
    """Look at all that can be wrong before TensorFlow is there."""
    from edge.artefact import container

    from . import mistakes

    for file in (args.file, args.reference):
        found.attempt(container.look, file)
    if args.keras is not None:
        mistakes.look_at_file(args.keras, found)
    mistakes.look_at_pictures(found, args.images)


def run(args: argparse.Namespace) -> int:
    """Explain and print."""
    from edge.artefact import container
    from edge.commands import output_flags

    from ..analyse.explain import explain

    found = explain(
        args.file,
        reference=args.reference,
        images=args.images,
        limit=args.limit,
        keras=None if args.keras is None else _keras(args),
        per_op=not args.no_ops,
        per_block=not args.no_blocks,
        refine=args.refine,
        on=args.target,
        board_flags=_board_flags(args),
    )
    models = {"file": args.file, "model_sha256": container.read(args.file).model_sha256}
    output_flags.emit(args, {**models, **found.to_dict()}, found.to_text())
    return 0


def _board_flags(args: argparse.Namespace) -> tuple[str, ...]:
    given = {"--folder": args.folder, "--ssh-config": args.ssh_config, "--wheels": args.wheels}
    return tuple(word for flag, value in given.items() if value is not None for word in (flag, value))


def _keras(args: argparse.Namespace) -> Any:
    import numpy as np

    from edge.artefact import container
    from edge.errors import ContractError

    from ..analyse.paired import Photos
    from ..loading.load import load
    from ..tflite.answers import Answer

    contract = container.read(args.reference).contract
    if contract is None:
        raise ContractError(f"{args.reference}: no contract; explain takes files made by edgekit quantize")

    def answers() -> Any:
        kinds = {output.name: output.kind for output in contract.outputs}
        source = load(args.keras, preprocess=contract.input, outputs=kinds)
        photos = Photos.open(args.images, contract, limit=args.limit)
        found = []
        for tensor in photos.tensors:
            outputs = source.predict(tensor)
            found.append(Answer({name: np.asarray(value, np.float32).reshape(-1) for name, value in outputs.items()}))
        return found

    return answers
