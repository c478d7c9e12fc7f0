"""The mark inside the flatbuffer that says "a contract belongs to this model".

Without it, an artefact cut off where its packed files begin would look like a complete model of someone else's.
The mark is a metadata entry; its name is all that matters, and its buffer may be the empty one.
"""

from __future__ import annotations

import struct
from collections.abc import Collection

from ..errors import ContractError
from .flatbuffer import Flatbuffer, Table

NAME = "edgekit_contract"

_METADATA_SLOT = 6
_ALIGNMENT = 16  # of the weights, hence of the whole
# A table with two 4-byte fields: bytes of this layout, bytes of the table, where the two fields lie.
_ENTRY_LAYOUT = struct.pack("<4H", 8, 12, 4, 8)


def is_marked(metadata: Collection[str]) -> bool:
    """Return whether a model with these metadata entries says that it has a contract."""
    return NAME in metadata


def mark(flatbuffer: bytes, *, where: str) -> bytes:
    """Return ``flatbuffer`` with the mark. Nothing moves: a longer list of metadata entries is appended, and used from then on.

    Raises ContractError if the model has no list of metadata at all (every TensorFlow converter writes one).
    """
    model = Flatbuffer(flatbuffer).root()
    place = model.field(_METADATA_SLOT, 4)
    if not place:
        raise ContractError(
            f"{where}: the model has no metadata list to put the mark of a contract into; convert it with TensorFlow again"
        )
    entries = [(_name(entry), entry.integer(1, "I")) for entry in model.tables(_METADATA_SLOT)]
    entries.append((NAME.encode(), 0))
    data = bytearray(flatbuffer)
    _pad(data, _ALIGNMENT)
    vector = len(data)
    struct.pack_into("<I", data, place, vector - place)
    data += struct.pack("<I", len(entries)) + bytes(4 * len(entries))
    for i, (name, buffer) in enumerate(entries):
        _pad(data, 4)
        layout = len(data)
        data += _ENTRY_LAYOUT
        table = len(data)
        struct.pack_into("<I", data, vector + 4 + 4 * i, table - (vector + 4 + 4 * i))
        # Offset back to the layout, offset on to the name (right behind this table), buffer index.
        data += struct.pack("<iII", table - layout, 8, buffer) + struct.pack("<I", len(name)) + name + b"\0"
    _pad(data, _ALIGNMENT)
    return bytes(data)


def _name(entry: Table) -> bytes:
    return entry.raw(0)


def _pad(data: bytearray, alignment: int) -> None:
    data += bytes(-len(data) % alignment)
