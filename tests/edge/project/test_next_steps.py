"""The line that ends what a command says: a command line that can be typed, and fits what happened."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.cli import COMMANDS, build_parser, main
from edge.project import next_steps
from tests.edge.conftest import LABELS


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with labelled pictures, which is the working directory; the history is in it."""
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EDGEKIT_PROJECT", "")
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for label in LABELS:
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(tmp_path / "photos" / label / f"{number}.png")
    return tmp_path


def accepts(line: str) -> bool:
    """Whether it is a command line that parses, or a sentence that ends in one, or none."""
    words = line.rpartition("edgekit ")[2] if "edgekit " in line else ""
    argv = shlex.split(words)
    if argv and line.startswith("edgekit "):
        build_parser(argv[0]).parse_args(argv)
    return bool(line)


def test_every_command_has_one() -> None:
    assert set(next_steps.COMMANDS) == set(COMMANDS)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("inspect FILE", r"edgekit check FILE"),
        ("selftest FILE", r"edgekit validate FILE --images DIR"),
        ("classify FILE photos/LABEL/0.png", r"edgekit validate FILE --images DIR"),
        ("validate FILE --images photos", r"edgekit validate FILE --reference FLOAT --max-drop 0.01 --images photos"),
        (
            "validate FILE --images photos --reference FLOAT32 --max-drop 0.9",
            r"(edgekit (deploy|explain) FILE|validate on [\d,]+ images).*",
        ),
        ("outputs FILE --images photos --out made.npz", r"edgekit validate FILE --reference made.npz --images photos"),
        ("compare FILE FLOAT32 --images photos --no-latency", r"edgekit check (FILE|FLOAT32) --board BOARD"),
        ("check FILE --board pi-5", r"edgekit deploy FILE TARGET"),
        ("check FILE", r"edgekit check FILE --board BOARD --ops"),
        ("boards pi-5", r"edgekit check FILE --board pi-5"),
        ("benchmark FILE --runs 1 --seconds 0", r"edgekit benchmark FILE --per-op|measure again .*"),
        ("runs", r"edgekit runs"),
        ("init", r"write model.file, photos.train, photos.test into edgekit.toml, then: edgekit ship --dry-run"),
        ("fetch", r"edgekit fetch NAME"),
    ],
)
def test_it_fits_what_happened(
    here: Path,
    words: str,
    expected: str,
    tiny_int8_artefact: Path,
    tiny_float_artefact: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = {"FILE": str(tiny_int8_artefact), "FLOAT32": str(tiny_float_artefact)}
    argv = [files.get(word, word).replace("LABEL", LABELS[0]) for word in words.split()]
    assert main(argv, remember=True) in (0, 1)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("next: ")]
    said = line.removeprefix("next: ")
    for name, path in files.items() if words != "boards pi-5" else ():
        said = said.replace(path, name)
    assert re.fullmatch(expected, said), said
    assert accepts(said)


def test_programs_and_boards_hear_nothing(here: Path, tiny_int8_artefact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tiny_int8_artefact)]) == 0
    assert main(["inspect", str(tiny_int8_artefact), "--json", "-"], remember=True) == 0
    assert main(["inspect", "nowhere.tflite"], remember=True) == 2
    assert "next:" not in capsys.readouterr().err


QUANTIZED = {"variants": [{"name": "float32", "file": "out/a b.float32.tflite"}, {"name": "int8", "file": "out/a b.int8.tflite"}]}


@pytest.mark.parametrize(
    ("command", "args", "answer", "expected"),
    [
        (
            "quantize",
            {},
            QUANTIZED,
            "edgekit validate 'out/a b.int8.tflite' --reference 'out/a b.float32.tflite' --max-drop 0.01 --images DIR",
        ),
        ("quantize", {}, {"variants": QUANTIZED["variants"][:1]}, "edgekit validate 'out/a b.float32.tflite' --images DIR"),
        ("qat", {"validation": "v"}, {"recommended": "q.tflite"}, "edgekit validate q.tflite --images v"),
        ("tune", {}, {"file": "t.tflite"}, "edgekit validate t.tflite --images DIR"),
        ("tune", {"model": "m", "images": "t", "validation": "v"}, {}, "edgekit qat m --images t --validation v"),
        ("shrink", {}, {"int8": "s.tflite"}, "edgekit validate s.tflite --images DIR"),
        ("import", {"images": None}, {"keras": "n.keras"}, "edgekit quantize n.keras --images DIR"),
        ("fetch", {}, {"name": "slim-imagenet", "use": "x.ckpt"}, "edgekit import x.ckpt --as slim"),
        ("explain", {"images": "test"}, {}, "edgekit tune MODEL --images DIR --validation test --max-drop 0.01"),
        ("check", {"file": "f"}, {"fits": False, "board": "pi-3a-plus"}, "--board pi-3a-plus"),
        ("validate", {"reference": "r", "file": "f", "images": "i"}, {"images": 3, "verdict": "fail"}, "edgekit explain f "),
        (
            "validate",
            {"reference": "r", "file": "f", "images": "i"},
            {"images": 3, "verdict": "undecided", "images_to_decide": 4100},
            "4,100 images",
        ),
        ("deploy", {"file": "f", "targets": ["pi@a"]}, {}, "edgekit validate f --images DIR --on pi@a --certify 32"),
        ("deploy", {"file": "f", "targets": ["pi@a", "pi@b"]}, {"boards": []}, "--on pi@a"),
        ("doctor", {"targets": ["pi@a"]}, {"healthy": True}, "edgekit deploy FILE pi@a"),
        ("doctor", {"targets": ["pi@a"]}, {"boards": [{"exit_code": 1}]}, "ask the doctor again"),
        ("status", {"targets": ["pi@a"]}, {"current": "r1"}, "edgekit benchmark FILE --on pi@a"),
        (
            "status",
            {"targets": ["virtual:a"]},
            {"current": "r1"},
            "edgekit validate FILE --images DIR --on virtual:a --certify 32",
        ),
        ("status", {"targets": ["pi@a"]}, {"current": None}, "edgekit deploy FILE pi@a"),
        ("rollback", {"targets": ["pi@a"]}, {}, "edgekit status pi@a"),
        ("undeploy", {"targets": ["pi@a"]}, {}, "edgekit deploy FILE pi@a"),
        ("virtual", {"argv": ["virtual", "create", "desk"], "name": "desk"}, {}, "edgekit virtual start desk"),
        ("virtual", {"argv": ["virtual", "list"]}, {}, "edgekit virtual create NAME"),
        ("relabel", {}, {"file": "r.tflite"}, "edgekit selftest r.tflite"),
        ("report", {"out": "page.html"}, {}, "open page.html in a browser"),
        ("report", {"out": None, "runs": ["results/"]}, {}, "edgekit report results/ --out report.html"),
        ("watch", {"file": "f", "source": "camera:0"}, {}, "edgekit throughput f camera:0"),
        ("throughput", {"file": "f"}, {}, "edgekit benchmark f --sweep-threads"),
        ("demo", {}, {}, "edgekit init"),
    ],
)
def test_what_follows(command: str, args: dict[str, Any], answer: dict[str, Any], expected: str) -> None:
    line = next_steps.after(command, argparse.Namespace(**args), answer)
    assert line is not None and expected in line
    assert accepts(line)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_answer_of_another_form_is_no_fault(command: str) -> None:
    answers: tuple[dict[str, Any], ...] = (
        {},
        {"boards": 3},
        {"variants": None, "images": None, "verdict": [], "current": {}, "fits": "?"},
    )
    for answer in answers:
        assert next_steps.after(command, argparse.Namespace(), answer) != ""
