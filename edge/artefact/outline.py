"""The little of a ``.tflite`` that opening an artefact needs: what goes in, what comes out, and the names of its metadata.

`edge.artefact.graph` reads (and checks) everything, which takes longer than importing the interpreter. That is done the first time
that a file is loaded on a machine (`edge.runtime.trust`).
"""

from __future__ import annotations

import os
from typing import NamedTuple

from ..errors import ArtefactError
from .flatbuffer import Buffer, Flatbuffer, Table

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
MAX_RANK = 8
MAX_OPERANDS = 4096


class Outline(NamedTuple):
    """Shapes of the inputs and outputs of the first subgraph, and the names of the metadata entries."""

    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    metadata: frozenset[str]


def read(data: Buffer, *, size: int | None = None, where: str | os.PathLike[str] = "model") -> Outline:
    """Return the outline of the flatbuffer ``data[:size]``. Raises ArtefactError if what it needs is broken."""
    try:
        return _outline(open_model(data, size))
    except ArtefactError as error:
        raise damaged(where, error) from error


def open_model(data: Buffer, size: int | None) -> Table:
    """Return the root table after checking identifier and schema version."""
    file = Flatbuffer(data, size)
    if file.identifier != IDENTIFIER:
        raise ArtefactError(f"bytes 4 to 8 are {file.identifier!r}, expected {IDENTIFIER!r}: this is no .tflite")
    model = file.root()
    version = model.integer(0, "I")
    if version != SCHEMA_VERSION:
        raise ArtefactError(f"schema version {version}, expected {SCHEMA_VERSION}")
    return model


def damaged(where: str | os.PathLike[str], error: ArtefactError) -> ArtefactError:
    """Return ``error`` with the file's name and what to do."""
    return ArtefactError(f"{os.fspath(where)}: {error}; the file is damaged or incomplete, copy or make it again")


def _outline(model: Table) -> Outline:
    subgraph = next(model.tables(2), None)
    if subgraph is None:
        raise ArtefactError("it has no subgraph")
    tensors = list(subgraph.tables(0))
    shapes = []
    for slot in (1, 2):
        indices = subgraph.numbers(slot, "i", MAX_OPERANDS)
        if indices and not 0 <= min(indices) <= max(indices) < len(tensors):
            raise ArtefactError(f"its inputs and outputs {list(indices)} are not among its {len(tensors)} tensors")
        shapes.append(tuple(tensors[i].numbers(0, "i", MAX_RANK) for i in indices))
    return Outline(inputs=shapes[0], outputs=shapes[1], metadata=frozenset(entry.text(0) for entry in model.tables(6)))
