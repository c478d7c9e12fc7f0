"""Stored reference outputs: what the original network answers to each image, kept so that validating needs no TensorFlow.

A ``.npz`` with these arrays, uncompressed so that they are read in place whatever their size:

* ``contract`` uint8 (bytes,): the contract of the network that answered, as JSON: how it was fed, what its outputs mean;
* ``keys`` uint8 (N, 32): one key per image, `image_key` of its content and of the preprocessing;
* ``output0``, ``output1``, ...: float32 (N, values), one row per key, in the order of the contract's outputs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..artefact.contract import Contract, InputSpec
from ..data.dataset import LabelledImages
from ..errors import ArtefactError, ContractError, DatasetError, ImageError, OutputError, ShapeError
from ..files import sha256_file
from ..runtime.extra_inputs import Columns, identity
from ..runtime.model import Model
from ..system import zips

SUFFIX = ".npz"

_KEY_BYTES = 32
_LOCAL_HEADER_BYTES = 30  # of a zip entry, before its name and extra field


def image_key(image_sha256: str, spec: InputSpec) -> bytes:
    """Return the 32-byte key of an image: SHA-256 over its content's SHA-256 and the preprocessing it went through."""
    recipe = json.dumps(asdict(spec), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(bytes.fromhex(image_sha256) + recipe.encode()).digest()


class ReferenceWriter:
    """Writes a file of reference outputs row by row; nothing is at ``path`` before all of it is there.

    with ReferenceWriter(path, contract) as writer:
        writer.add(sha256_of_the_image_file, {"probabilities": array})

    ``silent`` counts the images whose answers are not all finite. Memory does not grow with the number of images beyond their keys.
    Raises OutputError if the place cannot be written to.
    """

    def __init__(self, path: str | os.PathLike[str], contract: Contract) -> None:
        self.path = Path(path)
        self.contract = contract
        self.silent = 0
        self._keys: dict[bytes, None] = {}
        self._sizes: list[int] = []
        self._rows: list[IO[bytes]] = []

    def __enter__(self) -> ReferenceWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Beside the target, and without a name: gone with the process, whatever ends it.
            for _ in self.contract.outputs:
                self._rows.append(tempfile.TemporaryFile(dir=self.path.parent))  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def add(self, image_sha256: str, outputs: Mapping[str, NDArray[Any]]) -> None:
        """Store the answers to one image: real values (not quantized) by output name. An image already there is skipped."""
        key = image_key(image_sha256, self.contract.input)
        if key in self._keys:
            return
        rows = [np.ascontiguousarray(outputs[spec.name], "<f4").ravel() for spec in self.contract.outputs]
        sizes = [row.size for row in rows]
        if self._sizes and sizes != self._sizes:
            raise ShapeError(f"reference outputs have {sizes} values, expected {self._sizes} as for the images before")
        self._sizes = sizes
        self._keys[key] = None
        self.silent += not all(np.isfinite(row).all() for row in rows)
        try:
            for stream, row in zip(self._rows, rows, strict=True):
                stream.write(row.tobytes())
        except OSError as error:
            raise self._unwritable(error) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
        except OSError as problem:
            raise self._unwritable(problem) from problem
        finally:
            for stream in self._rows:
                with contextlib.suppress(OSError):  # closing flushes again what could not be written before
                    stream.close()

    def _finish(self) -> None:
        if not self._keys:
            raise DatasetError(f"{self.path}: not written, as there is no image whose outputs it could hold")
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
                text = self.contract.to_json().encode()
                _member(archive, "contract", "|u1", (len(text),), text)
                _member(archive, "keys", "|u1", (len(self._keys), _KEY_BYTES), b"".join(self._keys))
                for i, (stream, size) in enumerate(zip(self._rows, self._sizes, strict=False)):
                    stream.seek(0)
                    _member(archive, f"output{i}", "<f4", (len(self._keys), size), stream)
            with open(beside, "rb+") as written:
                os.fsync(written.fileno())
            os.replace(beside, self.path)
        finally:
            beside.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(f"{self.path}: cannot be written ({error.strerror or error}); choose another place")


def check_there(path: str | os.PathLike[str]) -> None:
    """Raise ArtefactError where there is no file of reference outputs. None of it is read."""
    if not Path(path).is_file():
        raise ArtefactError(
            f"{path}: no such file of reference outputs; make it with edgekit outputs or quantize.reference_outputs"
        )


def store(
    model: Model, images: LabelledImages, path: str | os.PathLike[str], advance: Callable[[], None] = lambda: None
) -> tuple[list[str], int]:
    """Write what ``model`` answers to every image.

    Return the ids of those that cannot be read, which are left out, and how many are answered with NaN or infinity.

    Raises OutputError if the place cannot be written to, DatasetError if no image could be read.
    """
    unreadable: list[str] = []
    columns = Columns.find(images, model.contract)
    with ReferenceWriter(path, model.contract) as writer:
        for item in images:
            try:
                data = item.read() if model.contract.input.frames else b""
                values = {} if columns is None else columns.values(item)
                writer.add(identity(data, item, columns), model.predict(data or None, **values))
            except (OSError, ImageError):
                unreadable.append(item.id)
            advance()
    return unreadable, writer.silent


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferenceOutputs:
    """An opened file. The rows stay on disk until they are asked for."""

    path: Path
    contract: Contract
    sha256: str
    _row: Mapping[bytes, int]
    _values: tuple[NDArray[np.float32], ...]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> ReferenceOutputs:
        """Open a file that `ReferenceWriter` wrote.

        Raises ArtefactError if it is none or damaged, ContractError if a newer edgekit wrote it.
        """
        where = Path(path)
        try:
            with zipfile.ZipFile(where) as archive:
                text = _array(where, archive, "contract", "|u1", 1).tobytes()
                keys = _array(where, archive, "keys", "|u1", 2)
                contract = Contract.from_json(text, where=str(where))
                values = tuple(_array(where, archive, f"output{i}", "<f4", 2) for i in range(len(contract.outputs)))
        except ContractError:
            raise
        except zips.DAMAGED as error:
            raise ArtefactError(
                f"{where}: no intact file of reference outputs ({error}); make it again with quantize.reference_outputs"
            ) from error
        if keys.shape[1] != _KEY_BYTES or any(array.shape[0] != keys.shape[0] for array in values):
            raise ArtefactError(f"{where}: its arrays do not belong together; make it again with quantize.reference_outputs")
        rows = {key.tobytes(): i for i, key in enumerate(keys)}
        return cls(path=where, contract=contract, sha256=sha256_file(where), _row=rows, _values=values)

    def __len__(self) -> int:
        return len(self._row)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of values of each output, in the order of the contract's."""
        return tuple(int(array.shape[1]) for array in self._values)

    def get(self, image_sha256: str) -> dict[str, NDArray[np.float32]] | None:
        """Return the stored answers to an image by output name, float32 (values,), or None if it is not among them."""
        row = self._row.get(image_key(image_sha256, self.contract.input))
        if row is None:
            return None
        return {spec.name: np.array(v[row], np.float32) for spec, v in zip(self.contract.outputs, self._values, strict=True)}


def _member(archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...], data: bytes | IO[bytes]) -> None:
    # A fixed date: the same answers are the same bytes.
    entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    with archive.open(entry, "w", force_zip64=True) as stream:
        npy.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
        if isinstance(data, bytes):
            stream.write(data)
        else:
            shutil.copyfileobj(data, stream, 1 << 20)


