"""One tiny network of random weights of each kind through the whole way: quantize, validate, explain, tune, train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edge
import quantize
from edge.artefact import container, graph, graph_facts
from edge.data.dataset import LabelledImages
from quantize.analyse import explain, tune
from quantize.analyse.paired import Photos
from quantize.qat.api import QatConfig, quantization_aware

pytestmark = pytest.mark.converts

CLASSES = ("cat", "dog")
PHOTOS = 6  # of each class, in each part


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """``build``: makes the network. ``options``: how it is loaded. ``outputs``: its outputs' figures in reports, by name.

    ``table``: the columns of truth beside the path where class folders do not say it.
    """

    build: Callable[[], Any]
    outputs: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    table: tuple[str, ...] = ()


def _body(image: Any, *, dtype: str = "float32") -> Any:
    import keras

    layers = keras.layers
    seen = layers.Conv2D(8, 3, strides=2, use_bias=False, dtype=dtype)(image)
    seen = layers.ReLU(dtype=dtype)(layers.BatchNormalization(dtype=dtype)(seen))
    return layers.Flatten(dtype=dtype)(layers.Conv2D(8, 3, strides=4, activation="relu", dtype=dtype)(seen))


def _plain(units: int = 2, activation: str = "softmax", channels: int = 3) -> Any:
    import keras

    image = keras.Input((32, 32, channels))
    return keras.Model(image, keras.layers.Dense(units, activation=activation, name="answer")(_body(image)))


def _thousand() -> Any:
    """As sure of the first two classes as a trained network is of a few: a thousand equal ones are all below int8's step of 1/256."""
    network = _plain(1000)
    kernel, bias = network.layers[-1].get_weights()
    bias[2:] = -12.0
    network.layers[-1].set_weights([kernel, bias])
    return network


def _two_outputs() -> Any:
    import keras

    image = keras.Input((32, 32, 3))
    body = _body(image)
    zoom = keras.layers.Dense(1, name="zoom")(body)
    return keras.Model(image, [zoom, keras.layers.Dense(2, activation="softmax", name="kind")(body)])


def _dict_inputs() -> Any:
    import keras

    image = keras.Input((32, 32, 3), name="picture")
    return keras.Model({"picture": image}, keras.layers.Dense(2, activation="softmax", name="answer")(_body(image)))


def _op_ending(end: str) -> Any:
    import keras

    image = keras.Input((32, 32, 3))
    scores = keras.layers.Dense(2, name="scores")(_body(image / 127.5 - 1.0))
    return keras.Model(image, {"answer": keras.ops.softmax(scores) if end == "ops" else keras.activations.softmax(scores)})


def _pre_activation() -> Any:
    import keras

    layers = keras.layers
    image = keras.Input((32, 32, 3))
    seen = layers.Conv2D(8, 3, strides=2, padding="same")(image)
    up = layers.Conv2D(8, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(seen)))
    seen = layers.ReLU()(layers.BatchNormalization()(layers.Add()([seen, up])))
    return keras.Model(
        image, layers.Dense(2, activation="softmax", name="answer")(layers.Flatten()(layers.MaxPooling2D(4)(seen)))
    )


def _float16() -> Any:
    import keras

    image = keras.Input((32, 32, 3), dtype="float16")
    answer = keras.layers.Dense(2, activation="softmax", name="answer", dtype="float16")
    return keras.Model(image, answer(_body(image, dtype="float16")))


