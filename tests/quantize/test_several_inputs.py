"""Networks that take more than one picture: stacked frames, numbers beside the picture, recurrent layers; and none at all."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import edge
import quantize
from edge.artefact import graph, graph_facts
from edge.artefact.contract import ExtraInput
from edge.cli import main
from edge.errors import DatasetError, ShapeError, UsageError
from edge.runtime import golden
from quantize.errors import ConversionError, LoadError, TrainingError
from quantize.loading import recurrent
from quantize.ptq import PtqConfig
from quantize.tflite import conversion
from quantize.tflite import edit as flatbuffer_edit

pytestmark = pytest.mark.converts

FRAMES, SIZE, ROWS = 3, 32, 40
LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"
Pair = tuple[list[Path], dict[str, Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Bot:
    """A small network with all of it, its data, and its variants by name (``kept``: int8 with the LSTM in float)."""

    folder: Path
    network: Any
    source: quantize.Source
    manifest: Path
    files: dict[str, Path]

    def row(self, number: int) -> Pair:
        with open(self.manifest, newline="", encoding="utf-8") as stream:
            found = list(csv.DictReader(stream))[number]
        frames = [self.folder / name for name in found["path"].split(";")]
        speed = [float(value) for value in found["speed"].split(";")]
        return frames, {"speed": speed, "history": [float(value) for value in found["history"].split()]}


def _network() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((SIZE, SIZE, 3 * FRAMES), name="image")
    speed, history = keras.Input((5,), name="speed"), keras.Input((6, 3), name="history")
    seen = layers.Conv2D(8, 3, strides=2, use_bias=False)(image)
    seen = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(seen)))
    steps = layers.TimeDistributed(layers.Dense(8, activation="relu"))(history)
    inner = keras.Input((6, 8))
    branch = keras.Model(inner, layers.LSTM(8, name="lstm_2")(layers.LSTM(8, return_sequences=True, name="lstm_1")(inner)))
    joined = layers.Concatenate()([seen, layers.Dense(8, activation="relu")(speed), branch(steps)])
    outputs = {name: layers.Dense(1, name=name)(joined) for name in ("steering", "acceleration")}
    # The picture not first, and the others not in the order of their names: order must come from the names.
    return keras.Model([speed, image, history], outputs, name="bot")


def _data(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(ROWS + FRAMES):
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(folder / f"{number:03d}.png")
    manifest = folder / "frames.csv"
    with open(manifest, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "speed", "history", "steering", "acceleration"])
        for number in range(ROWS):
            path = ";".join(f"{number + i:03d}.png" for i in range(FRAMES))
            speed = ";".join(f"{value:.3f}" for value in rng.normal(15, 5, 5))
            history = " ".join(f"{value:.4f}" for value in rng.normal(0, 1, 18))
            writer.writerow([path, speed, history, *rng.normal(0, 1, 2)])
    return manifest


@pytest.fixture(scope="module")
def bot(tmp_path_factory: pytest.TempPathFactory) -> Bot:
    folder = tmp_path_factory.mktemp("bot")
    network, manifest = _network(), _data(folder)
    network.save(folder / "bot.keras")
    said = {"speed": {"mean": (15.0,), "scale": (30.0,), "meaning": "km/h"}}
    source = quantize.load(folder / "bot.keras", preprocess="inception", outputs="regression", inputs=said)
    photos = quantize.RepresentativeDataset.open(manifest, source=source, count=30)
    made = quantize.post_training_variants(source, photos, ("float32", "float16", "dynamic", "int8"))
    files = {artefact.variant: artefact.save(folder) for artefact in made}
    kept = quantize.post_training(source, photos, "int8", config=PtqConfig(keep_float=("lstm",)))
    files["kept"] = kept.save(folder / "kept.tflite")
    return Bot(folder=folder, network=network, source=source, manifest=manifest, files=files)


def test_the_contract_says_what_goes_in(bot: Bot) -> None:
    contract = edge.load(bot.files["int8"]).contract
    assert contract.schema_version == 2
    assert (contract.input.frames, contract.input.channels) == (FRAMES, 9)
    assert [(extra.name, extra.shape) for extra in contract.extra_inputs] == [("speed", (5,)), ("history", (6, 3))]
    assert contract.extra_inputs[0] == ExtraInput(name="speed", shape=(5,), mean=(15.0,), scale=(30.0,), meaning="km/h")
    assert [spec.name for spec in edge.load(bot.files["int8"]).inputs] == ["input", "speed", "history"]


@pytest.mark.parametrize(("variant", "tolerance"), [("float32", 1e-5), ("float16", 5e-3), ("dynamic", 5e-2), ("kept", 5e-2)])
def test_variants_answer_like_the_network(bot: Bot, variant: str, tolerance: float) -> None:
    frames, values = bot.row(3)
    stacked = np.concatenate([np.asarray(Image.open(frame), np.float32) / 127.5 - 1 for frame in frames], axis=2)
    speed = (np.array(values["speed"], np.float32) - 15) / 30
    expected = bot.network([speed[None], stacked[None], np.array(values["history"], np.float32).reshape(1, 6, 3)])
    model = edge.load(bot.files[variant])
    found = model.predict(frames, **values)
    for name, answer in expected.items():
        assert found[name][0] == pytest.approx(float(answer[0, 0]), abs=tolerance)
    assert model.predict({"image": frames, **values})["steering"] == found["steering"]


def test_one_answer_does_not_depend_on_the_one_before(bot: Bot) -> None:
    """An interpreter keeps a recurrent op's state between runs unless it is told not to."""
    (frames, values), (others, other_values) = bot.row(0), bot.row(7)
    model = edge.load(bot.files["int8"])
    first = model.predict(frames, **values)["steering"]
    model.predict(others, **other_values)
    assert model.predict(frames, **values)["steering"] == first


