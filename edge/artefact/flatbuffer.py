"""Reads flatbuffers without a schema compiler, and trusts no byte of them.

Every offset is checked against the end of the data and against its alignment before it is followed. Nothing recurses, and each
`Flatbuffer` counts the tables and the bytes that it hands out: tables that share their content cannot make a small file into endless
work, nor a large one into more than a machine has memory for.
Format: https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArtefactError
from ..system import memory

Buffer = bytes | bytearray | memoryview | mmap.mmap

_U16 = struct.Struct("<H").unpack_from
_I32 = struct.Struct("<i").unpack_from
_U32 = struct.Struct("<I").unpack_from
_SCALARS = {kind: struct.Struct(f"<{kind}") for kind in "bBhHiIqQf?"}

# Each byte may be handed out several times (names and vectors that tables share), not without end; weights are not handed out.
_READS_PER_BYTE = 4
_READS_AT_LEAST = 1 << 16
_READS_AT_MOST = 64 << 20
_MEMORY_SHARE = 64  # what is handed out takes several times its bytes as Python objects
# Tables take microseconds each to read. Those of an honest file share no bytes, so together with the offsets to them they are no
# larger than it is (with some room for writers that name an empty table twice); networks of a thousand layers have ten thousand.
_SHARED_TABLE_BYTES = 1 << 15
_OFFSET_BYTES = 4
_TABLES_AT_MOST = 200_000


class Flatbuffer:
    """The bytes ``data[:size]`` as a flatbuffer. All errors are ArtefactErrors that say which offset is wrong."""

    def __init__(self, data: Buffer, size: int | None = None) -> None:
        self.data = data
        self.size = len(data) if size is None else size
        most = min(_READS_AT_MOST, memory.total_bytes() // _MEMORY_SHARE)
        self._budget = min(_READS_PER_BYTE * self.size + _READS_AT_LEAST, most)
        self._table_bytes, self._tables = self.size + _SHARED_TABLE_BYTES, _TABLES_AT_MOST
        self._layouts: dict[int, tuple[int, tuple[int, ...]]] = {}
        if not 8 <= self.size <= len(data):
            raise ArtefactError(f"{self.size} bytes are too few for a flatbuffer")

    @property
    def identifier(self) -> bytes:
        return bytes(self.data[4:8])

    def root(self) -> Table:
        """Return the root table."""
        return Table(self, self.follow(0))

    def spend(self, count: int) -> None:
        """Count ``count`` bytes as handed out. Raises ArtefactError when they are more than an honest file needs."""
        self._budget -= count
        if self._budget < 0:
            raise ArtefactError("its tables refer to the same bytes over and over")

    def begin(self, size: int) -> None:
        """Count a table of ``size`` bytes as read. Raises ArtefactError when there are more than an honest file has."""
        self._tables -= 1
        self._table_bytes -= size + _OFFSET_BYTES
        if self._tables < 0 or self._table_bytes < 0:
            raise ArtefactError("its tables refer to the same bytes over and over, or are more than any model has")
        self.spend(size)

    def follow(self, position: int) -> int:
        """Return where the offset at ``position`` points to: a multiple of 4 with at least 4 bytes left."""
        self.inside(position, 4)
        offset: int = _U32(self.data, position)[0]
        target = position + offset
        if offset == 0:
            raise ArtefactError(f"the offset at {position} points to itself")
        self.inside(target, 4)
        return target

    def inside(self, position: int, count: int) -> None:
        """Check that ``count`` bytes from ``position``, a multiple of 4, lie inside."""
        if not 0 <= position <= self.size - count or position & 3:
            raise ArtefactError(f"offset {position} is outside of the {self.size} bytes or not a multiple of 4")

    def vector(self, position: int, width: int) -> tuple[int, int]:
        """Return ``(start, count)`` of the vector at ``position`` (from `follow`) whose elements take ``width`` bytes."""
        count: int = _U32(self.data, position)[0]
        start = position + 4
        if count and start % width:
            raise ArtefactError(f"the vector at {position} is not aligned to {width} bytes")
        if start + count * width > self.size:
            raise ArtefactError(f"the vector at {position} has {count} elements and reaches beyond the end")
        return start, count

    def layout(self, position: int) -> tuple[int, tuple[int, ...]]:
        """Return ``(bytes of the table, offset of each field)`` of the layout ("vtable") at ``position``."""
        known = self._layouts.get(position)
        if known is not None:
            return known
        if not 0 <= position <= self.size - 4 or position & 1:
            raise ArtefactError(f"the table layout at {position} is outside of the {self.size} bytes")
        own_bytes = _U16(self.data, position)[0]
        table_bytes = _U16(self.data, position + 2)[0]
        if own_bytes < 4 or own_bytes & 1 or position + own_bytes > self.size:
            raise ArtefactError(f"the table layout at {position} has {own_bytes} bytes")
        fields = struct.unpack_from(f"<{own_bytes // 2 - 2}H", self.data, position + 4)
        if table_bytes < 4 or any(field and not 4 <= field < table_bytes for field in fields):
            raise ArtefactError(f"the table layout at {position} has a field outside of its table")
        self.spend(own_bytes)
        self._layouts[position] = table_bytes, fields
        return table_bytes, fields


class Table:
    """One table; fields are read by slot, the order of the schema. An absent field gives its default."""

    __slots__ = ("_bytes", "_fields", "_file", "_position")

    def __init__(self, file: Flatbuffer, position: int) -> None:
        # ``position`` comes from `follow`, which has checked it.
        self._file, self._position = file, position
        self._bytes, self._fields = file.layout(position - _I32(file.data, position)[0])
        if position + self._bytes > file.size:
            raise ArtefactError(f"the table at {position} reaches beyond the end")
        file.begin(self._bytes)

    def field(self, slot: int, width: int) -> int:
        """Return the position of a field of ``width`` bytes, 0 if it is absent."""
        offset = self._fields[slot] if slot < len(self._fields) else 0
        if not offset:
            return 0
        position = self._position + offset
        if offset + width > self._bytes or position % width:
            raise ArtefactError(f"field {slot} of the table at {self._position} lies outside of it")
        return position

    def integer(self, slot: int, kind: str, default: int = 0) -> int:
        """Return a whole number; ``kind`` is a letter of the ``struct`` module."""
        layout = _SCALARS[kind]
        position = self.field(slot, layout.size)
        return int(layout.unpack_from(self._file.data, position)[0]) if position else default

    def text(self, slot: int) -> str:
        """Return a string field, empty if absent. Bytes that are not UTF-8 are replaced."""
        return self.raw(slot).decode("utf-8", "replace")

    def raw(self, slot: int) -> bytes:
        """Return a copy of a byte vector (or string) field, empty if absent."""
        start, count = self.span(slot)
        self._file.spend(count)
        return bytes(self._file.data[start : start + count])

    def span(self, slot: int) -> tuple[int, int]:
        """Return ``(start, bytes)`` of a byte vector field without reading it; ``(0, 0)`` if absent."""
        return self._vector(slot, 1)

    def numbers(self, slot: int, kind: str, limit: int) -> tuple[Any, ...]:
        """Return a short vector of scalars, empty if absent; ArtefactError if it has more than ``limit`` elements."""
        width = _SCALARS[kind].size
        start, count = self._vector(slot, width)
        if count > limit:
            raise ArtefactError(f"the vector at {start - 4} has {count} elements, expected at most {limit}")
        self._file.spend(count * width)
        return struct.unpack_from(f"<{count}{kind}", self._file.data, start)

    def array(self, slot: int, dtype: str) -> NDArray[Any]:
        """Return a copy of a vector of scalars, empty if absent; ``dtype`` as numpy writes it, such as ``<f4``."""
        kind = np.dtype(dtype)
        start, count = self._vector(slot, kind.itemsize)
        self._file.spend(count * kind.itemsize)
        return np.frombuffer(self._file.data, kind, count, start).copy() if count else np.empty(0, kind)

    def table(self, slot: int) -> Table | None:
        """Return a table field, None if absent."""
        position = self.field(slot, 4)
        return Table(self._file, self._file.follow(position)) if position else None

    def count(self, slot: int) -> int:
        """Return the number of elements of a vector of tables."""
        return self._vector(slot, 4)[1]

    def tables(self, slot: int) -> Iterator[Table]:
        """Yield the tables of a vector field; none if it is absent."""
        start, count = self._vector(slot, 4)
        file = self._file
        for position in range(start, start + 4 * count, 4):
            yield Table(file, file.follow(position))

    def _vector(self, slot: int, width: int) -> tuple[int, int]:
        position = self.field(slot, 4)
        return self._file.vector(self._file.follow(position), width) if position else (0, 0)
