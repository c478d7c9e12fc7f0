from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edge
from edge import cli
from edge.artefact import graph
from edge.artefact.contract import Contract, InputSpec
from edge.artefact.tensors import QuantParams, TensorSpec
from edge.errors import ContractError, ShapeError
from edge.runtime import feeding, preprocess
from edge.runtime.golden import pattern
from tests.edge.conftest import MakeContract, PackArtefact

PICTURE = pattern("rings", 24, 24)


def _tensor(dtype: str, scale: float | None = None, zero_point: int = 0) -> graph.Tensor:
    quant = None
    if scale is not None:
        quant = QuantParams(scale=np.array([scale], np.float32), zero_point=np.array([zero_point], np.int32))
    return graph.Tensor(index=0, name="image", shape=(1, 24, 24, 3), dtype=dtype, quant=quant, buffer=0, buffer_bytes=0)


def _spec(mean: float, scale: float) -> InputSpec:
    return InputSpec(width=24, height=24, mean=(mean,) * 3, scale=(scale,) * 3)


RAW, UNIT, INCEPTION = _spec(0.0, 1.0), _spec(0.0, 255.0), _spec(127.5, 127.5)


@pytest.mark.parametrize(
    ("spec", "tensor", "says"),
    [
        (
            RAW,
            _tensor("uint8", 1 / 128, 128),
            "become 0 to 255, and its uint8 input holds -1 to 0.9922.* --preprocess inception fits",
        ),
        (RAW, _tensor("int8", 1 / 255, -128), "its int8 input holds 0 to 1, .* saturate; --preprocess unit fits"),
        (RAW, _tensor("int8", 1.0, 0), "holds -128 to 127, so 50% .* saturate; --mean 128 --scale 1 fits"),
        (INCEPTION, _tensor("uint8", 1.0, 0), "holds 0 to 255, so all pixels fall onto a few levels; --preprocess raw fits"),
        (UNIT, _tensor("uint8", 1.0, 0), "all pixels fall onto a few levels; --preprocess raw fits"),
        (UNIT, _tensor("string"), "its input is string"),
    ],
)
def test_a_recipe_of_another_range_is_refused_with_both_ranges(spec: InputSpec, tensor: graph.Tensor, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        feeding.check("x.tflite", spec, tensor, "said so")


@pytest.mark.parametrize(
    ("spec", "tensor"),
    [
        (INCEPTION, _tensor("uint8", 1 / 128, 128)),
        (INCEPTION, _tensor("int8", 1 / 127.5, -1)),
        (INCEPTION, _tensor("int16", 1 / 32767)),
        (UNIT, _tensor("int8", 1 / 255, -128)),
        (RAW, _tensor("int8", 1.0, -128)),
        (RAW, _tensor("uint8", 0.98, 0)),  # calibrated on photos without white
        (RAW, _tensor("uint8")),
        (RAW, _tensor("float32")),
    ],
)
def test_a_recipe_that_fits_is_taken_without_a_doubt(spec: InputSpec, tensor: graph.Tensor) -> None:
    assert feeding.check("x.tflite", spec, tensor, "said so").doubt == ""


def test_half_a_range_is_a_doubt() -> None:
    found = feeding.check("x.tflite", UNIT, _tensor("uint8", 1 / 128, 128), "said so")
    assert "only 50% of the input's range -1 to 0.9922 is used, --preprocess inception would use all" in found.to_text()


@pytest.mark.parametrize(("scale", "zero_point"), [(1 / 127, 128), (1 / 128, 128), (1.0, 0), (0.0186584, 114)])
def test_bytes_reach_a_uint8_input_as_they_are(scale: float, zero_point: int) -> None:
    tensor = _tensor("uint8", scale, zero_point)
    plain = feeding.as_bytes(tensor)
    assert plain is not None
    table = preprocess.lookup_table(_spec(*plain), feeding.runtime_tensor(tensor))
    np.testing.assert_array_equal(table, np.tile(np.arange(256), (3, 1)))


def test_an_integer_input_without_scale_takes_whole_numbers_that_it_holds() -> None:
    tensor = TensorSpec(name="image", index=0, shape=(1, 24, 24, 3), dtype=np.dtype(np.uint8))
    np.testing.assert_array_equal(preprocess.lookup_table(RAW, tensor)[0], np.arange(256))
    shifted = TensorSpec(name="image", index=0, shape=(1, 24, 24, 3), dtype=np.dtype(np.int8))
    np.testing.assert_array_equal(preprocess.lookup_table(_spec(128.0, 1.0), shifted)[0], np.arange(-128, 128))
    for spec, other, fits in ((INCEPTION, tensor, "--preprocess raw"), (RAW, shifted, "--mean 128 --scale 1")):
        with pytest.raises(ShapeError, match=fits):
            preprocess.lookup_table(spec, other)


def test_an_integer_input_without_scale_is_told_what_its_type_can_hold() -> None:
    assert "--mean 128 --scale 1 writes them less 128" in feeding.advice(_tensor("int8"))
    with pytest.raises(ContractError, match=r"^x.tflite: said so: input 'image' is int8 .* --mean 128 --scale 1 writes"):
        feeding.check("x.tflite", RAW, _tensor("int8"), "said so")


def test_a_range_from_zero_is_advised_without_a_minus() -> None:
    with pytest.raises(ContractError, match="--mean 0 --scale 127.5 fits"):
        feeding.check("x.tflite", RAW, _tensor("uint8", 2 / 255, 0), "said so")


def test_a_scale_for_each_channel_of_the_input_is_refused() -> None:
    quant = QuantParams(scale=np.ones(3, np.float32), zero_point=np.zeros(3, np.int32), quantized_dimension=3)
    with pytest.raises(ContractError, match=r"^x.tflite: its uint8 input has 3 scales"):
        feeding.check("x.tflite", RAW, dataclasses.replace(_tensor("uint8"), quant=quant), "said so")


@pytest.fixture(scope="module")
def described(tiny_uint8_flatbuffer: bytes, tiny_contract: MakeContract, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as AutoML writes them: uint8, with metadata whose normalisation (mean 0, std 1) is that of the bytes."""
    metadata = pytest.importorskip("quantize.tflite.metadata")
    editing = pytest.importorskip("quantize.tflite.edit")
    contract: Contract = tiny_contract(input=RAW)
    signature = graph.read(tiny_uint8_flatbuffer).signatures[0]
    model: Any = editing.finish(
        tiny_uint8_flatbuffer,
        output_names=list(signature.outputs),
        input_names=["image"],
        metadata={"TFLITE_METADATA": metadata.build(contract, {})},
    )
    path = tmp_path_factory.mktemp("automl") / "automl.tflite"
    path.write_bytes(model)
    return path


def test_the_metadata_of_a_quantized_model_does_not_saturate_it(described: Path) -> None:
    model = edge.load(described)
    assert model.input.dtype == np.uint8 and model.input.quant is not None
    np.testing.assert_array_equal(model.preprocess(PICTURE)[0], PICTURE)


def test_inspect_and_classify_say_how_a_model_is_fed(described: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(PICTURE).save(photo)
    assert cli.main(["inspect", str(described)]) == 0
    assert "fed   24x24 rgb, stretch, bilinear, uint8, the pixels as they are" in capsys.readouterr().out
    assert cli.main(["classify", str(described), str(photo), "--show-input"]) == 0
    assert "Task Library" in capsys.readouterr().err
    assert cli.main(["classify", str(described), str(photo)]) == 0
    assert capsys.readouterr().err == ""
    assert cli.main(["classify", str(described), str(photo), "--preprocess", "unit"]) == 0
    assert "warning" in capsys.readouterr().err
    assert cli.main(["classify", str(described), str(photo), "--preprocess", "raw"]) == 2
    assert "--preprocess inception fits" in capsys.readouterr().err


def test_a_scale_of_zero_is_no_scale(tmp_path: Path) -> None:
    """As some converters write "not quantized". The model begins with a CAST, so the pixels go in as they are."""
    import keras
    import tensorflow as tf

    flatbuffers = pytest.importorskip("flatbuffers")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    image = keras.Input((24, 24, 3), batch_size=1, dtype="uint8")
    scaled = keras.ops.cast(image, "float32") / 255.0
    network = keras.Model(image, keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(scaled)))
    file = schema.ModelT.InitFromPackedBuf(tf.lite.TFLiteConverter.from_keras_model(network).convert(), 0)
    main = file.subgraphs[0]
    main.tensors[main.inputs[0]].quantization = quant = schema.QuantizationParametersT()
    quant.scale, quant.zeroPoint = np.zeros(1, np.float32), np.zeros(1, np.int64)
    builder = flatbuffers.Builder(1024)
    builder.Finish(file.Pack(builder), b"TFL3")
    path = tmp_path / "cast.tflite"
    path.write_bytes(builder.Output())
    model = edge.load(path, input={"mean": (0.0,) * 3, "scale": (1.0,) * 3})
    assert model.input.quant is None
    np.testing.assert_array_equal(model.preprocess(PICTURE)[0], PICTURE)
    with pytest.raises(ContractError, match="its uint8 input has no scale, and of the pixels --preprocess raw"):
        edge.load(path)


def test_a_contract_that_cannot_be_meant_like_that_is_not_followed_in_silence(
    tiny_uint8_flatbuffer: bytes,
    tiny_contract: MakeContract,
    pack: PackArtefact,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    artefact, photo = str(pack(tiny_uint8_flatbuffer, tiny_contract(input=RAW))), tmp_path / "photo.png"
    Image.fromarray(PICTURE).save(photo)
    assert cli.main(["classify", artefact, str(photo)]) == 0
    assert "99% of the pixel values saturate; --preprocess inception fits" in capsys.readouterr().err
    assert cli.main(["inspect", artefact]) == 0
    assert "warning: it is probably fed wrongly: pixels become 0 to 255" in capsys.readouterr().out
