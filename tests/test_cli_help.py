"""What the command line shows before any work: the commands by stage, help at every width, hints for what was mistyped."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.cli import COMMANDS, build_parser, main
from edge.commands.parsing import FIRST, OTHER, STAGES
from tests.test_cli import install_command, one_line, run

WIDTHS = (80, 120)


def shown(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 0
    return capsys.readouterr().out


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 2
    return one_line(capsys.readouterr().err)


def actions(name: str) -> Iterator[list[str]]:
    """The command itself, and each of its actions."""
    yield [name]
    (commands,) = (action for action in build_parser(name)._actions if isinstance(action, argparse._SubParsersAction))
    for action in commands.choices[name]._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from ([name, each] for each in action.choices)


def test_every_command_is_in_one_stage() -> None:
    staged = [name for names in STAGES.values() for name in names]
    assert sorted(staged) == sorted(COMMANDS)


@pytest.mark.parametrize("argv", [[], ["--help"]])
def test_the_commands_are_shown_by_stage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(argv, capsys)
    lines = text[text.index("\ncommands:") : text.index("\nthe usual order")].splitlines()
    found = [found[0] for line in lines if (found := re.match(r"  [a-z]+(?=:)|    [a-z]+", line))]
    assert found == [word for stage, names in STAGES.items() for word in (f"  {stage}", *(f"    {name}" for name in names))]


def test_commands_of_other_packages_come_last(tmp_path: Path) -> None:
    install_command(
        tmp_path,
        "greet",
        "def add_parser(subparsers):\n    subparsers.add_parser('greet', help='say hello').set_defaults(run=lambda args: 0)\n",
    )
    commands = run([], path=tmp_path).stdout.partition("\nthe usual order")[0]
    assert re.search(rf"\n  {OTHER}: .*\n    greet +say hello\n$", commands)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_no_wider_than_the_terminal(
    command: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for argv in actions(command):
        for flag in ("--help", *(["--help-all"] if command in FIRST else [])):
            assert [line for line in shown([*argv, flag], capsys).splitlines() if len(line) > width] == []


@pytest.mark.parametrize("command", FIRST)
def test_the_first_screen_shows_what_people_need_and_names_the_rest(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, everything = shown([command, "--help"], capsys), shown([command, "--help-all"], capsys)
    flags = re.findall(r"^  (--[a-z-]+)", first.partition("\noptions:")[2].partition("\nexamples:")[0], re.MULTILINE)
    assert flags == list(FIRST[command]) and len(flags) == 5
    hidden = re.search(r"^(\d+) more: edgekit \w+ --help-all$", first, re.MULTILINE)
    assert hidden is not None
    described = re.findall(r"^  (?:-\w(?: [A-Z|]+)?, )?(--[a-z-]+)", everything.partition("\nexamples")[0], re.MULTILINE)
    # A flag is described once; help and its like are options too.
    assert len(set(described)) >= int(hidden[1]) + len(flags) - 1
    (parsers,) = (action for action in build_parser(command)._actions if isinstance(action, argparse._SubParsersAction))
    required = {
        action.option_strings[-1] for action in parsers.choices[command]._actions if action.option_strings and action.required
    }
    assert required <= set(flags)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_list_of_commands_is_no_wider_than_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert [line for line in shown([], capsys).splitlines() if len(line) > width] == []


def examples(text: str) -> list[list[str]]:
    """The words of the examples as a shell reads them."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(re.split(r"\s{3,}\D[^-]", line.strip())[0]) for line in lines if re.match(r"  (sudo )?edgekit ", line)]


@pytest.mark.parametrize("command", ["quantize", "validate", "shrink"])
def test_wrapped_examples_are_the_same_commands(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    narrow = shown([command, "--help"], capsys)
    monkeypatch.setenv("COLUMNS", "300")
    wide = shown([command, "--help"], capsys)
    assert "\\\n" in narrow and "\\\n" not in wide
    assert [words[1] for words in examples(narrow)] == [words[1] for words in examples(wide)]
    for short, long in zip(examples(narrow), examples(wide), strict=True):
        assert short == long[: len(short)]


def test_a_remark_that_does_not_fit_stands_above_its_example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = shown(["validate", "--help"], capsys)
    assert "\n  # how many images are needed\n  edgekit validate --plan --max-drop 0.01 --discordant 0.03\n" in text


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["--versoin"], "edgekit: error: unknown flag --versoin; did you mean --version? (see edgekit --help)"),
        (["validate", "a.tflite", "--imgaes", "x"], "unknown flag --imgaes; did you mean --images?"),
        (["qat", "a.keras", "--imgaes=x", "--validation", "y"], "unknown flag --imgaes; did you mean --images?"),
        (["virtual", "create", "desk", "--baord", "pi-5"], "unknown flag --baord; did you mean --board?"),
        (["inspect", "a.tflite", "--xyzzy"], "unknown flag --xyzzy (see edgekit inspect --help)"),
    ],
)
def test_a_mistyped_flag_gets_the_nearest(argv: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert meant in refused(argv, capsys)


def test_the_first_letters_of_a_flag_are_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(["validate", "a.tflite", "--max-dr", "much"], capsys)
    assert "unknown" not in line and "'much'" in line


@pytest.mark.parametrize(
    ("command", "advice"), [("validate", "edgekit compare FILE FILE ... --images DIR"), ("inspect", "run it once for each")]
)
def test_several_files_where_one_is_expected_get_a_hint(command: str, advice: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused([command, "a.tflite", "b.tflite", "c.tflite"], capsys)
    assert f"3 files are given, and one FILE is expected; {advice}" in line
