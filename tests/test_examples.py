"""Every example runs, as a user would start it, on a small case."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edge

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))

pytestmark = pytest.mark.slow


def run(example: str, *arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, REPOSITORY / "examples" / example, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=1700,  # a hang; a busy machine is none
        check=False,
    )


@pytest.fixture(scope="module")
def two_classes(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two-classes")
    for part in ("train", "test"):
        for label in ("0", "1"):
            shutil.copytree(few_digits / part / label, folder / part / label)
    return folder


def test_all_examples_are_tested_and_short() -> None:
    assert [path.name for path in EXAMPLES] == ["quickstart.py", "transfer_learning.py"]
    assert len((REPOSITORY / "examples" / "quickstart.py").read_text(encoding="utf-8").splitlines()) <= 45


def test_quickstart(trained_network: Path, few_digits: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for image in sorted(few_digits.glob("*/*/*.png"))[::4]:
        (photos / image.relative_to(few_digits)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, photos / image.relative_to(few_digits))
    result = run("quickstart.py", trained_network, photos / "train", photos / "test", folder=tmp_path)
    # 20 images cannot prove a drop of at most one point, so the verdict is not "pass": exit code 1, and a report either way.
    assert result.returncode in (0, 1), result.stderr
    assert "Traceback" not in result.stderr
    assert len(list(tmp_path.glob("*.int8.tflite"))) == 1
    assert len(list(tmp_path.glob("*.float32.tflite"))) == 1
    answers = [line for line in result.stdout.splitlines() if line.startswith(str(photos / "test"))]
    assert len(answers) == 3
    assert 0.0 <= float(answers[0].split()[-1]) <= 1.0


def test_transfer_learning_from_a_weights_file(two_classes: Path, tmp_path: Path) -> None:
    weights = tmp_path / "backbone.weights.h5"
    make = (
        "import keras\n"
        "network = keras.applications.InceptionResNetV2(\n"
        "    include_top=False, weights=None, input_shape=(75, 75, 3), pooling='avg')\n"
        f"network.save_weights({str(weights)!r})\n"
    )
    subprocess.run([sys.executable, "-c", make], check=True, timeout=900, capture_output=True)
    arguments = ("--weights", weights, "--size", "75", "--epochs", "1", "--fine-tune", "1", "--out", "out")
    result = run("transfer_learning.py", two_classes, *arguments, folder=tmp_path)
    assert result.returncode in (0, 1), result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model.float32.tflite",
        "model.int8.tflite",
        "model.keras",
    ]


def test_transfer_learning_with_a_wrong_weights_file_says_so(two_classes: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.weights.h5"
    result = run("transfer_learning.py", two_classes, "--weights", missing, "--size", "75", "--out", "out", folder=tmp_path)
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].endswith("expected imagenet, none, or a weights file of the headless network")


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up recording: stripes that move to the left where it is steered to the right; the key pressed is a folder."""
    folder = tmp_path_factory.mktemp("drive")
    x = np.arange(96)[np.newaxis, :, np.newaxis] + np.zeros((48, 1, 3))
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["part", "file", "key", "steering", "throttle", "brake", "speed"])
        for part, minute in (("train", 10), ("test", 20)):
            seen = 0.0
            (folder / part / "W").mkdir(parents=True)
            for number in range(24):
                steering = float(np.sin(number / 2 + minute))
                seen += 4 * steering
                file = f"center_2020_07_17_13_{minute}_{number // 10:02d}_{number % 10}00.jpg"
                pixels = (127 + 100 * np.sin((x + seen) / 5)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / "W" / file)
                writer.writerow([part, file, "W", f"{steering:.3f}", "0.5", "0", f"{20 + number}"])
    return folder


def test_driving_from_a_recording_to_an_int8_file_that_drives(drive: Path, tmp_path: Path) -> None:
    steps = ("--front", "1", "--heads", "1", "--tail", "1", "--fine-tune", "1", "--limit", "20", "--held-out", "0.2")
    targets = ("--reaction", "2", "--smooth", "1", "--size", "75x80", "--ranges", "converter")
    result = run(
        "driving/train.py", drive, "--backbone", "none", "--frames", "3", *steps, *targets, "--out", "bot", folder=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "20 frames to train on, 20 to test on; 3 seen at once" in result.stdout
    assert result.stdout.count("R2 on test: steering") == 4
    assert "output steering (regression):" in result.stdout
    made = tmp_path / "bot"
    assert {path.name for path in made.iterdir()} >= {
        "bot.keras",
        "train.csv",
        "test.csv",
        "bot.float32.tflite",
        "bot.int8.tflite",
    }
    model = edge.load(made / "bot.int8.tflite")
    assert (model.contract.input.frames, model.contract.input.fit) == (3, "crop")
    assert (model.contract.input.height, model.contract.input.width) == (75, 80)
    with open(made / "test.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    # The first frame has no past: it stands for it, as in the drive loop.
    assert [len(set(row["path"].split(";"))) for row in rows[:3]] == [1, 2, 3]
    commands = tmp_path / "commands.csv"
    arguments = (made / "bot.int8.tflite", drive / "test" / "W", "--fps", "10", "--csv", commands)
    result = run("driving/drive.py", *arguments, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(commands.read_text(encoding="utf-8").splitlines()) > 1
