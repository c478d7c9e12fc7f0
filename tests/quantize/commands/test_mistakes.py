"""Mistakes on the command line are told before TensorFlow is there, all at once, and nothing that loading takes is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from edge.cli import main
from edge.errors import EdgeError
from edge.system.mistakes import Mistakes
from quantize.commands import mistakes
from quantize.loading import outline

REPOSITORY = Path(__file__).resolve().parents[3]
HEAVY = ("tensorflow", "keras", "tf_keras")


def layer(kind: str, name: str, after: str | None = None, **settings: Any) -> dict[str, Any]:
    """A layer as Keras 2 writes it into a functional model's configuration."""
    nodes = [] if after is None else [[[after, 0, 0, {}]]]
    return {"class_name": kind, "name": name, "config": {"name": name, **settings}, "inbound_nodes": nodes}


def functional(*layers: dict[str, Any]) -> dict[str, Any]:
    end = layers[-1]["name"]
    return {"class_name": "Functional", "config": {"name": "net", "layers": list(layers), "output_layers": [[end, 0, 0]]}}


PICTURE = layer("InputLayer", "picture", batch_shape=[None, 32, 32, 3], dtype="float32")
CONVOLUTION = layer("Conv2D", "conv", "picture", activation="relu")
POOL = layer("GlobalAveragePooling2D", "pool", "conv")
CLASSES = layer("Dense", "classes", "pool", units=10, activation="softmax")
PLAIN = functional(PICTURE, CONVOLUTION, POOL, CLASSES)


