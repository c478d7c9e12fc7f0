"""The 55.9 M-parameter network itself, trained, through every variant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edge
from edge.artefact import container, graph
from edge.runtime.preprocess import preprocess

pytestmark = pytest.mark.slow


def _digits(folder: Path, count: int) -> list[Path]:
    files = sorted((folder / "test").glob("*/*.png"))
    return files[:: len(files) // count][:count]


def test_int8_is_the_whole_network_in_integers(artefacts: dict[str, Path]) -> None:
    model = graph.read(container.read(artefacts["int8"]).flatbuffer())
    assert len(model.ops) == 335
    assert sum(op.name == "CONV_2D" for op in model.ops) == 244
    assert not [tensor.name for tensor in model.tensors if tensor.is_float]


def test_sizes_are_what_the_weights_take(artefacts: dict[str, Path]) -> None:
    size = {variant: path.stat().st_size for variant, path in artefacts.items()}
    assert 0.45 < size["float16"] / size["float32"] < 0.55
    for variant in ("dynamic", "int8", "int16x8"):
        assert 0.24 < size[variant] / size["float32"] < 0.30


def test_float32_answers_as_keras_does(artefacts: dict[str, Path], trained_network: Path, digits_folder: Path) -> None:
    import keras

    network = keras.models.load_model(trained_network, compile=False)
    model = edge.load(artefacts["float32"])
    assert model.contract.source.parameters == network.count_params()
    images = _digits(digits_folder, 10)
    # Called and not predict(): Keras would first compile 780 layers by XLA, for a minute.
    answers = network(np.concatenate([preprocess(image, model.contract.input) for image in images]), training=False)
    for image, expected in zip(images, np.asarray(answers), strict=True):
        np.testing.assert_allclose(model.predict(image)["predictions"], expected, atol=2e-4)


@pytest.mark.parametrize("variant", ["float16", "dynamic", "int8", "int16x8"])
def test_every_variant_stays_close_to_float32(variant: str, artefacts: dict[str, Path], digits_folder: Path) -> None:
    report = edge.validate(
        artefacts[variant], digits_folder / "test", reference=artefacts["float32"], limit=200, max_drop=0.05
    ).to_dict()
    assert report["reference"]["top1"] > 0.8  # a network that knows nothing would agree with anything
    assert report["agreement"] > 0.97
    assert report["verdict"] == "pass"


def test_reference_outputs_stand_in_for_the_float_file(
    artefacts: dict[str, Path], trained_network: Path, few_digits: Path, tmp_path: Path
) -> None:
    import quantize

    source = quantize.load(trained_network, preprocess="inception", labels=[str(digit) for digit in range(10)])
    stored = quantize.reference_outputs(source, few_digits / "test", tmp_path / "reference.npz")
    assert len(stored) == 80
    by_file = edge.validate(artefacts["int8"], few_digits / "test", reference=artefacts["float32"]).to_dict()
    by_store = edge.validate(artefacts["int8"], few_digits / "test", reference=stored.path).to_dict()
    assert by_store["reference"]["top1"] == by_file["reference"]["top1"]
    assert by_store["agreement"] == by_file["agreement"]
    assert abs(by_store["probability_shift"] - by_file["probability_shift"]) < 1e-4
