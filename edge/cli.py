"""The root of the ``edgekit`` command: finds the sub-command, runs it, turns errors into one line and an exit code.

A command is a module with ``add_parser(subparsers) -> None`` which sets ``run`` (a function of the parsed arguments that returns
the exit code). Only the module of the command that was asked for is imported, and it loads heavy packages inside ``run``.
Packages installed beside edgekit add commands through the entry point group ``edgekit.commands``.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import platform
import shutil
import stat
import sys
import time
from collections.abc import Callable, Collection, Sequence
from importlib import metadata
from typing import Any, NoReturn

from . import files, terminal
from .commands import parsing
from .errors import AdvisingError, EdgeError, MissingExtraError, OutputError, SeveralErrors
from .interrupt import Terminated, termination_interrupts
from .system.mistakes import Mistakes
from .version import __version__

ENTRY_POINT_GROUP = "edgekit.commands"


def _is_there(module: str) -> bool:
    """Whether a module of ours is installed: what is sent to a board has not all of them."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


# Who has commands, in the order of the work. On a board that is `edge.commands` alone.
_TABLES = [
    importlib.import_module(name)
    for name in ("quantize.commands", "edge.commands", "edge.commands.workstation", "devices.commands")
    if _is_there(name)
]
COMMANDS: dict[str, str] = {name: module for table in _TABLES for name, module in table.COMMANDS.items()}
# Commands whose runs are remembered (`edgekit runs`), where there is a history.
REMEMBERED: tuple[str, ...] = tuple(name for table in _TABLES for name in table.REMEMBERED) if _is_there("edge.history") else ()
# Commands that `devices` can also carry out on a board (`--on TARGET`), and its module that does so.
ON_BOARD: tuple[str, ...] = tuple(name for table in _TABLES for name in getattr(table, "ON_BOARD", ()))
_ON_BOARD_MODULE = "devices.commands.on_board"

TERMINATED = 143  # exit code after SIGTERM, as shells count it, where that is no clean end of what was asked for
SOFTWARE = 70  # exit code of what was not foreseen: os.EX_SOFTWARE, which not every system's Python has

# Top-level module -> what installs it.
_PROVIDED_BY = {
    **dict.fromkeys(("numpy", "PIL"), "edgekit"),
    **dict.fromkeys(
        ("tensorflow", "keras", "tf_keras", "tensorflow_model_optimization", "scipy", "sklearn", "h5py", "flatbuffers"),
        "edgekit[quantize]",
    ),
    **dict.fromkeys(("jinja2", "vl_convert"), "edgekit[report]"),
    "cv2": "edgekit[video]",
    "shtab": "edgekit[completion]",
}

_EPILOG = """\
the usual order:
  edgekit demo                                              the whole job on data that is already here
  edgekit quantize flowers.keras --images train/ --out out/
  edgekit validate out/flowers.int8.tflite --reference out/flowers.float32.tflite --images test/
  edgekit classify out/flowers.int8.tflite rose.jpg

exit codes: 0 done or passed, 1 a verdict does not say yes, 2 wrong usage or input, 3 the board or the connection failed,
70 a fault of edgekit itself; 130 after Ctrl-C, 143 after SIGTERM (edgekit watch: 0, with its report), both with nothing half-written
"""


