"""Validation as a command: interrupted and gone on with, its exit codes, and mistakes in its arguments."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge import cli
from edge.numbers import statistics
from tests.edge.colours import SIZE, Colours

REPOSITORY = Path(__file__).resolve().parents[3]

SMALL_PHOTOS, LARGE_PHOTOS = 300, 24

pytestmark = pytest.mark.usefixtures("own_cache")


def without_timing(report: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name != "timing"}


def start(colours: Colours, photos: Path, report: Path, *extra: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edge", "validate", str(colours.candidate), "--images", str(photos)]
    command += ["--reference", str(colours.reference), "--workers", "1", "--json", str(report), *extra]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "Ctrl-C"])
def test_an_interrupted_run_goes_on_and_ends_with_the_same_report(
    colours: Colours, tmp_path: Path, own_cache: Path, end: signal.Signals
) -> None:
    """The later photos are large: while the run decodes them, the journal has the earlier ones, and the run is ended."""
    photos, random = tmp_path / "photos" / "red", np.random.default_rng(9)
    photos.mkdir(parents=True)
    for i in range(SMALL_PHOTOS):
        Image.fromarray(random.integers(0, 255, (SIZE, SIZE, 3), np.uint8)).save(photos / f"{i:03}.png")
    large = photos / f"{SMALL_PHOTOS}.jpg"
    Image.fromarray(random.integers(0, 255, (2400, 3200, 3), np.uint8)).save(large, quality=95)
    for i in range(1, LARGE_PHOTOS):
        shutil.copy(large, photos / f"{SMALL_PHOTOS + i}.jpg")

    run = start(colours, photos.parent, tmp_path / "never.json")
    # Its first line, and then some records.
    while run.poll() is None and not [path for path in own_cache.rglob("*.journal") if path.stat().st_size > 1024]:
        time.sleep(0.005)
    assert run.poll() is None
    run.send_signal(end)
    _, said = run.communicate(timeout=60)
    assert run.returncode == (-signal.SIGKILL if end == signal.SIGKILL else 130)
    assert not (tmp_path / "never.json").exists()
    assert (end == signal.SIGKILL) != ("the same command goes on from here" in said)
    assert "Traceback" not in said
    (journal,) = own_cache.rglob("*.journal")
    assert journal.stat().st_size > 0

    reports = []
    for name, extra in (("resumed", ()), ("whole", ("--no-resume",))):
        run = start(colours, photos.parent, tmp_path / f"{name}.json", *extra)
        assert run.communicate(timeout=300)[1] is not None and run.returncode == 0
        reports.append(json.loads((tmp_path / f"{name}.json").read_text()))
    resumed, whole = reports
    assert 0 < resumed["timing"]["resumed_images"] < SMALL_PHOTOS + LARGE_PHOTOS
    assert whole["timing"]["resumed_images"] == 0
    assert without_timing(resumed) == without_timing(whole)
    assert list(own_cache.rglob("*.journal")) == []


def test_a_run_that_cannot_be_resumed_says_so_at_once(
    colours: Colours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "file"))
    assert cli.main(["validate", str(colours.candidate), "--images", str(colours.photos)]) == 0
    said = capsys.readouterr()
    assert said.err.startswith("note: this run cannot be resumed")
    assert "note: this run cannot be resumed" in said.out


def test_the_command_prints_the_verdict_and_returns_it(colours: Colours, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["validate", str(colours.candidate), "--images", str(colours.photos), "--reference", str(colours.reference)]
    assert cli.main([*command, "--max-drop", "0.3"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("PASS: the drop is ")
    assert cli.main([*command, "--max-drop", "0.0001"]) == 1
    assert cli.main([*command, "--json", "-"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{") :])["images"] == 160


def test_the_command_plans_without_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", "--plan", "--max-drop", "0.01", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == statistics.plan(0.01).images
    assert cli.main(["validate", "--plan", "--max-drop", "0.01"]) == 0
    assert "assumed:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a FILE and --images DIR"),
        (["--plan"], "--plan needs --max-drop"),
        (["--plan", "--max-drop", "2"], "expected a fraction"),
        (["FILE", "--images", "PHOTOS", "--max-drop", "0.01"], "needs a reference"),
        (["FILE", "--images", "PHOTOS", "--workers", "0"], "workers is 0"),
        (["FILE", "--images", "nowhere"], "no such folder"),
        (["FILE", "--images", "PHOTOS", "--reference", "nowhere.npz"], "nowhere.npz"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    colours: Colours, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    named = {"FILE": str(colours.candidate), "PHOTOS": str(colours.photos)}
    assert cli.main(["validate", *(named.get(argument, argument) for argument in arguments)]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
