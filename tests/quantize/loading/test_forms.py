"""Forms in which other people's files come: each loads and answers as Keras does, or is refused with the reason and the way out."""

from __future__ import annotations

import argparse
import base64
import json
import marshal
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import quantize
from edge.artefact import graph, graph_facts
from quantize import LoadError
from quantize.calibrate import activations
from quantize.commands.source_flags import add_source, load_source
from quantize.quiet import import_keras, import_tf_keras, quiet
from quantize.tflite import conversion

pytestmark = pytest.mark.converts

SIDE = 16
RNG = np.random.default_rng(11)
PHOTO = np.floor(np.random.default_rng(1).uniform(0, 256, (1, SIDE, SIDE, 3))).astype(np.float32)


def keras_of(version: str) -> Any:
    return import_keras() if version == "keras 3" else import_tf_keras()


def filled(model: Any) -> Any:
    model.set_weights([RNG.uniform(0.05, 0.5, weight.shape).astype(weight.dtype) for weight in model.get_weights()])
    return model


def answer(model: Any, given: Any = PHOTO) -> NDArray[np.float32]:
    values: NDArray[np.float32] = np.asarray(import_keras().ops.convert_to_numpy(model(given, training=False)), np.float32)
    (first,) = values
    only: NDArray[np.float32] = first
    return only


def one(source: quantize.Source, fed: Any) -> NDArray[np.float32]:
    (found,) = source.predict(fed).values()
    return found


def check(path: Path, expected: NDArray[np.float32], *, exact: bool = True, fed: Any = PHOTO) -> quantize.Source:
    source = quantize.load(path, preprocess="raw")
    np.testing.assert_allclose(one(source, fed), expected, atol=1e-5 if exact else 1e-2)
    return source


def head(keras: Any, x: Any, name: str | None = None) -> Any:
    return keras.layers.Dense(3, activation="softmax", name=name)(keras.layers.GlobalAveragePooling2D()(x))


def plain(keras: Any, *, channels: int = 3) -> Any:
    image = keras.Input((SIDE, SIDE, channels))
    return keras.Model(image, head(keras, keras.layers.Conv2D(4, 3)(image)))