class _Version(argparse.Action):
    """``--version``: looked up only when asked for, as it reads the metadata of other packages."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="print the versions of edgekit and its runtime")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        runtimes = ", ".join(_installed("ai-edge-litert", "tflite-runtime")) or "no interpreter installed"
        print(f"edgekit {__version__} (Python {platform.python_version()}, {runtimes})")
        parser.exit(0)


def command_line() -> int:
    """Run what the installed ``edgekit`` was called with, and remember it (`edgekit runs`)."""
    return main(remember=True)


def main(argv: Sequence[str] | None = None, *, remember: bool = False) -> int:
    """Run one command line (without the program's name; default ``sys.argv[1:]``) and return its exit code.

    remember: take defaults from ``edgekit.toml``, say what to do next, and add the run to the history. Without it, as in ``python -m
    edge``, which is what workstations call on boards, only ``--store FILE`` names a history. Usage errors leave through
    ``SystemExit`` with code 2, ``--help`` and ``--version`` with 0, as argparse does.
    """
    with terminal.guarded():
        return _main(sys.argv[1:] if argv is None else list(argv), remember=remember)


def _main(words: list[str], *, remember: bool) -> int:
    begin = time.monotonic()
    args = argparse.Namespace()
    failure: Exception | None = None
    try:
        with termination_interrupts():
            words = _with_defaults(words) if remember else words
            args = _parse(words)
            run: Callable[[argparse.Namespace], int] = args.run
            if hasattr(args, "on"):
                on_board = importlib.import_module(_ON_BOARD_MODULE)
                on_board.check(args)
                run = on_board.run if args.on else run
            _look_for_mistakes(args)
            code = run(args)
            sys.stdout.flush()  # here, where a full disk behind `> FILE` is still told, and not while Python ends
            if remember:
                _say_what_is_next(args, words)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _PROVIDED_BY:
            return _own_fault()
        install = f"pip install '{_PROVIDED_BY[missing]}'"
        return _fail(MissingExtraError(f"this command needs {missing}, which is not installed in {sys.prefix}; {install}"))
    except KeyboardInterrupt as interrupt:
        terminated = isinstance(interrupt, Terminated)
        how = "ended by SIGTERM" if terminated else "interrupted"
        print(f"edgekit: {how}; nothing half-written is left behind", file=sys.stderr)
        return TERMINATED if terminated else 130
    except BrokenPipeError:
        # The reader went away (`edgekit boards | head`). Python would complain once more when it flushes stdout at exit.
        _give_up_stdout()
        return 141
    except Exception as error:
        # Errors for which the user can do something carry an exit code; so do those of `devices`, which never imports `edge`.
        if not isinstance(getattr(error, "exit_code", None), int):
            if not files.is_full(error):
                return _own_fault()
            error = _full(error)
        code, failure = _fail(error, {f"--{name.replace('_', '-')}" for name in vars(args)}), error
    # What was used wrongly did nothing worth remembering; a board that failed did.
    if words[:1] and words[0] in REMEMBERED and (failure is None or code == 3 or hasattr(args, "report")):
        from .history import recording  # not at the top: a board has no history

        recording.record(args, words, code, seconds=time.monotonic() - begin, error=failure, by_default=remember)
    return code


def _look_for_mistakes(args: argparse.Namespace) -> None:
    """Raise what can be told before the command loads anything: all of it in one answer."""
    found = Mistakes()
    if isinstance(place := getattr(args, "json", None), str):
        output_flags = importlib.import_module(".commands.output_flags", __package__)
        found.attempt(output_flags.check_place, place, out=getattr(args, "out", None))
    look: Callable[[argparse.Namespace, Mistakes], None] | None = getattr(args, "mistakes", None)
    if look is not None:
        look(args, found)
    found.tell()


def _full(error: Exception) -> OutputError:
    """Return what a full disk is for the user. Writers that know their file say it themselves; this is for all others."""
    if getattr(error, "filename", None) is None and _stdout_is_full():
        _give_up_stdout()
        return files.full(error, "standard output")
    return files.full(error)


def _stdout_is_full() -> bool:
    try:
        sys.stdout.flush()
        descriptor = sys.stdout.fileno()
        # Unbuffered, nothing is left to be flushed; then the disk behind it tells.
        return stat.S_ISREG(os.fstat(descriptor).st_mode) and shutil.disk_usage(descriptor).free == 0
    except ValueError:  # no file behind it
        return False
    except OSError:
        return True


def _give_up_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _own_fault() -> int:
    """Print what was not foreseen, with its traceback, and return the exit code that no verdict has (``EX_SOFTWARE``)."""
    import traceback  # 5 ms of processor time, median of 10 fresh processes

    traceback.print_exc()
    print("edgekit: this is a fault of edgekit: please report it with the lines above", file=sys.stderr)
    return SOFTWARE


def command_names() -> tuple[str, ...]:
    """Names of all commands: edgekit's own in the order of the work, then those of other packages by name."""
    return (*COMMANDS, *sorted(set(_foreign_commands()) - set(COMMANDS)))


def build_parser(*names: str) -> argparse.ArgumentParser:
    """Return the root parser with the named commands (default: all). Imports only those commands' modules."""
    parser = parsing.Parser(
        prog="edgekit",
        description="Quantize a trained InceptionResNetV2 to int8, run it without TensorFlow, and say what accuracy it cost.",
        epilog=_EPILOG,
        formatter_class=parsing.Help,
    )
    parser.add_argument("-V", "--version", action=_Version)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in names or command_names():
        _add_command(subparsers, name, alone=bool(names))
    return parser


def _with_defaults(words: list[str]) -> list[str]:
    """Return the command line with what ``edgekit.toml`` says and it leaves out; say so in one line."""
    if not words or words[0] not in COMMANDS or not _is_there("edge.project"):
        return words
    from .project import defaults  # not at the top: a board has no project

    filled, said = defaults.filled(words, lambda: build_parser(words[0]))
    if said is not None:
        print(said, file=sys.stderr, flush=True)
    return filled


def _say_what_is_next(args: argparse.Namespace, words: list[str]) -> None:
    """End what people read with what they would type next; programs (``--json -``) do not read it."""
    if getattr(args, "json", None) == "-" or not _is_there("edge.project"):
        return
    from .project import next_steps

    line = next_steps.after(words[0], args, getattr(args, "report", None) or {})
    if line is not None:
        print(f"next: {line}", file=sys.stderr, flush=True)


def _parse(argv: list[str]) -> argparse.Namespace:
    name = argv[0] if argv and not argv[0].startswith("-") else None
    if name is None:
        return build_parser().parse_args(argv or ["--help"])
    if name not in COMMANDS and name not in _foreign_commands():
        close = parsing.nearest(name, command_names())
        hint = f"did you mean {close!r}?" if close else f"known: {', '.join(command_names())}"
        raise _UsageError(f"unknown command {name!r}; {hint}")
    # The words themselves too: on a board, those that do not concern this machine are passed on as they are. The parser of everything is
    # for commands about the command line.
    return build_parser(name).parse_args(argv, argparse.Namespace(argv=argv, build_parser=build_parser))


def _add_command(subparsers: Any, name: str, *, alone: bool) -> None:
    target = COMMANDS.get(name) or _foreign_commands()[name]
    try:
        importlib.import_module(target).add_parser(subparsers)
        if name in REMEMBERED:
            importlib.import_module(".history.recording", __package__).add_flags(subparsers.choices[name])
        if name in ON_BOARD:
            importlib.import_module(_ON_BOARD_MODULE).add_flags(subparsers.choices[name])
        parsing.use_help(subparsers.choices[name], name)
    except (ImportError, AttributeError) as error:
        # One broken command must not take the list of all commands down; asked for by name, its error is the answer.
        if alone and name in COMMANDS:
            raise
        if alone:
            raise _UsageError(
                f"command {name!r} comes with another package and cannot be loaded from {target}: {error}"
            ) from error
        subparsers.add_parser(name, help=f"(cannot be loaded: {_one_line(error)})")


def _foreign_commands() -> dict[str, str]:
    return {entry.name: entry.module for entry in metadata.entry_points(group=ENTRY_POINT_GROUP)}


def _installed(*distributions: str) -> list[str]:
    found = []
    for distribution in distributions:
        try:
            found.append(f"{distribution} {metadata.version(distribution)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def _fail(error: Exception, flags: Collection[str] = ()) -> int:
    """Print the error, or each of several, and return its exit code. flags: of the command; what advises others leaves them out."""
    for each in error.errors if isinstance(error, SeveralErrors) else (error,):
        told = each.told(flags) if isinstance(each, AdvisingError) else str(each)
        print(f"edgekit: error: {' '.join(told.split())}", file=sys.stderr)
    return int(error.exit_code)  # type: ignore[attr-defined]  # checked by the caller


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


class _UsageError(EdgeError, ValueError):
    """The command line itself is wrong."""


if __name__ == "__main__":
    sys.exit(main())
