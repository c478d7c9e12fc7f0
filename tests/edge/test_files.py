from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from edge.errors import OutputError
from edge.files import atomic_write, atomic_write_text, sha256_bytes, sha256_file


def test_hashes_are_sha256(tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    (tmp_path / "file").write_bytes(data)
    assert sha256_file(tmp_path / "file") == sha256_bytes(data) == hashlib.sha256(data).hexdigest()


def test_a_file_is_written_whole_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.bin"
    atomic_write(target, b"first")
    atomic_write(target, memoryview(b"second"))
    assert target.read_bytes() == b"second"
    assert list(target.parent.iterdir()) == [target]


def test_text_is_utf8(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "out.txt", "Höhe\n")
    assert (tmp_path / "out.txt").read_bytes() == "Höhe\n".encode()


def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for target in (tmp_path / "file" / "out.bin", tmp_path):
        with pytest.raises(OutputError, match="cannot be written"):
            atomic_write(target, b"data")
    with pytest.raises(OSError, match="choose another place"):
        atomic_write(tmp_path, b"data")
