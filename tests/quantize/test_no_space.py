"""What quantizes, trains, explains and imports, on real file systems that are full: one line, nothing half-written, old files kept."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import slim_graph
from benchmarks.slim_graph import Recipe
from edge.cli import main
from edge.errors import OutputError
from quantize.analyse.mixed_workers import Work, Workers
from tests.conftest import FILLER, Disk, left_in

pytestmark = pytest.mark.converts

LABELS = ("bird", "cat", "dog", "fish")
FLAGS = "--preprocess inception --store none"
OLD = b"what was there before"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of two layers, twelve photos to train and twelve to validate, a slim graph, and the network's files."""
    import keras

    folder = tmp_path_factory.mktemp("no-space")
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image))
    keras.Model(image, keras.layers.Dense(4, activation="softmax", name="p")(x), name="tiny").save(folder / "tiny.keras")
    noise = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in LABELS:
            (folder / part / label).mkdir(parents=True)
            for number in range(3):
                pixels = noise.integers(0, 255, (32, 32, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / label / f"{part}-{label}-{number}.png")
    slim_graph.write_frozen(Recipe(height=155, width=139, thinner=8, blocks=(1, 1, 1), classes=5), folder / "slim.pb")
    words = f"quantize {folder}/tiny.keras --images {folder}/train --variants float32,int8 --out {folder}/made {FLAGS}"
    assert main(words.split()) == 0
    return folder


@pytest.fixture
def temporary_files(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A full TMPDIR; whoever looks for a place finds it, as a file of a few bytes still fits."""
    found = disk("256k")
    (found / FILLER).write_bytes(bytes(shutil.disk_usage(found).free - 4096))
    monkeypatch.setenv("TMPDIR", str(found))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield found
    tempfile.tempdir = None


def leave(disk: Path, free: int) -> None:
    (disk / FILLER).write_bytes(bytes(shutil.disk_usage(disk).free - free))


QUANTIZE = "quantize {place}/tiny.keras --images {place}/train --variants float32 " + FLAGS
TUNE = "tune {place}/tiny.keras --images {place}/train --validation {place}/test --max-drop 0.9 " + FLAGS
FILES = "{place}/made/tiny.int8.tflite --reference {place}/made/tiny.float32.tflite"
EXPLAIN = f"explain {FILES} --images {{place}}/test --no-blocks --store none"
QAT = "qat {place}/tiny.keras --images {place}/train --validation {place}/test --epochs 1 --batch-size 8 " + FLAGS
IMPORT = "import {place}/slim.pb --name slim --store none"

# command, its line, how many bytes are left, and the file that is told of
COMMANDS = {
    "quantize": (QUANTIZE + " --out {disk}", 4096, "tiny.float32.tflite"),
    "quantize --json": (QUANTIZE + " --out {tmp} --json {disk}/a.json", 0, "a.json"),
    "tune": (TUNE + " --out {disk}", 4096, "tiny.tuned.tflite"),
    "explain": (EXPLAIN + " --json {disk}/a.json", 0, "a.json"),
    "qat, its first file": (QAT + " --out {disk}", 8192, "tiny.int8.tflite"),
    "qat, its state": (QAT + " --out {disk}", 80_000, "state.npz"),
    "import": (IMPORT + " --out {disk}", 20_000, "slim.keras"),
}


@pytest.mark.parametrize(("line", "free", "told"), COMMANDS.values(), ids=COMMANDS.keys())
def test_a_command_whose_disk_is_full_keeps_what_was_there(
    line: str,
    free: int,
    told: str,
    place: Path,
    disk: Disk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    small = disk("256k")
    if told != "state.npz":
        (small / told).write_bytes(OLD)
    leave(small, free)
    assert main([word.format(place=place, disk=small, tmp=tmp_path) for word in line.split()]) == 2
    said = [text for text in capsys.readouterr().err.splitlines() if text.startswith("edgekit: error:")]
    assert len(said) == 1
    assert f"{told}: cannot be written (No space left on device)" in said[0]
    assert not [name for name in left_in(small) if Path(name).name.startswith(".") or name.endswith("state.npz")]
    if told != "state.npz":
        assert left_in(small) == [told]
        assert (small / told).read_bytes() == OLD


@pytest.mark.parametrize("free", [4096, 60_000], ids=["unpacking the weights", "writing the SavedModel"])
def test_a_quantization_whose_temporary_files_find_no_space(
    free: int, place: Path, temporary_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (temporary_files / FILLER).unlink()
    leave(temporary_files, free)
    assert main([word.format(place=place) for word in f"{QUANTIZE} --out {tmp_path}/out".split()]) == 2
    said = capsys.readouterr().err
    errors = [text for text in said.splitlines() if "error" in text.lower()]
    assert len(errors) == 1
    assert errors[0].startswith("edgekit: error:")
    assert str(temporary_files) in errors[0] and "No space left on device" in errors[0]
    assert "damaged" not in said and "Traceback" not in said
    assert left_in(temporary_files) == []
    assert not (tmp_path / "out").exists() or not os.listdir(tmp_path / "out")


def test_an_explanation_whose_network_cannot_be_unpacked(
    place: Path, temporary_files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(place=place) for word in (EXPLAIN + " --keras {place}/tiny.keras").split()]) == 2
    assert f"unpacked into {temporary_files} (TMPDIR): cannot be written (No space left on device)" in capsys.readouterr().err
    assert left_in(temporary_files) == []


def test_workers_whose_temporary_files_find_no_space(temporary_files: Path) -> None:
    """NumPy's error has no number and does not say why."""
    tensors = [np.zeros((1, 64, 64, 3), np.float32)]
    work = Work(calibrated=b"", per_channel=True, tensors=tensors, reference=[], compared={})
    with pytest.raises(OutputError, match=r"cannot be written .*set TMPDIR"), Workers(work, files=8, size=2):
        pass
    assert left_in(temporary_files) == []


def test_a_cache_that_is_full_is_told_by_tune(
    place: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = disk("64k")
    leave(home, 4096)
    monkeypatch.setenv("EDGEKIT_HOME", str(home))
    assert main([word.format(place=place) for word in f"{TUNE} --out {tmp_path}".split()]) == 2
    said = [text for text in capsys.readouterr().err.splitlines() if text.startswith("edgekit: error:")]
    assert len(said) == 1
    assert str(home) in said[0] and "No space left on device" in said[0]
    assert left_in(home) == []
