from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edge
from edge.artefact import graph, tflite_metadata
from edge.artefact.contract import Contract, InputSpec
from edge.errors import ArtefactError, ContractError
from edge.runtime.golden import pattern

MakeContract = Callable[..., Contract]
LABELS = "cat\ndog\nbird\nfish\n"


@pytest.fixture(scope="module")
def with_metadata(tiny_float_flatbuffer: bytes) -> Callable[..., bytes]:
    """Puts standard metadata into the tiny float model, with labels packed behind it, as other tools' files are."""
    metadata = pytest.importorskip("quantize.tflite.metadata")
    editing = pytest.importorskip("quantize.tflite.edit")
    signature = graph.read(tiny_float_flatbuffer).signatures[0]

    def build(contract: Contract, labels: str | None = LABELS) -> bytes:
        files = {} if labels is None else {contract.outputs[0].name: "labels.txt"}
        built = metadata.build(contract, files)
        model = editing.finish(
            tiny_float_flatbuffer,
            output_names=list(signature.outputs),
            input_names=["image"],
            metadata={"TFLITE_METADATA": built},
        )
        packed = io.BytesIO(model)
        packed.seek(0, io.SEEK_END)
        if labels is not None:
            with zipfile.ZipFile(packed, "a") as archive:
                archive.writestr("labels.txt", labels)
        return packed.getvalue()

    return build


def _written(data: bytes, folder: Path) -> Path:
    path = folder / "standard.tflite"
    path.write_bytes(data)
    return path


def test_metadata_is_read_back(with_metadata: Callable[..., bytes], tiny_contract: MakeContract) -> None:
    spec = InputSpec(width=24, height=24, mean=(1.0, 2.0, 3.0), scale=(4.0, 5.0, 6.0))
    data = with_metadata(tiny_contract(input=spec), None)
    found = tflite_metadata.read(data, graph.read(data))
    assert found is not None
    assert found.inputs[0].is_image
    assert found.inputs[0].color == "rgb"
    assert found.inputs[0].mean == (1.0, 2.0, 3.0)
    assert found.inputs[0].std == (4.0, 5.0, 6.0)
    assert found.outputs[0].name == "probabilities"
    assert found.name == "tiny"


def test_a_model_without_metadata_has_none(tiny_float_flatbuffer: bytes) -> None:
    assert tflite_metadata.read(tiny_float_flatbuffer, graph.read(tiny_float_flatbuffer)) is None


def test_a_standard_file_runs_without_being_told_anything(
    with_metadata: Callable[..., bytes], tiny_contract: MakeContract, tiny_float_artefact: Path, tmp_path: Path
) -> None:
    model = edge.load(_written(with_metadata(tiny_contract()), tmp_path))
    assert model.contract.input == InputSpec(width=24, height=24)
    assert model.contract.outputs[0].labels == ("cat", "dog", "bird", "fish")
    picture = pattern("rings", 24, 24)
    assert model.classify(picture).top(4) == edge.load(tiny_float_artefact).classify(picture).top(4)


def test_what_the_caller_says_goes_before_the_metadata(
    with_metadata: Callable[..., bytes], tiny_contract: MakeContract, tmp_path: Path
) -> None:
    path = _written(with_metadata(tiny_contract()), tmp_path)
    model = edge.load(path, input={"mean": (0.0,) * 3, "scale": (255.0,) * 3}, labels=["a", "b", "c", "d"])
    assert model.contract.input.scale == (255.0, 255.0, 255.0)
    assert model.contract.outputs[0].labels == ("a", "b", "c", "d")


def test_an_unknown_colour_order_is_not_guessed(
    with_metadata: Callable[..., bytes], tiny_contract: MakeContract, tmp_path: Path
) -> None:
    """The standard has no word for BGR."""
    path = _written(with_metadata(tiny_contract(input=InputSpec(width=24, height=24, color="bgr"))), tmp_path)
    with pytest.raises(ContractError, match="does not say its colour order"):
        edge.load(path)


def test_a_label_file_that_is_not_there_is_named(
    with_metadata: Callable[..., bytes], tiny_contract: MakeContract, tmp_path: Path
) -> None:
    data = with_metadata(tiny_contract())
    end = zipfile.ZipFile(io.BytesIO(data)).getinfo("labels.txt").header_offset
    with pytest.raises(ArtefactError, match=r"names the label file 'labels\.txt', which is not packed"):
        edge.load(_written(data[:end], tmp_path))


def test_broken_metadata_is_an_error(with_metadata: Callable[..., bytes], tiny_contract: MakeContract, tmp_path: Path) -> None:
    data = bytearray(with_metadata(tiny_contract(), None))
    start, _ = graph.read(bytes(data)).metadata["TFLITE_METADATA"]
    data[start + 4 : start + 8] = b"XXXX"
    with pytest.raises(ArtefactError, match="TFLite Metadata is damaged"):
        edge.load(_written(bytes(data), tmp_path), input={"mean": (0.0,) * 3, "scale": (1.0,) * 3})


@pytest.mark.parametrize("place", range(0, 400, 7))
def test_no_flip_inside_the_metadata_is_more_than_an_error(
    place: int, with_metadata: Callable[..., bytes], tiny_contract: MakeContract
) -> None:
    data = bytearray(with_metadata(tiny_contract(), None))
    model = graph.read(bytes(data))
    start, size = model.metadata["TFLITE_METADATA"]
    data[start + place % size] ^= 0xFF
    _read_or_refuse(bytes(data), model)


def _read_or_refuse(data: bytes, model: Any) -> None:
    try:
        tflite_metadata.read(data, model)
    except ArtefactError as error:
        assert "TFLite Metadata is damaged" in str(error)
