"""Model files that would run code, read or write files, or eat the machine: refused before anything in them is touched."""

from __future__ import annotations

import base64
import json
import marshal
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import quantize
from quantize import LoadError, UnsafeModelError
from quantize.loading.config_scan import scan_config
from quantize.loading.keras_config import MAX_DEPTH
from quantize.loading.keras_files import known
from quantize.quiet import import_keras, import_tf_keras, quiet

# --- code in Keras files --------------------------------------------------------------------------------------------------------


def touching(path: Path) -> Callable[[Any], Any]:
    """Return a lambda that makes a file when it runs; all that it needs is inside its bytecode."""
    return eval(f"lambda x: (__import__('pathlib').Path({str(path)!r}).touch(), x)[1]")  # type: ignore[no-any-return]


def lambda_model(keras: Any, victim: Path) -> Any:
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 3)(image)
    x = keras.layers.Lambda(touching(victim), name="innocent")(x)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))


@pytest.mark.parametrize("suffix", ["h5", "keras"])
@pytest.mark.parametrize("version", [3, 2])
def test_lambda_layers_are_refused_and_never_run(version: int, suffix: str, tmp_path: Path) -> None:
    victim = tmp_path / "touched"
    with quiet():
        lambda_model(import_keras() if version == 3 else import_tf_keras(), victim).save(tmp_path / f"model.{suffix}")
    victim.unlink(missing_ok=True)
    with pytest.raises(UnsafeModelError, match="layer 'innocent' is a Lambda.*--allow-code"):
        quantize.load(tmp_path / f"model.{suffix}", preprocess="inception")
    assert not victim.exists()
    source = quantize.load(tmp_path / f"model.{suffix}", preprocess="inception", allow_code=True)
    assert victim.exists()  # the fixture does what it threatens
    assert any("'innocent' is a Lambda: its code was run" in note for note in source.notes)


def bytecode(victim: Path) -> list[Any]:
    return [base64.b64encode(marshal.dumps(touching(victim).__code__)).decode() + "\n", None, None]


def residual(victim: Path, **changes: Any) -> dict[str, Any]:
    config = {
        "name": "block35_1",
        "trainable": True,
        "dtype": "float32",
        "function": bytecode(victim),
        "function_type": "lambda",
        "module": "keras.applications.inception_resnet_v2",
        "output_shape": [6, 6, 2],
        "output_shape_type": "raw",
        "output_shape_module": None,
        "arguments": {"scale": 0.5},
    }
    return {**config, **changes}


def residual_file(path: Path, config: dict[str, Any], calls: Any = None) -> Path:
    """Write an ``.h5`` with a residual connection, whose scaling layer is ``config`` as a Lambda."""
    tk = import_tf_keras()
    with quiet():
        image = tk.Input((8, 8, 3))
        x, up = tk.layers.Conv2D(2, 3, name="shortcut")(image), tk.layers.Conv2D(2, 3, name="up")(image)
        tk.Model(image, tk.layers.GlobalAveragePooling2D(name="mean")(tk.layers.Add(name="block35_1")([x, up]))).save(path)
    with h5py.File(path, "r+") as file:
        model = json.loads(file.attrs["model_config"])
        for layer in model["config"]["layers"]:
            if layer["name"] == "block35_1":
                layer.update({"class_name": "Lambda", "config": config, "inbound_nodes": calls or layer["inbound_nodes"]})
        file.attrs["model_config"] = json.dumps(model)
    return path


def test_residual_scaling_of_old_versions_is_rebuilt_without_its_code(tmp_path: Path) -> None:
    victim = tmp_path / "touched"
    path = residual_file(tmp_path / "old.h5", residual(victim))
    source = quantize.load(path, preprocess="inception")
    assert not victim.exists()
    assert any("1 Lambda layers are the residual scaling" in note for note in source.notes)
    image = np.random.default_rng(0).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    layers = {layer.name: layer for layer in source.model.layers}
    assert type(layers["block35_1"]).__name__ == "CustomScaleLayer"
    expected = np.mean(np.asarray(layers["shortcut"](image)) + 0.5 * np.asarray(layers["up"](image)), axis=(1, 2))
    np.testing.assert_allclose(source.predict(image)["mean"], expected[0], rtol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "block36_1"},
        {"name": "my_block35_1"},
        {"module": "my.module"},
        {"module": 3},
        {"function_type": "function"},
        {"arguments": {"scale": 0.5, "other": 1}},
        {"arguments": {}},
        {"arguments": {"scale": "0.5"}},
        {"arguments": {"scale": True}},
        {"function": "block"},
    ],
)
def test_what_only_resembles_residual_scaling_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    victim = tmp_path / "touched"
    path = residual_file(tmp_path / "old.h5", residual(victim, **changes))
    with pytest.raises(UnsafeModelError, match="is a Lambda"):
        quantize.load(path, preprocess="inception")
    with_defaults = residual(victim, function=[bytecode(victim)[0], [1], None])
    with pytest.raises(UnsafeModelError, match="is a Lambda"):
        quantize.load(residual_file(tmp_path / "defaults.h5", with_defaults), preprocess="inception")
    one_input = residual_file(tmp_path / "one.h5", residual(victim), calls=[[["shortcut", 0, 0, {}]]])
    with pytest.raises(UnsafeModelError, match="is a Lambda"):
        quantize.load(one_input, preprocess="inception")
    assert not victim.exists()


