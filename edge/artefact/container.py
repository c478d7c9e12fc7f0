"""The artefact as a file: a flatbuffer, then a zip with ``contract.json`` and the label files.

What makes damage impossible to overlook:

* the zip's comment holds the SHA-256 of every byte before it, and the contract the SHA-256 of the flatbuffer;
* the flatbuffer carries a mark (`edge.artefact.marker`), so a file whose zip was cut off or spoilt is damaged, not foreign.

A file without the mark, without a contract and without our comment is somebody else's model.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import mmap
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, BinaryIO

from ..errors import ArtefactError, ContractError, EdgeError
from ..system import memory
from . import archive
from .hashing import BackgroundHash

# A fresh process on a board waits for its first answer: what takes time to import is imported once the hashing has begun (both go
# on together: outline, with numpy, and contract take 123 ms of processor time, median of 10 fresh processes), and what is not needed
# on the way there where it is used (the graph 13, pathlib 6).
if TYPE_CHECKING:
    from pathlib import Path

    from .contract import Contract
    from .graph import Graph
    from .outline import Outline

_Stamp = tuple[int, int, int]

CONTRACT_FILE = "contract.json"
LABELS_FILE = "labels.txt"
_CONTRACT_SHARE = 64  # of the memory

_IDENTIFIER = b"TFL3"
# What people pass by mistake, by their first bytes.
_OTHER_KINDS = {
    b"PK\x03\x04": "a zip (a .keras model?): convert it with edgekit quantize",
    b"\x89HDF": "an HDF5 file (a Keras .h5 model?): convert it with edgekit quantize",
    b"\x80\x04\x95": "a Python pickle, which edgekit never opens",
    b"version ": "a git-lfs pointer, not the file itself: run git lfs pull",
}


class Container:
    """What a file holds, all of it checked.

    ``sha256`` is of the whole file: the artefact's identity. ``model_sha256`` is of its first ``flatbuffer_bytes`` bytes.
    ``contract`` is None for a model of somebody else's. ``members`` are the packed files by name.
    """

    def __init__(
        self,
        *,
        path: str,
        file_bytes: int,
        flatbuffer_bytes: int,
        sha256: str,
        model_sha256: str,
        contract: Contract | None,
        members: Mapping[str, bytes],
        stamp: _Stamp,
    ) -> None:
        self._path = path
        self.file_bytes = file_bytes
        self.flatbuffer_bytes = flatbuffer_bytes
        self.sha256 = sha256
        self.model_sha256 = model_sha256
        self.contract = contract
        self.members = members
        self._stamp = stamp

    @functools.cached_property
    def path(self) -> Path:
        from pathlib import Path

        return Path(self._path)

    @property
    def is_foreign(self) -> bool:
        return self.contract is None

    @functools.cached_property
    def graph(self) -> Graph:
        """The graph, read when it is first asked for. Raises ArtefactError if the file has changed since it was opened."""
        from . import graph

        with open(self._path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            self.check_unchanged()
            return graph.read(data, size=self.flatbuffer_bytes, where=self._path)

    def flatbuffer(self) -> bytes:
        """Return a copy of the model without the packed files. Raises ArtefactError if the file has changed meanwhile."""
        with open(self._path, "rb") as stream:
            data = stream.read(self.flatbuffer_bytes)
        self.check_unchanged()
        return data

    def check_unchanged(self) -> None:
        """Raise ArtefactError if the file has been replaced or written to since it was opened."""
        if _stamp(os.stat(self._path)) != self._stamp:
            raise ArtefactError(f"{self._path}: the file changed while it was in use; load it again")


def read(path: str | os.PathLike[str], *, meanwhile: Callable[[], object] | None = None) -> Container:
    """Read and check a ``.tflite`` without giving it to an interpreter.

    meanwhile: called while another thread hashes the file (the time to import the interpreter).
    Raises ArtefactError for a file that is damaged or no ``.tflite``, ContractError for a contract that this edgekit cannot read.
    """
    path = os.fsdecode(path)
    with _opened(path) as (stream, stamp), mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _read(path, data, stamp, meanwhile)


def look(path: str | os.PathLike[str]) -> None:
    """Raise what `read` raises for a file that is not there or does not begin like a ``.tflite``. Nothing more of it is read."""
    with _opened(os.fsdecode(path)):
        pass


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[BinaryIO, _Stamp]]:
    """Open a file that begins like a ``.tflite``. Raises ArtefactError for others, and where the block cannot read it."""
    try:
        if not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode):  # a pipe would be waited for without end
            raise ArtefactError(f"{path}: is no file, expected a .tflite file")
        with open(path, "rb") as stream:
            stamp = _stamp(os.fstat(stream.fileno()))
            _check_start(path, stream.read(8), stamp[1])
            yield stream, stamp
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise ArtefactError(f"{path}: a folder, expected a .tflite file") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        if isinstance(error, EdgeError):
            raise
        raise ArtefactError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def pack(flatbuffer: bytes, contract: Contract) -> bytes:
    """Return the artefact: ``flatbuffer`` (marked), then a zip of the labels and of ``contract`` with its SHA-256 filled in.

    The same arguments give the same bytes. Raises ContractError if the contract does not fit the model, ArtefactError if
    ``flatbuffer`` is no model.
    """
    from . import graph, marker, outline

    where = contract.name
    model = graph.read(flatbuffer, where=where)
    if not marker.is_marked(model.metadata):
        flatbuffer = marker.mark(flatbuffer, where=where)
        model = graph.read(flatbuffer, where=where)
    _check_order(where, contract, model)
    flatbuffer += bytes(-len(flatbuffer) % 16)
    check_fit(where, contract, outline.read(flatbuffer, where=where))
    digest = hashlib.sha256(flatbuffer)
    contract = contract.replace(model_sha256=digest.hexdigest())
    members = {**_label_members(contract), CONTRACT_FILE: contract.to_json().encode()}
    zipped = archive.write(len(flatbuffer), members)
    digest.update(zipped)
    return b"".join((flatbuffer, zipped, archive.COMMENT, digest.hexdigest().encode()))


def label_files(contract: Contract) -> dict[str, str]:
    """Return the name of the packed label file of each output that has labels: ``labels.txt`` for the first."""
    labelled = [output.name for output in contract.outputs if output.labels]
    return {name: LABELS_FILE if i == 0 else f"labels_{i}.txt" for i, name in enumerate(labelled)}


def _label_members(contract: Contract) -> dict[str, bytes]:
    labels = {output.name: output.labels for output in contract.outputs}
    return {file: "".join(f"{label}\n" for label in labels[name]).encode() for name, file in label_files(contract).items()}


def _read(path: str, data: mmap.mmap, stamp: _Stamp, meanwhile: Callable[[], object] | None) -> Container:
    try:
        packed = archive.read(data)
    except ArtefactError as error:
        raise ArtefactError(f"{path}: {error}; copy or make the file again") from error
    end, covered_end = (packed.start, packed.end) if packed else (len(data), len(data))
    members = packed.members if packed else {}
    with BackgroundHash(data, (end, covered_end)) as hashing:
        if meanwhile is not None:
            meanwhile()
        from . import marker, outline
        from .contract import Contract

        sketch = outline.read(data, size=end, where=path)
    model_sha256, covered_sha256 = hashing.parts
    is_marked, is_signed = marker.is_marked(sketch.metadata), packed is not None and packed.comment.startswith(archive.COMMENT)
    contract = None
    if is_marked or is_signed or CONTRACT_FILE in members:
        if not (is_marked and is_signed and CONTRACT_FILE in members):
            raise _damaged(path, "it is an artefact of edgekit, and its end with the contract is missing or altered")
        if packed is None or packed.comment != archive.COMMENT + covered_sha256.encode():
            raise _damaged(path, "its bytes do not have the SHA-256 that is written at its end")
        if (
            len(members[CONTRACT_FILE]) > memory.total_bytes() // _CONTRACT_SHARE
        ):  # JSON takes some twenty times as much when it is read
            raise ContractError(
                f"{path}: its contract.json has {len(members[CONTRACT_FILE])} bytes, more than this machine can read"
            )
        contract = Contract.from_json(members[CONTRACT_FILE], where=path)
        if contract.model_sha256 != model_sha256:
            raise _damaged(path, "its model does not have the SHA-256 that its contract names")
        check_fit(path, contract, sketch)
        if any(members.get(name) != text for name, text in _label_members(contract).items()):
            raise ContractError(f"{path}: its label files are not the labels of its contract; make the artefact again")
    return Container(
        path=path,
        file_bytes=len(data),
        flatbuffer_bytes=end,
        sha256=hashing.whole,
        model_sha256=model_sha256,
        contract=contract,
        members=members,
        stamp=stamp,
    )


def check_fit(where: str, contract: Contract, model: Outline) -> None:
    """Raise ContractError if the contract speaks of another model than this one."""
    spec = contract.input
    expected: tuple[tuple[int, ...], ...] = ((1, spec.height, spec.width, spec.channels),) if spec.frames else ()
    if contract.extra_inputs:
        expected += tuple((1, *extra.shape) for extra in contract.extra_inputs)
    if model.inputs != expected:
        raise ContractError(
            f"{where}: the model's inputs have the shapes {list(model.inputs)}, expected {list(expected)} as its contract says"
        )
    if len(model.outputs) != len(contract.outputs):
        raise ContractError(
            f"{where}: the model has {len(model.outputs)} outputs, its contract describes {len(contract.outputs)}"
        )
    for output, shape in zip(contract.outputs, model.outputs, strict=True):
        count = math.prod(shape)
        two_class = output.is_classes and count == 1  # one value says which of two classes it is
        if output.labels and len(output.labels) != (2 if two_class else count):
            raise ContractError(
                f"{where}: output {output.name!r} has {count} values and {len(output.labels)} labels, expected as many"
            )


def _check_order(where: str, contract: Contract, model: Graph) -> None:
    """Raise ContractError if the signature has the contract's outputs in another order: from here on their places stand for them."""
    if not model.signatures:
        return
    place = {index: name for name, index in model.signatures[0].outputs.items()}
    found, said = [place.get(index) for index in model.main.outputs], [output.name for output in contract.outputs]
    if found != said and set(found) == set(said):
        raise ContractError(
            f"{where}: the model's outputs are {', '.join(map(str, found))} in this order, its contract has {', '.join(said)}; write"
            " the contract's outputs in the model's order"
        )


def _check_start(path: str, start: bytes, size: int) -> None:
    for magic, kind in _OTHER_KINDS.items():
        if start.startswith(magic):
            raise ArtefactError(f"{path}: this is {kind}")
    if size < 8 or start[4:8] != _IDENTIFIER:
        raise ArtefactError(
            f"{path}: {size} bytes that do not begin like a .tflite ('TFL3' at byte 4); it is damaged or something else"
        )


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _damaged(path: str, what: str) -> ArtefactError:
    return ArtefactError(f"{path}: damaged: {what}; copy or make it again")