def test_int8_is_integer_throughout_with_the_recurrent_op_as_one(bot: Bot) -> None:
    model = edge.load(bot.files["int8"]).container.graph
    assert graph_facts.op_counts(model)[LSTM] == 2
    assert not graph_facts.float_ops(model)
    assert "TFLITE" not in " ".join(sorted({op.name for op in model.ops}))
    assert not [op for op in model.ops if op.name.startswith(("Flex", "CUSTOM", "WHILE"))]
    assert "the converter's" in edge.load(bot.files["int8"]).contract.notes[-1]


def test_kept_in_float_is_the_recurrent_op_and_conversions_around_it(bot: Bot) -> None:
    model = edge.load(bot.files["kept"])
    names = Counter(op.name for op in graph_facts.float_ops(model.container.graph))
    assert names[LSTM] == 2
    assert set(names) <= {LSTM, "QUANTIZE", "DEQUANTIZE", "STRIDED_SLICE"}
    assert model.contract.quantization.scheme.endswith("in float32: lstm")


def test_an_int8_lstm_writes_its_output_with_its_states_scale(bot: Bot, tmp_path: Path) -> None:
    """TensorFlow's quantizer gives the output the scale of the concatenation that follows; then every answer is wrong."""
    conversion.export_saved_model(bot.source, tmp_path)
    float32 = flatbuffer_edit.order_inputs(conversion.convert_float(tmp_path, "float32"), bot.source.input_names)
    photos = quantize.RepresentativeDataset.open(bot.manifest, source=bot.source, count=10)
    model = graph.read(conversion.quantize_int8(conversion.calibrate(float32, photos.tensors())))
    for op in (op for op in model.ops if op.name == LSTM):
        state, output = model.tensors[op.inputs[18]].quant, model.tensors[op.outputs[0]].quant
        assert state is not None and output is not None
        assert np.array_equal(state.scale, output.scale)
        assert np.array_equal(state.zero_point, output.zero_point)


@pytest.mark.parametrize("variant", ["float32", "int8", "kept"])
def test_golden_samples_are_of_all_inputs(bot: Bot, variant: str) -> None:
    model = edge.load(bot.files[variant])
    assert golden.replay(model).passed
    tensors = golden.inputs("rings", model.contract, model.inputs)
    assert [tensor.shape for tensor in tensors] == [(1, SIZE, SIZE, 9), (1, 5), (1, 6, 3)]
    changed = golden.inputs("noise-1", model.contract, model.inputs)
    assert not np.array_equal(tensors[2], changed[2])


def test_what_is_given_wrongly_is_named(bot: Bot) -> None:
    model = edge.load(bot.files["int8"])
    frames, values = bot.row(0)
    for given, said, message in (
        (frames, {}, "takes image, speed, history; what is given lacks speed, history"),
        (frames, {**values, "wind": 1}, "has no input wind"),
        (frames[:2], values, "takes 3 pictures, the oldest first, got 2"),
        (frames[0], values, "takes 3 pictures"),
        (frames, {**values, "speed": [1, 2]}, "'speed' takes 5 values"),
        (frames, {**values, "speed": ["fast"] * 5}, "'speed' takes numbers"),
        (frames, {**values, "speed": [float("nan")] * 5}, "not finite"),
    ):
        with pytest.raises(ShapeError, match=message):
            model.predict(given, **said)
    with pytest.raises(ShapeError, match="takes 3 tensors"):
        model.invoke((np.zeros((1, 5), np.int8),))