def config_with(layer: dict[str, Any]) -> dict[str, Any]:
    """A Keras 3 sequential model around ``layer``."""
    start = {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 8, 8, 3], "name": "image"}}
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "model", "layers": [start, layer]},
        "registered_name": None,
    }


def keras_zip(path: Path, config: Any, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        archive.writestr("model.weights.h5", b"")
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def layer(name: str, module: str | None = "keras.layers", **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": {"name": "culprit", **config}, "registered_name": None}


def test_a_residual_lookalike_hidden_in_another_layer_is_refused(tmp_path: Path) -> None:
    # Only layers of a model are rebuilt from their scale; one elsewhere would stay a Lambda.
    victim = tmp_path / "touched"
    hidden = {"class_name": "Lambda", "config": residual(victim), "inbound_nodes": [[["a", 0, 0, {}], ["b", 0, 0, {}]]]}
    path = keras_zip(tmp_path / "hidden.keras", config_with(layer("TimeDistributed", layer=hidden)))
    with pytest.raises(UnsafeModelError, match="'block35_1' is a Lambda"):
        quantize.load(path, preprocess="raw")
    assert not victim.exists()


@pytest.mark.parametrize(
    ("culprit", "words"),
    [
        (layer("TFSMLayer", filepath="/etc", call_endpoint="serve"), "loads another SavedModel"),
        (layer("TorchModuleWrapper", module="gASV"), "pickled PyTorch"),
        (layer("StringLookup", vocabulary="/etc/passwd"), "strings cannot run"),
        (layer("TextVectorization"), "strings cannot run"),
        (layer("Lambda", function={"class_name": "__lambda__", "config": {"value": "4wAA"}}), "is a Lambda"),
        (layer("Activation", activation={"class_name": "__lambda__", "config": {"value": "4wAA"}}), "is a Lambda"),
        (layer("Attention", "my_package.layers"), "'culprit' is of the custom class 'Attention' of my_package.layers"),
        (layer("system", "os"), "custom class 'system' of os"),
        (layer("Popen", "subprocess"), "custom class 'Popen' of subprocess"),
        (layer("get_file", "keras.utils", origin="http://localhost/x"), "custom class 'get_file' of keras.utils"),
        (layer("utils.get_file", "keras"), "custom class 'utils.get_file' of keras"),
        (layer("SwishBlock", None), "'culprit' is of the custom class 'SwishBlock'"),
        (layer("Dense", units=1, activation="my_swish"), "'culprit' has the custom activation 'my_swish'"),
        (
            layer("Dense", units=1, activation={"module": "keras.utils", "class_name": "function", "config": "get_file"}),
            "custom class 'function' of keras.utils",
        ),
        (
            layer("Dense", units=1, activation={"module": "builtins", "class_name": "function", "config": "utils.get_file"}),
            "custom class 'function' of builtins",
        ),
        (layer("TFOpLambda", function="io.write_file"), "'culprit' calls 'io.write_file'"),
        (layer("TensorFlowOpLayer", node_def="WriteFile"), "raw TensorFlow graph node"),
        (layer("Bidirectional", layer=layer("TFSMLayer", filepath="/etc")), "loads another SavedModel"),
    ],
)
def test_what_a_configuration_may_not_hold(culprit: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=words.replace("(", r"\(")) as caught:
        quantize.load(keras_zip(tmp_path / "model.keras", config_with(culprit)), preprocess="raw", allow_code=False)
    assert "\n" not in str(caught.value)


def test_a_class_registered_by_the_caller_is_accepted(tmp_path: Path) -> None:
    keras = import_keras()

    @keras.saving.register_keras_serializable(package="edgekit_tests", name="Twice")
    class Twice(keras.layers.Layer):  # type: ignore[name-defined]
        def call(self, x: Any) -> Any:
            return 2 * x

    with quiet():
        image = keras.Input((8, 8, 3))
        model = keras.Model(image, keras.layers.GlobalAveragePooling2D(name="mean")(Twice(name="twice")(image)))
        model.save(tmp_path / "own.keras")
    source = quantize.load(tmp_path / "own.keras", preprocess="raw")
    np.testing.assert_allclose(source.predict(np.ones((1, 8, 8, 3), np.float32))["mean"], [2.0, 2.0, 2.0])
    keras.saving.get_custom_objects().clear()
    with pytest.raises(LoadError, match="layer 'twice' is of the custom class 'edgekit_tests>Twice'"):
        quantize.load(tmp_path / "own.keras", preprocess="raw")


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "{", '{"config": 3}', '{"class_name": "Sequential", "config": {"layers": 5}}', "\x00\xff"]
)
def test_malformed_configurations(text: str, tmp_path: Path) -> None:
    with pytest.raises(LoadError):
        quantize.load(keras_zip(tmp_path / "model.keras", text), preprocess="raw")