def keras_file(path: Path, config: Mapping[str, Any] = PLAIN, *, weights: int = 64) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", bytes(weights))
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A network whose file is well formed and holds no weights, photos of ten classes, and what is like them and is not."""
    keras_file(tmp_path / "net.keras")
    for digit in range(10):
        (tmp_path / "train" / str(digit)).mkdir(parents=True)
        Image.new("RGB", (8, 8), (digit, 0, 0)).save(tmp_path / "train" / str(digit) / "one.png")
    (tmp_path / "empty" / "inside").mkdir(parents=True)
    (tmp_path / "labels9.txt").write_text("\n".join(f"class {i}" for i in range(9)))
    (tmp_path / "labels10.txt").write_text("\n".join(f"class {i}" for i in range(10)))
    (tmp_path / "first.csv").write_text("path,label\ntrain/0/one.png,0\n")
    with h5py.File(tmp_path / "only.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros(3, np.float32)
    return tmp_path


def apart(words: str, place: Path) -> tuple[int, list[str], set[str]]:
    """Run a command line in a process of its own; return its exit code, the lines it said, and which of `HEAVY` it imported."""
    code = (
        "import sys\nfrom edge.cli import main\ncode = main(sys.argv[1:])\n"
        f"print(code, *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *(word.format(at=place) for word in words.split())],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "EDGEKIT_HOME": str(place / "home")},
        cwd=place,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    exit_code, *imported = done.stdout.split()
    return int(exit_code), done.stderr.splitlines(), set(imported)


GOOD = "quantize net.keras --images train --preprocess inception --out made"
USUAL = {
    "no model": (GOOD.replace("net.keras", "none.keras"), "none.keras: no such file"),
    "no images": (GOOD.replace("train", "trian"), "trian: no such folder or manifest"),
    "an empty folder": (GOOD.replace("train", "empty"), "empty: no images here"),
    "labels of another length": (
        GOOD + " --labels labels9.txt",
        "9 labels fit no output (classes has 10); expected one for each",
    ),
    "no preprocessing": (GOOD.replace("--preprocess inception", ""), "how are pictures fed?"),
    "an unknown variant": (GOOD + " --variants int8,int9", "variants int9 not known, expected some of float32"),
    "an answer in no folder": (GOOD + " --json typo/a.json", "typo/a.json: cannot be written (typo is not there)"),
}


@pytest.mark.parametrize(("words", "said"), USUAL.values(), ids=USUAL.keys())
def test_a_usual_mistake_is_told_before_tensorflow_is_imported(words: str, said: str, place: Path) -> None:
    before = sorted(place.rglob("*"))
    code, lines, imported = apart(words, place)
    assert (code, imported) == (2, set())
    assert len(lines) == 1 and lines[0].startswith("edgekit: error: ")
    assert said in lines[0]
    assert sorted(place.rglob("*")) == before


MANY = {
    "quantize": (
        "quantize none.keras --images trian --validation empty --variants int9 --runtime x --labels none.txt --threshold 2"
        " --input speed:size=3 --input-shape 0x9 --pooling avg --mean 3 --out labels9.txt --json typo/a.json",
        "none.keras|trian|empty|int9|runtime 'x'|none.txt|threshold|speed:size|(0, 9)|--pooling|half said|labels9.txt|typo",
    ),
    "qat": (
        "qat net.keras --images trian --validation empty --epochs 0 --labels labels9.txt --json typo/a.json",
        "trian|empty|epochs|9 labels|how are pictures fed|typo",
    ),
    "tune": (
        "tune net.keras --images trian --validation empty --max-drop 1 --board pi-9 --json typo/a.json",
        "trian|empty|pi-9|how are pictures fed|typo",
    ),
    "shrink": (
        "shrink net.keras --images trian --validation empty --max-drop -1 --json typo/a.json",
        "trian|empty|max_drop|how are pictures fed|typo",
    ),
    "explain": (
        "explain none.tflite --reference labels9.txt --images empty --keras train --json typo/a.json",
        "none.tflite|labels9.txt|empty|so no SavedModel|typo",
    ),
    "import": (
        "import none.pb --images empty --labels none.txt --output heads --mean 3 --scale 0 --json typo/a.json",
        "none.pb|empty|none.txt|'heads'|typo",
    ),
    "validate": (
        "validate none.tflite --reference none.npz --images empty --published top1=high --json typo/a.json",
        "none.tflite|none.npz|empty|top1|typo",
    ),
    "weights alone": (
        "quantize only.weights.h5 --architecture inception_resnet_v2 --images empty --json typo/a.json",
        "do not say the input size|was trained with inception|empty|typo",
    ),
    "compare": ("compare a.tflite b.tflite --images empty --json typo/a.json", "a.tflite|b.tflite|empty|typo"),
    "outputs": (
        "outputs a.tflite --images empty --out o.npz --labels none.txt --json typo/a.json",
        "a.tflite|empty|none.txt|typo",
    ),
}


@pytest.mark.parametrize(("words", "said"), MANY.values(), ids=MANY.keys())
def test_all_mistakes_are_told_in_one_answer(words: str, said: str, place: Path) -> None:
    before = sorted(place.rglob("*"))
    code, lines, imported = apart(words, place)
    assert (code, imported) == (2, set())
    assert all(line.startswith("edgekit: error: ") for line in lines)
    assert [part for part in said.split("|") if not any(part in line for line in lines)] == []
    assert len(lines) == len(said.split("|"))
    assert sorted(place.rglob("*")) == before


def looked_at(words: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is found before a command line is run, without running it."""
    from edge import cli

    monkeypatch.chdir(place)
    found = Mistakes()
    args = cli.build_parser(words.split()[0]).parse_args(words.split())
    args.mistakes(args, found)
    try:
        found.tell()
    except EdgeError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize(
    "words",
    [
        GOOD,
        GOOD + " --labels labels10.txt --validation first.csv",
        GOOD.replace("train", "first.csv"),
        GOOD.replace("train", "linked"),
        GOOD.replace("net.keras", "link.keras"),
        "quantize net.keras --images trian --preprocess raw --variants float32",  # nobody reads them
        "quantize net.keras --preprocess raw --variants float16,dynamic --out made/deeper",
        "quantize saved --images train",
        "quantize graph.pb --images train",
        "quantize checkpoint --images train",
        "import checkpoint --as slim",
        "quantize only.weights.h5 --architecture inception_resnet_v2 --input-shape 96x96 --images train --preprocess inception",
        "quantize whole.h5 --images train --preprocess inception --labels labels10.txt",
    ],
)
def test_what_loading_takes_is_not_refused(words: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "linked").symlink_to(place / "train")
    (place / "link.keras").symlink_to(place / "net.keras")
    (place / "saved").mkdir()
    (place / "saved" / "saved_model.pb").write_bytes(b"\x08\x01")
    (place / "graph.pb").write_bytes(b"\n\x0f\n\x05input\x12\x06Placeh")
    (place / "checkpoint.index").write_bytes(bytes.fromhex("57fb808b247547db"))
    with h5py.File(place / "whole.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(PLAIN)
    assert looked_at(words, place, monkeypatch) == []


SEQUENTIAL = {
    "class_name": "Sequential",
    "config": {
        "name": "net",
        "layers": [
            {k: v for k, v in each.items() if k != "inbound_nodes"}
            for each in (
                PICTURE,
                layer("RandomFlip", "flip"),
                PLAIN,
                layer("Dropout", "drop"),
                layer("Dense", "end", units=3, activation="linear"),
            )
        ],
    },
}


def begins_with(*layers: dict[str, Any]) -> dict[str, Any]:
    return functional(PICTURE, *layers, layer("Conv2D", "conv", layers[-1]["name"], activation="relu"), POOL, CLASSES)


WHOLE_PIXELS = functional({**PICTURE, "config": {**PICTURE["config"], "dtype": "uint8"}}, CONVOLUTION, POOL, CLASSES)
FORKED = functional(PICTURE, CONVOLUTION, layer("Rescaling", "other", "picture", scale=1.0, offset=0.0), POOL, CLASSES)
INSIDE = begins_with(
    {**layer("Functional", "inside", "picture"), "config": functional(PICTURE, layer("Rescaling", "r", "picture"))["config"]}
)


@pytest.mark.parametrize(
    ("config", "plain"),
    {
        "a convolution": (PLAIN, True),
        "augmentation, and a network inside": (SEQUENTIAL, True),
        "padding": (begins_with(layer("ZeroPadding2D", "pad", "picture")), True),
        "a rescaling": (begins_with(layer("Rescaling", "scale", "picture", scale=1 / 255, offset=0.0)), False),
        "a normalisation": (begins_with(layer("Normalization", "norm", "picture")), False),
        "arithmetic": (begins_with(layer("TFOpLambda", "op", "picture", function="math.truediv")), False),
        "a Lambda": (begins_with(layer("Lambda", "code", "picture")), False),
        "a batch normalisation": (begins_with(layer("BatchNormalization", "bn", "picture")), False),
        "a rescaling in a network inside": (INSIDE, False),
        "whole pixels": (WHOLE_PIXELS, False),
        "two ways": (FORKED, False),
    }.values(),
)
def test_only_a_network_that_certainly_does_not_normalise_is_asked_about(config: dict[str, Any], plain: bool) -> None:
    assert outline.told(lambda: outline.takes_pixels_as_they_come(config)) is plain


def ends_with(*layers: dict[str, Any]) -> dict[str, Any]:
    return functional(PICTURE, CONVOLUTION, *layers)


@pytest.mark.parametrize(
    ("config", "size"),
    {
        "classes": (PLAIN, 10),
        "numbers behind a network": (SEQUENTIAL, 3),
        "a map of classes": (ends_with(layer("Dense", "map", "conv", units=10, activation="softmax")), None),
        "pooling that keeps a map": (
            ends_with(
                layer("GlobalMaxPooling2D", "kept", "conv", keepdims=True),
                layer("Dense", "end", "kept", units=4, activation="softmax"),
            ),
            None,
        ),
        "an activation of its own": (
            ends_with(POOL, layer("Dense", "end", "pool", units=4, activation={"class_name": "x"})),
            None,
        ),
        "no dense layer": (ends_with(POOL), None),
    }.values(),
)
def test_only_a_list_of_values_has_a_size(config: dict[str, Any], size: int | None) -> None:
    found = outline.told(lambda: outline.only_output(config))
    assert (None if found is None else found.size) == size


@pytest.mark.parametrize(
    "config", [{}, {"config": {"layers": []}}, {"config": {"layers": [3]}}, {"class_name": "Functional", "config": 3}]
)
def test_a_configuration_of_another_shape_is_left_to_the_loader(
    config: dict[str, Any], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras_file(place / "odd.keras", config)
    for line in looked_at("quantize odd.keras --images train", place, monkeypatch):
        assert line.startswith("odd.keras: ")


@pytest.mark.parametrize(
    "found_by_loading", [b"PK\x03\x04 cut off", b"\x89HDF\r\n\x1a\n cut off", b"\x80\x04 pickle", b"", b"{}"]
)
def test_a_damaged_or_foreign_file_is_told_as_loading_tells_it(
    found_by_loading: bytes, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import quantize

    (place / "bad.keras").write_bytes(found_by_loading)
    (line,) = looked_at("quantize bad.keras --images train --preprocess raw", place, monkeypatch)
    with pytest.raises(EdgeError) as told:
        quantize.load("bad.keras")
    assert str(told.value) == line


@pytest.mark.parametrize(
    ("variants", "compiled", "there", "share"),
    [
        (("float32",), False, (), 0.8),
        (("float32", "float16", "dynamic", "int8", "int16x8"), False, (), 1.8),
        (("float32", "int8"), False, ("float32",), 0.2),
        (("float32", "int8"), False, ("float32", "int8"), 0.8),
        (("float32",), True, (), 0.2),
    ],
)
def test_room_is_asked_for_the_weights_that_are_made(
    variants: tuple[str, ...],
    compiled: bool,
    there: tuple[str, ...],
    share: float,
    place: Path,
) -> None:
    path = keras_file(
        place / "large.keras", {**PLAIN, "compile_config": {"optimizer": "adam"} if compiled else None}, weights=5 << 20
    )
    for variant in there:
        (place / f"large.{variant}.tflite").touch()
    found = mistakes.needed(path, None, place, variants)
    assert found == pytest.approx(path.stat().st_size * share, abs=1)


def test_a_disk_without_room_is_told_before_anything_is_made(
    place: Path, disk: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    keras_file(place / "large.keras", weights=5 << 20)
    small = disk("1m")
    words = ["quantize", str(place / "large.keras"), "--images", str(place / "train"), "--preprocess", "raw"]
    assert main([*words, "--out", str(small / "new")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "MiB are free there, and at least 9.0 MiB are needed" in said
    assert not (small / "new").exists()
