"""From frames to the values that a vehicle is told: the model's side of the drive loop, and the example as a user starts it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edge
from edge.artefact.contract import Contract, ExtraInput, InputSpec, OutputSpec, Quantization
from edge.errors import ContractError, OutputError, UsageError
from edge.live.drive import Command, CsvCommands
from edge.live.frame_model import History, numbers_of, predictor, window_of
from edge.live.frames import open_source
from edge.runtime.golden import pattern

MakeContract = Callable[..., Contract]
PackArtefact = Callable[..., Path]
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "frames"
    path.mkdir()
    for number in range(5):
        Image.fromarray(pattern(f"noise-{number}", 48, 64)).save(path / f"{number}.jpg")
    (path / "2.jpg").write_bytes(b"\xff\xd8\xff broken")
    return path


def test_the_values_of_a_model_go_by_the_names_of_its_outputs(tiny_frames_artefact: Path, folder: Path) -> None:
    model = edge.load(tiny_frames_artefact)
    assert window_of(model.contract) == 3
    frames = [frame for frame in open_source(folder) if frame.pixels is not None][:3]
    expected = model.predict([frame.pixels for frame in frames if frame.pixels is not None])
    assert predictor(model)(frames) == {"steering": pytest.approx(float(expected["steering"][0]))}


def test_outputs_with_several_values_are_named_by_label_or_number(tiny_contract: MakeContract) -> None:
    outputs = (
        OutputSpec(name="wheels", kind="regression", labels=("left", "right")),
        OutputSpec(name="path", kind="regression"),
        OutputSpec(name="throttle", kind="regression"),
        OutputSpec(name="seen", kind="features"),
    )
    values = {"wheels": [1, 2], "path": [3, 4], "throttle": [5], "seen": [6, 7]}
    arrays = {name: np.array(each, np.float32) for name, each in values.items()}
    found = numbers_of(tiny_contract(outputs=outputs), arrays)
    assert found == {"left": 1.0, "right": 2.0, "path[0]": 3.0, "path[1]": 4.0, "throttle": 5.0}


def test_a_model_without_regression_outputs_cannot_drive(tiny_int8_artefact: Path) -> None:
    with pytest.raises(ContractError, match=r"no regression output to drive with, only probabilities"):
        predictor(edge.load(tiny_int8_artefact))


@pytest.fixture(scope="module")
def history_artefact(pack: PackArtefact) -> Path:
    """A float artefact of a picture and the last four steering values; it answers with their mean plus a little of the picture."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(3)
    image = keras.Input((24, 24, 3), batch_size=1, name="image")
    past = keras.Input((4,), batch_size=1, name="past_steering")
    seen = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(image))
    remembered = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(0.25))(past)
    network = keras.Model([image, past], keras.layers.Add()([seen, remembered]))
    # A function with the inputs in the contract's order, and under their names; from_keras_model changes both.
    function = tf.function(lambda image, past_steering: network([image, past_steering]))
    shapes = [tf.TensorSpec((1, 24, 24, 3), tf.float32, name="image"), tf.TensorSpec((1, 4), tf.float32, name="past_steering")]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function(*shapes)])
    contract = Contract(
        name="history",
        input=InputSpec(width=24, height=24),
        outputs=(OutputSpec(name="steering", kind="regression"),),
        extra_inputs=(ExtraInput(name="past_steering", shape=(4,)),),
        quantization=Quantization(),
    )
    return pack(bytes(converter.convert()), contract, "history.float32.tflite")


def test_a_model_with_history_gets_it_with_every_frame(history_artefact: Path, folder: Path) -> None:
    model = edge.load(history_artefact)
    with pytest.raises(ContractError, match="it takes past_steering beside the picture"):
        predictor(model)
    history = History(4, ["steering"])
    predict = predictor(model, extra=lambda: {"past_steering": history["steering"]})
    frame = next(iter(open_source(folder)))
    before = predict([frame])["steering"]
    history.add({"steering": 2.0, "throttle": 9.0})
    assert predict([frame])["steering"] == pytest.approx(before + 0.5, abs=1e-5)


