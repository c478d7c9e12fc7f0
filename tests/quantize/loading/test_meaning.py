"""What an output means is read from the graph that is converted, however it was written in Keras."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edge
import quantize
from edge.artefact import container, tflite_metadata
from edge.cli import main
from quantize.calibrate import output_error
from quantize.errors import LoadError
from quantize.tflite import conversion

keras = pytest.importorskip("keras")

pytestmark = pytest.mark.converts
SIDE = 32


def _network(head: Callable[[Any], Any], units: int = 3) -> Any:
    picture = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, activation="relu")(picture)
    x = keras.layers.Dense(units)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(picture, head(x))


def _tf_softmax(x: Any) -> Any:
    import tensorflow as tf

    return keras.layers.Lambda(lambda values: tf.nn.softmax(values))(x)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (lambda x: keras.ops.softmax(x), "probabilities"),
        (lambda x: keras.activations.softmax(x), "probabilities"),
        (_tf_softmax, "probabilities"),
        (lambda x: keras.layers.Reshape((3,))(keras.ops.softmax(keras.layers.Reshape((1, 3))(x))), "probabilities"),
        (lambda x: keras.ops.sigmoid(x), "multilabel"),
        (lambda x: keras.ops.log_softmax(x), "logits"),
    ],
    ids=["ops", "activations", "lambda", "reshaped", "sigmoid", "log-softmax"],
)
def test_the_end_of_the_graph_says_what_an_output_is(head: Callable[[Any], Any], kind: str) -> None:
    for labels in (None, ("a", "b", "c")):
        source = quantize.load(_network(head), preprocess="unit", labels=labels)

        assert source.contract.outputs[0].kind == kind


def test_classify_gives_the_probabilities_that_the_network_gives(tmp_path: Path) -> None:
    source = quantize.load(_network(lambda x: keras.ops.softmax(20 * x)), preprocess="unit", labels=("a", "b", "c"))
    file = quantize.post_training(source, None, "float32").save(tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    expected = source.predict(edge.load(file).preprocess(picture))[source.output_names[0]]

    assert edge.load(file).classify(picture).best.score == pytest.approx(float(expected.max()), abs=1e-5)


def test_what_ends_in_neither_is_asked_for_even_with_labels() -> None:
    by_hand = _network(lambda x: keras.ops.exp(x) / keras.ops.sum(keras.ops.exp(x), axis=-1, keepdims=True))

    with pytest.raises(LoadError, match=r"--outputs probabilities, logits, multilabel, regression or features"):
        quantize.load(by_hand, preprocess="unit", labels=("a", "b", "c"))
    said = quantize.load(by_hand, preprocess="unit", labels=("a", "b", "c"), outputs="probabilities")
    assert said.contract.outputs[0].kind == "probabilities"


def test_softmax_is_not_applied_twice_by_word_of_the_user() -> None:
    with pytest.raises(LoadError, match="ends in a softmax, which would be applied twice; say probabilities"):
        quantize.load(_network(lambda x: keras.ops.softmax(x)), preprocess="unit", outputs="logits")


def test_a_plain_dense_layer_stays_logits_with_labels_and_a_question_without() -> None:
    assert quantize.load(_network(lambda x: x), preprocess="unit", labels=("a", "b", "c")).contract.outputs[0].kind == "logits"
    with pytest.raises(LoadError, match="class scores or measured quantities"):
        quantize.load(_network(lambda x: x), preprocess="unit")


@pytest.mark.filterwarnings("ignore:You are using a softmax")
def test_one_sigmoid_takes_two_labels_and_one_softmax_is_refused() -> None:
    (output,) = quantize.load(_network(keras.ops.sigmoid, 1), preprocess="unit", labels=("no", "yes")).contract.outputs
    assert (output.kind, output.labels) == ("probabilities", ("no", "yes"))
    (output,) = quantize.load(_network(keras.ops.sigmoid, 1), preprocess="unit", labels=("yes",)).contract.outputs
    assert (output.kind, output.labels) == ("multilabel", ("yes",))
    with pytest.raises(LoadError, match="always 1"):
        quantize.load(_network(keras.ops.softmax, 1), preprocess="unit")
    with pytest.raises(LoadError, match="1 values and 3 labels|3 labels fit no output"):
        quantize.load(_network(lambda x: x, 1), preprocess="unit", labels=("a", "b", "c"), outputs="logits")


def test_the_error_of_one_logit_is_that_of_its_probability() -> None:
    near, far, below = ([{"out": np.array([value], np.float32)}] for value in (0.0, 2.0, -1.0))
    kinds = {"out": "logits"}
    assert output_error.per_image(near, far, kinds)[0] == pytest.approx(0.3808, abs=1e-4)
    assert output_error.agreement(below, far, kinds) == 0.0


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Dark and bright pictures in two class folders."""
    rng = np.random.default_rng(1)
    for name, light in (("bright", 200), ("dark", 40)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(6):
            pixels = np.clip(rng.normal(light, 20, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("sigmoid", [False, True], ids=["logit", "sigmoid"])
def test_one_value_on_two_class_folders_is_a_two_class_answer(
    sigmoid: bool, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(1, 1, kernel_initializer="ones")(picture))
    x = keras.layers.Dense(1, activation="sigmoid" if sigmoid else None, name="dark")(x)
    network = keras.Model(picture, x)
    network.layers[-1].set_weights(
        [np.array([[-4.0]], np.float32), np.array([6.0], np.float32)]
    )  # dark: a sum of channels below 1.5
    network.save(tmp_path / "dark.keras")
    said = [] if sigmoid else ["--outputs", "logits"]
    out = ["--preprocess", "unit", "--variants", "float32,int8", "--out", str(tmp_path)]

    assert main(["quantize", str(tmp_path / "dark.keras"), "--images", str(photos), *said, *out]) == 0
    model = edge.load(tmp_path / "dark.int8.tflite")
    assert model.contract.outputs[0].labels == ("bright", "dark")
    found = container.read(tmp_path / "dark.int8.tflite")
    described = tflite_metadata.read(found.flatbuffer(), found.graph)
    assert described is not None and described.outputs[0].label_files == ()  # MediaPipe refuses two labels of one value
    assert [model.classify(photos / name / "0.png").best.label for name in ("bright", "dark")] == ["bright", "dark"]
    report = edge.validate(model, photos, reference=tmp_path / "dark.float32.tflite", max_drop=0.5)
    assert report.to_dict()["outputs"][model.contract.outputs[0].name]["candidate"]["top1"] == 1.0
    assert report.verdict in ("pass", "undecided")
    capsys.readouterr()


def _dark(folder: Path, *, units: int) -> Path:
    """A network that says how dark a picture is; of several units all the same."""
    picture = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(1, 1, kernel_initializer="ones")(picture))
    network = keras.Model(picture, keras.layers.Dense(units, activation="sigmoid" if units == 1 else "softmax", name="dark")(x))
    network.layers[-1].set_weights([np.full((1, units), -4.0, np.float32), np.full(units, 6.0, np.float32)])
    network.save(folder / "dark.keras")
    return folder / "dark.keras"


def test_a_plain_file_of_one_sigmoid_and_two_labels_is_a_two_class_answer(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = quantize.load(_dark(tmp_path, units=1), preprocess="unit")
    conversion.export_saved_model(source, tmp_path / "saved")
    plain, labels = tmp_path / "plain.tflite", tmp_path / "labels.txt"
    plain.write_bytes(conversion.convert_float(tmp_path / "saved", "float32"))
    labels.write_text("bright\ndark\n")
    said = ["--preprocess", "unit", "--labels", str(labels)]

    for name in ("bright", "dark"):
        assert main(["classify", str(plain), str(photos / name / "0.png"), *said]) == 0
        assert capsys.readouterr().out.splitlines()[1].split()[-1] == name
    assert main(["validate", str(plain), "--images", str(photos), *said]) == 0
    assert re.search(r"top-1 +100\.00%", capsys.readouterr().out)


def test_a_threshold_moves_the_answer(photos: Path, tmp_path: Path) -> None:
    command = [
        "quantize",
        str(_dark(tmp_path, units=1)),
        "--images",
        str(photos),
        "--preprocess",
        "unit",
        "--variants",
        "float32",
    ]
    answers = {}
    for threshold in ("0.5", "0.9999"):
        assert main([*command, "--threshold", threshold, "--out", str(tmp_path / threshold)]) == 0
        model = edge.load(tmp_path / threshold / "dark.float32.tflite")
        assert model.contract.outputs[0].threshold == float(threshold)
        answers[threshold] = model.classify(photos / "dark" / "0.png").best.label
    assert answers == {"0.5": "dark", "0.9999": "bright"}


@pytest.mark.parametrize(("units", "threshold", "words"), [(2, "0.4", "largest of several classes wins"), (1, "1.5", "below 1")])
def test_a_threshold_that_means_nothing_is_refused(
    units: int, threshold: str, words: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["quantize", str(_dark(tmp_path, units=units)), "--images", str(photos), "--preprocess", "unit"]
    assert main([*command, "--threshold", threshold, "--out", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_what_is_put_together_of_several_ends_is_read_from_all_of_them() -> None:
    layers = keras.layers
    image = keras.Input((16, 16, 3))
    seen = layers.Conv2D(4, 3, strides=4)(image)
    flat = layers.Flatten()(layers.Add()([layers.ReLU()(layers.BatchNormalization()(seen)), seen]))

    def kind(output: Any, **options: Any) -> str:
        (found,) = quantize.load(keras.Model(image, output), preprocess="unit", **options).contract.outputs
        return found.kind

    dense = layers.Dense
    assert kind(layers.Concatenate()([dense(1, activation="sigmoid")(flat) for _ in range(3)])) == "multilabel"
    assert kind(layers.Concatenate()([flat, layers.GlobalMaxPooling2D()(seen)])) == "features"
    ends = {
        "two softmaxes": layers.Concatenate()([dense(2, activation="softmax")(flat) for _ in range(2)]),
        "a score and two numbers": layers.Concatenate()([dense(1, activation="sigmoid")(flat), dense(2)(flat)]),
        "a sum of scores": layers.Add()([dense(3)(flat), dense(3)(flat)]),
        "a clipped score": layers.ReLU()(dense(3)(flat)),
        "an index": keras.ops.cast(keras.ops.argmax(dense(3, activation="softmax")(flat), -1), "float32"),
    }
    for output in ends.values():
        with pytest.raises(LoadError, match="say which with --outputs"):
            kind(output)
        assert kind(output, outputs="regression") == "regression"
