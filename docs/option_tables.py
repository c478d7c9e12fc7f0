"""Writes what ``--help`` says as tables for the site: usage, arguments and options by group, examples. Run by ``site_hooks.py``."""

from __future__ import annotations

import argparse
import html
from collections.abc import Iterator

from edge.cli import build_parser
from edge.commands.parsing import Help
from edge.project.settings import SETTINGS

_WIDTH = 96


def of_command(command: str) -> str:
    """Return everything that ``edgekit COMMAND --help`` says, as Markdown."""
    (commands,) = (action for action in build_parser(command)._actions if isinstance(action, argparse._SubParsersAction))
    return "\n\n".join(_parts(commands.choices[command], "###"))


def of_settings() -> str:
    """Return all settings of ``edgekit.toml``, as a Markdown table."""
    rows = ["| section | key | example | what for | flag of |", "|---|---|---|---|---|"]
    for setting in SETTINGS:
        flags: dict[str, list[str]] = {}
        for command, flag in setting.flags.items():
            flags.setdefault(flag, []).append(command)
        named = "; ".join(f"{_code(flag)} of {', '.join(commands)}" for flag, commands in flags.items())
        rows.append(f"| {setting.section} | {setting.key} | {_code(setting.example)} | {_cell(setting.help)} | {named} |")
    return "\n".join(rows)


def _parts(parser: argparse.ArgumentParser, heading: str) -> Iterator[str]:
    yield f"```text\n{_usage(parser)}\n```"
    inner: list[argparse._SubParsersAction[argparse.ArgumentParser]] = []
    for group in parser._action_groups:
        shown = [action for action in group._group_actions if argparse.SUPPRESS not in (action.help, action.dest)]
        inner += [action for action in shown if isinstance(action, argparse._SubParsersAction)]
        rows = [
            _row(parser, action) for action in shown if not isinstance(action, argparse._SubParsersAction | argparse._HelpAction)
        ]
        if rows:
            title = (group.title or "options").capitalize()
            yield f"{heading} {title}\n\n| {_head(shown)} | meaning |\n|---|---|\n" + "\n".join(rows)
    for action in inner:
        for name, each in action.choices.items():
            described = next(entry.help or "" for entry in action._get_subactions() if entry.dest == name)
            yield f"{heading} {parser.prog.removeprefix('edgekit ')} {name}\n\n{_cell(described).capitalize()}."
            yield from _parts(each, f"{heading}#")
    if parser.epilog:
        yield f"```text\n{Help(parser.prog, width=_WIDTH)._fill_text(parser.epilog, _WIDTH, '').rstrip()}\n```"


def _usage(parser: argparse.ArgumentParser) -> str:
    formatter = Help(parser.prog, width=_WIDTH)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups)
    return formatter.format_help().strip()


def _head(actions: list[argparse.Action]) -> str:
    return "option" if any(action.option_strings for action in actions) else "argument"


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    formatter = Help(parser.prog, width=_WIDTH)
    default = action.dest if action.option_strings else action.metavar or action.dest
    if not action.option_strings:
        name = _code(str(default))
    elif action.nargs == 0:
        name = ", ".join(_code(flag) for flag in action.option_strings)
    else:
        value = formatter._format_args(action, action.dest.upper())
        name = ", ".join(_code(flag) for flag in action.option_strings) + " " + _code(value)
    required = "**Required.** " if action.required and action.option_strings else ""
    return f"| {name} | {required}{_cell(formatter._expand_help(action) if action.help else '')} |"


def _code(text: str) -> str:
    return f"<code>{_cell(text)}</code>"


def _cell(text: str) -> str:
    """Return text that stays what it is inside a cell of a Markdown table."""
    plain = " ".join(html.escape(text, quote=False).split())
    for letter in "\\`*_[]|~":
        plain = plain.replace(letter, f"&#{ord(letter)};")
    return plain
