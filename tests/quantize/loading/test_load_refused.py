"""What cannot be loaded: one clear line that names the file, its size or the layer, and no traceback."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantize
from quantize import LoadError
from quantize.quiet import import_keras, import_tf_keras, quiet

OUTPUTS = {"steering": "regression"}


def save(model: Any, path: Path) -> Path:
    with quiet():
        model.save(path)
    return path


def write_truncated(source: Path, target: Path, share: float) -> Path:
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``bot.keras``, ``bot.h5`` and the SavedModel ``bot``: a nested backbone, one output of class scores, one measured."""
    keras = import_keras()
    folder = tmp_path_factory.mktemp("saved")
    with quiet():
        inside = keras.Input((24, 32, 3))
        backbone = keras.Model(inside, keras.layers.BatchNormalization()(keras.layers.Conv2D(8, 3)(inside)), name="backbone")
        image = keras.Input((24, 32, 3))
        x = keras.layers.GlobalAveragePooling2D()(backbone(keras.layers.Rescaling(1 / 127.5, offset=-1)(image)))
        answers = [keras.layers.Dense(4, activation="softmax", name="kind")(x), keras.layers.Dense(1, name="steering")(x)]
        model = keras.Model(image, answers, name="bot")
        model.save(folder / "bot.keras")
        model.save(folder / "bot.h5")
        model.export(folder / "bot")
    return folder


def make_pickle(folder: Path) -> Path:
    (folder / "model.keras").write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
    return folder / "model.keras"


def make_torch(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "model.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
    return folder / "model.pt"


def make_empty(folder: Path) -> Path:
    (folder / "model.h5").touch()
    return folder / "model.h5"


def make_tflite(folder: Path) -> Path:
    (folder / "model.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    return folder / "model.tflite"


def make_pointer(folder: Path) -> Path:
    (folder / "model.keras").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 219000000\n")
    return folder / "model.keras"


def make_text(folder: Path) -> Path:
    (folder / "model.json").write_text('{"class_name": "Functional"}')
    return folder / "model.json"


def make_folder(folder: Path) -> Path:
    (folder / "model").mkdir()
    (folder / "model" / "variables.index").write_bytes(b"x")
    return folder / "model"


def make_damaged_graph(folder: Path) -> Path:
    (folder / "model").mkdir()
    (folder / "model" / "saved_model.pb").write_bytes(b"\xff" * 1000)
    return folder / "model"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_pickle, ("pickle", "bytes")),
        (make_torch, ("zip without config.json", "archive/data.pkl")),
        (make_empty, ("0 bytes",)),
        (make_tflite, (".tflite already", "108 bytes")),
        (make_pointer, ("Git LFS pointer", "bytes")),
        (make_text, ("text", "28 bytes")),
        (make_folder, ("no SavedModel",)),
        (make_damaged_graph, ("saved_model.pb is damaged, 1,000 bytes",)),
        (lambda folder: folder / "nowhere.keras", ("no such file",)),
    ],
)
def test_what_is_no_model(make: Callable[[Path], Path], words: tuple[str, ...], tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(LoadError) as caught:
        quantize.load(path, preprocess="inception")
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert all(word in message for word in words), message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("name", ["bot.keras", "bot.h5"])
def test_truncated_files_say_how_many_bytes_there_are(name: str, share: float, saved: Path, tmp_path: Path) -> None:
    path = write_truncated(saved / name, tmp_path / name, share)
    with pytest.raises(LoadError) as caught:
        quantize.load(path, outputs=OUTPUTS)
    assert f"{path.stat().st_size:,} bytes" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_saved_model(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved / "bot", tmp_path / "bot")
    variables = next((tmp_path / "bot" / "variables").glob("*.data*"))
    write_truncated(variables, variables, 0.5)
    with pytest.raises(LoadError, match="cannot load it"):
        quantize.load(tmp_path / "bot", outputs="regression")


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", ["bot.keras", "bot.h5"])
def test_flipped_bytes_load_or_are_refused_in_one_line(name: str, seed: int, saved: Path, tmp_path: Path) -> None:
    data = bytearray((saved / name).read_bytes())
    rng = np.random.default_rng(seed)
    for position in rng.integers(0, len(data), 20):
        data[position] ^= 1 << int(rng.integers(8))
    (tmp_path / name).write_bytes(data)
    try:
        source = quantize.load(tmp_path / name, outputs=OUTPUTS)
    except LoadError as error:
        assert "\n" not in str(error)
    else:
        assert source.input_shape == (24, 32, 3)  # only weights were hit


def test_models_that_no_board_can_be_given() -> None:
    keras: Any = import_keras()
    with quiet():
        left, right = keras.Input((24, 32, 3), name="left"), keras.Input((24, 32, 3), name="right")
        two = keras.Model([left, right], keras.layers.Add()([left, right]))
        vector = keras.Input((None, 10), name="vector")
        flat = keras.Model(vector, keras.layers.Dense(1)(vector))
        deep = keras.Input((24, 32, 4))
        four = keras.Model(deep, keras.layers.GlobalAveragePooling2D()(deep))
    with pytest.raises(LoadError, match=r"2 inputs of pictures \(left, right\)"):
        quantize.load(two)
    with pytest.raises(LoadError, match="'vector' leaves its size open"):
        quantize.load(flat, outputs="regression")
    with pytest.raises(LoadError, match="4 channels"):
        quantize.load(four, preprocess="raw")
    with pytest.raises(LoadError, match="int is no Keras model"):
        quantize.load(42)

    class Own(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(LoadError, match="never-built"):
        quantize.load(Own())


def test_two_inputs_in_files(tmp_path: Path) -> None:
    for keras in (import_keras(), import_tf_keras()):
        with quiet():
            one, two = keras.Input((8, 8, 3), name="one"), keras.Input((8, 8, 3), name="two")
            model = keras.Model([one, two], keras.layers.Add()([one, two]))
        for name in ("two.keras", "two.h5"):
            with pytest.raises(LoadError, match=r"2 inputs of pictures \(one, two\)"):
                quantize.load(save(model, tmp_path / name))


def test_outputs_that_the_last_layer_leaves_open_are_asked_for(saved: Path) -> None:
    with pytest.raises(LoadError, match=r"output 'steering' ends in a dense layer without activation.*--outputs"):
        quantize.load(saved / "bot.keras")
    with pytest.raises(LoadError, match="names 'angle', which the model does not have; its outputs are kind, steering"):
        quantize.load(saved / "bot.keras", outputs={"angle": "regression"})
    with pytest.raises(LoadError, match="expected one of probabilities"):
        quantize.load(saved / "bot.keras", outputs={"steering": "number"})
    with pytest.raises(LoadError, match="3 labels fit no output"):
        quantize.load(saved / "bot.keras", outputs=OUTPUTS, labels=["a", "b", "c"])
    with pytest.raises(LoadError, match="'a' is there twice"):
        quantize.load(saved / "bot.keras", outputs=OUTPUTS, labels=["a", "b", "c", "a"])
    labelled = quantize.load(saved / "bot.keras", outputs=OUTPUTS, labels={"kind": ["a", "b", "c", "d"]})
    assert labelled.contract.outputs[0].labels == ("a", "b", "c", "d")


@pytest.mark.thorough
def test_nothing_of_tensorflow_reaches_the_user(saved: Path) -> None:
    script = (
        "import sys, quantize\n"
        f"source = quantize.load({str(saved / 'bot.keras')!r}, outputs={OUTPUTS!r})\n"
        "source.concrete_function()\n"
        f"quantize.load({str(saved / 'bot')!r}, outputs='regression')\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
