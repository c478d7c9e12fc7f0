"""Quantization-aware training from end to end: what comes out, what an interruption costs, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edge
import quantize
from edge.artefact import container, graph, graph_facts
from edge.data.dataset import LabelledImages
from edge.errors import OutputError
from edge.runtime import golden
from quantize import ptq
from quantize.errors import BridgeError, TrainingError
from quantize.qat import state as qat_state
from quantize.qat.api import QatConfig, quantization_aware
from quantize.tflite.int8_file import Int8File

pytestmark = pytest.mark.converts

REPOSITORY = Path(__file__).resolve().parents[3]
LABELS = [str(digit) for digit in range(10)]
QUICK = QatConfig(epochs=2, learning_rate=1e-4, batch_size=32, representative=40)


def small_source(path: Path | Any, **options: Any) -> Any:
    return quantize.load(path, name="small", preprocess="inception", **({"labels": LABELS} | options))


def test_the_trained_file_keeps_or_improves_what_ptq_gives(finished: Any) -> None:
    before, after = (finished.reports[name]["candidate"]["top1"] for name in ("ptq", "qat"))
    assert after >= before
    assert finished.recommended in (finished.trained, finished.ptq, finished.control)


def test_the_float_control_is_made_where_training_helped(finished: Any) -> None:
    assert (finished.control is not None) == (finished.best_epoch > 0)
    assert set(finished.reports) == {"ptq", "qat"} | ({"control"} if finished.best_epoch > 0 else set())
    assert "--float-control" not in finished.reason


def test_the_float_control_is_trained_as_long_and_quantized_afterwards(few_digits: Path, tmp_path: Path) -> None:
    import keras

    from quantize.qat.control import FloatControl

    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    body = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image))
    source = small_source(keras.Model(image, keras.layers.Dense(10, activation="softmax", name="digit")(body)))
    training = LabelledImages.open(few_digits / "train", labels=LABELS)
    photos = quantize.RepresentativeDataset.from_folder(few_digits / "train", count=12, contract=source.contract)
    control = FloatControl(source, training, QatConfig(epochs=2, learning_rate=1e-2, batch_size=16))
    before = [weights.copy() for weights in control.network.get_weights()]
    control.train(2)
    assert control.epochs == 2
    assert all((old != new).any() for old, new in zip(before, control.network.get_weights(), strict=True))
    config = ptq.PtqConfig(ranges="minmax", golden_samples=0)
    made, plain = (ptq.post_training(each, photos, "int8", config=config) for each in (control.source(), source))
    assert made.contract.quantization.ranges == "minmax"
    assert "fine-tuned in float for 2 epochs" in " ".join(made.contract.notes)
    files = [
        Int8File(bytes(container.read(artefact.save(tmp_path / f"{name}.tflite")).flatbuffer()))
        for name, artefact in (("control", made), ("plain", plain))
    ]
    assert (files[0].weights(files[0].weighted[0]) != files[1].weights(files[1].weighted[0])).any()


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


def opened_run(source: Any, train: Path, validation: Path, config: QatConfig, out: Path) -> Any:
    """A run up to before its first epoch, as `quantization_aware` makes it, without the PTQ file beside it."""
    from quantize.qat.run import Run
    from quantize.reference import reference_outputs

    work = out / f"{source.name}.qat"
    work.mkdir(parents=True)
    checking = LabelledImages.open(validation, labels=LABELS)
    run = Run(
        source=source,
        training=LabelledImages.open(train, labels=LABELS),
        validation=checking,
        representative=quantize.RepresentativeDataset.open(train, source=source, count=config.representative, seed=config.seed),
        config=config,
        work=work,
        reference=reference_outputs(source, checking, work / "reference.npz"),
    )
    run.check_bridge(np.concatenate([source_tensor(source, item.path) for item in checking.subset(4)]))
    return run


def source_tensor(source: Any, path: Path) -> np.ndarray:
    from edge.runtime.preprocess import preprocess

    return preprocess(path, source.contract.input)


@pytest.mark.slow
def test_ctrl_c_and_a_kill_lose_at_most_an_epoch(
    finished: Any, small_file: Path, digits_folder: Path, third: Path, tmp_path: Path
) -> None:
    train = digits_folder / "train"
    run = opened_run(small_source(small_file), train, third, QUICK, tmp_path)

    def press() -> None:
        while int(run.trainer.optimizer.iterations) < 5:
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    with pytest.raises(KeyboardInterrupt):
        run.train()
    finger.join()
    _, meta = qat_state.load(tmp_path / "small.qat")
    assert meta["epoch"] == 0 and 5 <= meta["step"] <= 31  # in the middle of the first epoch, not at its start
    with pytest.raises(TrainingError, match="the interrupted run had batch_size 32, this one has 16; give the same settings"):
        other = dataclasses.replace(QUICK, batch_size=16)
        quantization_aware(small_source(small_file), train, third, other, out=tmp_path, resume=True)
    with pytest.raises(TrainingError, match="the interrupted run had images '1000 "):
        quantization_aware(small_source(small_file), _copied(train, tmp_path), third, QUICK, out=tmp_path, resume=True)

    arguments = ["qat", str(small_file), "--images", str(train), "--validation", str(third), "--preprocess", "inception"]
    arguments += ["--epochs", "2", "--learning-rate", "1e-4", "--batch-size", "32", "--representative", "40"]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", *arguments, "--resume", "--out", str(tmp_path)],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("train: epoch 2"):  # the first epoch is complete, the second has begun
            process.send_signal(signal.SIGKILL)
            break
    process.stderr.close()
    assert process.wait() == -signal.SIGKILL, "".join(seen[-20:])
    assert not any(line.startswith("epoch 0") for line in seen)  # what was done is not done again

    result = quantization_aware(small_source(small_file), train, third, QUICK, out=tmp_path, resume=True)
    assert [row["epoch"] for row in result.record] == [0, 1, 2]
    whole, resumed = (r.reports["qat"]["candidate"]["top1"] for r in (finished, result))
    assert abs(resumed - whole) <= 0.02
    assert sorted(path.name for path in (tmp_path / "small.qat").iterdir()) == ["record.json", "record.svg", "reference.npz"]


def _copied(train: Path, folder: Path) -> Path:
    """All training digits but one."""
    shutil.copytree(train, folder / "other")
    next((folder / "other").glob("*/*.png")).unlink()
    return folder / "other"


def test_training_stops_where_the_converted_file_gets_no_better(small_file: Path, few_digits: Path, tmp_path: Path) -> None:
    # Nothing moves: the file of every epoch is that of epoch 0.
    config = dataclasses.replace(QUICK, epochs=5, patience=2, learning_rate=1e-12, freeze_from=0.0)
    run = opened_run(small_source(small_file), few_digits / "train", few_digits / "test", config, tmp_path)
    run.train()
    assert [row["epoch"] for row in run.rows] == [0, 1, 2]
    assert run.finish()[1] == 0


def test_the_command(small_file: Path, few_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from edge.cli import main

    arguments = ["qat", str(small_file), "--images", str(few_digits / "train"), "--validation", str(few_digits / "test")]
    arguments += ["--preprocess", "inception", "--epochs", "1", "--representative", "20", "--io", "uint8", "--per-tensor"]
    assert main([*arguments, "--balanced", "--distill", "--out", str(tmp_path), "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    opened = container.read(Path(report["trained"]))
    assert [tensor.dtype for tensor in (opened.graph.tensors[i] for i in opened.graph.main.inputs)] == ["uint8"]
    assert opened.contract is not None and not opened.contract.quantization.per_channel
    assert f"deploy {report['recommended']}" in capsys.readouterr().out
    assert main([*arguments, "--loss-weights", "predictions=much", "--out", str(tmp_path)]) == 2
    assert "--loss-weights 'predictions=much': expected NAME=NUMBER" in capsys.readouterr().err


def test_refusals(small_file: Path, digits_folder: Path, third: Path, tmp_path: Path) -> None:
    source = small_source(small_file)
    train = digits_folder / "train"
    with pytest.raises(TrainingError, match="no layers to train"):
        quantization_aware(dataclasses.replace(source, model=None), train, third, QUICK, out=tmp_path)
    with pytest.raises(TrainingError, match="are validation images too"):
        quantization_aware(source, third, third, QUICK, out=tmp_path)
    with pytest.raises(TrainingError, match="nothing to resume here"):
        quantization_aware(source, train, third, QUICK, out=tmp_path / "new", resume=True)
    assert list(tmp_path.iterdir()) == []  # before any work


def test_a_network_that_answers_otherwise_than_its_layers_is_refused(small_file: Path, few_digits: Path, tmp_path: Path) -> None:
    source = small_source(small_file)
    function = source.function
    other = dataclasses.replace(source, function=lambda t: {k: v * 0.5 for k, v in function(t).items()}, _traced={})
    with pytest.raises(BridgeError, match=r"output 'predictions' of the rebuilt network differs from the original's by 1.0e\+00"):
        opened_run(other, few_digits / "train", few_digits / "test", QUICK, tmp_path)


def test_a_loss_that_is_no_number_stops_the_run(small_file: Path, few_digits: Path, tmp_path: Path) -> None:
    source = small_source(small_file)
    config = dataclasses.replace(QUICK, loss_weights={source.output_names[0]: 1e39})  # beyond float32
    run = opened_run(source, few_digits / "train", few_digits / "test", config, tmp_path)
    with pytest.raises(TrainingError, match="the loss is inf in epoch 1, step 1; try a lower --learning-rate"):
        run.train()
    with pytest.raises(TrainingError, match="belongs to another network or other settings"):
        run.trainer.restore({"weight0": np.zeros(3)})


def test_a_weight_for_an_unknown_output_is_refused(small_file: Path, few_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="loss weights for steering: the model's outputs are "):
        config = dataclasses.replace(QUICK, loss_weights={"steering": 1.0})
        opened_run(small_source(small_file), few_digits / "train", few_digits / "test", config, tmp_path)


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
    with pytest.raises(TrainingError, match="nothing to resume here"):
        qat_state.load(tmp_path)
    (tmp_path / qat_state.FILE).write_bytes(b"no archive")
    with pytest.raises(TrainingError, match="not an intact training state"):
        qat_state.load(tmp_path)
    qat_state.save(tmp_path, {"weight0": np.arange(3.0)}, {"epoch": 2})
    arrays, meta = qat_state.load(tmp_path)
    np.testing.assert_array_equal(arrays["weight0"], np.arange(3.0))
    with pytest.raises(OutputError, match="cannot be written .*; free some space or choose another --out"):
        qat_state.save(tmp_path / qat_state.FILE, {}, {})
    assert meta == {"epoch": 2} and [path.name for path in tmp_path.iterdir()] == [qat_state.FILE]


def test_a_head_without_labels_and_without_distillation_is_refused() -> None:
    from edge.artefact.contract import OutputSpec
    from quantize.qat.loss import Head

    with pytest.raises(TrainingError, match="no labels in the training images, and distillation is off"):
        Head(spec=OutputSpec(name="a", kind="features"), layer="a", squashed=False, has_truth=False, distills=False)


def test_an_unknown_augmentation_is_refused(digits_folder: Path, small_file: Path) -> None:
    from quantize.qat.data import TrainingImages

    images = LabelledImages.open(digits_folder / "train", labels=LABELS)
    with pytest.raises(TrainingError, match="augmentation mirror is not known, expected some of flip, shift, light"):
        TrainingImages.open(images, small_source(small_file).contract, [10], augment=["mirror"])


def test_the_stream_is_what_edge_preprocesses_and_repeats_itself(digits_folder: Path, small_file: Path) -> None:
    from edge.runtime.preprocess import preprocess
    from quantize.qat.data import TrainingImages

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


def test_balanced_classes_weigh_alike_and_one_on_average(digits_folder: Path, small_file: Path) -> None:
    from quantize.qat.data import TrainingImages

    images = LabelledImages.open(digits_folder / "train", labels=LABELS).subset(4)
    truth = {"digit": np.array([0, 0, 0, 2])}
    weights = TrainingImages(images=images, contract=small_source(small_file).contract, truth=truth).class_weights("digit", 3)
    np.testing.assert_allclose(weights, [4 / 6, 0.0, 2.0], rtol=1e-6)
    assert weights[truth["digit"]].mean() == pytest.approx(1.0)


@pytest.mark.parametrize("options", [{"sparsity": 0.5}, {"clusters": 16}])
def test_pruning_and_clustering_survive_training(
    options: dict[str, Any], small_file: Path, digits_folder: Path, third: Path, tmp_path: Path
) -> None:
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
def test_the_large_network(trained_network: Path, artefacts: dict[str, Path], few_digits: Path, tmp_path: Path) -> None:
    """One epoch at 75 x 75: the structure of PTQ for every I/O type, a file that computes what was trained, nothing made worse."""
    source = quantize.load(trained_network, name="digits", preprocess="inception", labels=LABELS)
    config = QatConfig(epochs=1, batch_size=16, representative=20)
    run = opened_run(source, few_digits / "train", few_digits / "test", config, tmp_path)
    run.train()
    artefact, _, parity = run.finish()
    assert parity["holds"]
    trained = artefact.save(tmp_path)
    plain = graph_facts.op_counts(container.read(artefacts["int8"]).graph)
    assert sum(plain.values()) == 335
    for io, boundary in (("int8", []), ("uint8", ["QUANTIZE", "QUANTIZE"]), ("float32", ["QUANTIZE", "DEQUANTIZE"])):
        raw = container.read(trained).flatbuffer() if io == "int8" else run.exporter.int8(run.table.read(), io=io)
        model = graph.read(bytes(raw))
        ptq.check(model, variant="int8", io=io, runtime=None)
        inside = model.ops[1:-1] if boundary else model.ops
        assert Counter(op.name for op in inside) == plain
        assert [op.name for op in (model.ops[0], model.ops[-1])] == boundary or not boundary
    reports = [edge.validate(path, few_digits / "test").to_dict() for path in (artefacts["int8"], trained)]
    before, after = (report["candidate"]["top1"] for report in reports)
    # One image of the 80: training on several cores does not repeat itself to the bit.
    assert after >= before - 1 / 80, run.rows
