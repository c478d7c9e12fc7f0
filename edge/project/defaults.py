"""Fills a command line with what it leaves out and ``edgekit.toml`` says: as words, so that what runs could be typed, and is remembered."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import file
from .file import Project
from .settings import FILE, MODEL, SETTINGS, TARGETS, Setting

_ARGUMENTS = (MODEL, FILE, TARGETS)


_NOT_GIVEN = object()  # stands in a parsed command line for what was not on it


def filled(words: Sequence[str], build: Callable[[], argparse.ArgumentParser]) -> tuple[list[str], str | None]:
    """Return the command line with the project's defaults, and the line that says which, None where there are none.

    words: as typed, the command first. build: makes a parser that has this command; it is changed here.

    Raises UsageError for a project file that cannot be read. Leaves as argparse does where the words themselves are wrong.
    """
    command = words[0]
    settings = [setting for setting in SETTINGS if command in setting.flags]
    path = file.find() if settings and not {"-h", "--help", "--help-all"}.intersection(words) else None
    if path is None:
        return list(words), None
    project = file.read(path)
    parser = build()
    actions = _actions(parser, command)
    wanted = {setting: actions[setting.flags[command]] for setting in settings if setting.flags[command] in actions}
    for action in actions.values():
        _loosen(action)
    typed = vars(parser.parse_args(list(words)))
    given = {name for name, action in actions.items() if typed[action.dest] is not action.default}
    if _is_other(project, typed, actions, given):
        wanted = {setting: action for setting, action in wanted.items() if not setting.of_model}
    _take_board_for_what_it_is(command, typed, actions, project, given)
    flags, before, behind = list[str](), list[str](), list[str]()
    for setting in _in_use(project, wanted, given, command):
        name, value = setting.flags[command], project.values[setting.name]
        values = [str(each) for each in value] if isinstance(value, list) else [str(value)]
        if name == TARGETS:
            behind += values
        elif name in _ARGUMENTS:
            before += values
        else:
            flags.append(f"{name}={','.join(values)}")
    if not (flags or before or behind):
        return list(words), None
    return [command, *flags, *before, *words[1:], *behind], f"{os.path.relpath(path)}: {shlex.join([*before, *behind, *flags])}"


def _actions(parser: argparse.ArgumentParser, command: str) -> dict[str, argparse.Action]:
    """Return the command's arguments and flags by name."""
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    found: dict[str, argparse.Action] = {}
    for action in commands.choices[command]._actions:
        if argparse.SUPPRESS in (action.dest, action.default):  # --help and its like
            continue
        for name in action.option_strings or [str(action.metavar or action.dest.upper())]:
            found[name] = action
    return found


def _loosen(action: argparse.Action) -> None:
    """Let an action be left out, and show where it was."""
    # A flag that may be repeated adds to a copy of its default.
    action.default = None if isinstance(action, argparse._AppendAction) else _NOT_GIVEN
    action.required = False
    if not action.option_strings:
        action.nargs = "?" if action.nargs is None else "*" if action.nargs == "+" else action.nargs


def _is_other(project: Project, typed: dict[str, Any], actions: dict[str, argparse.Action], given: set[str]) -> bool:
    """Whether a model is on the command line that is not the project's."""
    if MODEL not in given or "model.file" not in project.values:
        return False
    return os.path.abspath(str(typed[actions[MODEL].dest])) != os.path.abspath(str(project.values["model.file"]))


def _take_board_for_what_it_is(
    command: str, typed: dict[str, Any], actions: dict[str, argparse.Action], project: Project, given: set[str]
) -> None:
    """Take the only argument of ``edgekit deploy pi@kitchen`` for a board, where the project has the file; changes ``given``."""
    if command != "deploy" or FILE not in given or TARGETS in given or "artefact.file" not in project.values:
        return
    word = str(typed[actions[FILE].dest])
    if not word.endswith(".tflite") and "/" not in word:
        given.remove(FILE)
        given.add(TARGETS)


def _in_use(project: Project, wanted: dict[Setting, argparse.Action], given: set[str], command: str) -> Iterator[Setting]:
    """Yield the settings that the command line leaves to the project."""
    can = {setting for setting in wanted if setting.name in project.values and setting.flags[command] not in given}
    there = given | {setting.flags[command] for setting in can}
    for setting in wanted:
        needs = setting.needs.get(command)
        if setting in can and not given.intersection(setting.unless) and (needs is None or there.intersection(needs)):
            yield setting
