from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.artefact import container, marker
from edge.artefact.contract import Contract, InputSpec, OutputSpec
from edge.errors import ArtefactError, ContractError

MakeContract = Callable[..., Contract]


def test_pack_and_read_give_back_what_went_in(tiny_int8_flatbuffer: bytes, tmp_path: Path, tiny_contract: MakeContract) -> None:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(container.pack(tiny_int8_flatbuffer, tiny_contract()))
    found = container.read(path)
    model = path.read_bytes()[: found.flatbuffer_bytes]
    assert found.contract == tiny_contract(model_sha256=hashlib.sha256(model).hexdigest())
    assert found.flatbuffer() == model
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.members["labels.txt"].decode() == "cat\ndog\nbird\nfish\n"
    assert not found.is_foreign


def test_the_same_contract_and_model_give_the_same_bytes(tiny_int8_flatbuffer: bytes, tiny_contract: MakeContract) -> None:
    assert container.pack(tiny_int8_flatbuffer, tiny_contract()) == container.pack(tiny_int8_flatbuffer, tiny_contract())


def test_packing_again_does_not_change_the_model(tiny_int8_artefact: Path) -> None:
    found = container.read(tiny_int8_artefact)
    assert found.contract is not None
    assert container.pack(found.flatbuffer(), found.contract) == tiny_int8_artefact.read_bytes()


def test_any_zip_tool_reads_the_packed_files(tiny_int8_artefact: Path) -> None:
    with zipfile.ZipFile(tiny_int8_artefact) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt", "contract.json"]
        assert archive.getinfo("labels.txt").date_time == (1980, 1, 1, 0, 0, 0)


def test_each_output_with_labels_gets_a_file(tiny_two_outputs_flatbuffer: bytes, tiny_contract: MakeContract) -> None:
    outputs = (
        OutputSpec(name="angle", kind="multilabel", labels=("left",)),
        OutputSpec(name="classes", kind="probabilities", labels=("a", "b", "c", "d")),
    )
    assert container.label_files(tiny_contract(outputs=outputs)) == {"angle": "labels.txt", "classes": "labels_1.txt"}


def test_marking_changes_nothing_but_the_metadata(tiny_int8_flatbuffer: bytes) -> None:
    from edge.artefact import graph

    marked = marker.mark(tiny_int8_flatbuffer, where="tiny")
    before, after = graph.read(tiny_int8_flatbuffer), graph.read(marked)
    assert [t.name for t in after.tensors] == [t.name for t in before.tensors]
    assert set(after.metadata) == {*before.metadata, marker.NAME}
    assert all(after.metadata[name] == span for name, span in before.metadata.items())


def test_a_marked_model_without_its_end_is_damaged(tiny_int8_artefact: Path, tmp_path: Path) -> None:
    """The case that hashes inside the end cannot see: the file is cut exactly where the packed files begin."""
    path = tmp_path / "cut.tflite"
    path.write_bytes(container.read(tiny_int8_artefact).flatbuffer())
    with pytest.raises(ArtefactError, match="end with the contract is missing"):
        container.read(path)


def test_a_zip_rebuilt_by_another_tool_is_not_ours(tiny_int8_artefact: Path, tmp_path: Path) -> None:
    found = container.read(tiny_int8_artefact)
    rebuilt = io.BytesIO(found.flatbuffer())
    with zipfile.ZipFile(rebuilt, "a") as archive:
        for name, data in found.members.items():
            archive.writestr(name, data)
    path = tmp_path / "rebuilt.tflite"
    path.write_bytes(rebuilt.getvalue())
    with pytest.raises(ArtefactError, match="missing or altered"):
        container.read(path)


def test_a_contract_of_another_model_is_refused(tiny_int8_artefact: Path, tiny_float_flatbuffer: bytes, tmp_path: Path) -> None:
    """Even where somebody writes a correct hash over the whole file."""
    from edge.artefact import archive

    source = container.read(tiny_int8_artefact)
    model = marker.mark(tiny_float_flatbuffer, where="tiny")
    zipped = archive.write(len(model), source.members)
    signed = model + zipped + archive.COMMENT + hashlib.sha256(model + zipped).hexdigest().encode()
    path = tmp_path / "other.tflite"
    path.write_bytes(signed)
    with pytest.raises(ArtefactError, match="SHA-256 that its contract names"):
        container.read(path)


