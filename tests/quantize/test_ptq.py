"""Post-training quantization on a small network with this network's kinds of ops; the 55.9 M one is in test_inception.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge
import quantize
from edge.artefact import container, graph
from edge.runtime import golden
from edge.runtime.interpreter import open_interpreter
from quantize import ptq, runtimes
from quantize import variants as known_variants
from quantize.analyse import ladder
from quantize.analyse.paired import Photos
from quantize.errors import CalibrationError, ConversionError
from quantize.quiet import quiet

pytestmark = pytest.mark.converts


@pytest.fixture(scope="module")
def source(small_network: Any) -> quantize.Source:
    return quantize.load(small_network, name="small", preprocess="inception", labels=[str(i) for i in range(10)])


@pytest.fixture(scope="module")
def photos(source: quantize.Source, digits_folder: Path) -> quantize.RepresentativeDataset:
    return quantize.RepresentativeDataset.from_folder(digits_folder / "train", count=40, contract=source.contract)


@pytest.fixture(scope="module")
def variants(source: quantize.Source, photos: quantize.RepresentativeDataset) -> dict[str, ptq.Artefact]:
    config = ptq.PtqConfig(ranges="converter")
    return {artefact.variant: artefact for artefact in ptq.post_training_variants(source, photos, config=config)}


def _plain_converter(network: Any, variant: str, photos: quantize.RepresentativeDataset) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    if variant != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if variant in ("int8", "int16x8"):
        converter.representative_dataset = lambda: ([tensor] for tensor in photos.tensors())
    if variant == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    if variant == "int16x8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]
    with quiet():
        flatbuffer: bytes = converter.convert()
    return flatbuffer


@pytest.mark.parametrize("variant", known_variants.VARIANTS)
def test_every_variant_answers_as_the_plain_converter_does(
    variant: str, variants: dict[str, ptq.Artefact], small_network: Any, photos: quantize.RepresentativeDataset, tmp_path: Path
) -> None:
    ours = open_interpreter(container.read(variants[variant].save(tmp_path)).flatbuffer(), threads=1)
    theirs = open_interpreter(_plain_converter(small_network, variant, photos), threads=1)
    assert theirs.inputs[0].dtype == ours.inputs[0].dtype
    rng = np.random.default_rng(0)
    for _ in range(5):
        if ours.inputs[0].dtype == np.int8:
            tensor = rng.integers(-128, 128, ours.inputs[0].shape).astype(np.int8)
        else:
            tensor = rng.uniform(-1, 1, ours.inputs[0].shape).astype(np.float32)
        answers = []
        for interpreter in (ours, theirs):
            interpreter.set_input(tensor)
            interpreter.invoke()
            answers.append(interpreter.output(0))
        np.testing.assert_array_equal(answers[0], answers[1])


def test_int8_file_has_no_float_tensor(variants: dict[str, ptq.Artefact], tmp_path: Path) -> None:
    model = graph.read(container.read(variants["int8"].save(tmp_path)).flatbuffer())
    assert {tensor.dtype for tensor in model.tensors} <= {"int8", "int32"}
    assert variants["int8"].float_ops == 0
    assert variants["float32"].float_ops > 0


@pytest.mark.parametrize("io", ["uint8", "float32"])
def test_io_types(io: str, source: quantize.Source, photos: quantize.RepresentativeDataset, tmp_path: Path) -> None:
    artefact = quantize.post_training(source, photos, "int8", config=ptq.PtqConfig(io=io))
    model = edge.load(artefact.save(tmp_path))
    assert model.input.dtype == np.dtype(io)
    assert model.outputs[0].dtype == np.dtype(io)
    inner = graph.read(container.read(tmp_path / artefact.filename).flatbuffer())
    boundary = {*inner.main.inputs, *inner.main.outputs}
    assert {t.dtype for t in inner.tensors if t.index not in boundary} <= {"int8", "int32"}


def test_a_float_tensor_in_an_int8_file_is_refused(variants: dict[str, ptq.Artefact], tmp_path: Path) -> None:
    model = graph.read(container.read(variants["dynamic"].save(tmp_path)).flatbuffer())
    with pytest.raises(ConversionError, match="float tensors are left"):
        ptq.check(model, variant="int8", io="int8", runtime=None)


def test_an_op_without_int8_is_named_and_can_be_kept_in_float(digits_folder: Path) -> None:
    import keras

    image = keras.Input((32, 32, 3))
    bent = keras.layers.Conv2D(4, 3, strides=4, activation="elu")(image)
    network = keras.Model(image, keras.layers.Dense(1, name="steer")(keras.layers.GlobalMaxPooling2D()(bent)))
    source = quantize.load(network, name="elu", preprocess="inception", outputs="regression")
    photos = quantize.RepresentativeDataset.from_folder(digits_folder / "train", count=20, contract=source.contract)
    with pytest.raises(ConversionError, match="no int8 for ELU; .*--keep-float elu"):
        quantize.post_training(source, photos)
    made = quantize.post_training(source, photos, config=ptq.PtqConfig(keep_float=("elu",)))
    assert made.float_ops > 0


def test_contract_tells_how_it_was_made(variants: dict[str, ptq.Artefact], photos: quantize.RepresentativeDataset) -> None:
    quantization = variants["int8"].contract.quantization
    assert (quantization.variant, quantization.ranges, quantization.io) == ("int8", "minmax", "int8")
    assert quantization.representative == photos.identities
    assert len(quantization.representative) == 40
    assert variants["float32"].contract.quantization.representative == ()


def test_several_outputs_keep_the_models_order(digits_folder: Path, tmp_path: Path) -> None:
    import keras

    image = keras.Input((32, 32, 3))
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(image))
    # The converter sorts outputs by name; "zebra" first and "aardvark" second would come back swapped.
    zebra = keras.layers.Dense(4, activation="softmax", name="zebra")(features)
    aardvark = keras.layers.Dense(2, name="aardvark")(features)
    network = keras.Model(image, [zebra, aardvark])
    source = quantize.load(
        network, name="two", preprocess="inception", outputs={"zebra": "probabilities", "aardvark": "regression"}
    )
    photos = quantize.RepresentativeDataset.from_folder(digits_folder / "train", count=20, contract=source.contract)
    model = edge.load(quantize.post_training(source, photos, "float32").save(tmp_path))
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    answers = model.predict(pixels)
    expected = network.predict(model.preprocess(pixels), verbose=0)
    assert list(answers) == ["zebra", "aardvark"]
    np.testing.assert_allclose(answers["zebra"], expected[0][0], atol=1e-5)
    np.testing.assert_allclose(answers["aardvark"], expected[1][0], atol=1e-5)


SCRIPT = """
import sys, quantize
source = quantize.load(sys.argv[1], preprocess="inception", labels=[str(i) for i in range(10)])
photos = quantize.RepresentativeDataset.from_folder(sys.argv[2], count=20, contract=source.contract)
for artefact in quantize.post_training_variants(source, photos, ("float32", "int8")):
    artefact.save(sys.argv[3])
