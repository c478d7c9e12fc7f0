"""``edgekit ship MODEL --train DIR --test DIR --board TARGET``: from a trained model to a certified board."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.system.mistakes import Mistakes

    from ..shipping.request import Request
    from ..shipping.work import Planned

_DESCRIPTION = """\
Do what edgekit's commands do one by one: quantize, predict, validate against float32, and, with a board, benchmark, certify and deploy
there; then one report and one verdict. Each step is shown as the line that you would type. What is done and has not changed is
not done again, so the same command goes on after any interruption. Nothing is deployed that did not pass.
"""

_EPILOG = """\
examples:
  edgekit ship flowers.keras --train photos/train --test photos/test --preprocess inception
  edgekit ship flowers.keras --train photos/train --test photos/test --preprocess inception --board pi@kitchen --max-ms 300
  edgekit ship flowers.keras --train photos/train --test photos/test --preprocess inception --board virtual:desk
  edgekit ship flowers.keras --train photos/train --test photos/test --preprocess inception --allow tune,shrink
  edgekit ship flowers.keras --train photos/train --test photos/test --preprocess inception --dry-run

exit codes: 0 passed, 1 the verdict is no yes, 2 wrong usage or input, 3 the board or the connection failed
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    from edge.commands import output_flags

    from .source_flags import add_source

    parser = subparsers.add_parser(
        "ship",
        help="all of it in one command: from a trained model to a certified board",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source(parser)
    data = parser.add_argument_group("photos")
    data.add_argument(
        "--train", metavar="DIR|CSV", required=True, help="photos that set the ranges, and that training learns from"
    )
    data.add_argument("--test", metavar="DIR|CSV", required=True, help="labelled photos for the verdict; none of --train")
    gate = parser.add_argument_group("what is good enough")
    gate.add_argument("--max-drop", type=float, default=0.01, metavar="D", help="of top-1, a fraction (default: %(default)s)")
    gate.add_argument("--max-ms", type=float, metavar="MS", help="milliseconds of one photo, measured on --board, or predicted")
    gate.add_argument("--variants", default="auto", metavar="LIST", help="comma-separated, as in quantize (default: int8)")
    gate.add_argument(
        "--allow",
        default="",
        metavar="LIST",
        help="of tune, qat, shrink: do these too where they may help (default: say it only)",
    )
    gate.add_argument("--minutes", type=float, metavar="M", help="of shrink (default: 30)")
    board = parser.add_argument_group("the board")
    board.add_argument("--board", metavar="TARGET", help="local, [user@]host[:port] or virtual:NAME (default: none)")
    board.add_argument("--profile", metavar="NAME", help="predict for this one of edgekit boards (default: what the board says)")
    board.add_argument(
        "--certify", type=int, default=50, metavar="N", help="photos whose bits are compared (default: %(default)s)"
    )
    board.add_argument("--folder", metavar="DIR", help="edgekit's folder on the board (default: .edgekit)")
    board.add_argument("--ssh-config", metavar="FILE", help="read by ssh instead of ~/.ssh/config")
    board.add_argument("--wheels", metavar="DIR", help="a folder with the board's wheels, where this machine cannot fetch them")
    parser.add_argument("--out", metavar="DIR", help="where everything goes (default: NAME.shipped)")
    parser.add_argument("--dry-run", action="store_true", help="show the steps, and do nothing")
    parser.add_argument("--yes", action="store_true", help="on a terminal too: do not ask before the first step")
    output_flags.add_json(parser)
    parser.set_defaults(run=run, mistakes=look)


def look(args: argparse.Namespace, found: Mistakes) -> None:
    """Look at all that can be wrong before any work."""
    from edge.errors import UsageError

    from ..shipping import mistakes as of_shipping
    from . import mistakes

    request = _request(args)
    mistakes.look(argparse.Namespace(**{**vars(args), "out": request.out}), found)

    def tell(line: str) -> None:
        raise UsageError(line)

    for line in of_shipping.find(request):
        found.attempt(tell, line)


def run(args: argparse.Namespace) -> int:
    """Look at what was given, show the plan, and do it."""
    from edge.commands import output_flags

    from ..shipping import advice, work

    request = _request(args)
    doubt = advice.too_few(work.count(request.test), request.max_drop)
    if doubt:
        print(f"edgekit: warning: {doubt}", file=sys.stderr)
    apart = args.json == "-"
    say = work.to_stderr if apart else work.to_stdout
    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if args.dry_run or (on_terminal and not args.yes):
        planned = work.preview(request)
        shown = "\n".join(["the steps, if each goes well:", *(_shown(number, each) for number, each in enumerate(planned, 1))])
        if args.dry_run:
            steps = [{"name": each.step.name, "line": each.step.line, "as_before": each.before is not None} for each in planned]
            output_flags.emit(args, {"steps": steps}, shown)
            del args.report  # nothing was done that one might remember
            return 0
        say(shown)
        if any(each.before is None and not each.step.always for each in planned) and not _agreed():
            say("nothing was done")
            return 0
    try:
        shipped = work.ship(request, say, text_to_stderr=apart)
    except KeyboardInterrupt:
        print("edgekit: what is done so far is kept; the same command goes on from here", file=sys.stderr)
        raise
    output_flags.emit(args, {**shipped.to_dict(), "exit_code": shipped.verdict.exit_code}, shipped.to_text())
    return shipped.verdict.exit_code


def _shown(number: int, planned: Planned) -> str:
    if planned.before is None:
        return f"{number:2}. {planned.step.line}"
    return f"{number:2}. as before: {planned.step.name} ({planned.before.get('ended')})"


def _agreed() -> bool:
    try:
        return input("Go on? [Y/n] ").strip().lower() in ("", "y", "yes")
    except EOFError:
        return False


def _request(args: argparse.Namespace) -> Request:
    from ..shipping.request import Request

    name = _name(args)
    variants = ("int8",) if args.variants == "auto" else _list(args.variants)
    if variants == ("all",):
        variants = ("float32", "float16", "dynamic", "int8", "int16x8")
    return Request(
        model=args.model,
        train=args.train,
        test=args.test,
        out=args.out or f"{name}.shipped",
        name=name,
        source=_source_words(args),
        labels=None if args.labels is None else str(args.labels),
        variants=tuple(dict.fromkeys(("float32", *variants))),
        max_drop=args.max_drop,
        max_ms=args.max_ms,
        allow=_list(args.allow),
        minutes=args.minutes,
        board=args.board,
        profile=args.profile,
        folder=args.folder,
        ssh_config=args.ssh_config,
        wheels=args.wheels,
        certify=args.certify,
    )


def _name(args: argparse.Namespace) -> str:
    """Return how `quantize` calls the files of this model."""
    from ..variants import file_name

    return file_name(args.name, args.model)


def _list(given: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in given.split(",") if part.strip()))