def test_a_history_keeps_the_last_values_the_oldest_first() -> None:
    history = History(3, ["speed", "steering"], fill=-1.0)
    assert history["speed"].tolist() == [-1.0, -1.0, -1.0]
    for value in range(5):
        history.add({"speed": value, "steering": -value})
    assert history["speed"].tolist() == [2.0, 3.0, 4.0]
    assert history["steering"].dtype == np.float32
    with pytest.raises(UsageError, match="needs steering too"):
        history.add({"speed": 1.0})
    with pytest.raises(UsageError, match="a history of 0 steps"):
        History(0, ["speed"])


def test_commands_are_in_the_file_as_soon_as_they_are_given(tmp_path: Path) -> None:
    path = tmp_path / "commands.csv"
    with CsvCommands(path, ["steering"]) as send:
        send(Command(values={"steering": 0.0}, given_at=1.0, reason="start"))
        send(Command(values={"steering": 0.123456789}, given_at=1.05, frame=3, age_ms=12.34))
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    assert rows == [
        ["given_at_s", "frame", "age_ms", "reason", "steering"],
        ["1.0000", "", "", "start", "0"],
        ["1.0500", "3", "12.3", "", "0.123457"],
    ]
    with pytest.raises(OutputError, match="choose another place"):
        CsvCommands(tmp_path, ["steering"])


# the example


def arguments(*words: str | Path) -> list[str]:
    return [sys.executable, str(REPOSITORY / "examples" / "driving" / "drive.py"), *map(str, words)]


ENVIRONMENT: Mapping[str, str] = os.environ | {"PYTHONPATH": str(REPOSITORY)}


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments(*words), env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)


def test_the_example_drives_along_a_folder(tiny_frames_artefact: Path, folder: Path, tmp_path: Path) -> None:
    commands, report = tmp_path / "commands.csv", tmp_path / "report.json"
    flags = ("--fps", "50", "--csv", commands, "--json", report, "--deadline-ms", "60000", "--safe", "steering=0.25")
    result = run(tiny_frames_artefact, folder, *flags)
    assert result.returncode == 0, result.stderr
    assert "frame age" in result.stdout
    with open(commands, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["reason"] for row in rows][:1] == ["start"]
    assert [row["reason"] for row in rows][-1:] == ["end"]
    assert rows[0]["steering"] == rows[-1]["steering"] == "0.25"
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    assert found["commands"] == len(rows) - 2
    assert found["commands"] + found["frames"]["dropped"] == 4
    assert found["frames"]["broken"] == 1


def test_the_example_gives_a_model_its_own_commands_back(history_artefact: Path, folder: Path) -> None:
    result = run(history_artefact, folder, "--fps", "50", "--deadline-ms", "60000", "--limit", "steering=0.5:0.5")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "steering +0.500  " in result.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "Give --fps"),
        (("--fps", "10", "--safe", "brake=1"), "brake: the model gives steering"),
        (("--fps", "10", "--limit", "steering=1:-1"), "limit of steering: 1.0 to -1.0"),
        (("--fps", "10", "--deadline-ms", "0"), "a deadline of 0.0 s"),
    ],
)
def test_the_example_says_what_is_wrong_in_one_line(
    tiny_frames_artefact: Path, folder: Path, flags: tuple[str, ...], words: str
) -> None:
    result = run(tiny_frames_artefact, folder, *flags)
    assert result.returncode == 1
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_example_with_the_safe_command(tiny_frames_artefact: Path, folder: Path, name: str) -> None:
    words = (tiny_frames_artefact, folder, "--fps", "0.01", "--deadline-ms", "60000")
    process = subprocess.Popen(arguments(*words), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "steering +0.000  safe: start\n"
    assert process.stdout.readline().endswith(" ms old\n")
    process.send_signal(getattr(signal, name))
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert rest.splitlines()[0] == "steering +0.000  safe: end"
    assert errors == ""
