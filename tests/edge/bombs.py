"""Small files that ask for much: what they take is measured in a process of its own."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

from tests.conftest import REPOSITORY

_PEAK = """
import resource
{imports}

def peak():  # (getrusage's would be that of the process which started this one)
    with open("/proc/self/status") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("VmHWM"))

before = peak()
limit = {limit}
if limit:
    resource.setrlimit(resource.RLIMIT_AS, (limit << 20, limit << 20))
try:
    {call}
    said = "done"
except Exception as error:
    said = type(error).__name__ + ": " + str(error)
print((peak() - before) // 1024, said)
"""


def peak_mib(call: str, *, imports: str, limit_mib: int = 0) -> tuple[int, str]:
    """Return by how many MiB a statement raises the peak memory of a fresh process, and ``done`` or its error."""
    program = _PEAK.format(call=call, imports=imports, limit=limit_mib)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    peak, _, said = done.stdout.strip().partition(" ")
    return int(peak), said


def png(path: Path, width: int, height: int, *, kind: int, bits: int) -> Path:
    """Write a PNG of one colour without making its pixels. kind: 0 grey, 2 RGB, 6 RGBA."""
    row = bytes(1 + width * bits // 8 * {0: 1, 2: 3, 6: 4}[kind])
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    text = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + text)
    return path


def zipped(members: int, member_bytes: int) -> bytes:
    """Return the zip of so many members of zeros, as it stands alone."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    content = packer.compress(bytes(member_bytes)) + packer.flush()
    crc = zlib.crc32(bytes(member_bytes))
    body, directory = bytearray(), bytearray()
    for number in range(members):
        name = f"{number}".encode()
        sizes = (crc, len(content), member_bytes, len(name))
        directory += struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 8, 0, 33, *sizes, 0, 0, 0, 0, 0, len(body)) + name
        body += struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 33, *sizes, 0) + name + content
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, members, members, len(directory), len(body), 0)
    return bytes(body + directory + end)


def tensors_of_one(size: int) -> bytes:
    """Return a ``.tflite`` of about ``size`` bytes whose tensors are all the same table, named over and over."""
    data = bytearray(b"\0\0\0\0TFL3")
    empty = bytes(4)

    def table(*fields: bytes | None) -> tuple[int, list[int]]:
        data.extend(bytes(-len(data) % 4))
        layout, places, offsets = len(data), [], []
        at = 4
        for content in fields:
            offsets.append(0 if content is None else at)
            at += 0 if content is None else 4
        data.extend(struct.pack(f"<HH{len(fields)}H", 4 + 2 * len(fields), at, *offsets) + bytes(2 * len(fields) % 4))
        position = len(data)
        data.extend(struct.pack("<i", position - layout))
        for content in fields:
            places.append(len(data))
            data.extend(content or b"")
        return position, places

    def link(place: int) -> None:
        data.extend(bytes(-len(data) % 4))
        struct.pack_into("<I", data, place, len(data) - place)

    root, fields = table(struct.pack("<I", 3), None, empty, None, empty)
    struct.pack_into("<I", data, 0, root)
    subgraphs, buffers = fields[2], fields[4]
    for place in (buffers, subgraphs):
        link(place)
        data.extend(struct.pack("<I", 1) + empty)
        element = len(data) - 4
        position, inner = table() if place == buffers else table(empty)
        struct.pack_into("<I", data, element, position - element)
    count = (size - len(data)) // 4
    link(inner[0])
    data.extend(struct.pack("<I", count))
    start = len(data)
    data.extend(bytes(4 * count))
    tensor, fields = table(empty, None, None, empty)
    link(fields[0])
    data.extend(struct.pack("<I4i", 4, 1, 8, 8, 3))
    link(fields[3])
    data.extend(struct.pack("<I", 4) + b"name")
    for place in range(start, start + 4 * count, 4):
        struct.pack_into("<I", data, place, tensor - place)
    return bytes(data)