"""


def test_the_same_input_gives_the_same_bytes(small_network: Any, digits_folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "small.keras"
    small_network.save(model)
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        command = [sys.executable, "-c", SCRIPT, str(model), str(digits_folder / "train"), str(tmp_path / run)]
        subprocess.run(command, check=True, capture_output=True)
    for file in ("small.float32.tflite", "small.int8.tflite"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_metadata_reads_with_the_public_reader(variants: dict[str, ptq.Artefact], tmp_path: Path) -> None:
    from tensorflow.lite.python import schema_py_generated as schema

    flatbuffer = container.read(variants["float32"].save(tmp_path)).flatbuffer()
    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    entry = next(m for m in model.metadata if m.name == b"TFLITE_METADATA")
    payload = bytes(model.buffers[entry.buffer].data)
    assert payload[4:8] == b"M001"
    for text in (b"labels.txt", b"small", b"predictions"):
        assert text in payload


def test_buffers_are_aligned_as_the_schema_asks(variants: dict[str, ptq.Artefact], tmp_path: Path) -> None:
    from tensorflow.lite.python import schema_py_generated as schema

    flatbuffer = container.read(variants["int8"].save(tmp_path)).flatbuffer()
    model = schema.Model.GetRootAs(flatbuffer, 0)
    starts = [
        model.Buffers(i)._tab.Vector(model.Buffers(i)._tab.Offset(4))
        for i in range(model.BuffersLength())
        if model.Buffers(i).DataLength()
    ]
    assert len(starts) > 5
    assert [start % 16 for start in starts] == [0] * len(starts)


def test_runtime_target_names_the_op_it_refuses(variants: dict[str, ptq.Artefact], tmp_path: Path) -> None:
    model = graph.read(container.read(variants["dynamic"].save(tmp_path)).flatbuffer())
    target = runtimes.get("tflite-runtime-2.14")
    old = runtimes.RuntimeTarget(name="old", runtime="old", highest_version={**target.highest_version, "CONV_2D": 1})
    assert any(refusal.startswith("CONV_2D version") for refusal in old.refusals(model))
    assert runtimes.get("ai-edge-litert-2.3").refusals(model) == ()


def test_dynamic_for_an_old_runtime_stays_within_its_versions(source: quantize.Source, tmp_path: Path) -> None:
    config = ptq.PtqConfig(runtime="tflite-runtime-2.14")
    artefact = quantize.post_training(source, None, "dynamic", config=config)
    model = graph.read(container.read(artefact.save(tmp_path)).flatbuffer())
    assert runtimes.get("tflite-runtime-2.14").refusals(model) == ()


def test_an_op_that_tflite_lacks_is_named(digits_folder: Path) -> None:
    import keras

    image = keras.Input((32, 32, 3))
    wave = keras.layers.GlobalAveragePooling2D()(keras.ops.erfinv(keras.ops.tanh(image)))
    source = quantize.load(keras.Model(image, wave), name="flex", preprocess="inception", outputs="features")
    with pytest.raises(ConversionError, match="Erfinv"):
        quantize.post_training(source, None, "float32")


def test_an_op_that_the_reference_kernels_lack_costs_only_their_answers(digits_folder: Path, tmp_path: Path) -> None:
    """int8 UpSampling2D becomes TILE version 3, which the interpreter's reference kernels do not have and the fast ones do."""
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    coarse = keras.layers.Conv2D(8, 3, strides=4, padding="same", activation="relu")(image)
    mask = keras.layers.Conv2D(1, 1, activation="sigmoid", name="mask")(keras.layers.UpSampling2D(4)(coarse))
    source = quantize.load(keras.Model(image, mask), name="mask", preprocess="inception", outputs="regression")
    photos = quantize.RepresentativeDataset.from_folder(digits_folder / "train", count=20, contract=source.contract)
    made = {artefact.variant: artefact for artefact in quantize.post_training_variants(source, photos, ("float32", "int8"))}
    paths = {variant: artefact.save(tmp_path) for variant, artefact in made.items()}
    assert "TILE" in made["int8"].ops
    assert {answers.kernels for sample in made["int8"].contract.golden for answers in sample.outputs} == {"optimized"}
    assert {answers.kernels for sample in made["float32"].contract.golden for answers in sample.outputs} >= {
        "optimized",
        "reference",
    }
    model = edge.load(paths["int8"])
    assert golden.replay(model).exact
    assert model.predict(np.zeros((32, 32, 3), np.uint8))["mask"].shape == (32, 32, 1)
    test = Photos.open(digits_folder / "test", source.contract, limit=4)
    int8, float32 = (bytes(container.read(paths[variant]).flatbuffer()) for variant in ("int8", "float32"))
    rungs = ladder.climb(int8, float32, test, source.contract)
    assert [rung.name for rung in rungs][-1] == "the file, optimised kernels"
    assert "the file, reference kernels" not in [rung.name for rung in rungs]


def test_wrong_requests_are_refused(source: quantize.Source) -> None:
    with pytest.raises(ConversionError, match="int4.*expected some of float32"):
        quantize.post_training(source, None, "int4")
    with pytest.raises(CalibrationError, match="--images"):
        quantize.post_training(source, None, "int8")
    with pytest.raises(ConversionError, match="expected one of"):
        ptq.PtqConfig(io="int4")
    with pytest.raises(ConversionError, match="tflite-runtime-2.14"):
        ptq.PtqConfig(runtime="tflite-9")
