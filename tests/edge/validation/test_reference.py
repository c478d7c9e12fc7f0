from __future__ import annotations

import hashlib
import io
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edge.artefact.contract import Contract, InputSpec, OutputSpec
from edge.errors import ArtefactError, ContractError, DatasetError, OutputError, ShapeError
from edge.validation.reference import ReferenceOutputs, ReferenceWriter, image_key

CONTRACT = Contract(
    name="flowers",
    input=InputSpec(width=8, height=8),
    outputs=(OutputSpec(name="classes", kind="probabilities"), OutputSpec(name="angle", kind="regression")),
)
IMAGES = [hashlib.sha256(bytes([i])).hexdigest() for i in range(5)]


def answers(i: int) -> dict[str, np.ndarray]:
    return {"classes": np.array([i, 1 - i, 0.25], np.float32), "angle": np.float32(i) / 3 * np.ones(1)}


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "reference.npz"
    with ReferenceWriter(path, CONTRACT) as writer:
        for i, image in enumerate(IMAGES):
            writer.add(image, answers(i))
        writer.add(IMAGES[2], answers(4))  # the same content again: the first answer stays
    return path


def test_what_was_stored_comes_back(stored: Path) -> None:
    found = ReferenceOutputs.open(stored)
    assert len(found) == 5
    assert found.contract == CONTRACT
    assert found.sizes == (3, 1)
    for i, image in enumerate(IMAGES):
        values = found.get(image)
        assert values is not None
        for name, array in answers(i).items():
            assert values[name].dtype == np.float32
            np.testing.assert_array_equal(values[name], array.astype(np.float32).ravel())
    assert found.get(hashlib.sha256(b"another").hexdigest()) is None


def test_numpy_reads_it_without_pickle(stored: Path) -> None:
    with np.load(stored, allow_pickle=False) as archive:
        assert set(archive) == {"contract", "keys", "output0", "output1"}
        assert archive["output0"].shape == (5, 3)


def test_the_same_answers_are_the_same_bytes(stored: Path, tmp_path: Path) -> None:
    with ReferenceWriter(tmp_path / "again.npz", CONTRACT) as writer:
        for i, image in enumerate(IMAGES):
            writer.add(image, answers(i))
    assert (tmp_path / "again.npz").read_bytes() == stored.read_bytes()


def test_the_key_covers_the_preprocessing() -> None:
    assert image_key(IMAGES[0], CONTRACT.input) != image_key(IMAGES[0], InputSpec(width=8, height=8, color="bgr"))
    assert image_key(IMAGES[0], CONTRACT.input) != image_key(IMAGES[1], CONTRACT.input)


def test_nothing_is_left_when_the_work_stops(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ReferenceWriter(tmp_path / "reference.npz", CONTRACT) as writer:
        writer.add(IMAGES[0], answers(0))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_rows_of_another_size_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ShapeError, match=r"\[2, 1\] values, expected \[3, 1\]"),
        ReferenceWriter(tmp_path / "r.npz", CONTRACT) as writer,
    ):
        writer.add(IMAGES[0], answers(0))
        writer.add(IMAGES[1], {"classes": np.zeros(2), "angle": np.zeros(1)})


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"), ReferenceWriter(tmp_path / "file" / "r.npz", CONTRACT):
        pass


def test_without_any_image_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no image"), ReferenceWriter(tmp_path / "r.npz", CONTRACT):
        pass
    assert list(tmp_path.iterdir()) == []


def test_truncated_files_are_errors(stored: Path) -> None:
    data = stored.read_bytes()
    for size in (0, 10, len(data) // 2, len(data) - 1):
        stored.write_bytes(data[:size])
        with pytest.raises(ArtefactError, match="make it again"):
            ReferenceOutputs.open(stored)


def rewritten(path: Path, name: str, data: bytes, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for member, content in (members | {f"{name}.npy": data}).items():
            archive.writestr(member, content)
    return path


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("output0", np.array([{}, 1], object)),
        ("output0", np.zeros((5, 3))),
        ("output0", np.zeros((4, 3), np.float32)),
        ("output0", np.zeros(15, np.float32)),
        ("keys", np.zeros((5, 16), np.uint8)),
        ("contract", np.frombuffer(b"{}", np.uint8)),
    ],
)
def test_arrays_of_another_kind_are_refused(stored: Path, name: str, array: np.ndarray) -> None:
    with pytest.raises((ArtefactError, ContractError)):
        ReferenceOutputs.open(rewritten(stored, name, npy(array, allow_pickle=array.dtype == object)))


@pytest.mark.parametrize("shape", ["(5, 9)", "(9, 3)", "(-5, 3)", "((5, 3", "(5, 3, 1)", "()"])
def test_headers_that_lie_or_are_spoilt_are_refused(stored: Path, shape: str) -> None:
    data = npy(np.zeros((5, 3), np.float32)).replace(b"(5, 3), }", f"{shape}, }}".encode()[:9].ljust(9))
    with pytest.raises(ArtefactError):
        ReferenceOutputs.open(rewritten(stored, "output0", data))


def test_a_compressed_copy_is_refused(stored: Path) -> None:
    with pytest.raises(ArtefactError, match="compressed"):
        ReferenceOutputs.open(rewritten(stored, "output0", npy(np.zeros((5, 3), np.float32)), zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize(("place", "value"), [("flags", 1), ("version", 99), ("method", 99), ("method", 8)])
def test_archives_that_python_does_not_read_are_refused(stored: Path, place: str, value: int) -> None:
    """Encrypted, or of a format that is yet to come: zipfile raises what is neither OSError nor ValueError."""
    data = bytearray(stored.read_bytes())
    for signature, at in (
        (b"PK\x01\x02", {"version": 6, "flags": 8, "method": 10}),
        (b"PK\x03\x04", {"version": 4, "flags": 6, "method": 8}),
    ):
        start = data.find(signature)
        while start >= 0:
            struct.pack_into("<H", data, start + at[place], value)
            start = data.find(signature, start + 4)
    stored.write_bytes(data)
    with pytest.raises(ArtefactError, match=re.escape(str(stored))):
        ReferenceOutputs.open(stored)