def test_validation_feeds_all_inputs(bot: Bot, tmp_path: Path) -> None:
    reference = quantize.reference_outputs(bot.source, bot.manifest, tmp_path / "reference.npz")
    by_file = edge.validate(bot.files["float32"], bot.manifest, reference=reference, resume=False)
    assert by_file.outputs["steering"]["difference"]["max_absolute"] < 1e-4
    report = edge.validate(bot.files["kept"], bot.manifest, reference=bot.files["float32"], resume=False)
    assert report.images == ROWS
    assert set(report.outputs) == {"steering", "acceleration"}
    assert 0 < report.outputs["steering"]["difference"]["mean_absolute"] < 0.05
    assert any(finding.check == "overlap" for finding in report.findings)  # the calibration's rows are recognised
    frames, values = bot.row(0)
    worst = report.outputs["steering"]["worst"][0]
    assert worst["image"].count(";") == FRAMES - 1
    assert edge.load(bot.files["kept"]).predict(frames, **values)["steering"].shape == (1,)


def test_a_manifest_that_lacks_something_is_refused(bot: Bot, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"000\.png is 1 pictures, the model takes 3; give a manifest"):
        edge.validate(bot.files["int8"], bot.folder)
    text = bot.manifest.read_text(encoding="utf-8")
    missing = bot.folder / "missing.csv"
    missing.write_text(text.replace("speed", "sped", 1), encoding="utf-8")
    with pytest.raises(DatasetError, match="also takes 'speed' .5 values., and there is no such column"):
        edge.validate(bot.files["int8"], missing)
    lines = text.splitlines()
    lines[2] = lines[2].replace(";", "; x", 3)
    broken = bot.folder / "broken.csv"
    broken.write_text("\n".join([lines[0], lines[1].split(",")[0] + ",1;2;3,0,0,0"]), encoding="utf-8")
    with pytest.raises(DatasetError, match="has 3 values for input 'speed', expected 5 finite numbers"):
        edge.validate(bot.files["int8"], broken)


def test_what_cannot_be_done_is_said_in_one_sentence(bot: Bot) -> None:
    photos = quantize.RepresentativeDataset.open(bot.manifest, source=bot.source, count=10)
    with pytest.raises(LoadError, match="quantization-aware training takes networks of one picture"):
        quantize.quantization_aware(bot.source, bot.manifest, bot.manifest, out=bot.folder / "qat")
    with pytest.raises(ConversionError, match="keep_float: the network has no op GRU, only "):
        quantize.post_training(bot.source, photos, "int8", config=PtqConfig(keep_float=("gru",)))
    with pytest.raises(ConversionError, match=LSTM):
        quantize.post_training(bot.source, photos, "int16x8")
    from quantize.analyse.paired import Photos

    with pytest.raises(UsageError, match="explain and tune take networks of one picture"):
        Photos.open(bot.manifest, bot.source.contract)


def test_recurrent_layers_of_one_picture_are_refused_by_training(tmp_path: Path, few_digits: Path) -> None:
    import keras

    image = keras.Input((32, 32, 3))
    rows = keras.layers.GRU(4, name="rows")(keras.layers.Reshape((32, 96))(image))
    network = keras.Model(image, keras.layers.Dense(10, activation="softmax")(rows))
    source = quantize.load(network, preprocess="inception", labels=[str(digit) for digit in range(10)])
    with pytest.raises(TrainingError, match=r"cannot train recurrent layers \(rows\)"):
        quantize.quantization_aware(source, few_digits / "train", few_digits / "test", out=tmp_path)


@pytest.mark.parametrize("kind", ["GRU", "SimpleRNN", "Bidirectional", "backwards"])
def test_other_recurrent_layers_are_unrolled(kind: str) -> None:
    import keras
    import tensorflow as tf

    layers = keras.layers
    inputs = keras.Input((5, 4))
    made = {
        "GRU": lambda: layers.GRU(6),
        "SimpleRNN": lambda: layers.SimpleRNN(6),
        "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(6)),
        "backwards": lambda: layers.LSTM(6, go_backwards=True),
    }
    network = keras.Model(inputs, made[kind]()(inputs))
    copy, notes = recurrent.convertible(network)
    given: NDArray[np.float32] = np.random.default_rng(0).normal(size=(1, 5, 4)).astype(np.float32)
    assert np.allclose(network(given), copy(given), atol=1e-6)
    assert "unrolled" in notes[0]
    traced = tf.function(lambda x: copy(x, training=False), autograph=False).get_concrete_function(tf.TensorSpec([1, 5, 4]))
    assert not [op.type for op in traced.graph.get_operations() if "While" in op.type]


