"""How the command line is read and how its help looks: one place for every command.

Help wraps to the terminal (``COLUMNS``), examples too. Wrong usage is one line that names what was probably meant.
"""

from __future__ import annotations

import argparse
import difflib
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

# What comes after what, from a trained network to a board at work. A command in none of these is shown last, under OTHER.
STAGES: dict[str, tuple[str, ...]] = {
    "make": ("demo", "init", "ship", "quantize", "tune", "qat", "shrink", "import", "fetch", "relabel"),
    "prove": ("validate", "compare", "explain", "outputs", "inspect", "report", "runs"),
    "board": ("boards", "check", "virtual", "doctor", "deploy", "selftest", "benchmark", "throughput"),
    "operate": ("classify", "watch", "status", "rollback", "undeploy", "completion"),
}
OTHER = "other"
_MEANING = {
    "make": "a small file of a trained network",
    "prove": "what it answers, and what that costs in accuracy",
    "board": "choose one, reach it, measure on it",
    "operate": "day by day",
    OTHER: "from other packages",
}

# What most people need of commands with more options than a screen has: --help shows these, --help-all everything.
FIRST: dict[str, tuple[str, ...]] = {
    "ship": ("--train", "--test", "--board", "--max-drop", "--allow"),
    "quantize": ("--images", "--preprocess", "--labels", "--variants", "--out"),
    "tune": ("--images", "--validation", "--max-drop", "--preprocess", "--out"),
    "qat": ("--images", "--validation", "--preprocess", "--epochs", "--out"),
    "shrink": ("--images", "--validation", "--max-drop", "--speedup", "--minutes"),
    "import": ("--as", "--labels", "--images", "--background", "--out"),
    "validate": ("--images", "--reference", "--max-drop", "--on", "--unlabelled"),
    "explain": ("--images", "--reference", "--keras", "--limit", "--on"),
    "outputs": ("--images", "--out", "--limit", "--labels", "--threads"),
    "check": ("--board", "--accelerator", "--threads", "--ops", "--compile"),
    "deploy": ("--folder", "--keep", "--runtime", "--service", "--ssh-config"),
    "benchmark": ("--on", "--threads", "--sweep-threads", "--per-op", "--soak"),
    "throughput": ("--streams", "--seconds", "--fps", "--threads", "--kernels"),
    "classify": ("--top", "--threads", "--preprocess", "--labels", "--kind"),
    "watch": ("--output", "--top", "--fps", "--seconds", "--headless"),
}

# Between an example and the remark behind it.
_BEFORE_REMARK = re.compile(r"(?<=\S)\s{3,}(?=\S)")
_FLAG = re.compile(r"--?[A-Za-z]")


