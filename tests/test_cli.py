"""The root command: help, version, errors, exit codes, commands of other packages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edge.cli import COMMANDS, ENTRY_POINT_GROUP, build_parser, main
from edge.commands.parsing import FIRST
from edge.version import __version__

REPOSITORY = Path(__file__).resolve().parents[1]


def run(argv: list[str], *, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, with ``path`` before everything else on ``sys.path``."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(entry) for entry in (path, REPOSITORY) if entry)}
    return subprocess.run(
        [sys.executable, "-m", "edge.cli", *argv], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def install_command(site: Path, name: str, body: str) -> None:
    """Put a distribution with one edgekit command into the folder ``site``, as pip would."""
    (site / f"third_party_{name}.py").write_text(body, encoding="utf-8")
    metadata = site / f"third_party_{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: third-party-{name}\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{name} = third_party_{name}\n", encoding="utf-8")


def one_line(text: str) -> str:
    assert len(text.splitlines()) == 1, text
    return text.strip()


def test_the_known_commands_are_the_declared_ones() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"][ENTRY_POINT_GROUP] == COMMANDS
    assert project["scripts"] == {"edgekit": "edge.cli:command_line"}


def test_help_describes_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["--help"])
    assert exit_info.value.code == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    described = {words[0]: " ".join(words[1:]) for words in lines}
    for name in COMMANDS:
        assert len(described[name]) > 10
        assert "cannot be loaded" not in described[name]


def test_no_arguments_give_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([])
    assert exit_info.value.code == 0
    assert capsys.readouterr().out.startswith("usage: edgekit")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples_and_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([name, "--help"])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    assert re.search(rf"^  (sudo )?edgekit {name}\b", text, flags=re.MULTILINE)
    if name in FIRST:
        with pytest.raises(SystemExit):
            main([name, "--help-all"])
        text = capsys.readouterr().out
    # The actions of a command have it, each for itself; what completes a shell is a program already.
    assert "--json" in text or "ACTION" in text or name == "completion"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_sets_the_function_that_runs_it(name: str) -> None:
    parser = build_parser(name)
    commands = next(action.choices for action in parser._actions if isinstance(action.choices, dict))
    assert callable(commands[name].get_default("run"))


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version_names_python_and_the_interpreter(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([flag])
    assert exit_info.value.code == 0
    line = one_line(capsys.readouterr().out)
    assert line.startswith(f"edgekit {__version__} (Python 3.")
    assert "ai-edge-litert 2." in line or "tflite-runtime 2." in line


def test_an_unknown_command_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clasify", "model.tflite"]) == 2
    assert one_line(capsys.readouterr().err) == "edgekit: error: unknown command 'clasify'; did you mean 'classify'?"


def test_an_unknown_command_without_a_likeness_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["xyzzy"]) == 2
    line = one_line(capsys.readouterr().err)
    assert all(name in line for name in COMMANDS)


def test_wrong_usage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["inspect"])
    assert exit_info.value.code == 2
    assert one_line(capsys.readouterr().err).endswith("(see edgekit inspect --help)")


def test_an_error_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing.tflite"
    assert main(["inspect", str(missing)]) == 2
    line = one_line(capsys.readouterr().err)
    assert line.startswith("edgekit: error: ")
    assert str(missing) in line


def test_the_module_runs_the_same_root() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "edge", "--version"], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0
    assert result.stdout.startswith(f"edgekit {__version__} ")


def test_another_package_can_add_a_command(tmp_path: Path) -> None:
    install_command(
        tmp_path,
        "greet",
        "def add_parser(subparsers):\n"
        "    parser = subparsers.add_parser('greet', help='say hello from another package')\n"
        "    parser.set_defaults(run=lambda args: print('hello') or 3)\n",
    )
    result = run(["greet"], path=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (3, "hello\n", "")
    assert "say hello from another package" in run(["--help"], path=tmp_path).stdout
    assert "did you mean 'greet'" in run(["gret"], path=tmp_path).stderr


def test_a_broken_command_of_another_package_takes_nothing_down(tmp_path: Path) -> None:
    install_command(tmp_path, "broken", "import a_module_that_does_not_exist\n")
    listing = run(["--help"], path=tmp_path)
    assert listing.returncode == 0
    assert "cannot be loaded" in listing.stdout
    result = run(["broken"], path=tmp_path)
    assert result.returncode == 2
    assert "a_module_that_does_not_exist" in one_line(result.stderr)


def test_another_package_cannot_replace_a_command(tmp_path: Path) -> None:
    install_command(tmp_path, "boards", "def add_parser(subparsers):\n    raise SystemExit('hijacked')\n")
    result = run(["boards"], path=tmp_path)
    assert result.returncode == 0
    assert "pi-zero-2w" in result.stdout


def test_an_interrupt_is_one_line_and_exit_code_130(tmp_path: Path) -> None:
    install_command(
        tmp_path,
        "wait",
        "def run(args):\n    raise KeyboardInterrupt\n\n"
        "def add_parser(subparsers):\n    subparsers.add_parser('wait', help='interrupted').set_defaults(run=run)\n",
    )
    result = run(["wait"], path=tmp_path)
    assert result.returncode == 130
    assert "interrupted" in one_line(result.stderr)


def test_sigterm_ends_any_command_in_one_line_and_with_its_files_in_order(tmp_path: Path) -> None:
    install_command(
        tmp_path,
        "wait",
        "import os, signal, tempfile\n\n"
        "def run(args):\n"
        f"    with tempfile.TemporaryDirectory(dir={str(tmp_path / 'place')!r}):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        signal.pause()\n\n"
        "def add_parser(subparsers):\n    subparsers.add_parser('wait', help='ended').set_defaults(run=run)\n",
    )
    (tmp_path / "place").mkdir()
    result = run(["wait"], path=tmp_path)
    assert result.returncode == 143
    assert one_line(result.stderr) == "edgekit: ended by SIGTERM; nothing half-written is left behind"
    assert list((tmp_path / "place").iterdir()) == []


@pytest.mark.parametrize("fault", ["{}['a bug of ours']", "__import__('nobody_has_this')", "(1).missing"])
def test_an_unforeseen_error_keeps_its_traceback_and_is_no_verdict(fault: str, tmp_path: Path) -> None:
    install_command(
        tmp_path,
        "crash",
        f"def run(args):\n    return {fault}\n\n"
        "def add_parser(subparsers):\n    subparsers.add_parser('crash', help='a bug').set_defaults(run=run)\n",
    )
    result = run(["crash"], path=tmp_path)
    assert result.returncode == 70
    assert "Traceback" in result.stderr and result.stderr.endswith("please report it with the lines above\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_a_reader_that_goes_away_is_no_error() -> None:
    result = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m edge.cli boards --json - | true; exit ${{PIPESTATUS[0]}}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.stderr == ""
    assert result.returncode in (0, 141)
