"""Adds metadata entries to a model, also to one that has no list of them (the Edge TPU compiler's, for all that is known).

Offsets in a flatbuffer point forwards only, so a new root table goes in front; everything behind it moves together and stays as
it is.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

from ..errors import ArtefactError
from .flatbuffer import Flatbuffer, Table
from .outline import IDENTIFIER

# Slots of the schema's Model and Buffer.
_VERSION, _BUFFERS, _METADATA, _BUFFER_OFFSET = 0, 4, 6, 1
_MODEL_SLOTS = 10
_ALIGNMENT = 64  # what moves by a multiple of this keeps every alignment
_DATA_ALIGNMENT = 16  # the schema's, of a buffer's bytes


def add(flatbuffer: bytes, entries: Mapping[str, bytes], *, where: str | os.PathLike[str]) -> bytes:
    """Return ``flatbuffer`` with a metadata entry per item of ``entries``. Raises ArtefactError if it is no model to add to."""
    if not entries:
        return flatbuffer
    file = Flatbuffer(flatbuffer)
    model = file.root()
    buffers = _targets(file, model, _BUFFERS)
    if any(buffer.integer(_BUFFER_OFFSET, "Q") > 1 for buffer in model.tables(_BUFFERS)):
        raise ArtefactError(f"{os.fspath(where)}: its weights lie behind the model, so that nothing can be put before it")
    prefix = _Prefix()
    old = {slot: place for slot in range(1, _MODEL_SLOTS) if (place := model.field(slot, 4))}
    slots = sorted({_VERSION, _BUFFERS, _METADATA, *old})
    fields = prefix.table(slots)
    struct.pack_into("<I", prefix.data, 0, prefix.table_start)
    prefix.data[4:8] = IDENTIFIER
    struct.pack_into("<I", prefix.data, fields[_VERSION], model.integer(_VERSION, "I"))
    # Targets are positions in the prefix, or (negative) in the old file, whose place is known at the end.
    links = {fields[slot]: _old(file.follow(place)) for slot, place in old.items() if slot not in (_BUFFERS, _METADATA)}
    listed = _targets(file, model, _METADATA)
    links[fields[_BUFFERS]], buffer_places = prefix.vector(len(buffers) + len(entries))
    links[fields[_METADATA]], entry_places = prefix.vector(len(listed) + len(entries))
    new_buffers = [prefix.buffer(content, links) for content in entries.values()]
    new_entries = [prefix.entry(name, len(buffers) + i, links) for i, name in enumerate(entries)]
    links.update(zip(buffer_places, [*map(_old, buffers), *new_buffers], strict=True))
    links.update(zip(entry_places, [*map(_old, listed), *new_entries], strict=True))
    prefix.pad(_ALIGNMENT)
    moved = len(prefix.data)
    for place, target in links.items():
        struct.pack_into("<I", prefix.data, place, (moved - 1 - target if target < 0 else target) - place)
    return bytes(prefix.data) + flatbuffer


def _old(position: int) -> int:
    return -1 - position


def _targets(file: Flatbuffer, model: Table, slot: int) -> list[int]:
    """Where the tables of a vector begin."""
    place = model.field(slot, 4)
    if not place:
        return []
    start, count = file.vector(file.follow(place), 4)
    return [file.follow(position) for position in range(start, start + 4 * count, 4)]


class _Prefix:
    """Bytes in front of a model, and where in them a table's fields lie."""

    def __init__(self) -> None:
        self.data = bytearray(8)
        self.table_start = 0

    def pad(self, alignment: int) -> None:
        self.data += bytes(-len(self.data) % alignment)

    def table(self, slots: list[int]) -> dict[int, int]:
        """Append a table of 4-byte fields, return slot -> position of the field."""
        self.pad(4)
        layout = len(self.data)
        count = max(slots) + 1
        offsets = [4 + 4 * slots.index(slot) if slot in slots else 0 for slot in range(count)]
        self.data += struct.pack(f"<{2 + count}H", 4 + 2 * count, 4 + 4 * len(slots), *offsets)
        self.pad(4)
        self.table_start = len(self.data)
        self.data += struct.pack("<i", self.table_start - layout) + bytes(4 * len(slots))
        return {slot: self.table_start + offsets[slot] for slot in slots}

    def buffer(self, content: bytes, links: dict[int, int]) -> int:
        """Append a Buffer with ``content``, return where its table begins."""
        fields = self.table([0])
        start = self.table_start
        self.data += bytes(-(len(self.data) + 4) % _DATA_ALIGNMENT)
        links[fields[0]] = len(self.data)
        self.data += struct.pack("<I", len(content)) + content
        return start

    def entry(self, name: str, buffer: int, links: dict[int, int]) -> int:
        """Append a Metadata entry, return where its table begins."""
        fields = self.table([0, 1])
        start = self.table_start
        struct.pack_into("<I", self.data, fields[1], buffer)
        text = name.encode()
        links[fields[0]] = len(self.data)
        self.data += struct.pack("<I", len(text)) + text + b"\0"
        return start

    def vector(self, count: int) -> tuple[int, list[int]]:
        """Append a vector of offsets, return where it begins and where its elements lie. What they point to comes later."""
        self.pad(4)
        start = len(self.data)
        self.data += struct.pack("<I", count) + bytes(4 * count)
        return start, [start + 4 + 4 * i for i in range(count)]