def old_list(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return layers as Keras 2.2.2 wrote them: a nested Sequential is a list too, without its name."""
    found = []
    for layer in layers:
        if layer["class_name"] == "InputLayer":
            continue
        inner = old_list(layer["config"]["layers"]) if layer["class_name"] == "Sequential" else layer["config"]
        found.append({"class_name": layer["class_name"], "config": inner})
    first = found[0]["config"]
    if isinstance(first, dict):
        first["batch_input_shape"] = [None, SIDE, SIDE, 3]
    return found


@pytest.mark.parametrize("nested", [False, True])
def test_a_sequential_whose_configuration_is_a_list(nested: bool, tmp_path: Path) -> None:
    keras = import_tf_keras()
    layers = keras.layers
    with quiet():
        begin = [layers.Conv2D(4, 3, input_shape=(SIDE, SIDE, 3)), layers.BatchNormalization()]
        front = [keras.Sequential(begin, name="front")] if nested else begin
        model = filled(keras.Sequential([*front, layers.Flatten(), layers.Dense(3, activation="softmax")]))
        expected = answer(model)
        model.save(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        old = {"class_name": "Sequential", "config": old_list(config["config"]["layers"])}
        file.attrs["model_config"] = json.dumps(old).encode()
    check(tmp_path / "old.h5", expected)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("nested", [False, True])
def test_layer_names_with_a_slash(nested: bool, suffix: str, tmp_path: Path) -> None:
    keras = import_tf_keras()
    layers = keras.layers
    with quiet():
        image = keras.Input((SIDE, SIDE, 3), name="in/put")
        x = layers.Conv2D(4, 3, name="conv1/conv")(image)
        x = layers.BatchNormalization(name="conv1/bn")(x)
        both = [layers.Conv2D(4, 3, name=f"conv{i}/conv")(x) for i in (2, 3)]  # of one shape: a mix-up would raise no error
        x = layers.Subtract(name="conv1_conv")([layers.BatchNormalization(name=f"conv{i}/bn")(y) for i, y in enumerate(both, 2)])
        model = keras.Model(image, x, name="back/bone") if nested else keras.Model(image, head(keras, x, "pred/out"))
        if nested:
            outer = keras.Input((SIDE, SIDE, 3))
            model = keras.Model(outer, head(keras, model(outer), "pred/out"))
        expected = answer(filled(model))
        model.save(tmp_path / f"slash{suffix}")
    source = check(tmp_path / f"slash{suffix}", expected)
    assert source.output_names == ("pred_out",)
    assert any("names of layers are none that Keras 3 and TensorFlow take" in note for note in source.notes)


@pytest.mark.parametrize("version", ["keras 3", "keras 2"])
def test_inputs_by_name(version: str, tmp_path: Path) -> None:
    keras = keras_of(version)
    speed = np.array([[0.5, 2.0]], np.float32)
    with quiet():
        picture, number = keras.Input((SIDE, SIDE, 3), name="picture"), keras.Input((2,), name="number")
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(picture))
        x = keras.layers.Dense(3, activation="softmax")(keras.layers.Concatenate()([x, number]))
        model = filled(keras.Model({"picture": picture, "number": number}, x))
        expected = answer(model, {"picture": PHOTO, "number": speed})
        model.save(tmp_path / "named.keras")
        model.save(tmp_path / "named.h5")
    for path in (tmp_path / "named.keras", tmp_path / "named.h5"):
        check(path, expected, fed=(PHOTO, speed))
    live = quantize.load(model, preprocess="raw")
    np.testing.assert_allclose(one(live, (PHOTO, speed)), expected, atol=1e-5)


@pytest.mark.parametrize("version", ["keras 3", "keras 2"])
def test_the_layers_of_convnext(version: str, tmp_path: Path) -> None:
    keras = keras_of(version)
    package = "keras" if version == "keras 3" else "tf_keras"
    own = __import__(f"{package}.src.applications.convnext", fromlist=["LayerScale"])
    with quiet():
        image = keras.Input((SIDE, SIDE, 3))
        x = keras.layers.Conv2D(4, 3)(image)
        scaled = own.LayerScale(0.5, 4, name="scale")(keras.layers.Conv2D(4, 1)(x))
        model = filled(keras.Model(image, head(keras, keras.layers.Add()([x, own.StochasticDepth(0.1, name="depth")(scaled)]))))
        expected = answer(model)
        model.save(tmp_path / "next.keras")
        model.save(tmp_path / "next.h5")
    for path in (tmp_path / "next.keras", tmp_path / "next.h5"):
        check(path, expected)


@pytest.mark.parametrize(("version", "suffix"), [("keras 3", ".keras"), ("keras 3", ".h5"), ("keras 2", ".h5")])
def test_an_input_of_whole_pixels(version: str, suffix: str, tmp_path: Path) -> None:
    keras = keras_of(version)
    with quiet():
        image = keras.Input((SIDE, SIDE, 3), dtype="uint8")
        x = keras.layers.Rescaling(1 / 127.5, -1)(image)
        model = filled(keras.Model(image, head(keras, keras.layers.Conv2D(4, 3)(x))))
        expected = answer(model, PHOTO.astype(np.uint8))
        path = tmp_path / f"whole{suffix}"
        model.save(path)
    source = check(path, expected)
    assert source.concrete_function().inputs[0].dtype == "float32"
    assert all(op.type != "Cast" for op in source.concrete_function().inputs[0].consumers())
    assert quantize.load(path).contract.input == source.contract.input
    np.testing.assert_allclose(one(quantize.load(model), PHOTO), expected, atol=1e-5)
    with pytest.raises(LoadError, match="feed them as they are with --preprocess raw"):
        quantize.load(path, preprocess="unit")


def test_whole_pixels_are_not_normalised() -> None:
    keras = import_keras()
    with quiet():
        image = keras.Input((SIDE, SIDE, 3), dtype="uint8")
        model = keras.Model(image, head(keras, keras.layers.Rescaling(1.0)(image)))
    assert quantize.load(model).contract.input.scale == (1.0, 1.0, 1.0)
    with pytest.raises(LoadError, match="takes whole pixels, 0 to 255, and the contract feeds .* --preprocess raw"):
        quantize.load(model, preprocess="unit")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_networks_of_other_floats(dtype: str, tmp_path: Path) -> None:
    keras = import_keras()
    keras.config.set_dtype_policy(dtype)
    try:
        with quiet():
            model = filled(plain(keras))
            expected = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(model(PHOTO), "float32")))[0]
            model.save(tmp_path / "half.keras")
            model.save(tmp_path / "half.h5")
    finally:
        keras.config.set_dtype_policy("float32")
    for path in (tmp_path / "half.keras", tmp_path / "half.h5"):
        source = check(path, expected, exact=dtype == "float64")
        operations = source.concrete_function().graph.get_operations()
        assert dtype not in {tensor.dtype.name for op in operations for tensor in op.outputs}


def test_channels_first_is_no_stack_of_frames(tmp_path: Path) -> None:
    keras = import_keras()
    for shape, last in (((3, 75, 75), "75, 75, 3"), ((1, 28, 28), "28, 28, 1")):
        with quiet():
            image = keras.Input(shape)
            x = keras.layers.Conv2D(4, 3)(keras.layers.Permute((2, 3, 1))(image))
            model = keras.Model(image, head(keras, x))
            model.save(tmp_path / "first.keras")
        for source in (model, tmp_path / "first.keras"):
            with pytest.raises(LoadError, match=rf"channels first; .*data_format='channels_last' and an Input\(\({last}\)\)"):
                quantize.load(source, preprocess="raw")


def test_grey_rgba_and_two_pictures() -> None:
    keras = import_keras()
    with quiet():
        grey, rgba = plain(keras, channels=1), plain(keras, channels=4)
        left, right = keras.Input((SIDE, SIDE, 3), name="left"), keras.Input((SIDE, SIDE, 3), name="right")
        two = keras.Model([left, right], head(keras, keras.layers.Concatenate()([left, right])))
    fed = quantize.load(grey, preprocess={"mean": (0.0,), "scale": (255.0,)}).contract.input
    assert (fed.color, fed.mean, fed.scale) == ("gray", (0.0,), (255.0,))
    with pytest.raises(LoadError, match=r"4 channels \(RGBA\), expected 3 .*wrap it: x = keras.Input\(\(16, 16, 3\)\)"):
        quantize.load(rgba, preprocess="unit")
    with pytest.raises(LoadError, match=r"2 inputs of pictures \(left, right\), expected one; .*keras.ops.split"):
        quantize.load(two, preprocess="unit")


def test_a_lambda_of_another_python_is_named(tmp_path: Path) -> None:
    keras = import_keras()
    with quiet():
        image = keras.Input((SIDE, SIDE, 3))
        keras.Model(image, head(keras, keras.layers.Lambda(lambda x: x * 2)(image))).save(tmp_path / "code.keras")
    code = base64.b64encode(marshal.dumps((lambda x: x).__code__)[:40]).decode()
    with zipfile.ZipFile(tmp_path / "code.keras") as archive, zipfile.ZipFile(tmp_path / "other.keras", "w") as other:
        for member in archive.namelist():
            data = archive.read(member)
            if member == "config.json":
                config = json.loads(data)
                (layer,) = [each for each in config["config"]["layers"] if each["class_name"] == "Lambda"]
                layer["config"]["function"]["config"]["code"] = code
                data = json.dumps(config).encode()
            other.writestr(member, data)
    with pytest.raises(LoadError, match=r"Lambda layers whose bytecode this Python 3\.\d+\.\d+ cannot read .*another version of"):
        quantize.load(tmp_path / "other.keras", preprocess="raw", allow_code=True)


def load_with_folders(model: Path, images: Path) -> quantize.Source:
    parser = argparse.ArgumentParser()
    add_source(parser)
    return load_source(parser.parse_args([str(model), "--preprocess", "raw"]), images=str(images))


def test_folders_without_images_are_no_labels(tmp_path: Path) -> None:
    with quiet():
        plain(import_keras()).save(tmp_path / "three.keras")
    images = tmp_path / "images"
    for name in ("a", "b", "Mo\u0308hre", "__MACOSX/a"):
        (images / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(images / name / "1.png")
    (images / "empty").mkdir()
    source = load_with_folders(tmp_path / "three.keras", images)
    assert source.contract.outputs[0].labels == ("M\u00f6hre", "a", "b")
    assert any("(without empty, which hold no images)" in note for note in source.notes)
    (images / "c").mkdir()
    Image.new("RGB", (4, 4)).save(images / "c" / "1.png")
    source = load_with_folders(tmp_path / "three.keras", images)
    assert source.contract.outputs[0].labels == ()
    assert any("no labels: 4 sub-folders" in note and "give --labels FILE" in note for note in source.notes)


def test_a_convnext_is_full_int8(tmp_path: Path) -> None:
    """Its layer normalisations negate a mean, for which TensorFlow's quantizer has no int8."""
    from keras.src.applications.convnext import ConvNeXt

    keras = import_keras()
    with quiet():
        keras.utils.set_random_seed(0)
        network = ConvNeXt([1, 1, 1, 1], [8, 8, 16, 16], name="tiny", weights=None, input_shape=(32, 32, 3), classes=3)
        network.save(tmp_path / "tiny.keras")
    source = quantize.load(tmp_path / "tiny.keras")
    photos = [np.random.default_rng(i).integers(0, 256, (1, 32, 32, 3)).astype(np.float32) for i in range(6)]
    conversion.export_saved_model(source, tmp_path / "saved")
    float32 = conversion.convert_float(tmp_path / "saved", "float32")

    int8 = conversion.quantize_int8(conversion.calibrate(float32, photos))

    assert not graph_facts.float_ops(graph.read(int8))
    (name,) = source.output_names
    expected = [source.predict(photo)[name] for photo in photos]
    for file, apart in ((float32, 1e-5), (int8, 0.05)):
        found = [np.ravel(next(iter(answer.values()))) for answer in activations.run(file, photos)]
        np.testing.assert_allclose(found, expected, atol=apart)


def test_a_densenet_of_keras_2_loads_whatever_its_layers_are_called(tmp_path: Path) -> None:
    """``conv1/conv`` and the like: Keras 3 takes no ``/`` in names."""
    keras = import_tf_keras()
    build = __import__("tf_keras.src.applications.densenet", fromlist=["DenseNet"]).DenseNet
    with quiet():
        keras.utils.set_random_seed(0)
        network = build([1, 1, 1, 1], weights=None, input_shape=(32, 32, 3), classes=3)
        network.save(tmp_path / "densenet.h5")
    picture = np.random.default_rng(0).uniform(0, 1, (1, 32, 32, 3)).astype(np.float32)
    assert any("/" in layer.name for layer in network.layers)

    source = quantize.load(tmp_path / "densenet.h5", preprocess="unit")

    assert any("names of layers are none" in note for note in source.notes)
    (name,) = source.output_names
    np.testing.assert_allclose(source.predict(picture)[name], np.asarray(network(picture, training=False))[0], atol=1e-5)


@pytest.mark.parametrize("version", ["keras 3", "tf_keras"])
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_head_that_was_trained_on_its_own_brings_its_optimizer_along(version: str, ending: str, tmp_path: Path) -> None:
    keras = keras_of(version)
    with quiet():
        dense = keras.layers.Dense(3, activation="softmax")
        trained = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.2), dense], name="optimizer")
        trained.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        trained.fit(np.ones((4, 4), np.float32), np.zeros(4), verbose=0)
        x = picture = keras.Input((SIDE, SIDE, 3))
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(x))
        model = keras.Model(picture, trained(x))
        model.save(tmp_path / f"net{ending}")
    check(tmp_path / f"net{ending}", answer(model))
