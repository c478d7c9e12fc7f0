"""What a model answers here, as bits: to find out whether another machine computes the same.

    python -m edge.validation.fingerprint FILE --images DIR [--limit N] [--ops]

prints JSON: for every image the raw outputs of the file (quantized, not real values), and with ``--ops`` the SHA-256 of what each
op computes for the first image. `devices` runs it on a board and on the workstation, and compares.
"""

from __future__ import annotations

import hashlib
import platform
import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..artefact.flatbuffer import Flatbuffer
from ..artefact.graph import Op, Subgraph
from ..data.dataset import LabelledImages
from ..errors import ImageError
from ..runtime import golden, interpreter
from ..runtime.extra_inputs import Columns, identity
from ..runtime.model import Feed, Model
from .paired import BUILT_IN_DELEGATES

SCHEMA_VERSION = 1

_MOST_BYTES = 1 << 16  # of one output; of a larger one only the hash is kept
_SUBGRAPHS, _OUTPUTS = 2, 2  # fields of the model and of a subgraph, in the order of TensorFlow Lite's schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One output for one image. ``values`` are the raw values (`golden.encode`), None where there are many."""

    dtype: str
    sha256: str
    values: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpBits:
    """What one op computed for the first image."""

    index: int
    op: str
    tensor: str
    sha256: str


def take(model: Model, images: LabelledImages, *, ops: bool = False) -> dict[str, Any]:
    """Return the fingerprint as plain data. An image that cannot be read is left out, and listed.

    ops: trace every op for the first image that can be read; empty with a delegate library, which shows no tensors in between.
    """
    answers: list[dict[str, Any]] = []
    unreadable: list[str] = []
    traced: list[OpBits] = []
    columns = Columns.find(images, model.contract)
    for item in images:
        try:
            data = item.read() if model.contract.input.frames else b""
            feed = model.feed(data or None, **({} if columns is None else columns.values(item)))
        except (OSError, ImageError):
            unreadable.append(item.id)
            continue
        if ops and not traced and model.runtime.delegate in BUILT_IN_DELEGATES:
            traced = list(trace(model, feed))
        outputs = {name: asdict(_answer(array)) for name, array in model.invoke(feed).items()}
        answers.append({"id": item.id, "sha256": identity(data, item, columns), "outputs": outputs})
    return {
        "fingerprint_version": SCHEMA_VERSION,
        "model_sha256": model.container.model_sha256,
        "arithmetic": model.arithmetic,
        "runtime": model.runtime.to_dict(),
        "machine": platform.machine(),
        "images": answers,
        "unreadable": unreadable,
        "ops": [asdict(op) for op in traced],
    }


def trace(model: Model, feed: Feed) -> Iterator[OpBits]:
    """Yield what every op of ``model`` computes for what it is fed with, in the order of execution.

    Runs a copy of the model in which every op's result is an output, so that the same kernels have to produce it; a tensor that is
    merely preserved would not exist where XNNPACK has taken the op over.
    """
    graph = model.container.graph.subgraphs[0]
    wanted = list(_results(graph))
    runtime = model.runtime
    loaded = interpreter.open_interpreter(
        with_outputs(model.container.flatbuffer(), [index for _, index in wanted]),
        threads=runtime.threads,
        kernels=runtime.kernels,
        package=runtime.package,
    )
    answered = loaded.run(feed if isinstance(feed, tuple) else (feed,))
    for (op, index), array in zip(wanted, answered, strict=True):
        yield OpBits(index=op.index, op=op.name, tensor=graph.tensors[index].name, sha256=_sha256(array))


def with_outputs(flatbuffer: bytes, tensors: Sequence[int]) -> bytes:
    """Return a copy of a model whose first subgraph has these tensors as its outputs: a new vector at the end, and the field that
    points to it. Raises ArtefactError for what is no model.
    """
    table = next(Flatbuffer(flatbuffer).root().tables(_SUBGRAPHS))
    field = table.field(_OUTPUTS, 4)
    padding = b"\0" * (-len(flatbuffer) % 4)
    offset = struct.pack("<I", len(flatbuffer) + len(padding) - field)
    vector = struct.pack(f"<I{len(tensors)}i", len(tensors), *tensors)
    whole = memoryview(flatbuffer)  # joined without further copies: a board may have little memory
    return b"".join((whole[:field], offset, whole[field + 4 :], padding, vector))


def _results(graph: Subgraph) -> Iterator[tuple[Op, int]]:
    for op in graph.ops:
        for index in op.outputs:
            if not graph.tensors[index].is_constant:
                yield op, index


def _answer(array: Any) -> Answer:
    small = array.nbytes <= _MOST_BYTES
    return Answer(dtype=str(array.dtype), sha256=_sha256(array), values=golden.encode(array) if small else None)


def _sha256(array: Any) -> str:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return hashlib.sha256(little.tobytes()).hexdigest()