class _Flags:
    """Stands for a parser, and tells which arguments were added to it and to its groups."""

    def __init__(self) -> None:
        self.added: list[argparse.Action] = []
        self._parser = argparse.ArgumentParser(add_help=False)

    def add_argument(self, *words: Any, **how: Any) -> argparse.Action:
        """Add it, and remember it."""
        self.added.append(self._parser.add_argument(*words, **how))
        return self.added[-1]

    def add_argument_group(self, *_: Any, **__: Any) -> Any:
        """Return the same: nobody sees its help."""
        return self


def _source_words(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the flags that say what the model is, as they are given to the commands of the steps."""
    from .source_flags import add_source

    flags: Any = _Flags()
    add_source(flags)
    words: list[str] = []
    for action in flags.added:
        value = getattr(args, action.dest)
        if not action.option_strings or value == action.default:
            continue
        flag = action.option_strings[-1]
        if action.nargs == 0:
            words.append(flag)
        for text in () if action.nargs == 0 else _typed(action.dest, value):
            # A value that begins like a flag is one word with it.
            words += [f"{flag}={text}"] if text.startswith("-") else [flag, text]
    return tuple(words)


def _typed(name: str, value: Any) -> tuple[str, ...]:
    """Return a flag's values as they were typed: those that argparse has turned into numbers too."""
    if isinstance(value, list):
        return tuple(str(each) for each in value)
    if isinstance(value, tuple):
        return (
            ("x" if name == "input_shape" else ",").join(
                f"{each:g}" if each == float(f"{each:g}") else repr(each) for each in value
            ),
        )
    return (str(value),)