def test_a_foreign_model_is_read_without_contract(tiny_float_flatbuffer: bytes, tmp_path: Path) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(tiny_float_flatbuffer)
    found = container.read(path)
    assert found.is_foreign
    assert found.flatbuffer_bytes == found.file_bytes == len(tiny_float_flatbuffer)


def test_foreign_packed_files_are_read_even_compressed(tiny_float_flatbuffer: bytes, tmp_path: Path) -> None:
    packed = io.BytesIO(tiny_float_flatbuffer)
    packed.seek(0, io.SEEK_END)
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("names.txt", "a\nb\n" * 100)
    path = tmp_path / "foreign.tflite"
    path.write_bytes(packed.getvalue())
    found = container.read(path)
    assert found.members == {"names.txt": b"a\nb\n" * 100}
    assert found.flatbuffer_bytes == len(tiny_float_flatbuffer)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"", "0 bytes"),
        (b"PK\x03\x04" + bytes(100), "edgekit quantize"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"\x80\x04\x95" + bytes(100), "pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (bytes(200), "TFL3"),
        (b"\x1c\x00\x00\x00TFL3", "damaged or incomplete"),
    ],
)
def test_other_files_are_named(start: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file.tflite"
    path.write_bytes(start)
    with pytest.raises(ArtefactError, match=message):
        container.read(path)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no such file"):
        container.read(tmp_path / "none.tflite")
    with pytest.raises(ArtefactError, match="folder"):
        container.read(tmp_path)


def test_a_file_that_changes_in_use_is_noticed(tiny_int8_artefact: Path, tmp_path: Path) -> None:
    path = tmp_path / "changing.tflite"
    shutil.copy(tiny_int8_artefact, path)
    found = container.read(path)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtefactError, match="changed while"):
        found.check_unchanged()
    with pytest.raises(ArtefactError, match="changed while"):
        found.flatbuffer()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": InputSpec(width=24, height=25)}, "inputs have the shapes"),
        ({"outputs": (OutputSpec(name="a", kind="logits"), OutputSpec(name="b", kind="logits"))}, "describes 2"),
        ({"outputs": (OutputSpec(name="a", kind="logits", labels=("x", "y")),)}, "4 values and 2 labels"),
    ],
)
def test_pack_refuses_a_contract_that_does_not_fit(
    changes: dict[str, object], message: str, tiny_int8_flatbuffer: bytes, tiny_contract: MakeContract
) -> None:
    with pytest.raises(ContractError, match=message):
        container.pack(tiny_int8_flatbuffer, tiny_contract(**changes))


def test_pack_refuses_what_is_no_model(tiny_contract: MakeContract) -> None:
    with pytest.raises(ArtefactError, match="damaged or incomplete"):
        container.pack(b"\x1c\x00\x00\x00TFL3" + bytes(100), tiny_contract())


def test_an_empty_zip_behind_a_model_means_that_nothing_is_packed(tiny_float_flatbuffer: bytes, tmp_path: Path) -> None:
    path = tmp_path / "empty.tflite"
    path.write_bytes(tiny_float_flatbuffer + b"PK\x05\x06" + bytes(18))
    found = container.read(path)
    assert found.members == {} and found.flatbuffer() == tiny_float_flatbuffer


def test_outputs_in_another_order_than_the_models_are_not_packed(
    tiny_two_outputs_flatbuffer: bytes, tiny_contract: Callable[..., Contract]
) -> None:
    """Of the same size or not: answers are found by their places once a file is packed."""
    outputs = (OutputSpec(name="angle", kind="features"), OutputSpec(name="classes", kind="features"))
    with pytest.raises(ContractError, match="outputs are classes, angle in this order, its contract has angle, classes"):
        container.pack(tiny_two_outputs_flatbuffer, tiny_contract(outputs=outputs))
    assert container.pack(tiny_two_outputs_flatbuffer, tiny_contract(outputs=outputs[::-1]))
