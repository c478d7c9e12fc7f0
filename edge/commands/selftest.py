"""``edgekit selftest FILE``: does this machine compute what the workstation computed?"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from . import model_flags, output_flags

if TYPE_CHECKING:
    from ..runtime.golden import SelfTest

_EXAMPLES = """\
examples:
  edgekit selftest flowers.int8.tflite                         on the machine that will run it
  edgekit selftest flowers.int8.tflite --kernels reference     the slow kernels, the same everywhere
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "selftest",
        help="replay the golden samples: does this machine compute the same?",
        description="Replay the golden samples that travel with an artefact and compare the answers."
        " Exit code 1 if they are further off than promised.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="an artefact of edgekit")
    model_flags.add_runtime(parser)
    output_flags.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay and report."""
    from ..runtime import golden
    from ..runtime.loading import load

    loaded = load(args.file, threads=args.threads, kernels=args.kernels, delegate=args.delegate, weight_cache=args.weight_cache)
    model_flags.say_note(loaded)
    result = golden.replay(loaded)
    output_flags.emit(args, {"file": args.file, "model_sha256": loaded.container.model_sha256, **result.to_dict()}, _text(result))
    return 0 if result.passed else 1


def _text(result: SelfTest) -> str:
    lines = [
        f"runtime   {result.runtime.describe()}, {result.machine}",
        f"recorded  {result.compared_with}",
        f"promise   {result.promise}",
    ]
    for item in result.results:
        steps = "" if item.steps is None else f" ({item.steps} quantization step{'' if item.steps == 1 else 's'})"
        found = "exact" if item.exact else f"off by {item.difference:.3g}{steps}"
        lines.append(f"  {item.pattern:10} {item.output:16} {found}{'' if item.within_promise else '  NOT as promised'}")
    verdict = "exact" if result.exact else "as promised" if result.passed else "this machine does not compute what was promised"
    return "\n".join([*lines, f"selftest: {verdict}"])
