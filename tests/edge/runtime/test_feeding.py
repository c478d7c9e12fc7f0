from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge
from edge import cli
from edge.artefact import graph
from edge.artefact.contract import Contract, InputSpec
from edge.artefact.tensors import QuantParams, TensorSpec
from edge.errors import ContractError, ShapeError
from edge.runtime import feeding, preprocess
from edge.runtime.golden import pattern
from tests.edge.conftest import MakeContract

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
    for spec, other in ((INCEPTION, tensor), (RAW, shifted)):
        with pytest.raises(ShapeError, match="--preprocess raw"):
            preprocess.lookup_table(spec, other)


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
    from PIL import Image

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
