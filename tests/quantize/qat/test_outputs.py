"""Training of networks that do not, or not only, name one class: what each output learns from and how it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import quantize
from edge.artefact import container
from edge.data.dataset import LabelledImages
from quantize.qat import report as qat_report
from quantize.qat.api import QatConfig, quantization_aware

pytestmark = pytest.mark.converts


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
    for row in result.record:
        assert row["output"] == "odd" and row["figure"] == "top1" and row["outputs"]["odd"]["int8"] == row["int8"]
        value = row["outputs"]["value"]
        assert value["figure"] == "mae" and min(value["float"], value["fake_quantized"], value["int8"]) > 0
    assert "value mean absolute error" in result.reason
    told = qat_report.to_text(result.to_dict()).splitlines()
    assert [line for line in told if ": " in line][:2] == ["odd: top-1", "value: mean absolute error"]
    assert told[1].split() == ["epoch", "loss", "float", "fake-q.", "int8", "agreement", "shift", "parity"]
    assert not any(tensor.is_float for tensor in container.read(result.trained).graph.tensors)


def test_numbers_alone_are_told_as_errors(digits_folder: Path, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    body = keras.layers.Flatten()(keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image))
    network = keras.Model(image, keras.layers.Dense(1, name="value")(body))
    source = quantize.load(network, name="one", preprocess="inception", outputs="regression")
    files = sorted((digits_folder / "train").glob("*/*.png"))
    for name, chosen in (("train", files[::8]), ("validation", files[1::16])):
        rows = [f"{file},{file.parent.name}" for file in chosen]
        (tmp_path / f"{name}.csv").write_text("\n".join(["path,value", *rows]) + "\n")
    config = QatConfig(epochs=1, learning_rate=1e-3, batch_size=16, representative=20)
    result = quantization_aware(source, tmp_path / "train.csv", tmp_path / "validation.csv", config, out=tmp_path)
    before, after = (row["outputs"]["value"] for row in result.record)
    assert 0 < after["int8"] < before["int8"] and abs(after["fake_quantized"] - after["int8"]) < 0.1 * after["int8"]
    assert result.parity["agreement"] is None and result.parity["holds"]
    assert result.recommended == result.trained and "value mean absolute error" in result.reason
    told = qat_report.to_text(result.to_dict())
    assert told.startswith("value: mean absolute error\n") and "-%" not in told and " steps" in told
    assert "mean absolute error" in result.plot_file.read_text() and "%" not in result.plot_file.read_text()


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
