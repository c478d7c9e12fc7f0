"""The zip at the end of a ``.tflite``: how TFLite Metadata packs files into a model. Stored, never compressed, when we write it.

The archive that we write ends in a comment with the SHA-256 of every byte before it, so that each bit of an artefact is covered.
Offsets in it count from the start of the file. Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ArtefactError
from ..system import memory

if TYPE_CHECKING:
    from .flatbuffer import Buffer

COMMENT = b"edgekit sha256:"
COMMENT_BYTES = len(COMMENT) + 64

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_LOCAL_SIGNATURE, _CENTRAL_SIGNATURE, _END_SIGNATURE = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_STORED, _DEFLATED = 0, 8
_UTF8_NAME = 1 << 11
_ENCRYPTED = 1 << 0
_VERSION = 20
_EPOCH = 1 << 5 | 1  # 1980-01-01, the first day a zip can name: the same content is the same bytes
_MAX_COMMENT = (1 << 16) - 1
_MAX_MEMBERS = 1024
_MAX_BYTES = 64 << 20  # of all members together, unpacked
_MEMORY_SHARE = 8  # and at most this part of the machine's memory


class Archive(NamedTuple):
    """``start`` is where the first member begins, so where the model ends. ``end`` is where the comment begins."""

    start: int
    end: int
    members: Mapping[str, bytes]
    comment: bytes


def write(start: int, members: Mapping[str, bytes]) -> bytes:
    """Return the zip that begins at offset ``start`` of its file, without the comment (but with its length)."""
    body, directory = bytearray(), bytearray()
    for name, data in members.items():
        raw_name, crc, offset = name.encode(), zlib.crc32(data), start + len(body)
        sizes = (crc, len(data), len(data), len(raw_name))
        body += _LOCAL.pack(_LOCAL_SIGNATURE, _VERSION, _UTF8_NAME, _STORED, 0, _EPOCH, *sizes, 0) + raw_name + data
        common = (_VERSION, _VERSION, _UTF8_NAME, _STORED, 0, _EPOCH)
        directory += _CENTRAL.pack(_CENTRAL_SIGNATURE, *common, *sizes, 0, 0, 0, 0, 0, offset) + raw_name
    count = len(members)
    end = _END.pack(_END_SIGNATURE, 0, 0, count, count, len(directory), start + len(body), COMMENT_BYTES)
    return bytes(body + directory + end)


def read(data: Buffer) -> Archive | None:
    """Return the archive at the end of ``data``, None if there is none.

    Raises ArtefactError if there is one and it is not intact: a checksum that does not match, a gap or an overlap between its
    parts, a member that is encrypted or whose name leaves the archive, or members that are too large together.
    """
    position = _find_end(data)
    if position is None:
        return None
    _, disk, start_disk, count, total, directory_bytes, directory, comment_bytes = _END.unpack_from(data, position)
    _check(disk == start_disk == 0 and count == total <= _MAX_MEMBERS, "it has several parts, or too many members")
    if count == directory_bytes == 0:
        # Nothing packed, as packers leave it that had no file to add; some count the offset from the end record itself.
        comment = bytes(data[position + _END.size : position + _END.size + comment_bytes])
        return Archive(start=position, end=position + _END.size, members={}, comment=comment)
    _check(directory + directory_bytes == position, "its directory is not where its end says")
    members: dict[str, bytes] = {}
    starts: list[tuple[int, int]] = []
    room, unread = min(_MAX_BYTES, memory.total_bytes() // _MEMORY_SHARE), directory
    at = directory
    for _ in range(count):
        _check(at + _CENTRAL.size <= position, "its directory is cut off")
        fields = _CENTRAL.unpack_from(data, at)
        signature, flags, method, crc, packed, size, name_bytes, extra_bytes, note_bytes, offset = (
            fields[0], fields[3], fields[4], *fields[7:13], fields[16]
        )  # fmt: skip
        name_at = at + _CENTRAL.size
        at = name_at + name_bytes + extra_bytes + note_bytes
        _check(signature == _CENTRAL_SIGNATURE and at <= position, "its directory is damaged")
        raw_name = bytes(data[name_at : name_at + name_bytes])
        name = raw_name.decode("utf-8", "replace")
        _check(_is_plain(name) and name not in members, f"its member {name!r} has no acceptable name")
        _check(not flags & _ENCRYPTED, f"its member {name!r} is encrypted")
        room, unread = room - size, unread - packed
        _check(
            room >= 0, f"its members have more than {_MAX_BYTES >> 20} MiB together, or more than an eighth of the memory here"
        )
        _check(unread >= 0, "there is an overlap between its members")
        content, end = _member(data, offset, directory, raw_name, method, packed)
        members[name] = _unpack(content, method, size, name)
        _check(zlib.crc32(members[name]) == crc, f"its member {name!r} does not match its checksum")
        starts.append((offset, end))
    _check(at == position, "its directory has more bytes than members")
    starts.sort()
    ends = [end for _, end in starts]
    follows = [offset for offset, _ in starts[1:]] + [directory]
    _check(ends == follows, "there is a gap or an overlap between its members")
    start = starts[0][0] if starts else directory
    comment = bytes(data[position + _END.size : position + _END.size + comment_bytes])
    return Archive(start=start, end=position + _END.size, members=members, comment=comment)


def _find_end(data: Buffer) -> int | None:
    """Return where the end record lies whose comment reaches exactly to the end of ``data``."""
    size = len(data)
    tail_at = max(0, size - _MAX_COMMENT - _END.size)
    tail = bytes(data[tail_at:size])
    at = tail.rfind(_END_SIGNATURE)
    while at >= 0:
        if at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[7] == len(tail):
            return tail_at + at
        at = tail.rfind(_END_SIGNATURE, 0, at)
    return None


def _member(data: Buffer, offset: int, limit: int, raw_name: bytes, method: int, packed: int) -> tuple[bytes, int]:
    """Return a member's stored bytes and where it ends, after comparing its two headers."""
    _check(offset + _LOCAL.size <= limit, "a member lies outside of it")
    fields = _LOCAL.unpack_from(data, offset)
    name_at = offset + _LOCAL.size
    content_at = name_at + fields[9] + fields[10]
    end = content_at + packed
    same = fields[0] == _LOCAL_SIGNATURE and fields[3] == method and bytes(data[name_at : name_at + fields[9]]) == raw_name
    _check(same and end <= limit, f"the headers of its member {raw_name.decode('utf-8', 'replace')!r} disagree")
    return bytes(data[content_at:end]), end


def _unpack(content: bytes, method: int, size: int, name: str) -> bytes:
    if method == _DEFLATED:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = inflater.decompress(content, size + 1)
        except zlib.error as error:
            raise ArtefactError(f"its member {name!r} cannot be unpacked ({error})") from error
    else:
        _check(method == _STORED, f"its member {name!r} is packed with method {method}, which edgekit does not read")
    _check(len(content) == size, f"its member {name!r} has {len(content)} bytes, expected {size}")
    return content


def _is_plain(name: str) -> bool:
    return re.fullmatch(r"[^/\\\x00-\x1f][^\\\x00-\x1f]*", name) is not None and ".." not in name.split("/")


def _check(fits: bool, message: str) -> None:
    if not fits:
        raise ArtefactError(f"the archive of its packed files is damaged: {message}")