def test_deeply_nested_configurations_are_refused() -> None:
    deep: Any = {"class_name": "Dense"}
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    with pytest.raises(LoadError, match="nested more than"):
        scan_config(deep, where="model.keras", known=known())


def test_json_deeper_than_the_parser_can_go(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="not JSON"):
        quantize.load(keras_zip(tmp_path / "model.keras", "[" * 200_000), preprocess="raw")


# --- the archive and HDF5 themselves --------------------------------------------------------------------------------------------


def test_members_that_lead_out_of_the_archive(tmp_path: Path) -> None:
    config = config_with(layer("Flatten"))
    for name in ("../evil", "/etc/evil", "assets/../../evil", "C:\\evil"):
        with pytest.raises(UnsafeModelError, match="points outside"):
            quantize.load(keras_zip(tmp_path / "model.keras", config, **{name: b"x"}), preprocess="raw")
    assert not (tmp_path.parent / "evil").exists()


def test_symbolic_links_bombs_and_doubles_in_the_archive(tmp_path: Path) -> None:
    config = config_with(layer("Flatten"))
    link = zipfile.ZipInfo("assets/passwd")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = keras_zip(tmp_path / "link.keras", config)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UnsafeModelError, match="symbolic link"):
        quantize.load(path, preprocess="raw")
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", bytes(64 << 20))
    with pytest.raises(UnsafeModelError, match="would unpack to 67,108,864 bytes"):
        quantize.load(tmp_path / "bomb.keras", preprocess="raw")
    path = keras_zip(tmp_path / "twice.keras", config)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("config.json", "{}")
    with pytest.raises(UnsafeModelError, match="some twice"):
        quantize.load(path, preprocess="raw")


@pytest.fixture(scope="module")
def plain_h5(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    keras = import_keras()
    path = tmp_path_factory.mktemp("plain") / "model.h5"
    with quiet():
        image = keras.Input((8, 8, 3))
        x = keras.layers.Conv2D(2, 3, name="conv")(image)
        keras.Model(image, keras.layers.GlobalAveragePooling2D()(x)).save(path)
    return path.read_bytes()


def external_link(group: Any, outside: Path) -> None:
    group["kernel"] = h5py.ExternalLink(str(outside), "secret")


def soft_link(group: Any, _: Path) -> None:
    group["kernel"] = h5py.SoftLink("/model_weights")


def external_storage(group: Any, outside: Path) -> None:
    group.create_dataset("kernel", (3, 3, 3, 2), np.float32, external=[(str(outside), 0, 216)])


def virtual(group: Any, outside: Path) -> None:
    layout = h5py.VirtualLayout((3, 3, 3, 2), np.float32)
    layout[...] = h5py.VirtualSource(str(outside), "secret", (3, 3, 3, 2))
    group.create_virtual_dataset("kernel", layout)


def enormous(group: Any, _: Path) -> None:
    group.create_dataset("kernel", (1 << 20, 1 << 20), np.float32, chunks=(1024, 1024), compression="gzip")


def text(group: Any, _: Path) -> None:
    group.create_dataset("kernel", data=["a", "b"], dtype=h5py.string_dtype())


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (external_link, "is a link to .*outside.h5"),
        (soft_link, "is a link to"),
        (external_storage, "keeps its data in another file"),
        (virtual, "keeps its data in another file"),
        (enormous, "claim more than 8 GiB"),
        (text, "expected numbers"),
    ],
)
def test_hdf5_that_reaches_out_of_its_file(
    plant: Callable[[Any, Path], None], words: str, plain_h5: bytes, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.h5"
    with h5py.File(outside, "w") as file:
        file["secret"] = np.zeros((3, 3, 3, 2), np.float32)
    path = tmp_path / "model.h5"
    path.write_bytes(plain_h5)
    with h5py.File(path, "r+") as file:
        group = file["model_weights/conv/conv"]
        del group["kernel"]
        plant(group, outside)
    with pytest.raises(LoadError, match=words):
        quantize.load(path, preprocess="raw")


def test_the_hdf5_inside_a_keras_archive_is_checked_too(plain_h5: bytes, tmp_path: Path) -> None:
    inner = tmp_path / "weights.h5"
    with h5py.File(inner, "w") as file:
        file["layers"] = h5py.ExternalLink("/etc/passwd", "x")
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config_with(layer("Conv2D", filters=2, kernel_size=[3, 3]))))
        archive.write(inner, "model.weights.h5")
    with pytest.raises(UnsafeModelError, match="/layers is a link"):
        quantize.load(path, preprocess="raw")
