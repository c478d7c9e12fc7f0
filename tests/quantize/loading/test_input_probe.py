"""Normalisation inside the network is found however it is written, in Keras 3 and tf_keras."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantize
from quantize import LoadError
from quantize.calibrate.input_statistics import judge
from quantize.quiet import import_keras, import_tensorflow, import_tf_keras, quiet

pytestmark = pytest.mark.converts

SIDE = 16
MEAN = (103.939, 116.779, 123.68)


def _network(keras: Any, beginning: Callable[[Any], Any], *, dtype: str = "float32") -> Any:
    with quiet():
        picture = keras.Input((SIDE, SIDE, 3), dtype=dtype)
        x = keras.layers.Conv2D(4, 3, name="first")(beginning(picture))
        return keras.Model(picture, keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x)))


def _documented(keras: Any) -> Callable[[Any], Any]:
    def begin(x: Any) -> Any:
        x = keras.ops.cast(x, "float32") if hasattr(keras, "ops") else import_tensorflow().cast(x, "float32")
        return keras.applications.inception_resnet_v2.preprocess_input(x)

    return begin


def _caffe(x: Any) -> Any:
    return x[..., ::-1] - np.array(MEAN, np.float32)


@pytest.mark.parametrize("module", [import_keras, import_tf_keras])
@pytest.mark.parametrize("form", ["object", "h5"])
def test_a_cast_before_preprocess_input_is_passed_through(module: Any, form: str, tmp_path: Path) -> None:
    keras = module()
    network: Any = _network(keras, _documented(keras))
    picture = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3)).astype(np.float32)
    expected = np.asarray(network(picture))[0]
    if form == "h5":
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # .h5 is an old form
            network.save(tmp_path / "cast.h5")
        network = tmp_path / "cast.h5"

    source = quantize.load(network)

    assert (source.contract.input.mean, source.contract.input.scale) == ((0.0,) * 3, (1.0,) * 3)
    assert source.predict(picture)[source.output_names[0]] == pytest.approx(expected, abs=1e-5)
    with pytest.raises(LoadError, match="normalises its input itself.*contract does so too.*--preprocess raw"):
        quantize.load(network, preprocess="inception")


def _lambda(x: Any) -> Any:
    return import_keras().layers.Lambda(lambda pixels: pixels / 127.5 - 1.0, name="scaling")(x)


def _normalization(x: Any) -> Any:
    return import_keras().layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[3600.0, 3500.0, 3400.0])(x)


def _resizing(x: Any) -> Any:
    return import_keras().layers.Rescaling(1 / 255)(import_keras().layers.Resizing(20, 20)(x))


def _tanh(x: Any) -> Any:
    return import_keras().ops.tanh(x / 255)


@pytest.mark.parametrize(
    ("beginning", "takes"),
    [
        (_lambda, r"takes 0\.\.255 to -1\.\.1\)"),
        (lambda x: x / 127.5 - 1, r"takes 0\.\.255 to -1\.\.1\)"),
        (_normalization, r"takes 0\.\.255 to -2\.\.2\.658\)"),
        (_resizing, r"takes 0\.\.255 to 0\.\.1\)"),
        (_caffe, r"takes 0\.\.255 to -123\.7\.\.151\.1, red and blue exchanged\)"),
    ],
    ids=["lambda", "operators", "normalization", "resizing", "caffe"],
)
def test_what_the_network_does_to_pixels_is_recognised(beginning: Callable[[Any], Any], takes: str) -> None:
    network = _network(import_keras(), beginning)

    source = quantize.load(network)

    assert source.contract.input.scale == (1.0, 1.0, 1.0)
    (note,) = [note for note in source.notes if "normalises its input itself" in note]
    assert re.search(takes, note), note
    recipe = {"color": "bgr", "mean": MEAN, "scale": (1.0,) * 3} if beginning is _caffe else "inception"
    with pytest.raises(LoadError, match="contract does so too"):
        quantize.load(network, preprocess=recipe)


def test_red_and_blue_are_not_exchanged_twice() -> None:
    with pytest.raises(LoadError, match="together nothing would be exchanged"):
        quantize.load(_network(import_keras(), lambda x: x[..., ::-1]), preprocess={"color": "bgr"})


def test_what_is_not_a_number_and_an_offset_per_channel_is_not_recognised() -> None:
    with pytest.raises(LoadError, match="may normalise the input, which cannot be seen from outside"):
        quantize.load(_network(import_keras(), _tanh))
    assert quantize.load(_network(import_keras(), _tanh), preprocess="raw").contract.input.scale == (1.0, 1.0, 1.0)


def test_a_network_that_takes_pixels_as_they_come_is_said_not_to_normalise() -> None:
    with pytest.raises(LoadError, match="does not normalise its input itself"):
        quantize.load(_network(import_keras(), lambda x: x))


def _beginnings(keras: Any) -> dict[str, Callable[[Any], Any]]:
    layers, applications = keras.layers, keras.applications
    return {
        "cast": _documented(keras),
        "operators": lambda x: x / 127.5 - 1,
        "caffe": _caffe,
        "resnet50": applications.resnet50.preprocess_input,
        "densenet": applications.densenet.preprocess_input,
        "normalization": layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[3600.0, 3500.0, 3400.0]),
        "resizing": lambda x: layers.Rescaling(1 / 255)(layers.Resizing(20, 20)(x)),
    }


@pytest.mark.parametrize(
    ("module", "form"),
    [(import_keras, "h5"), (import_keras, "export"), *((import_tf_keras, form) for form in ("object", "h5", "export", "tf"))],
)
@pytest.mark.parametrize("name", ["cast", "operators", "caffe", "resnet50", "densenet", "normalization", "resizing"])
def test_no_form_of_a_network_is_normalised_twice(module: Any, name: str, form: str, tmp_path: Path) -> None:
    keras = module()
    network: Any = _network(keras, _beginnings(keras)[name])
    picture = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3)).astype(np.float32)
    expected = np.asarray(network(picture))[0]
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old forms
        if form == "h5":
            network.save(tmp_path / "network.h5")
        elif form == "export":
            network.export(str(tmp_path / "network"))
        elif form == "tf":
            network.save(tmp_path / "network", save_format="tf")
    given = network if form == "object" else tmp_path / ("network.h5" if form == "h5" else "network")
    already = {"caffe", "resnet50"}

    source = quantize.load(given)

    assert (source.contract.input.mean, source.contract.input.scale) == ((0.0,) * 3, (1.0,) * 3)
    assert source.predict(picture)[source.output_names[0]] == pytest.approx(expected, abs=1e-5)
    (note,) = [note for note in source.notes if "normalises its input itself in" in note]
    assert "functional" not in note and ("red and blue exchanged" in note) == (name in already)
    with pytest.raises(LoadError, match="contract does so too"):
        quantize.load(given, preprocess={"color": "bgr", "mean": MEAN, "scale": (1.0,) * 3} if name in already else "inception")


def test_a_saved_model_that_takes_pixels_as_they_come_is_said_not_to_normalise(tmp_path: Path) -> None:
    with quiet():
        _network(import_keras(), lambda x: x).export(str(tmp_path / "plain"))
        _network(import_keras(), _tanh).export(str(tmp_path / "unread"))

    with pytest.raises(LoadError, match="does not normalise its input itself"):
        quantize.load(tmp_path / "plain")
    assert not [note for note in quantize.load(tmp_path / "plain", preprocess="inception").notes if "normalise" in note]
    with pytest.raises(LoadError, match="may normalise the input, which cannot be seen from outside"):
        quantize.load(tmp_path / "unread")
    assert [
        note
        for note in quantize.load(tmp_path / "unread", preprocess="inception").notes
        if "may normalise the input as well" in note
    ]


def test_notes_and_findings_say_only_what_was_checked() -> None:
    network = _network(import_tf_keras(), lambda x: x)

    (same,) = [note for note in quantize.load(network, preprocess="raw").notes if "Keras 2" in note]
    other = [note for note in quantize.load(network, preprocess="raw", input_shape=(24, 24)).notes if "Keras 2" in note]
    finding = judge(None)

    assert "checked to answer alike" in same
    assert len(other) == 1 and "checked" not in other[0] and "were not compared" in other[0]
    assert finding is not None and "no batch normalisation was found" in finding.message


@pytest.mark.parametrize("version", ["keras 3", "keras 2"])
@pytest.mark.parametrize("name", ["BatchNormalization", "LayerNormalization"])
def test_a_first_layer_with_weights_of_its_own(name: str, version: str) -> None:
    library = import_keras() if version == "keras 3" else import_tf_keras()
    with quiet():
        image = library.layers.Input((16, 16, 3))
        seen = library.layers.Conv2D(4, 3)(getattr(library.layers, name)()(image))
        model = library.Model(image, library.layers.Dense(2, activation="softmax")(library.layers.GlobalAveragePooling2D()(seen)))
    assert quantize.load(model, preprocess="inception").contract.input.mean == (127.5, 127.5, 127.5)
    with pytest.raises(LoadError, match="how are pictures fed"):
        quantize.load(model)
