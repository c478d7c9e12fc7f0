"""Whole ships of a small trained network, by the command line: what is done, what is not done again, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import queue
import re
import shlex
import signal
import subprocess
import threading
import zipfile
from pathlib import Path
from typing import IO

import pytest

from edge.cli import build_parser, main
from edge.system import child
from quantize.shipping import lock, steps
from quantize.shipping.request import Request
from tests.quantize.shipping.words import OUT, SHIP

pytestmark = pytest.mark.converts
STEP = re.compile(r"^\[\d+/\d+\] (edgekit .*)$", flags=re.MULTILINE)


def lines_of(said: str) -> list[str]:
    """The command lines that were shown before they were run."""
    return STEP.findall(said)


def left_in(folder: Path) -> dict[str, tuple[int, int]]:
    """Each file with its size and time, but for the lock, which every ship writes its number into."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != lock.FILE)
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def ship(capfd: pytest.CaptureFixture[str], *more: str) -> tuple[int, str, str]:
    code = main([*SHIP, *more])
    said = capfd.readouterr()
    return code, said.out, said.err


def start(*more: str) -> subprocess.Popen[str]:
    """A ship in a process and a session of its own: a signal to it reaches nobody else."""
    words = child.module_command("edge.cli", *SHIP, *more)
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)


def read_until(stream: IO[str] | None, what: str) -> str:
    assert stream is not None
    read = ""
    for line in stream:
        read += line
        if what in line:
            return read
    raise AssertionError(f"{what!r} never came: {read}")


def read_all(descriptor: int) -> str:
    """Everything that a terminal says until nobody has it open any more."""
    read = b""
    with contextlib.suppress(OSError):  # Linux' way to say that it is closed
        while piece := os.read(descriptor, 65536):
            read += piece
    os.close(descriptor)
    return read.decode()


def test_the_first_ship_makes_proves_and_reports(first_ship: Path) -> None:
    found = json.loads((first_ship / "shipped.json").read_text())
    assert found["verdict"] == "pass"
    assert found["shipped"] == str(OUT / "small.int8.tflite")
    assert (first_ship / found["shipped"]).exists() and (first_ship / found["report"]).exists()
    assert [step["name"] for step in found["steps"]] == ["quantize", "validate int8", "report"]
    assert not any(step["as_before"] for step in found["steps"])
    validation = json.loads((first_ship / OUT / "runs/validate.int8.json").read_text())
    assert validation["verdict"] == "pass" and validation["images"] == 797
    assert f"loses at most {100 * validation['drop']['ci95'][1]:.2f} points of top-1" in found["sentence"]


def test_each_step_is_a_line_that_one_can_type(first_ship: Path) -> None:
    for step in json.loads((first_ship / "shipped.json").read_text())["steps"]:
        edgekit, *words = shlex.split(step["line"])
        assert edgekit == "edgekit"
        build_parser(words[0]).parse_args(words)


