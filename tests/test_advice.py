"""Advice names only flags that there are, and with a command's name only flags of that command."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from edge.cli import build_parser

REPOSITORY = Path(__file__).resolve().parents[1]
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
COMMAND = re.compile(r"edgekit ([a-z]+)((?: [^;,()]*)?)")
# What belongs to other programs, or to processes that are started here with flags of their own.
OTHERS = frozenset(
    {"--root", "--user", "--version", "--no-deps", "--no-index", "--find-links", "--target", "--upgrade", "--quiet", "--now"}
)


@cache
def flags() -> dict[str, frozenset[str]]:
    """The flags of every command, by its name."""
    (commands,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return {name: frozenset(_flags(parser)) for name, parser in commands.choices.items()}


def _flags(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from (text for text in action.option_strings if text.startswith("--"))
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _flags(below)


def messages() -> Iterator[tuple[str, str]]:
    """Every text that an error is made with (what stands in ``raise``), with its place; what is put in becomes a blank."""
    for package in ("edge", "quantize", "devices"):
        for file in sorted((REPOSITORY / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Raise) and node.exc is not None:
                    yield f"{file.relative_to(REPOSITORY)}:{node.lineno}", _text(node.exc)


def _text(node: ast.expr) -> str:
    """Every string in ``node``, apart; what is put into one becomes a blank."""
    whole = [each for each in ast.walk(node) if isinstance(each, ast.JoinedStr)]
    inside = {id(part) for each in whole for part in ast.walk(each)} - {id(each) for each in whole}
    alone = [each for each in ast.walk(node) if isinstance(each, ast.Constant) and id(each) not in inside]
    found = sorted([*whole, *alone], key=lambda each: (each.lineno, each.col_offset))
    return "; ".join(" ".join(_constants(each)) for each in found)


def _constants(node: ast.expr) -> list[str]:
    return [each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]


def test_every_flag_that_an_error_advises_is_one_of_some_command() -> None:
    known = frozenset().union(*flags().values()) | OTHERS
    found = {place: flag for place, text in messages() for flag in FLAG.findall(text) if flag not in known}
    assert found == {}


def test_flags_beside_a_commands_name_are_that_commands() -> None:
    wrong = [
        (place, name, flag)
        for place, text in messages()
        for name, rest in COMMAND.findall(text)
        if name in flags()
        for flag in FLAG.findall(rest)
        if flag not in flags()[name] | OTHERS
    ]
    assert wrong == []


def test_a_commands_own_errors_advise_flags_that_it_has() -> None:
    """Errors that are raised in a command's module and name no other command."""
    wrong = []
    for place, text in messages():
        file = Path(place.partition(":")[0])
        name = {"import_model": "import"}.get(file.stem, file.stem).replace("_", "-")
        if file.parent.name == "commands" and name in flags() and not COMMAND.search(text):
            wrong += [(place, flag) for flag in FLAG.findall(text) if flag not in flags()[name] | OTHERS]
    assert wrong == []


def test_texts_are_seen() -> None:
    assert sum(bool(FLAG.search(text)) for _, text in messages()) > 30