def _uint8_input() -> Any:
    import keras

    image = keras.Input((32, 32, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 127.5, -1.0)(keras.ops.cast(image, "float32"))
    return keras.Model(image, keras.layers.Dense(2, activation="softmax", name="answer")(_body(scaled)))


_NORMALISED = {"preprocess": "inception", "labels": CLASSES}
KINDS = {
    "two_outputs": Kind(
        build=_two_outputs,
        options={
            "preprocess": "inception",
            "labels": {"kind": CLASSES},
            "outputs": {"kind": "probabilities", "zoom": "regression"},
        },
        outputs={"kind": "top1", "zoom": "mae"},
        table=("kind", "zoom"),
    ),
    "dict_inputs": Kind(build=_dict_inputs, options=_NORMALISED, outputs={"answer": "top1"}),
    "ops_softmax": Kind(build=lambda: _op_ending("ops"), options={"labels": CLASSES}, outputs={"answer": "top1"}),
    "activations_softmax": Kind(build=lambda: _op_ending("activations"), options={"labels": CLASSES}, outputs={"answer": "top1"}),
    "pre_activation": Kind(build=_pre_activation, options=_NORMALISED, outputs={"answer": "top1"}),
    "thousand_classes": Kind(
        build=_thousand,
        options={"preprocess": "inception", "labels": (*CLASSES, *(f"thing{i:03d}" for i in range(998)))},
        outputs={"answer": "top1"},
    ),
    "float16": Kind(build=_float16, options=_NORMALISED, outputs={"answer": "top1"}),
    "grey": Kind(build=lambda: _plain(channels=1), options={"preprocess": "unit", "labels": CLASSES}, outputs={"answer": "top1"}),
    "uint8_input": Kind(build=_uint8_input, options={"labels": CLASSES}, outputs={"answer": "top1"}),
    "one_value": Kind(build=lambda: _plain(1, "sigmoid"), options=_NORMALISED, outputs={"answer": "top1"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Zoo:
    """``folder`` holds KIND.keras, and ``train`` and ``validation``: class folders of photos."""

    folder: Path

    def source(self, name: str) -> Any:
        return quantize.load(self.folder / f"{name}.keras", **KINDS[name].options)

    def photos(self, name: str, part: str) -> Path:
        """Class folders, or a table where the network has more to be right about."""
        columns = KINDS[name].table
        if not columns:
            return self.folder / part
        table = self.folder / f"{name}-{part}.csv"
        rows = [
            ",".join([str(file), *({"kind": file.parent.name, "zoom": f"{i / 4}"}[column] for column in columns)])
            for i, file in enumerate(sorted((self.folder / part).glob("*/*.png")))
        ]
        table.write_text("\n".join([",".join(["path", *columns]), *rows]) + "\n")
        return table


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    import keras

    folder = tmp_path_factory.mktemp("zoo")
    rng = np.random.default_rng(0)
    for part in ("train", "validation"):
        for number, label in enumerate(CLASSES):
            (folder / part / label).mkdir(parents=True)
            for i in range(PHOTOS):
                coarse = Image.fromarray(rng.integers(0, 256, (5 + number, 5 + number, 3), np.uint8))
                coarse.resize((32, 32), Image.Resampling.BICUBIC).save(folder / part / label / f"{i}.png")
    for name, kind in KINDS.items():
        keras.utils.set_random_seed(0)
        kind.build().save(folder / f"{name}.keras")
    return Zoo(folder=folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_goes_the_whole_way(name: str, zoo: Zoo, tmp_path: Path) -> None:
    kind, source = KINDS[name], zoo.source(name)
    train, photos = zoo.photos(name, "train"), zoo.photos(name, "validation")
    assert {output.name for output in source.contract.outputs} == set(kind.outputs)
    chosen = quantize.RepresentativeDataset.open(train, source=source, count=2 * PHOTOS)
    files = {made.variant: made.save(tmp_path) for made in quantize.post_training_variants(source, chosen)}
    assert not graph_facts.float_ops(graph.read(container.read(files["int8"]).flatbuffer()))

    images = LabelledImages.open(photos, labels=_labels(source))
    network = quantize.reference_outputs(source, images, tmp_path / "network.npz")
    reports = {variant: edge.validate(files[variant], images, reference=network).to_dict() for variant in ("float32", "int8")}
    for output, figure in kind.outputs.items():
        assert edge.validation.headline.of_report(reports["int8"]["outputs"][output])[0] == figure
        assert _apart(reports["float32"]["outputs"][output]) < 1e-3
        assert _apart(reports["int8"]["outputs"][output]) < 0.1

    explained = explain.explain(files["int8"], reference=files["float32"], images=photos, limit=4, refine=0)
    assert explained.images == 4 and explained.ops and explained.blocks

    float32, int8 = (container.read(files[variant]) for variant in ("float32", "int8"))
    assert float32.contract is not None
    seen = Photos.open(zoo.folder / "validation", float32.contract)  # the folder is the class, tables need not have one
    tuned = tune.tune(
        float32.flatbuffer(), int8.flatbuffer(), seen, float32.contract, max_drop=0.9, state=tmp_path / "tune", predict_ms=len
    )
    gate = tuned.candidates[0].gate
    assert gate is not None and gate.images == tune.deciding(seen)

    config = QatConfig(epochs=1, batch_size=4, representative=2 * PHOTOS, golden_samples=0)
    trained = quantization_aware(source, train, photos, config, out=tmp_path / "trained")
    assert trained.parity["holds"], trained.parity
    assert {row["epoch"] for row in trained.record} == {0, 1}
    assert not any(tensor.is_float for tensor in container.read(trained.trained).graph.tensors)
    for output in kind.outputs:
        assert _apart(trained.reports["qat"]["outputs"][output]) < 0.1


def _labels(source: Any) -> tuple[str, ...] | None:
    return next((output.labels for output in source.contract.outputs if output.labels), None)


def _apart(output: Mapping[str, Any]) -> float:
    """How far an output is from the float network's: difference of numbers, else shift of probabilities."""
    if output.get("probability_shift") is not None:
        shift = output["probability_shift"]
        return float(shift["mean"] if isinstance(shift, Mapping) else shift)
    return float(output["difference"]["mean_absolute"])


@pytest.mark.slow
def test_a_gated_network_trains_and_comes_out_in_integers(zoo: Zoo, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    whole = keras.applications.MobileNetV3Small(weights=None, input_shape=(32, 32, 3), include_top=False)
    # The first five of eleven blocks have all that there is: gates after ReLU and after hard swish, and a sum.
    body = keras.layers.GlobalAveragePooling2D()(whole.get_layer("expanded_conv_4_add").output)
    network = keras.Model(whole.input, keras.layers.Dense(2, activation="softmax", name="answer")(body), name="gated")
    # Fresh statistics are the identity, under which the answers of a deep network shrink to nothing.
    norms = [layer for layer in network.layers if type(layer).__name__ == "BatchNormalization"]
    for layer in norms:
        layer.momentum = 0.0
    network(np.random.default_rng(0).uniform(0, 255, (2 * PHOTOS, 32, 32, 3)).astype(np.float32), training=True)
    for layer in norms:
        layer.momentum = 0.99
    head = [layer for layer in network.layers if hasattr(layer, "kernel")][-1]
    head.kernel.assign(head.kernel * 0.02)  # scores that do not saturate the softmax
    source = quantize.load(network, name="gated", preprocess="raw", labels=CLASSES)
    config = QatConfig(epochs=1, batch_size=6, representative=2 * PHOTOS, golden_samples=0)
    result = quantization_aware(source, zoo.folder / "train", zoo.folder / "validation", config, out=tmp_path)
    assert not any(tensor.is_float for tensor in container.read(result.trained).graph.tensors)
    assert result.parity["steps"] < 10, result.parity