class Help(argparse.RawDescriptionHelpFormatter):
    """Wraps all that is shown to the terminal: sentences by words, each on a line of its own where it was so, examples before flags.

    The list of commands is by stage.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        found: list[str] = []
        goes_on = False
        for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
            is_text = bool(line) and not line[0].isspace()
            if is_text and goes_on:
                found[-1] += f" {line}"
            else:
                found.append(line)
            goes_on = is_text and not line.endswith((".", ":"))
        return "\n".join(_example(line, width) if line[:1].isspace() else _wrapped(line, width) for line in found)

    def _format_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None) -> str:
        text = super()._format_usage(usage, actions, groups, prefix)
        return "\n".join(_choices(line, self._width) for line in text.split("\n"))

    def _format_action(self, action: argparse.Action) -> str:
        if not isinstance(action, argparse._SubParsersAction) or action.metavar != "COMMAND":
            return super()._format_action(action)
        described = {each.dest: each for each in action._get_subactions()}
        staged = {name for names in STAGES.values() for name in names}
        others = tuple(name for name in described if name not in staged)
        parts = []
        for stage, names in {**STAGES, OTHER: others}.items():
            there = [described[name] for name in names if name in described]
            if there:
                parts.append(f"  {stage}: {_MEANING[stage]}\n")
                self._indent()
                parts += [super(Help, self)._format_action(each) for each in there]
                self._dedent()
        return "".join(parts)


class Parser(argparse.ArgumentParser):
    """An argument parser whose usage errors are one line, like all other errors, with a hint where a flag looks mistyped."""

    _words: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    """The options that ``--help`` shows where these are not all."""

    def format_help(self) -> str:
        """Return the first screen of help."""
        if not self.first:
            return super().format_help()
        shown = [action for action in self._actions if not action.option_strings or set(action.option_strings) & set(self.first)]
        hidden = sum(bool(action.option_strings) and action not in shown for action in self._actions)
        formatter = self._get_formatter()
        usage = f"{self.prog} {_in_words(shown)}[options]"
        formatter.add_usage(textwrap.fill(usage, formatter._width - len("usage: "), subsequent_indent=" " * 7), [], [])
        formatter.add_text(self.description)
        for title, group in (
            ("arguments", [action for action in shown if not action.option_strings]),
            ("options", sorted((a for a in shown if a.option_strings), key=lambda action: self.first.index(_long(action)))),
        ):
            formatter.start_section(title)
            formatter.add_arguments(group)
            formatter.end_section()
        formatter.add_text(f"{hidden} more: {self.prog} --help-all")
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def format_help_all(self) -> str:
        """Return all of it."""
        return super().format_help()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Keep the words, for the hint of an error."""
        self._words = tuple(args or ())
        return super().parse_known_args(args, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse all words, or leave with one line."""
        found, extra = self.parse_known_args(args, namespace)
        if extra:
            self.error(_too_many(*_chosen(self, self._words), extra))
        return found

    def error(self, message: str) -> NoReturn:
        parser, words = _chosen(self, self._words)
        unknown = next(_unknown_flags(parser, words), None)
        if unknown is not None:
            close = _nearest(unknown, parser)
            message = f"unknown flag {unknown}" + (f"; did you mean {close}?" if close else "")
        self.exit(2, f"{parser.prog}: error: {message} (see {parser.prog} --help)\n")


class _HelpAll(argparse.Action):
    """``--help-all``."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="show all options")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        assert isinstance(parser, Parser)
        print(parser.format_help_all(), end="")
        parser.exit(0)


def use_help(parser: argparse.ArgumentParser, name: str = "") -> None:
    """Make `Help` the formatter of a command and of its actions, whatever they asked for. name: whose first options are known."""
    parser.formatter_class = Help
    if name in FIRST and isinstance(parser, Parser):
        parser.first = FIRST[name]
        parser.add_argument("--help-all", action=_HelpAll)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                use_help(each)


def nearest(word: str, known: Sequence[str]) -> str | None:
    """Return which of the known words a mistyped one probably is, None where none is like it."""
    return next(iter(difflib.get_close_matches(word, known, n=1)), None)


def _chosen(parser: argparse.ArgumentParser, words: Sequence[str]) -> tuple[argparse.ArgumentParser, Sequence[str]]:
    """Return the parser of the command (and action) that the words name, and the words behind it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and words and words[0] in action.choices:
            return _chosen(action.choices[words[0]], words[1:])
    return parser, words


def _unknown_flags(parser: argparse.ArgumentParser, words: Sequence[str]) -> Iterator[str]:
    """The flags among the words that the parser has neither whole nor, as argparse allows, in their first letters."""
    known = parser._option_string_actions
    for word in words:
        if word == "--":
            return
        flag = word.partition("=")[0]
        is_short = not flag.startswith("--") and flag[:2] in known
        if _FLAG.match(flag) and not is_short and not any(name.startswith(flag) for name in known):
            yield flag


def _nearest(flag: str, parser: argparse.ArgumentParser) -> str | None:
    return nearest(flag, [name for name in parser._option_string_actions if name.startswith("--")])


def _too_many(parser: argparse.ArgumentParser, words: Sequence[str], extra: Sequence[str]) -> str:
    """Return what is wrong where words are left over."""
    one = next((action for action in parser._actions if action.dest == "file" and action.nargs in (None, "?")), None)
    message = f"unrecognized arguments: {' '.join(extra)}"
    files = [word for word in words if word.endswith(".tflite")]
    if one is None or not all(word in files for word in extra):
        return message
    message = f"{len(files)} files are given, and one {one.metavar} is expected; "
    if parser.prog.endswith((" validate", " explain")):
        return message + "edgekit compare FILE FILE ... --images DIR takes several and ranks them"
    return message + "run it once for each"


def _in_words(actions: Sequence[argparse.Action]) -> str:
    """Return arguments, and options that must be given, as usage has them."""
    found = ""
    for action in actions:
        value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
        if not action.option_strings:
            found += {"?": f"[{value}] ", "+": f"{value} [{value} ...] "}.get(str(action.nargs), f"{value} ")
        elif action.required:
            found += f"{_long(action)} {value} "
    return found


def _long(action: argparse.Action) -> str:
    return action.option_strings[-1]


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def _example(line: str, width: int) -> str:
    """Return an indented line in lines of at most ``width``: as the shell reads it, its remark as a comment above."""
    if len(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    command, *remarks = _BEFORE_REMARK.split(line.strip())
    if not re.match(r"(sudo )?edgekit ", command):
        return textwrap.fill(line.strip(), width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    lines = [*(_comment(remark, width, f"{indent}# ") for remark in remarks), indent]
    # A flag stays with its values where the line is wide enough for both.
    for part in re.split(r" (?=-)", command):
        pieces = [part] if len(part) + len(indent) + 6 <= width else part.split(" ")
        for piece in pieces:
            blank = "" if lines[-1].isspace() else " "
            if not lines[-1].isspace() and len(lines[-1]) + len(piece) + 3 > width:
                lines[-1] += " \\"
                lines.append(f"{indent}    ")
                blank = ""
            lines[-1] += blank + piece
    return "\n".join(lines)


def _comment(remark: str, width: int, begin: str) -> str:
    text = remark[1:-1] if remark.startswith("(") and remark.endswith(")") else remark
    return textwrap.fill(text, width, initial_indent=begin, subsequent_indent=begin, break_on_hyphens=False)


def _choices(line: str, width: int) -> str:
    """Return a line of usage with the choices of a flag on several lines where they do not fit on one."""
    if len(line) <= width or "{" not in line:
        return line
    column = min(line.index("{") + 1, width // 2)
    lines = [""]
    for piece in re.split(r"(?<=,)|(?<=\s)(?=\S)", line):
        if lines[-1].strip() and len(lines[-1]) + len(piece.rstrip()) > width:
            lines[-1] = lines[-1].rstrip()
            lines.append(" " * column)
        lines[-1] += piece
    return "\n".join(lines)
