"""edgekit.toml: what it says becomes words of the command line, flags win, and what is wrong in it is told with its line."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image

from edge.artefact import container
from edge.cli import build_parser, main
from edge.errors import UsageError
from edge.project import defaults, file, look, settings
from edge.project.settings import SETTINGS

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project's folder that is the working directory, with a history of its own."""
    monkeypatch.delenv(file.VARIABLE, raising=False)
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def filled(*words: str) -> list[str]:
    return defaults.filled(words, lambda: build_parser(words[0]))[0]


def write(folder: Path, text: str) -> None:
    (folder / "edgekit.toml").write_text(text, encoding="utf-8")


FULL = """\
[model]
file = "net.keras"
preprocess = "inception"
labels = "labels.txt"
[photos]
train = "photos/train"
validation = "photos/validation"
test = "photos/test"
[artefact]
file = "out/net.int8.tflite"
reference = "out/net.float32.tflite"
[gate]
max_drop = 0.02
[make]
out = "out"
variants = ["float32", "int8"]
[board]
targets = ["pi@kitchen", "pi@hall"]
profile = "pi-5"
"""


def test_every_setting_is_a_flag_of_its_commands() -> None:
    for setting in SETTINGS:
        for command, name in setting.flags.items():
            actions = defaults._actions(build_parser(command), command)
            assert name in actions, f"{setting.name}: edgekit {command} has no {name}"
            for other in setting.needs.get(command, ()):
                assert other in actions, f"{setting.name}: edgekit {command} has no {other}"


def test_the_examples_of_all_settings_are_what_the_schema_takes(project: Path) -> None:
    text = look.written(look.Found(values={setting.name: setting.example for setting in SETTINGS}, notes=()))
    write(project, text)
    assert set(file.read(project / "edgekit.toml").values) == {setting.name for setting in SETTINGS}
    jsonschema.validate(tomllib.loads(text), settings.published())


def test_what_is_left_out_comes_from_the_file(project: Path) -> None:
    write(project, FULL)
    assert filled("quantize") == [
        *("quantize", "--preprocess=inception", "--labels=labels.txt", "--images=photos/train"),
        *("--validation=photos/validation", "--out=out", "--variants=float32,int8", "net.keras"),
    ]
    assert filled("validate", "--limit", "9") == [
        *("validate", "--images=photos/test", "--reference=out/net.float32.tflite", "--max-drop=0.02"),
        *("out/net.int8.tflite", "--limit", "9"),
    ]
    assert filled("deploy", "--keep", "1") == ["deploy", "out/net.int8.tflite", "--keep", "1", "pi@kitchen", "pi@hall"]
    assert filled("check") == ["check", "--board=pi-5", "out/net.int8.tflite"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["check", "--board", "coral-dev"], ["check", "out/net.int8.tflite", "--board", "coral-dev"]),
        (
            ["validate", "x.tflite", "--ref=y"],
            ["validate", "--images=photos/test", "--max-drop=0.02", "x.tflite", "--ref=y"],
        ),
        (["deploy", "pi@attic"], ["deploy", "out/net.int8.tflite", "pi@attic"]),
        (["deploy", "x.tflite"], ["deploy", "x.tflite", "pi@kitchen", "pi@hall"]),
        (["deploy", "x.tflite", "local"], ["deploy", "x.tflite", "local"]),
        (["validate", "--plan"], ["validate", "--max-drop=0.02", "--plan"]),
        (["status"], ["status", "pi@kitchen", "pi@hall"]),
        (["undeploy", "local"], ["undeploy", "local"]),
        (["selftest", "--help"], ["selftest", "--help"]),
    ],
)
def test_flags_win(project: Path, typed: list[str], expected: list[str]) -> None:
    write(project, FULL)
    assert filled(*typed) == expected


def test_another_network_gets_nothing_of_what_holds_for_the_projects(project: Path) -> None:
    write(project, FULL)
    assert filled("quantize", "other.keras", "--variants", "int8") == [
        *("quantize", "--images=photos/train", "--validation=photos/validation", "--out=out"),
        *("other.keras", "--variants", "int8"),
    ]
    assert "--preprocess=inception" in filled("quantize", str(project / "net.keras"))


