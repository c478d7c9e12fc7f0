"""What the commands that work on boards share: targets, one result or a table of them, the exit code."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from ..errors import RemoteError
from ..fleet.fleet import BoardResult, expand, on_each
from ..transport.session import DEFAULT_FOLDER
from ..transport.shell import Shell
from .output_flags import add_json, emit

Reporter = Callable[[str], None]
_print_lock = threading.Lock()


class _Answer(Protocol):
    def to_text(self) -> str: ...

    def to_dict(self) -> dict[str, Any]: ...


@runtime_checkable
class _HasRow(Protocol):
    def row(self) -> dict[str, str]: ...


_Answered = TypeVar("_Answered", bound=_Answer)


def add_target_flags(parser: argparse.ArgumentParser, *, several: bool = True, folder: bool = True) -> None:
    """Add TARGET, ``--folder``, ``--ssh-config`` and ``--json``."""
    what = "local, [user@]host[:port] as for ssh, or virtual:NAME"
    if several:
        parser.add_argument(
            "targets", nargs="+", metavar="TARGET", help=f"{what}; several at once, or @FILE.toml with a list 'targets'"
        )
    else:
        parser.add_argument("targets", nargs=1, metavar="TARGET", help=what)
    if folder:
        parser.add_argument(
            "--folder",
            default=DEFAULT_FOLDER,
            metavar="DIR",
            help="the folder on the board (default: %(default)s in the home folder)",
        )
    parser.add_argument("--ssh-config", type=Path, metavar="FILE", help="read by ssh instead of ~/.ssh/config")
    add_json(parser)


def on_targets(args: argparse.Namespace, work: Callable[[Shell, Reporter], _Answered], good: Callable[[_Answered], bool]) -> int:
    """Do ``work`` on every target, print and store the answers, and return the worst exit code.

    good: whether an answer is a yes (0) or a no (1). One target: its error is raised. Several: each has its line.
    """
    targets = expand(args.targets)
    alone = len(targets) == 1

    def one(shell: Shell) -> _Answered:
        return work(shell, lambda text: say(text if alone else f"{shell.name}: {text}"))

    outcomes = on_each(targets, one, config=args.ssh_config)
    if alone:
        outcome = outcomes[0]
        if outcome.error is not None:
            raise outcome.error
        assert outcome.result is not None
        args.report = outcome.result.to_dict()  # the root command remembers it
        emit(args.json, args.report, outcome.result.to_text())
        return 0 if good(outcome.result) else 1
    data = [{**_as_dict(outcome), "exit_code": _code(outcome, good)} for outcome in outcomes]
    texts = _table(outcomes)
    failed = [o.target for o in outcomes if o.result is None]
    summary = f"{len(outcomes) - len(failed)} of {len(outcomes)} boards done" + (
        f"; failed: {', '.join(failed)}" if failed else ""
    )
    args.report = {"boards": data}
    emit(args.json, args.report, "\n".join([*texts, summary]))
    return max(_code(outcome, good) for outcome in outcomes)


def say(text: str) -> None:
    """Print a line of progress to standard error; several threads may."""
    with _print_lock:
        print(text, file=sys.stderr, flush=True)


def _table(outcomes: Sequence[BoardResult[_Answered]]) -> list[str]:
    """Return one table over the boards, where the answers have a row for it, else their texts; then the errors."""
    rows: dict[str, dict[str, str]] = {}
    for outcome in outcomes:
        found: object = outcome.result
        if isinstance(found, _HasRow):
            rows[outcome.target] = found.row()
    lines = [o.result.to_text() for o in outcomes if o.result is not None and o.target not in rows]
    if rows:
        names = ["target", *dict.fromkeys(name for row in rows.values() for name in row)]
        cells = [names, *([target, *(row.get(name, "") for name in names[1:])] for target, row in rows.items())]
        widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
        lines += ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return [*lines, *(f"{o.target}: error: {str(o.error).removeprefix(f'{o.target}: ')}" for o in outcomes if o.result is None)]


def _as_dict(outcome: BoardResult[_Answered]) -> dict[str, Any]:
    if outcome.result is not None:
        return {**outcome.result.to_dict(), "target": outcome.target, "error": None}
    return {"target": outcome.target, "error": str(outcome.error)}


def _code(outcome: BoardResult[_Answered], good: Callable[[_Answered], bool]) -> int:
    if outcome.result is None:
        return outcome.error.exit_code if outcome.error is not None else RemoteError.exit_code
    return 0 if good(outcome.result) else 1


def examples(*lines: Sequence[str]) -> str:
    """Return the epilog of a command: command lines, each with what it does."""
    width = max(len(command) for command, _ in lines) + 3
    return "examples:\n" + "\n".join(f"  {command.ljust(width)}{what}" for command, what in lines)
