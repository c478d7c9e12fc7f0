"""Reads the standard TFLite Metadata of a model: how its image is normalised, and which packed files hold labels.

Slot numbers are the field order of the public schema (``metadata_schema.fbs``, root ``ModelMetadata``, identifier ``M001``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import ArtefactError
from .flatbuffer import Buffer, Flatbuffer, Table
from .graph import Graph

ENTRY = "TFLITE_METADATA"

_IDENTIFIER = b"M001"
_IMAGE_PROPERTIES = 2
_NORMALIZATION_OPTIONS = 1
_COLORS = {1: "rgb", 2: "gray"}
_LABEL_TYPES = frozenset({2, 3})  # TENSOR_AXIS_LABELS, TENSOR_VALUE_LABELS
_MAX_CHANNELS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class InputMetadata:
    """What is said about an input. ``color`` is None if the colour space is unknown, ``mean`` and ``std`` empty if not given."""

    name: str
    is_image: bool
    color: str | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputMetadata:
    """What is said about an output. ``label_files`` are names of packed files, in the order of the metadata."""

    name: str
    label_files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetadata:
    """The metadata of the first subgraph, with one entry per input and output that is described."""

    name: str
    description: str
    inputs: tuple[InputMetadata, ...]
    outputs: tuple[OutputMetadata, ...]


def read(data: Buffer, graph: Graph) -> ModelMetadata | None:
    """Return the metadata inside the model ``data`` whose graph has been read, None if it has none.

    Raises ArtefactError if it is there and broken.
    """
    if ENTRY not in graph.metadata:
        return None
    start, size = graph.metadata[ENTRY]
    try:
        file = Flatbuffer(bytes(data[start : start + size]))
        if file.identifier != _IDENTIFIER:
            raise ArtefactError(f"it begins with {file.identifier!r}, expected {_IDENTIFIER!r}")
        model = file.root()
        subgraph = next(model.tables(3), None)
        return ModelMetadata(
            name=model.text(0),
            description=model.text(1),
            inputs=tuple(_input(table) for table in subgraph.tables(2)) if subgraph else (),
            outputs=tuple(_output(table) for table in subgraph.tables(3)) if subgraph else (),
        )
    except ArtefactError as error:
        raise ArtefactError(f"its TFLite Metadata is damaged: {error}") from error


def _input(table: Table) -> InputMetadata:
    content = table.table(3)
    is_image = content is not None and content.integer(0, "B") == _IMAGE_PROPERTIES
    properties = content.table(1) if content is not None and is_image else None
    color = _COLORS.get(properties.integer(0, "b")) if properties is not None else None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    for options in _options(table, _NORMALIZATION_OPTIONS):
        mean, std = options.numbers(0, "f", _MAX_CHANNELS), options.numbers(1, "f", _MAX_CHANNELS)
    return InputMetadata(name=table.text(0), is_image=is_image, color=color, mean=mean, std=std)


def _options(table: Table, kind: int) -> Iterator[Table]:
    for unit in table.tables(4):
        options = unit.table(1)
        if options is not None and unit.integer(0, "B") == kind:
            yield options


def _output(table: Table) -> OutputMetadata:
    files = tuple(file.text(0) for file in table.tables(6) if file.integer(2, "b") in _LABEL_TYPES)
    return OutputMetadata(name=table.text(0), label_files=files)