def test_nothing_is_done_again(shipped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = left_in(OUT)
    code, said, _ = ship(capfd)
    assert code == 0
    assert lines_of(said) == []
    assert said.count("as before: ") == 3
    assert said.rstrip().splitlines()[-1].startswith("pass: small.shipped/small.int8.tflite loses at most ")
    assert left_in(OUT) == before


def test_another_test_photo_repeats_the_validation_and_not_the_quantization(
    shipped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    models = {path: found for path, found in left_in(OUT).items() if path.endswith(".tflite")}
    next(iter(sorted(Path("photos/test/3").iterdir()))).unlink()
    code, said, _ = ship(capfd)
    assert code == 0
    assert [line.split()[1] for line in lines_of(said)] == ["validate", "report"]
    assert {path: found for path, found in left_in(OUT).items() if path.endswith(".tflite")} == models
    assert json.loads((OUT / "runs/validate.int8.json").read_text())["images"] == 796


def test_another_limit_repeats_the_validation_only(shipped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _, said, _ = ship(capfd, "--max-drop", "0.02")
    assert [line.split()[1] for line in lines_of(said)] == ["validate", "report"]


@pytest.mark.parametrize("file", ["small.int8.tflite", "small.float32.tflite", "runs/quantize.json"])
def test_what_is_gone_or_changed_is_made_again(file: str, shipped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (OUT / file).unlink()
    _, said, _ = ship(capfd, "--dry-run")
    assert said.splitlines()[1].startswith(" 1. edgekit quantize small.keras")
    assert "as before" not in said


def test_an_answer_that_was_changed_is_asked_for_again(shipped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place = OUT / "runs/validate.int8.json"
    right = json.loads(place.read_text())
    place.write_text(json.dumps({**right, "verdict": "fail"}))
    code, said, _ = ship(capfd)
    assert code == 0
    assert "validate" in [line.split()[1] for line in lines_of(said)]
    assert json.loads(place.read_text())["verdict"] == "pass"


def test_a_dry_run_writes_nothing(shipped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = left_in(shipped)
    code, said, _ = ship(capfd, "--dry-run", "--out", "elsewhere", "--board", "local", "--allow", "tune")
    assert code == 0
    assert left_in(shipped) == before
    assert not Path("elsewhere").exists()
    shown = [line.partition(". ")[2].split()[1] for line in said.splitlines()[1:]]
    assert shown == ["doctor", "quantize", "validate", "benchmark", "validate", "status", "deploy", "report"]


def test_a_limit_that_nothing_can_pass_ends_with_1_and_advice(shipped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, said, warned = ship(capfd, "--max-drop", "0.001", "--json", "answer.json")
    assert code == 1
    found = json.loads(Path("answer.json").read_text())
    assert found["verdict"] == "undecided" and found["shipped"] is None and found["exit_code"] == 1
    assert said.rstrip().splitlines()[-1] == found["sentence"]
    assert "797 photos in --test are too few to prove a drop of at most 0.1 points" in warned
    assert f"what may help: {found['advice'][0]['why']}" in said


def test_a_ship_that_is_killed_ends_its_step_and_goes_on(shipped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with start("--out", "new") as process:
        read_until(process.stderr, "convert to float32 ...")
        process.kill()
        assert process.stderr is not None
        rest = process.stderr.read()  # to its end: the step's process has it open too
    assert "edgekit: ended by SIGTERM; nothing half-written is left behind" in rest
    assert not list(Path("new").rglob("*.tflite"))
    code, said, _ = ship(capfd, "--out", "new")
    assert code == 0
    assert [line.split()[1] for line in lines_of(said)] == ["quantize", "validate", "report"]
    assert not list(Path("new").rglob("*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [False, True])
def test_training_goes_on_inside_itself(damaged: bool, shipped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = ("--max-drop", "0.001", "--allow", "qat")
    with start(*flags) as process:
        read_until(process.stderr, "train: epoch 2: ")
        process.kill()
        assert process.stderr is not None
        process.stderr.read()
    if damaged:
        (OUT / "qat/small.qat/state.npz").write_bytes(b"no state")
    _, said, told = ship(capfd, *flags)
    lines = [line for line in lines_of(said) if line.startswith("edgekit qat ")]
    assert [line.endswith(" --resume") for line in lines] == ([True, False] if damaged else [True])
    assert ("train: epoch 1: " in told) == damaged and "train: epoch 5: " in told
    assert lines_of(ship(capfd, *flags)[1]) == []


@pytest.mark.slow
def test_a_rescue_that_refuses_the_network_ends_nothing(shipped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = ("--profile", "pi-4b", "--max-ms", "0.0001", "--allow", "shrink")  # no network of this kind is as fast
    code, said, told = ship(capfd, *flags)
    assert code == 1 and "are out of reach" in told
    assert [line.split()[1] for line in lines_of(said)] == ["check", "shrink", "report"]
    assert said.rstrip().splitlines()[-1].startswith("fail: small.shipped/small.int8.tflite loses at most ")
    assert lines_of(ship(capfd, *flags)[1]) == []


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_ends_the_step_too(
    sent: signal.Signals, code: int, shipped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with start("--out", "new") as process:
        read_until(process.stderr, "convert to float32 ...")
        process.send_signal(sent)
        assert process.stderr is not None
        rest = process.stderr.read()
        assert process.wait() == code
    # The step's process says so, and the ship behind it.
    assert rest.count("nothing half-written is left behind") == 2
    assert "what is done so far is kept; the same command goes on from here" in rest
    assert {path.name for path in Path("new").rglob("*") if path.is_file()} == {"ship.json", lock.FILE}
    assert ship(capfd, "--out", "new", "--dry-run")[1].splitlines()[1].startswith(" 1. edgekit quantize")


def test_on_a_terminal_it_shows_the_steps_and_asks_once(shipped: Path) -> None:
    (OUT / "runs/validate.int8.json").unlink()
    before = left_in(OUT)
    ours, theirs = pty.openpty()
    with subprocess.Popen(child.module_command("edge.cli", *SHIP), stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, b"n\n")
        said = read_all(ours)
    assert process.returncode == 0
    assert "the steps, if each goes well:" in said and " 1. as before: quantize (" in said and " 2. edgekit validate " in said
    assert said.count("Go on? [Y/n]") == 1 and said.rstrip().endswith("nothing was done")
    assert left_in(OUT) == before


def test_json_alone_goes_to_standard_output(shipped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (OUT / "runs/validate.int8.json").unlink()
    code, said, told = ship(capfd, "--json", "-")
    assert code == 0
    assert json.loads(said)["verdict"] == "pass"
    assert "[2/3] edgekit validate" in told and "same first answer" in told


def test_it_is_remembered_as_one_run(shipped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert ship(capfd, "--store", "runs.db")[0] == 0
    assert main(["runs", "--store", "runs.db", "--json", "-"]) == 0
    (run,) = json.loads(capfd.readouterr().out)["runs"]
    assert run["command"] == "ship" and run["summary"].startswith("pass: small.shipped/small.int8.tflite loses at most")
    assert [artefact["file"] for artefact in run["artefacts"]] == [str(OUT / "small.int8.tflite")]


def test_the_last_step_of_one_that_was_killed_is_waited_for(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    said, done = queue.SimpleQueue[str](), queue.SimpleQueue[str]()

    def second() -> None:
        with lock.locked(tmp_path, said.put):
            done.put((tmp_path / lock.FILE).read_text())

    with lock.locked(tmp_path, print):
        (tmp_path / lock.FILE).write_text(str(gone.pid))
        thread = threading.Thread(target=second)
        thread.start()
        assert said.get(timeout=60) == f"waiting for the last step of process {gone.pid}, which was killed"
        assert done.empty()
    assert done.get(timeout=60) == str(os.getpid())
    thread.join()


def test_states_lie_where_the_commands_keep_them() -> None:
    from quantize.qat import state
    from quantize.shrinking import search

    request = Request(model="net.keras", train="train", test="test", out="out", name="net")
    assert steps.qat(request).state == f"out/qat/net.qat/{state.FILE}"
    assert steps.shrink(request, None, None).state == f"out/shrink/net.shrunk/{search.FILE}"


def test_one_at_a_time_in_a_folder(shipped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = left_in(OUT)
    with lock.locked(OUT, print):
        code, said, error = ship(capfd)
    assert code == 2 and said == ""
    assert re.fullmatch(r"edgekit: error: small\.shipped: another edgekit ship works there \(process \d+\); .*\n", error)
    assert left_in(OUT) == before
    assert ship(capfd)[0] == 0


def test_a_step_that_fails_ends_the_ship_with_its_code_and_line(shipped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # What it says of itself is in order, and its weights are none: the step finds that out.
    with zipfile.ZipFile("small.keras") as archive:
        config = archive.read("config.json")
    with zipfile.ZipFile("small.keras", "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", b"no weights at all")
    code, said, error = ship(capfd)
    assert code == 2
    own, last = error.rstrip().splitlines()[-2:]
    assert own.startswith("edgekit: error: small.keras")
    assert last.startswith("edgekit: error: step [1/3] ended with exit code 2, and its last line above says why;")
    assert last.endswith(f"The step alone: {lines_of(said)[0]}")
