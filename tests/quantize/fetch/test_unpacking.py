"""Archives: those that are unpacked, and those that are damaged or mean harm."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import pytest

from edge.errors import OutputError
from quantize.errors import FetchError
from quantize.fetch import fetch, unpacking
from tests.conftest import Disk
from tests.quantize.fetch.conftest import Server, archive, entry, left_in, member


def test_an_archive_that_finds_no_space_is_not_there(disk: Disk) -> None:
    cache = disk("1m")
    path = archive(cache / "a.tgz", member("zeros", bytes(3_000_000)))
    with pytest.raises(OutputError, match=r"unpacked: cannot be written \(No space left on device\)"):
        unpacking.unpack(path, cache / "unpacked")
    assert sorted(path.name for path in cache.rglob("*")) == ["a.tgz"]


def test_an_archive_is_unpacked(server: Server, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tgz", member("./model/model.pb"), member("./labels.txt", b"one\n"))
    server.files["/a.tgz"] = path.read_bytes()
    thing = entry(server.url("/a.tgz"), filename="a.tgz", member="model.pb")
    found = fetch.fetch(thing, folder=tmp_path / "cache")
    assert found.use.name == "model.pb"
    assert found.use.read_bytes() == b"weights"
    assert sorted(file.name for file in found.files) == ["labels.txt", "model.pb"]
    assert fetch.fetch(thing, folder=tmp_path / "cache").files == found.files
    with pytest.raises(FetchError, match=r"holds labels.txt, model.pb, expected other.pb"):
        fetch.fetch(entry(server.url("/a.tgz"), filename="a.tgz", member="other.pb"), folder=tmp_path / "other")


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/out", "a\\..\\out", "c:out", "a\nb"])
def test_members_that_lead_out(name: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tgz", member("fine"), member(name))
    with pytest.raises(FetchError, match="leads out of the folder"):
        unpacking.unpack(path, tmp_path / "unpacked")
    assert left_in(tmp_path) == ["a.tgz"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_members_that_are_no_plain_files(kind: bytes, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tgz", member("fine"), member("bad", b"", type=kind, linkname="/etc/hostname"))
    with pytest.raises(FetchError, match=r"'bad' is (a link|no plain file)"):
        unpacking.unpack(path, tmp_path / "unpacked")
    assert left_in(tmp_path) == ["a.tgz"]


def test_archives_that_grow(tmp_path: Path) -> None:
    path = archive(tmp_path / "large.tgz", member("zeros", bytes(3_000_000)))
    assert path.stat().st_size < 10_000
    with pytest.raises(FetchError, match="unpacks to more than 2,000,000 bytes"):
        unpacking.unpack(path, tmp_path / "unpacked", max_bytes=2_000_000)
    path = archive(tmp_path / "many.tgz", *(member(f"{i}", b"") for i in range(11)))
    with pytest.raises(FetchError, match="more than 10 members"):
        unpacking.unpack(path, tmp_path / "unpacked", max_members=10)
    path = archive(tmp_path / "twice.tgz", member("a"), member("a"))
    with pytest.raises(FetchError, match="'a' is there twice"):
        unpacking.unpack(path, tmp_path / "unpacked")
    # A header that is as long as a file: what it unpacks to is no member at all.
    path = archive(tmp_path / "header.tgz", member("a", pax_headers={"comment": "x" * 8_000_000}))
    with pytest.raises(FetchError, match="far more than it should"):
        unpacking.unpack(path, tmp_path / "unpacked", max_bytes=100, max_members=10)
    assert not (tmp_path / "unpacked").exists()


def test_damaged_archives(tmp_path: Path) -> None:
    whole = archive(tmp_path / "a.tgz", member("a", bytes(range(256)) * 100)).read_bytes()
    for content in (whole[:200], whole[:100] + bytes(50) + whole[150:], b"no archive", gzip.compress(b"no tar" * 1000)):
        (tmp_path / "b.tgz").write_bytes(content)
        with pytest.raises(FetchError, match=r"damaged|cut off"):
            unpacking.unpack(tmp_path / "b.tgz", tmp_path / "unpacked")
    assert left_in(tmp_path) == ["a.tgz", "b.tgz"]