def test_mean_and_scale_stand_in_for_a_preset(project: Path) -> None:
    write(project, FULL)
    assert "--preprocess=inception" not in filled("quantize", "--mean", "0", "--scale", "1")
    write(project, '[model]\nfile = "n.keras"\nmean = [103.939, 116.779, 123.68]\nscale = 1\n')
    assert filled("quantize") == ["quantize", "--mean=103.939,116.779,123.68", "--scale=1", "n.keras"]


def test_a_gate_without_a_reference_is_none(project: Path) -> None:
    write(project, "[gate]\nmax_drop = 0.02\n")
    assert filled("validate", "x.tflite") == ["validate", "x.tflite"]
    assert filled("validate", "x.tflite", "--reference", "y") == ["validate", "--max-drop=0.02", "x.tflite", "--reference", "y"]


def test_paths_are_relative_to_the_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, FULL.replace("out/net.int8", "/data/net.int8"))
    (project / "inner").mkdir()
    monkeypatch.chdir(project / "inner")
    assert filled("validate")[1:] == [
        *("--images=../photos/test", "--reference=../out/net.float32.tflite", "--max-drop=0.02", "/data/net.int8.tflite"),
    ]


def test_it_is_looked_for_up_to_the_repository_and_no_further(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, FULL)
    inner = project / "other"
    (inner / ".git").mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert file.find() is None
    monkeypatch.setenv(file.VARIABLE, "../edgekit.toml")
    assert filled("inspect") == ["inspect", "../out/net.int8.tflite"]
    monkeypatch.setenv(file.VARIABLE, "")
    assert filled("inspect", "x.tflite") == ["inspect", "x.tflite"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('[model]\nfile = "a.keras"\n\n[gate]\nmax_drop = "x"\n', 5, "gate.max_drop is 'x', expected a number"),
        ("[gate]\nmax_drop = 2\n", 2, "gate.max_drop is 2"),
        ("[gate]\nmax_drop = nan\n", 2, "gate.max_drop is nan"),
        ("[gate]\n\nmax_dorp = 0.1\n", 3, "did you mean 'max_drop'?"),
        ("gate.max_dorp = 0.1\n", 1, "did you mean 'max_drop'?"),
        ("\n[gates]\nmax_drop = 0.1\n", 2, "did you mean 'gate'?"),
        ("\nmodel = 3\n", 2, "model is a section"),
        ('[model]\nfile = ""\n', 2, "expected text such as"),
        ('[model]\nfile = "a\\u001b[2J"\n', 2, "expected text such as"),
        ("[model]\nfile = \n", 2, "no TOML"),
        ('[model]\nfile = "a"\nfile = "b"\n', 3, "no TOML"),
        ('[board]\ntargets = "pi@kitchen"\n', 2, "board.targets is 'pi@kitchen', expected a list"),
        ("[board]\ntargets = [1]\n", 2, "expected text"),
        ('[make]\nvariants = ["int4"]\n', 2, "expected one of float32"),
        ("[model]\nallow_code = true\n", 2, "has no setting 'allow_code'"),
        ('[board]\npassword = "x"\n', 2, "has no setting 'password'"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(project: Path, text: str, line: int, words: str) -> None:
    write(project, text)
    with pytest.raises(UsageError) as told:
        filled("inspect")
    assert f"edgekit.toml:{line}: " in str(told.value) and words in str(told.value), told.value


@pytest.mark.parametrize("content", [b"\xff\xfe[\x00", b"a = [" * 100_000, b"#" * ((1 << 20) + 1)])
def test_hostile_files_are_a_line(project: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "edgekit.toml").write_bytes(content)
    assert main(["inspect"], remember=True) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_command_runs_with_it_and_says_so(project: Path, tiny_int8_artefact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(project, f'[artefact]\nfile = "{tiny_int8_artefact}"\n')
    assert main(["selftest", "--json", "answer.json"], remember=True) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"edgekit.toml: {tiny_int8_artefact}"
    answer = json.loads((project / "answer.json").read_text(encoding="utf-8"))
    assert answer["model_sha256"] == container.read(tiny_int8_artefact).model_sha256
    assert main(["runs", "--json", "-"], remember=True) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["arguments"][:2] == ["selftest", str(tiny_int8_artefact)]
    # What a board runs, and a program that calls main(), takes nothing from a folder that it happens to be in.
    with pytest.raises(SystemExit):
        main(["selftest"])


def test_init_finds_what_is_there_and_the_rest_is_comments(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (
        "data/Train/rose",
        "data/Val/rose",
        "data/test/rose",
        ".venv/test/rose",
        "deep/er/and/er/test/rose",
        "empty/test",
    ):
        (project / name).mkdir(parents=True)
        if "empty" not in name:
            Image.new("RGB", (4, 4)).save(project / name / "1.PNG")
    (project / "old.h5").write_bytes(b"1")
    (project / 'a "best".keras').write_bytes(b"1")
    (project / "w.weights.h5").write_bytes(b"1")
    (project / "labels.txt").write_text("rose\n")
    assert main(["init"], remember=True) == 0
    said = capsys.readouterr().out
    assert "2 networks are here" in said
    values = file.read(project / "edgekit.toml").values
    assert (
        values["photos.train"] == "data/Train"
        and values["photos.validation"] == "data/Val"
        and values["photos.test"] == "data/test"
    )
    assert values["model.labels"] == "labels.txt" and values["gate.max_drop"] == 0.01
    assert values["model.file"] == 'a "best".keras' and values["artefact.file"] == 'out/a "best".int8.tflite'
    assert (project / "edgekit.toml").read_text(encoding="utf-8").count("\n# ") > 8


def test_init_takes_what_was_made_already(project: Path) -> None:
    (project / "made").mkdir()
    for name in ("a.int8.tflite", "a.float32.tflite", "a.int16x8.tflite"):
        (project / "made" / name).write_bytes(b"1")
    assert main(["init", "."], remember=True) == 0
    values = file.read(project / "edgekit.toml").values
    assert (values["artefact.file"], values["artefact.reference"]) == ("made/a.int8.tflite", "made/a.float32.tflite")


def test_init_overwrites_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(project, FULL)
    assert main(["init"], remember=True) == 2
    assert "stays as it is" in capsys.readouterr().err
    assert (project / "edgekit.toml").read_text(encoding="utf-8") == FULL
    assert main(["init", "nowhere"], remember=True) == 2
    assert main(["init", "--json", "-"], remember=True) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == ["model.file", "photos.train", "photos.test"]


def test_init_ends_in_a_large_folder_and_passes_what_it_may_not_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "_MOST_ENTRIES", 50)
    for number in range(200):
        (project / f"{number}.txt").touch()
    (project / "z.keras").touch()
    assert "model.file" not in look.look(project).values
    (project / "loop").symlink_to(project)
    monkeypatch.undo()
    assert look.look(project).values["model.file"] == '"z.keras"'


def test_the_schema_for_editors_is_json_schema() -> None:
    done = subprocess.run([sys.executable, "-m", "edge.project.settings"], capture_output=True, text=True, check=True)
    schema: Any = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(tomllib.loads(FULL), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads("[gate]\nmax_dorp = 1\n"), schema)


def test_the_page_says_what_happens(project: Path) -> None:
    page = (REPOSITORY / "docs" / "project.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    write(project, text)
    shown = re.findall(r"^\$ edgekit (.*)\n(edgekit\.toml: .*)$", page, re.MULTILINE)
    assert len(shown) == 3
    for line, said in shown:
        assert defaults.filled(shlex.split(line), lambda: build_parser(line.split()[0]))[1] == said  # noqa: B023


def test_no_command_needs_its_arguments_twice() -> None:
    for command in {command for setting in SETTINGS for command in setting.flags}:
        parser = build_parser(command)
        for action in defaults._actions(parser, command).values():
            defaults._loosen(action)
        assert isinstance(parser.parse_args([command]), argparse.Namespace)
