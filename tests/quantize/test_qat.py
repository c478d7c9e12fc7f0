"""Quantization-aware training from end to end: what comes out, what an interruption costs, and what is refused."""

from __future__ import annotations

import json
import os
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

import edge
import quantize
from edge import container, golden, graph_facts
from edge.dataset import LabelledImages
from quantize import qat_record
from quantize.errors import TrainingError
from quantize.int8_file import Int8File
from quantize.qat import QatConfig, quantization_aware, recommend

REPOSITORY = Path(__file__).resolve().parents[2]
LABELS = [str(digit) for digit in range(10)]
QUICK = QatConfig(epochs=2, learning_rate=1e-4, batch_size=32, representative=40)


@pytest.fixture(scope="module")
def small_file(small_network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.keras"
    small_network.save(path)
    return path


@pytest.fixture(scope="module")
def third(digits_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A third of the test digits, for validating quickly."""
    folder = tmp_path_factory.mktemp("third")
    for image in sorted((digits_folder / "test").glob("*/*.png"))[::3]:
        (folder / image.parent.name).mkdir(exist_ok=True)
        shutil.copy(image, folder / image.parent.name)
    return folder


def small_source(path: Path | Any, **options: Any) -> Any:
    return quantize.load(path, name="small", preprocess="inception", **({"labels": LABELS} | options))


@pytest.fixture(scope="module")
def finished(small_file: Path, digits_folder: Path, third: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return quantization_aware(small_source(small_file), digits_folder / "train", third, QUICK, out=tmp_path_factory.mktemp("run"))


def test_the_trained_file_keeps_or_improves_what_ptq_gives(finished: Any) -> None:
    before, after = (finished.reports[name]["candidate"]["top1"] for name in ("ptq", "qat"))
    assert after >= before
    assert finished.recommended in (finished.trained, finished.ptq)


def test_the_trained_file_is_a_whole_artefact(finished: Any) -> None:
    opened, plain = container.read(finished.trained), container.read(finished.ptq)
    contract = opened.contract
    assert contract is not None
    assert (contract.quantization.variant, contract.quantization.ranges) == ("int8", "learned")
    assert "trained with fake quantization" in contract.quantization.scheme
    assert len(contract.golden) == 2
    model = edge.load(finished.trained)
    assert all(result.exact for result in golden.replay(model).results)
    assert graph_facts.op_counts(opened.graph) == graph_facts.op_counts(plain.graph)
    assert not any(tensor.is_float for tensor in opened.graph.tensors)
    assert "QUANTIZE" not in graph_facts.op_counts(opened.graph)


def test_the_record_has_a_row_for_each_epoch_and_a_plot(finished: Any) -> None:
    record = json.loads(finished.record_file.read_text())
    assert [row["epoch"] for row in record["epochs"]] == [0, 1, 2]
    for row in record["epochs"]:
        assert min(row["float"], row["fake_quantized"], row["int8"]) > 0.8
        assert row["parity"]["agreement"] >= 0.99 and row["parity"]["holds"]
    assert record["epochs"][record["best_epoch"]]["merit"] == max(row["merit"] for row in record["epochs"])
    assert finished.plot_file.read_text().startswith("<svg") and "PTQ" in finished.plot_file.read_text()
    assert not (finished.record_file.parent / "state.npz").exists()


def test_without_labels_it_learns_from_the_float_network(small_file: Path, third: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for image in sorted(third.glob("*/*.png"))[::4]:
        changed = np.array(Image.open(image))
        changed[0, 0] ^= 1  # another picture than the validation's
        Image.fromarray(changed).save(photos / image.name)
    config = QatConfig(epochs=1, learning_rate=1e-4, batch_size=16, representative=20, augment=("shift", "light"))
    result = quantization_aware(small_source(small_file), photos, third, config, out=tmp_path / "out")
    assert result.record[1]["loss"] is not None
    assert result.reports["qat"]["agreement"] > 0.95


def test_several_outputs_and_numbers_train_together(digits_folder: Path, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    body = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image)
    body = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(body))
    heads = [keras.layers.Dense(2, activation="softmax", name="odd")(body), keras.layers.Dense(1, name="value")(body)]
    source = quantize.load(
        keras.Model(image, heads), name="two", preprocess="inception", outputs={"odd": "probabilities", "value": "regression"}
    )
    files = sorted((digits_folder / "train").glob("*/*.png"))
    for name, chosen in (("train", files[::8]), ("validation", files[1::16])):
        rows = [f"{file},{int(file.parent.name) % 2},{file.parent.name}" for file in chosen]
        (tmp_path / f"{name}.csv").write_text("\n".join(["path,odd,value", *rows]) + "\n")
    config = QatConfig(epochs=1, learning_rate=1e-3, batch_size=16, representative=20, balanced=True, loss_weights={"value": 0.5})
    result = quantization_aware(source, tmp_path / "train.csv", tmp_path / "validation.csv", config, out=tmp_path)
    assert set(result.reports["qat"]["outputs"]) == {"odd", "value"}
    assert result.reports["qat"]["outputs"]["value"]["candidate"]["mae"] > 0
    assert not any(tensor.is_float for tensor in container.read(result.trained).graph.tensors)


def test_features_without_a_head_learn_from_the_float_network(
    small_network: Any, digits_folder: Path, third: Path, tmp_path: Path
) -> None:
    import keras

    headless = keras.Model(small_network.input, small_network.layers[-3].output)
    source = quantize.load(headless, name="features", preprocess="inception", outputs="features")
    train = LabelledImages.open(digits_folder / "train", unlabelled=True).subset(100)
    config = QatConfig(epochs=1, learning_rate=1e-4, batch_size=32, representative=20)
    result = quantization_aware(source, train, third, config, out=tmp_path)
    features = next(iter(result.reports["qat"]["outputs"].values()))
    assert features["cosine"] > 0.98


_SCRIPT = """
import sys
from pathlib import Path
import quantize
from quantize.qat import QatConfig, quantization_aware
model, train, validation, out = map(Path, sys.argv[1:5])
source = quantize.load(model, name="small", preprocess="inception", labels=[str(d) for d in range(10)])
config = QatConfig(epochs=3, learning_rate=1e-4, batch_size=8, representative=40)
result = quantization_aware(source, train, validation, config, out=out, resume="--resume" in sys.argv)
print("RESULT", [row["epoch"] for row in result.record], result.reports["qat"]["candidate"]["top1"])
"""


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_accuracy(small_file: Path, digits_folder: Path, third: Path, tmp_path: Path) -> None:
    def command(out: str, *flags: str) -> list[str]:
        return [
            sys.executable,
            "-c",
            _SCRIPT,
            str(small_file),
            str(digits_folder / "train"),
            str(third),
            str(tmp_path / out),
            *flags,
        ]

    def run(arguments: list[str]) -> tuple[str, float]:
        done = subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        _, epochs, top1 = done.stdout.strip().rpartition("RESULT ")[2].partition("] ")[0], *done.stdout.strip().rsplit(" ", 1)
        return epochs, float(top1)

    _, whole = run(command("whole"))
    state = tmp_path / "killed" / "small.qat" / "state.npz"
    process = subprocess.Popen(command("killed"), cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 240
        while not state.exists():  # the first epoch is complete
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    epochs, resumed = run(command("killed", "--resume"))
    assert "[0, 1, 2, 3" in epochs
    assert abs(resumed - whole) <= 0.02


def test_refusals(small_file: Path, digits_folder: Path, third: Path, tmp_path: Path) -> None:
    import dataclasses

    source = small_source(small_file)
    train = digits_folder / "train"
    with pytest.raises(TrainingError, match="no layers to train"):
        quantization_aware(dataclasses.replace(source, model=None), train, third, QUICK, out=tmp_path)
    with pytest.raises(TrainingError, match="are validation images too"):
        quantization_aware(source, third, third, QUICK, out=tmp_path)


@pytest.mark.parametrize(("field", "value", "message"), [
    ("epochs", 0, "epochs is 0, expected at least 1"),
    ("learning_rate", 0.0, "learning_rate is 0.0"),
    ("batch_size", 0, "batch_size is 0"),
    ("freeze_from", 1.5, "freeze_from is 1.5, expected a share"),
    ("patience", 0, "patience is 0"),
    ("representative", 0, "representative is 0"),
    ("io", "int4", "io is 'int4', expected one of int8, uint8, float32"),
    ("sparsity", 1.0, "sparsity is 1.0"),
    ("clusters", 1, "clusters is 1, expected 2 to 256"),
    ("loss_weights", {"a": float("inf")}, "finite weights"),
])  # fmt: skip
def test_options_that_make_no_sense_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        QatConfig(**{field: value})


def test_sparsity_with_clusters_is_refused() -> None:
    with pytest.raises(TrainingError, match="choose one"):
        QatConfig(sparsity=0.5, clusters=16)


def test_states_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    from quantize import qat_state

    with pytest.raises(TrainingError, match="nothing to resume here"):
        qat_state.load(tmp_path)
    (tmp_path / qat_state.FILE).write_bytes(b"no archive")
    with pytest.raises(TrainingError, match="not an intact training state"):
        qat_state.load(tmp_path)
    qat_state.save(tmp_path, {"weight0": np.arange(3.0)}, {"epoch": 2})
    arrays, meta = qat_state.load(tmp_path)
    np.testing.assert_array_equal(arrays["weight0"], np.arange(3.0))
    assert meta == {"epoch": 2} and [path.name for path in tmp_path.iterdir()] == [qat_state.FILE]


def test_a_head_without_labels_and_without_distillation_is_refused() -> None:
    from edge.contract import OutputSpec
    from quantize.qat_loss import Head

    with pytest.raises(TrainingError, match="no labels in the training images, and distillation is off"):
        Head(spec=OutputSpec(name="a", kind="features"), layer="a", squashed=False, has_truth=False, distills=False)


def test_an_unknown_augmentation_is_refused(digits_folder: Path, small_file: Path) -> None:
    from quantize.qat_data import TrainingImages

    images = LabelledImages.open(digits_folder / "train", labels=LABELS)
    with pytest.raises(TrainingError, match="augmentation mirror is not known, expected some of flip, shift, light"):
        TrainingImages.open(images, small_source(small_file).contract, [10], augment=["mirror"])


def test_the_stream_is_what_edge_preprocesses_and_repeats_itself(digits_folder: Path, small_file: Path) -> None:
    from edge.preprocess import preprocess
    from quantize.qat_data import TrainingImages

    images = LabelledImages.open(digits_folder / "train", labels=LABELS).subset(20)
    contract = small_source(small_file).contract
    plain = TrainingImages.open(images, contract, [10])
    seen = []
    for tensors, truth, numbers in plain.stream(0, 8):
        for tensor, label, number in zip(tensors, truth[contract.outputs[0].name], numbers, strict=True):
            np.testing.assert_array_equal(tensor, preprocess(images.items[number].path, contract.input)[0])
            assert label == images.items[number].label
        seen += list(numbers)
    assert len(set(seen)) == 16
    moved = TrainingImages.open(images, contract, [10], augment=["flip", "shift", "light"])
    first = [tensors for tensors, _, _ in moved.stream(3, 8)]
    again = [tensors for tensors, _, _ in moved.stream(3, 8, skip=1)]
    np.testing.assert_array_equal(first[1], again[0])


def test_a_file_that_training_made_worse_is_not_recommended(finished: Any) -> None:
    parity = {"holds": True, "agreement": 1.0, "diverges": None}
    worse = json.loads(json.dumps(finished.reports["ptq"]))
    for output in worse["outputs"].values():
        output["candidate"]["top1"] -= 0.1
    name, reason = recommend({"ptq": finished.reports["ptq"], "qat": worse}, parity, 2)
    assert name == "ptq" and "did NOT make a better file" in reason
    name, reason = recommend({"ptq": worse, "qat": finished.reports["ptq"]}, parity, 2)
    assert name == "qat" and "training paid" in reason
    broken = {"holds": False, "agreement": 0.9, "diverges": "conv2d_5 (ReLU)"}
    name, reason = recommend({"ptq": worse, "qat": finished.reports["ptq"]}, broken, 2)
    assert name == "ptq" and "conv2d_5" in reason
    assert qat_record.merit(finished.reports["ptq"]) > qat_record.merit(worse)


@pytest.mark.parametrize("options", [{"sparsity": 0.5}, {"clusters": 16}])
def test_pruning_and_clustering_survive_training(
    options: dict[str, Any], small_file: Path, digits_folder: Path, third: Path, tmp_path: Path
) -> None:
    import dataclasses
    import gzip

    config = dataclasses.replace(QUICK, epochs=1, learning_rate=1e-5, **options)
    result = quantization_aware(small_source(small_file), digits_folder / "train", third, config, out=tmp_path)
    parts = Int8File(bytes(container.read(result.trained).flatbuffer()))
    weights = [parts.weights(op) for op in parts.weighted]
    large = [w for w in weights if w.size >= 1024]
    assert large
    for kernel in large:
        if "sparsity" in options:
            assert np.mean(kernel == 0) >= 0.5
        else:
            assert max(len(np.unique(channel)) for channel in kernel) <= 16
    assert len(gzip.compress(result.trained.read_bytes())) < len(gzip.compress(result.ptq.read_bytes()))


@pytest.mark.slow
def test_the_command_on_the_large_network(trained_network: Path, few_digits: Path, tmp_path: Path) -> None:
    """Two epochs at 75 x 75: the structure of PTQ, a fake-quantized network that is what the file computes, nothing made worse."""
    from edge.cli import main

    arguments = ["qat", str(trained_network), "--images", str(few_digits / "train"), "--validation", str(few_digits / "test")]
    arguments += [
        "--preprocess",
        "inception",
        "--epochs",
        "2",
        "--batch-size",
        "16",
        "--representative",
        "20",
        "--name",
        "digits",
    ]
    assert main([*arguments, "--out", str(tmp_path), "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    trained, plain = (container.read(Path(report[key])).graph for key in ("trained", "ptq"))
    assert len(trained.ops) == 335
    assert graph_facts.op_counts(trained) == graph_facts.op_counts(plain)
    assert not any(tensor.is_float for tensor in trained.tensors)
    assert report["parity"]["holds"]
    before, after = (report["comparison"][name]["candidate"]["top1"] for name in ("ptq", "qat"))
    # One image of the 80: training on several cores does not repeat itself to the bit.
    assert after >= before - 1 / 80
