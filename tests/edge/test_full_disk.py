"""Every command that writes, on a real file system that is full: one line says so, and nothing half-written is left."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.cli import main
from edge.errors import OutputError
from edge.live.drive import Command, CsvCommands
from edge.live.frame import Frame
from edge.live.frames import open_source
from edge.runtime.golden import pattern
from tests.conftest import FILLER, REPOSITORY, Disk, left_in

needs_opencv = pytest.mark.skipif(find_spec("cv2") is None, reason="the extra [video] is not installed")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for label in ("cat", "dog", "bird", "fish"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(3):
            pixels = pattern("noise-1", 48, 64) // (number + 1)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{label}{number}.png")
    return tmp_path / "photos"


COMMANDS = {
    "inspect": "inspect {model} --json {full}/a.json",
    "classify": "classify {model} {photo} --json {full}/a.json",
    "validate": "validate {model} --images {photos} --diagnose never --json {full}/a.json",
    "benchmark": "benchmark {model} --runs 3 --seconds 0 --json {full}/a.json",
    "throughput": "throughput {model} {photos} --seconds 0.01 --json {full}/a.json",
    "selftest": "selftest {model} --json {full}/a.json",
    "check": "check {model} --board pi-5 --json {full}/a.json",
    "boards": "boards pi-5 --json {full}/a.json",
    "doctor": "doctor local --json {full}/a.json",
    "compare": "compare {model} {model} --images {photos} --json {full}/a.json",
    "relabel": "relabel {model} {labels} --out {full}/new.tflite",
    "outputs": "outputs {model} --images {photos} --out {full}/answers.npz",
    "watch into a folder": "watch {model} {photos} --headless --output {full}/answered",
    "watch into an image": "watch {model} {photo} --headless --output {full}/a.png",
    "watch --json": "watch {model} {photos} --headless --summary --json {full}/a.json",
    "runs --import": "runs --import {answer} --store {full}/runs.sqlite",
    "runs --json": "runs --store {tmp}/none.sqlite --json {full}/a.json",
    "report": "report {answer} --format md --out {full}/report.md",
}


@pytest.mark.parametrize("line", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_command_that_writes_to_a_full_disk_fails_in_one_line(
    line: str, full: Path, tiny_int8_artefact: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer, labels = tmp_path / "answer.json", tmp_path / "labels.txt"
    labels.write_text("one\ntwo\nthree\nfour\n", encoding="utf-8")
    if "{answer}" in line:
        assert main(["check", str(tiny_int8_artefact), "--board", "pi-5", "--json", str(answer)]) == 0
    places = {"model": tiny_int8_artefact, "photos": photos, "photo": next(photos.rglob("*.png")), "full": full}
    capsys.readouterr()
    code = main([word.format(**places, answer=answer, labels=labels, tmp=tmp_path) for word in line.split()])
    said = [text for text in capsys.readouterr().err.splitlines() if text.startswith("edgekit: error:")]
    assert code == 2
    assert len(said) == 1
    assert str(full) in said[0]
    assert left_in(full) in ([], ["runs.sqlite"])
    assert all(path.stat().st_size == 0 for path in full.rglob("*") if path.is_file() and path.name != FILLER)


@needs_opencv
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_watch_does_not_report_frames_that_are_not_in_its_video(
    suffix: str, full: Path, tiny_int8_artefact: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", str(tiny_int8_artefact), str(photos), "--headless", "--output", f"{full}/out{suffix}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{full}/out{suffix}: " in said
    assert left_in(full) == []


@needs_opencv
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_video_holds_what_was_written_before_the_disk_was_full(suffix: str, disk: Disk) -> None:
    from edge.live.frame_output import VideoOutput

    path = disk("4m") / f"out{suffix}"
    output = VideoOutput(path, 10.0, live=False)
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    written = 0
    with pytest.raises(OutputError, match=r"the disk is full .* after \d+ frames"):
        for index in range(1000):
            output.write(Frame(index=index, captured_at=0.0), noise)
            written += 1
    output.close()
    assert written > 10
    assert sum(frame.pixels is not None for frame in open_source(path)) == written


@needs_opencv
def test_a_video_whose_disk_fails_unseen_says_how_much_of_it_is_there(tmp_path: Path) -> None:
    """A limit on the size of files is not seen in the free space; nor is a quota."""
    script = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from edge.errors import OutputError
from edge.live.frame_output import VideoOutput
from edge.live.frames import Frame
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
output = VideoOutput(Path(sys.argv[1]), 10.0, live=False)
for index in range(100):
    output.write(Frame(index=index, captured_at=0.0), np.random.default_rng(index).integers(0, 255, (240, 320, 3)).astype(np.uint8))
try:
    output.close()
except OutputError as error:
    print(error)
"""
    for suffix in (".mp4", ".mkv", ".avi"):
        path = tmp_path / f"out{suffix}"
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
        )
        assert f"{path}: holds " in done.stdout and "of 100 frames" in done.stdout, (suffix, done.stderr)


def test_a_validation_without_space_for_its_results_fails_in_one_line(
    disk: Disk, tiny_int8_artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = disk("64k")
    for number in range(600):
        (tmp_path / "many").mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), number % 256, np.uint8)).save(tmp_path / "many" / f"{number}.png")
    monkeypatch.setenv("EDGEKIT_HOME", str(place))
    (place / FILLER).write_bytes(bytes(52 << 10))
    line = ["validate", str(tiny_int8_artefact), "--images", str(tmp_path / "many"), "--unlabelled"]
    assert main([*line, "--reference", str(tiny_int8_artefact)]) == 2
    said = [text for text in capsys.readouterr().err.splitlines() if text.startswith("edgekit: error:")]
    assert len(said) == 1
    assert "the results so far cannot be kept (No space left on device)" in said[0]
    assert "EDGEKIT_HOME" in said[0]
    (place / FILLER).unlink()  # some space, and the same command goes on
    assert main([*line, "--reference", str(tiny_int8_artefact)]) == 0


def test_a_full_cache_only_keeps_a_validation_from_being_resumed(
    full: Path, tiny_int8_artefact: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(full))
    assert main(["validate", str(tiny_int8_artefact), "--images", str(photos), "--diagnose", "never"]) == 0
    assert "this run cannot be resumed" in capsys.readouterr().err


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_output_on_a_full_disk_is_told(unbuffered: str, full: Path, tiny_int8_artefact: Path) -> None:
    with open(full / FILLER, "ab") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "edge", "inspect", str(tiny_int8_artefact)],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=stream,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("edgekit: error: standard output: cannot be written (No space left on device)")
    assert done.stderr.count("\n") == 1


def test_commands_for_a_vehicle_on_a_full_disk_are_an_error_in_one_line(full: Path) -> None:
    with pytest.raises(OutputError, match=r"commands.csv: cannot be written \(No space left on device\)"):
        CsvCommands(full / "commands.csv", ["steering"])
    (full / FILLER).unlink()
    with (
        pytest.raises(OutputError, match=r"commands.csv: cannot be written \(No space left on device\)"),
        CsvCommands(full / "commands.csv", ["steering"]) as send,
    ):
        for _ in range(10_000):
            send(Command(values={"steering": 0.25}, given_at=1.0))


def test_a_job_summary_on_a_full_disk_is_an_error_in_one_line(
    full: Path, tiny_int8_artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(tiny_int8_artefact), "--board", "pi-5", "--json", str(tmp_path / "a.json")]) == 0
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(full / "summary.md"))
    capsys.readouterr()
    assert main(["report", str(tmp_path / "a.json")]) == 2
    assert "GITHUB_STEP_SUMMARY names it" in capsys.readouterr().err
