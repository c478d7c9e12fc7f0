"""Loading trained networks: every form in which people have one gives the same answers as the network that was saved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import quantize
from quantize import LoadError
from quantize.quiet import import_keras, import_tensorflow, import_tf_keras, quiet

pytestmark = pytest.mark.converts

RNG = np.random.default_rng(7)
OUTPUTS = {"steering": "regression"}


def user_model(
    keras: Any, *, shape: tuple[int | None, int | None, int] = (24, 32, 3), frozen: bool = True, augmented: bool = True
) -> Any:
    """What people have: a headless backbone as one layer in a model with a head of their own, two outputs, partly frozen.

    The backbone has two layers of equal shape side by side: mixing up their weights would raise no error.
    """
    layers = keras.layers
    inside = keras.Input(shape)
    x = layers.Conv2D(8, 3, strides=2, use_bias=False, name="stem")(inside)
    x = layers.ReLU()(layers.BatchNormalization(scale=False, name="stem_bn")(x))
    left, right = layers.Conv2D(8, 3, padding="same", name="left")(x), layers.Conv2D(8, 3, padding="same", name="right")(x)
    backbone = keras.Model(inside, layers.Subtract()([left, right]), name="backbone")
    image = keras.Input(shape)
    x = backbone(layers.Rescaling(1 / 127.5, offset=-1)(layers.RandomFlip()(image) if augmented else image))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    answers = [layers.Dense(4, activation="softmax", name="kind")(x), layers.Dense(1, name="steering")(x)]
    model = keras.Model(image, answers, name="bot")
    model.set_weights([RNG.uniform(0.1, 0.9, weight.shape).astype(np.float32) for weight in model.get_weights()])
    model.get_layer("backbone").trainable = not frozen
    model.get_layer("backbone").get_layer("left").trainable = False
    return model


def photo(height: int = 24, width: int = 32) -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(0, 255, (1, height, width, 3)).astype(np.float32)


def answers(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    kind, steering = model(photo(), training=False)
    return {"kind": np.asarray(kind[0]), "steering": np.asarray(steering[0])}


def check(source: quantize.Source, expected: dict[str, np.ndarray[Any, Any]]) -> None:
    found = source.predict(photo())
    for name, values in zip(source.output_names, expected.values(), strict=True):
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def keras3() -> Any:
    with quiet():
        return user_model(import_keras())


@pytest.fixture(scope="module")
def keras2() -> Any:
    with quiet():
        return user_model(import_tf_keras())


def save(model: Any, path: Path) -> Path:
    with quiet():
        model.save(path)
    return path


def export_plain(model: Any, path: Path) -> None:
    tf = import_tensorflow()
    module = tf.Module()
    module.model = model
    function = tf.function(lambda x: dict(zip(("kind", "steering"), model(x, training=False), strict=True)), autograph=False)
    signature = function.get_concrete_function(tf.TensorSpec([None, 24, 32, 3], tf.float32, name="photo"))
    tf.saved_model.save(module, str(path), signatures={"serving_default": signature})


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("version", ["keras3", "keras2"])
def test_files_of_both_versions_of_keras(version: str, suffix: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    model = request.getfixturevalue(version)
    source = quantize.load(save(model, tmp_path / f"bot.{suffix}"), outputs=OUTPUTS)
    assert source.name == "bot"
    assert source.input_shape == (24, 32, 3)
    assert [(output.name, output.kind) for output in source.contract.outputs] == [
        ("kind", "probabilities"),
        ("steering", "regression"),
    ]
    assert isinstance(source.model, import_keras().Model)  # Keras 3, whatever wrote it
    assert source.contract.source.parameters == model.count_params()
    assert len(source.contract.source.sha256) == 64
    check(source, answers(model))


def test_the_frozen_part_may_differ_between_saving_and_rebuilding(tmp_path: Path) -> None:
    # The order of the weights in the file follows what was frozen; names have to decide.
    with quiet():
        model = user_model(import_tf_keras(), frozen=False)
    check(quantize.load(save(model, tmp_path / "bot.h5"), outputs=OUTPUTS), answers(model))


@pytest.mark.parametrize("version", ["keras3", "keras2"])
def test_model_objects(version: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(version)
    source = quantize.load(model, outputs=OUTPUTS)
    assert source.name == "bot"
    assert source.contract.source.format == "object"
    assert isinstance(source.model, import_keras().Model)
    check(source, answers(model))


@pytest.mark.parametrize("how", ["export", "plain", "keras2 save", "keras2 export"])
def test_saved_models(how: str, tmp_path: Path) -> None:
    with quiet():
        model = user_model(import_tf_keras() if how.startswith("keras2") else import_keras(), augmented=False)
        if how == "plain":
            export_plain(model, tmp_path / "bot")
        elif how == "keras2 save":
            model.save(tmp_path / "bot")
        else:
            model.export(tmp_path / "bot")
    second = "output_1" if "export" in how else "steering"
    source = quantize.load(tmp_path / "bot", outputs={second: "regression"})
    assert source.model is None
    assert source.output_names[1] == second
    assert [output.kind for output in source.contract.outputs] == ["probabilities", "regression"]
    assert source.contract.input.scale == (1.0, 1.0, 1.0)  # its Rescaling was seen in the graph
    assert source.contract.source.parameters == model.count_params()
    check(source, answers(model))


def test_an_export_that_still_augments_is_refused(keras3: Any, tmp_path: Path) -> None:
    # Keras 3 exports RandomFlip as it works in training: half of the answers would be for the mirrored photo.
    with quiet():
        keras3.export(tmp_path / "bot")
    with pytest.raises(LoadError, match=r"draws random numbers \(StatelessRandom.*give the .keras file"):
        quantize.load(tmp_path / "bot", outputs="regression")


def test_a_compiled_model_with_losses_and_metrics_of_ones_own(tmp_path: Path) -> None:
    keras = import_keras()

    def own_loss(truth: Any, answer: Any) -> Any:
        return keras.ops.mean(keras.ops.square(truth - answer))

    with quiet():
        model = user_model(keras)
        model.compile("adam", loss=["sparse_categorical_crossentropy", own_loss], metrics=[["accuracy"], ["mae"]])
        model.fit(np.repeat(photo(), 4, axis=0), [np.zeros(4), np.zeros(4)], verbose=0)
    for name in ("bot.keras", "bot.h5"):
        check(quantize.load(save(model, tmp_path / name), outputs=OUTPUTS), answers(model))


@pytest.mark.parametrize("version", ["keras3", "keras2"])
def test_sequential_around_a_backbone(version: str, tmp_path: Path) -> None:
    keras = import_keras() if version == "keras3" else import_tf_keras()
    with quiet():
        inside = keras.Input((24, 32, 3))
        backbone = keras.Model(inside, keras.layers.Conv2D(4, 3)(inside), name="backbone")
        layers = [keras.Input((24, 32, 3)), backbone, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, name="scores")]
        model = keras.Sequential(layers)
        expected = np.asarray(model(photo(), training=False)[0])
    for name in ("s.keras", "s.h5"):
        source = quantize.load(save(model, tmp_path / name), preprocess="raw", labels=["a", "b", "c"])
        assert [(output.name, output.kind, output.labels) for output in source.contract.outputs] == [
            ("scores", "logits", ("a", "b", "c"))
        ]
        np.testing.assert_allclose(source.predict(photo())["scores"], expected, rtol=1e-4, atol=1e-6)


def test_preprocess_input_inside_the_model_is_kept_and_seen(tmp_path: Path) -> None:
    for keras in (import_keras(), import_tf_keras()):
        with quiet():
            image = keras.Input((24, 32, 3))
            x = keras.applications.inception_resnet_v2.preprocess_input(image)
            model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3)(x)))
            expected = np.asarray(model(photo(), training=False)[0])
        for name in ("p.keras", "p.h5"):
            source = quantize.load(save(model, tmp_path / name))
            assert source.contract.input.mean == (0.0, 0.0, 0.0)
            assert any("takes 0..255 to -1..1" in note for note in source.notes)
            np.testing.assert_allclose(source.predict(photo())[source.output_names[0]], expected, rtol=1e-4, atol=1e-6)


def test_layers_that_keras_3_reads_differently(tmp_path: Path) -> None:
    tk = import_tf_keras()
    with quiet():
        model = tk.Sequential(
            [
                tk.Input((24, 32, 3)),
                tk.layers.Normalization(mean=[100.0, 110.0, 120.0], variance=[2500.0, 3600.0, 4900.0]),
                tk.layers.DepthwiseConv2D(3),
                tk.layers.SeparableConv2D(4, 3, activation="swish"),
                tk.layers.SpatialDropout2D(0.1),
                tk.layers.RandomRotation(0.1),
                tk.layers.Conv2DTranspose(3, 2),
                tk.layers.BatchNormalization(),
                tk.layers.LeakyReLU(0.1),
                tk.layers.GlobalMaxPooling2D(),
                tk.layers.Dense(2, activation="sigmoid", name="tags"),
            ]
        )
        expected = np.asarray(model(photo(), training=False)[0])
    for name in ("odd.keras", "odd.h5"):
        source = quantize.load(save(model, tmp_path / name))
        assert [output.kind for output in source.contract.outputs] == ["multilabel"]
        np.testing.assert_allclose(source.predict(photo())["tags"], expected, rtol=1e-4)


def test_mixed_precision_is_rebuilt_in_float32(tmp_path: Path) -> None:
    keras = import_keras()
    with quiet():
        image = keras.Input((24, 32, 3))
        x = keras.layers.Conv2D(4, 3, dtype="mixed_float16")(image)
        answer = keras.layers.Dense(2, activation="softmax", dtype="float32")(keras.layers.GlobalAveragePooling2D()(x))
        model = keras.Model(image, answer)
    for given in (model, save(model, tmp_path / "mixed.keras")):
        source = quantize.load(given, preprocess="inception")
        assert any("mixed-precision" in note for note in source.notes)
        assert {str(t.dtype) for op in source.concrete_function().graph.get_operations() for t in op.outputs} & {
            "<dtype: 'float16'>"
        } == set()
        np.testing.assert_allclose(source.predict(photo() / np.float32(255))[source.output_names[0]].sum(), 1.0, rtol=1e-6)


def test_an_open_input_size_is_an_error_until_it_is_said(tmp_path: Path) -> None:
    with quiet():
        model = user_model(import_keras(), shape=(None, None, 3), augmented=False)
    path = save(model, tmp_path / "open.keras")
    with pytest.raises(LoadError, match=r"input layer 'input_layer.*' leaves its size open, \?x\?x3.*--input-shape"):
        quantize.load(path, outputs=OUTPUTS)
    source = quantize.load(path, outputs=OUTPUTS, input_shape=(24, 32))
    assert source.input_shape == (24, 32, 3)
    check(source, answers(model))
    with quiet():
        model.export(tmp_path / "open")
    with pytest.raises(LoadError, match="leaves its height open"):
        quantize.load(tmp_path / "open", outputs="regression")
    exported = quantize.load(tmp_path / "open", outputs={"output_1": "regression"}, input_shape=(24, 32))
    check(exported, answers(model))


def test_a_fully_convolutional_network_at_another_size(keras3: Any, keras2: Any, tmp_path: Path) -> None:
    expected = [np.asarray(value[0]) for value in user_model_at(keras3, (40, 28))(photo(40, 28), training=False)]
    source = quantize.load(save(keras3, tmp_path / "bot.keras"), outputs=OUTPUTS, input_shape=(40, 28, 3))
    found = source.predict(photo(40, 28))
    for name, values in zip(source.output_names, expected, strict=True):
        np.testing.assert_allclose(found[name], values, rtol=1e-5)
    assert quantize.load(save(keras2, tmp_path / "bot.h5"), outputs=OUTPUTS, input_shape=(40, 28)).input_shape == (40, 28, 3)
    assert quantize.load(keras3, outputs=OUTPUTS, input_shape=(40, 28)).input_shape == (40, 28, 3)
    keras = import_keras()
    with quiet():
        image = keras.Input((24, 32, 3))
        fixed = keras.Model(image, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(image)))
    with pytest.raises(LoadError, match="shape"):
        quantize.load(save(fixed, tmp_path / "fixed.keras"), preprocess="raw", input_shape=(40, 28))


def user_model_at(model: Any, size: tuple[int, int]) -> Any:
    with quiet():
        other = user_model(import_keras(), shape=(*size, 3))
        other.set_weights(model.get_weights())
    return other


# --- InceptionResNetV2 itself -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def headless_weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray[Any, Any]]:
    """Weights of a headless InceptionResNetV2 as Keras 2 wrote them, and its answer to one photo."""
    tk = import_tf_keras()
    path = tmp_path_factory.mktemp("weights") / "irnv2_notop.h5"
    with quiet():
        model = tk.applications.InceptionResNetV2(weights=None, include_top=False, pooling="avg", input_shape=(75, 91, 3))
        model.save_weights(path)
        answer = model(photo(75, 91) / 127.5 - 1, training=False)
    return path, np.asarray(answer[0])


def test_weights_with_an_architecture(headless_weights: tuple[Path, np.ndarray[Any, Any]]) -> None:
    path, expected = headless_weights
    architecture = quantize.Architecture(pooling="avg")
    source = quantize.load(path, architecture=architecture, input_shape=(75, 91), preprocess="inception")
    assert source.contract.source.architecture == "inception_resnet_v2"
    assert source.contract.source.parameters == 54_336_736
    assert [output.kind for output in source.contract.outputs] == ["features"]
    found = source.function(photo(75, 91) / np.float32(127.5) - 1)  # untraced: compiling the graph takes longer than running it
    np.testing.assert_allclose(found[source.output_names[0]][0], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_weights_under_the_other_layouts_name(headless_weights: tuple[Path, np.ndarray[Any, Any]], tmp_path: Path) -> None:
    # Up to TensorFlow 2.12 save_weights("x.weights.h5") wrote the layout that Keras 3 expects under "x.h5".
    path, expected = headless_weights
    renamed = tmp_path / "irnv2.weights.h5"
    renamed.symlink_to(path)
    architecture = quantize.Architecture(pooling="avg")
    source = quantize.load(renamed, architecture=architecture, input_shape=(75, 91), preprocess="inception")
    found = source.function(photo(75, 91) / np.float32(127.5) - 1)
    np.testing.assert_allclose(found[source.output_names[0]][0], expected, rtol=1e-3, atol=1e-5)


def test_weights_that_contradict_what_was_said(headless_weights: tuple[Path, np.ndarray[Any, Any]], tmp_path: Path) -> None:
    path, _ = headless_weights
    with pytest.raises(LoadError, match="weights without their network.*--architecture inception_resnet_v2"):
        quantize.load(path)
    with pytest.raises(LoadError, match="do not say the input size"):
        quantize.load(path, architecture="inception_resnet_v2")
    with pytest.raises(LoadError, match="has no top, 5 classes were asked for"):
        quantize.load(path, architecture=quantize.Architecture(classes=5), input_shape=(75, 75))
    with pytest.raises(LoadError, match="has no top, include_top=True"):
        quantize.load(path, architecture=quantize.Architecture(include_top=True), input_shape=(75, 75))
    with pytest.raises(LoadError, match="at least 75x75"):
        quantize.load(path, architecture="inception_resnet_v2", input_shape=(64, 64))
    with pytest.raises(LoadError, match="'resnet50' is not known"):
        quantize.load(path, architecture="resnet50", input_shape=(75, 75))
    small = tmp_path / "small.weights.h5"
    with quiet():
        user_model(import_keras()).save_weights(small)
    with pytest.raises(LoadError, match="more per class"):
        quantize.load(small, architecture="inception_resnet_v2", input_shape=(75, 75))


@pytest.mark.slow
def test_inception_nested_in_a_users_model_as_keras_2_saved_it(tmp_path: Path) -> None:
    tk = import_tf_keras()
    with quiet():
        backbone = tk.applications.InceptionResNetV2(weights=None, include_top=False, input_shape=(75, 75, 3))
        backbone.trainable = False
        image = tk.Input((75, 75, 3))
        x = tk.layers.GlobalAveragePooling2D()(
            backbone(tk.applications.inception_resnet_v2.preprocess_input(image), training=False)
        )
        outputs = [tk.layers.Dense(5, name="logits")(tk.layers.Dropout(0.3)(x)), tk.layers.Dense(2, name="pose")(x)]
        model = tk.Model(image, outputs)
        model.save(tmp_path / "new.h5")
        expected = [np.asarray(value[0]) for value in model(photo(75, 75), training=False)]
    age(tmp_path / "new.h5", tmp_path / "old.h5")
    for name, note in (("new.h5", "normalises"), ("old.h5", "40 Lambda layers are the residual scaling")):
        source = quantize.load(tmp_path / name, outputs={"pose": "regression"}, labels=list("abcde"))
        assert source.contract.source.architecture == "inception_resnet_v2"
        assert any(note in found for found in source.notes)
        found = source.predict(photo(75, 75))
        np.testing.assert_allclose(found["logits"], expected[0], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found["pose"], expected[1], rtol=1e-3, atol=1e-4)


def age(new: Path, old: Path) -> None:
    """Write ``new`` as TensorFlow up to 2.12 would have: residual scaling as Lambda layers (with bytecode that cannot run)."""
    shutil.copy(new, old)
    with h5py.File(old, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        models = [config, *(layer for layer in config["config"]["layers"] if layer["class_name"] == "Functional")]
        for model in models:
            renamed = {}
            for layer in model["config"]["layers"]:
                if layer["class_name"].endswith("CustomScaleLayer"):
                    name = layer["inbound_nodes"][0][1][0].removesuffix("_conv")
                    renamed[layer["name"]] = name
                    layer.update({"class_name": "Lambda", "name": name, "config": old_lambda(name, layer["config"]["scale"])})
            for layer in model["config"]["layers"]:
                for call in layer["inbound_nodes"]:
                    for reference in call:
                        if isinstance(reference, list):
                            reference[0] = renamed.get(reference[0], reference[0])
        file.attrs["model_config"] = json.dumps(config)


def old_lambda(name: str, scale: float) -> dict[str, Any]:
    return {
        "name": name,
        "trainable": True,
        "dtype": "float32",
        "function": ["4wIAAABub3QgYnl0ZWNvZGU=\n", None, None],
        "function_type": "lambda",
        "module": "keras.applications.inception_resnet_v2",
        "output_shape": [1, 1, 320],
        "output_shape_type": "raw",
        "output_shape_module": None,
        "arguments": {"scale": scale},
    }