def _array(path: Path, archive: zipfile.ZipFile, name: str, dtype: str, rank: int) -> NDArray[Any]:
    """Return a member of the archive as an array that stays in the file. Never unpickles: only this dtype is accepted."""
    entry = archive.getinfo(f"{name}.npy")
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    with archive.open(entry) as stream:
        shape = _shape(stream, name, dtype, rank)
        start = stream.tell()
    if start + math.prod(shape) * np.dtype(dtype).itemsize != entry.file_size:
        raise ValueError(f"{name} has {entry.file_size} bytes, expected {shape} of {dtype}")
    with open(path, "rb") as raw:
        raw.seek(entry.header_offset)
        header = raw.read(_LOCAL_HEADER_BYTES)
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    offset = entry.header_offset + _LOCAL_HEADER_BYTES + lengths + start
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)


def _shape(stream: IO[bytes], name: str, dtype: str, rank: int) -> tuple[int, ...]:
    """Read the header of a ``.npy``, of which only one form is accepted. (numpy's own reader tries to repair damaged ones.)"""
    start = stream.read(len(npy.MAGIC_PREFIX) + 4)
    if start[:-2] != npy.magic(1, 0):
        raise ValueError(f"{name} is no array")
    text = stream.read(int.from_bytes(start[-2:], "little")).decode("latin-1")
    match = re.fullmatch(r"\{'descr': '(.{3})', 'fortran_order': False, 'shape': \((\d+(?:, \d+)*),?\), \}\s+", text)
    if match is None or match[1] != dtype or match[2].count(",") != rank - 1:
        raise ValueError(f"{name} is {text.strip()}, expected {dtype} of {rank} axes")
    return tuple(int(size) for size in match[2].split(","))