def test_a_network_of_numbers_alone(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    history = keras.Input((6, 3), name="history")
    network = keras.Model(history, keras.layers.Dense(1, name="steering")(keras.layers.LSTM(8)(history)))
    network.save(tmp_path / "memory.keras")
    source = quantize.load(tmp_path / "memory.keras", outputs="regression")
    rng = np.random.default_rng(0)
    rows = [f"row{i},{' '.join(f'{v:.3f}' for v in rng.normal(size=18))},{rng.normal():.3f}" for i in range(20)]
    (tmp_path / "rows.csv").write_text("\n".join(["path,history,steering", *rows]), encoding="utf-8")
    photos = quantize.RepresentativeDataset.open(tmp_path / "rows.csv", source=source)
    files = {a.variant: a.save(tmp_path) for a in quantize.post_training_variants(source, photos, ("float32", "int8"))}
    model = edge.load(files["int8"])
    assert model.contract.input.frames == 0
    assert model.predict(history=np.zeros((6, 3)))["steering"].shape == (1,)
    assert golden.replay(model).passed
    report = edge.validate(files["int8"], tmp_path / "rows.csv", reference=files["float32"], resume=False)
    assert report.outputs["steering"]["difference"]["mean_absolute"] < 0.05
    with pytest.raises(ShapeError, match="has no input image"):
        model.predict("photo.jpg", history=np.zeros((6, 3)))
    with pytest.raises(LoadError, match="takes no picture"):
        quantize.load(tmp_path / "memory.keras", preprocess="inception", outputs="regression")


def test_stacked_frames_alone_still_get_searched_ranges(bot: Bot, tmp_path: Path) -> None:
    import keras

    image = keras.Input((SIZE, SIZE, 9), name="image")
    seen = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(image))
    source = quantize.load(
        keras.Model(image, keras.layers.Dense(1, name="steering")(seen)), preprocess="inception", outputs="regression"
    )
    photos = quantize.RepresentativeDataset.open(bot.manifest, source=source, count=20)
    artefact = quantize.post_training(source, photos, "int8")
    assert artefact.contract.quantization.ranges.startswith("auto")
    model = edge.load(artefact.save(tmp_path))
    frames, _ = bot.row(0)
    assert not np.array_equal(model.preprocess(frames), model.preprocess(frames[::-1]))


def test_inputs_that_do_not_fit_are_named(bot: Bot) -> None:
    import keras

    for said, message in (
        ({"wind": {}}, "has no input 'wind', only speed, history"),
        ({"speed": {"scale": (0.0,)}}, "'speed'.*no zero"),
        ({"speed": {"unit": "m"}}, "'speed'"),
    ):
        with pytest.raises(LoadError, match=message):
            quantize.load(bot.network, preprocess="inception", outputs="regression", inputs=said)
    two = [keras.Input((8, 8, 3), name=name) for name in ("left", "right")]
    flat = [keras.layers.Flatten()(each) for each in two]
    with pytest.raises(LoadError, match=r"2 inputs of pictures \(left, right\)"):
        quantize.load(keras.Model(two, keras.layers.Concatenate()(flat)), preprocess="inception", outputs="features")


def test_the_command_takes_it_all(bot: Bot, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["quantize", str(bot.folder / "bot.keras"), "--images", str(bot.manifest), "--preprocess", "inception"]
    command += ["--outputs", "regression", "--variants", "int8", "--keep-float", "lstm", "--out", str(tmp_path)]
    assert main([*command, "--input", "speed:mean=15:scale=30:meaning=km/h"]) == 0
    model = edge.load(tmp_path / "bot.int8.tflite")
    assert model.contract.extra_inputs[0] == bot.source.contract.extra_inputs[0]
    assert model.contract.quantization.scheme.endswith("in float32: lstm")
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "bot.int8.tflite")]) == 0
    shown = capsys.readouterr().out
    assert "fed   3 frames of 32x32 rgb" in shown
    assert "fed   speed (5): km/h" in shown
    for wrong in ("speed:unit=m", "speed:scale=fast"):
        assert main([*command, "--input", wrong]) == 2
        assert f"--input {wrong}: " in capsys.readouterr().err
