"""The catalogue of published files: which they are, where they come from, and the command."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from pathlib import Path

import pytest

from edge.cli import main
from edge.history.record import Artefact
from edge.history.store import RunStore
from quantize.errors import FetchError
from quantize.fetch import catalogue, fetch
from quantize.fetch.catalogue import Published
from tests.conftest import FILLER, Disk
from tests.quantize.fetch.conftest import CONTENT, Server, archive, entry, expected, member


def test_the_first_hash_seen_stands_for_one_that_is_not_published(server: Server, tmp_path: Path) -> None:
    thing = entry(server.url())
    first = fetch.fetch(thing, folder=tmp_path)
    assert first.fresh
    assert first.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert "first one seen" in first.verified
    again = fetch.fetch(thing, folder=tmp_path)
    assert not again.fresh
    assert len(server.requests) == 1
    assert "first seen here on" in again.verified
    assert again.first_seen == first.first_seen
    # The file is lost, and another one is in its place on the server.
    first.file.unlink()
    server.files["/file.bin"] = b"something else"
    with pytest.raises(FetchError, match="damaged or altered"):
        fetch.fetch(thing, folder=tmp_path)
    assert fetch.fetch(thing, folder=tmp_path, accept_new=True).bytes == 14


def test_a_damaged_file_in_the_cache_is_fetched_again(server: Server, tmp_path: Path) -> None:
    known = expected()
    thing = entry(server.url(), size=known.size, algorithm=known.algorithm, digest=known.digest, hash_source="a test")
    found = fetch.fetch(thing, folder=tmp_path)
    found.file.write_bytes(CONTENT[:-1] + b"x")
    assert fetch.fetch(thing, folder=tmp_path).fresh
    assert found.file.read_bytes() == CONTENT


def test_another_server_where_the_first_cannot_be_reached(server: Server, tmp_path: Path) -> None:
    thing = entry("http://127.0.0.1:9/file.bin", server.url())
    assert fetch.fetch(thing, folder=tmp_path, pause_s=0.0).bytes == len(CONTENT)


def test_a_local_file_stands_in_and_is_verified_too(tmp_path: Path) -> None:
    local = tmp_path / "copy.bin"
    local.write_bytes(CONTENT)
    known = expected()
    thing = entry("http://127.0.0.1:9/", size=known.size, algorithm=known.algorithm, digest=known.digest)
    assert fetch.fetch(thing, folder=tmp_path / "cache", source=local).file.read_bytes() == CONTENT
    local.write_bytes(CONTENT[:-1])
    with pytest.raises(FetchError, match=r"copy.bin: has 3,071,999 bytes, expected 3,072,000"):
        fetch.fetch(thing, folder=tmp_path / "other", source=local)
    with pytest.raises(FetchError, match="no such file"):
        fetch.fetch(thing, folder=tmp_path / "other", source=tmp_path / "nothing")


def test_a_second_fetch_at_the_same_time_is_kept_out(tmp_path: Path) -> None:
    with fetch._alone(tmp_path / "thing"), pytest.raises(FetchError, match="another edgekit"):
        fetch.fetch(entry("http://127.0.0.1:9/"), folder=tmp_path)


@pytest.mark.parametrize("free", [0, 4096, 65_536])
@pytest.mark.parametrize("local", [False, True], ids=["downloaded", "--from"])
def test_a_cache_without_space(
    free: int,
    local: bool,
    server: Server,
    disk: Disk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line, nothing half-written under the file's name, and what was there is there still."""
    home = disk("1m")
    old = home / "fetched" / "thing" / "file.bin"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    (home / FILLER).write_bytes(bytes(shutil.disk_usage(home).free - free))
    content = CONTENT[:200_000]
    server.files["/file.bin"] = content
    (tmp_path / "file.bin").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    known = entry(server.url(), size=len(content), algorithm="sha256", digest=digest)
    monkeypatch.setattr(catalogue, "ENTRIES", (known,))
    monkeypatch.setenv("EDGEKIT_HOME", str(home))
    line = ["fetch", "thing", "--store", "none", *(["--from", str(tmp_path / "file.bin")] if local else [])]
    assert main(line) == 2
    said = [text for text in capsys.readouterr().err.splitlines() if text.startswith("edgekit: error:")]
    assert len(said) == 1
    assert said[0].count("cannot be written (No space left on device)") == 1
    assert str(old.parent) in said[0]
    assert old.read_bytes() == b"old"
    (home / FILLER).unlink()  # some space, and the same command goes on
    assert main(line) == 0
    assert old.read_bytes() == content


def test_the_hashes_are_those_that_keras_has() -> None:
    """Keras' own source is where they are published."""
    from keras.src.applications import inception_resnet_v2

    source = inspect.getsource(inception_resnet_v2)
    checked = 0
    for known in catalogue.ENTRIES:
        if known.hash_source == "keras.applications":
            assert known.digest is not None
            assert known.digest in source
            # The name is broken over two lines there.
            assert known.urls[0].startswith(inception_resnet_v2.BASE_WEIGHT_URL)
            before = source[: source.index(known.digest)]
            assert before.count("_notop.h5") == known.filename.count("_notop.h5")
            checked += 1
    assert checked == 2


@pytest.mark.parametrize("known", catalogue.ENTRIES, ids=lambda known: known.name)
def test_the_catalogue(known: Published) -> None:
    assert all(url.startswith("https://") for url in known.urls)
    assert all(url.endswith(f"/{known.filename}") for url in known.urls)
    assert (known.algorithm is None) == (known.digest is None) == (known.hash_source == "")
    if known.algorithm is not None:
        assert known.algorithm in catalogue.HASHES
        assert len(known.digest or "") == 2 * hashlib.new(known.algorithm).digest_size
    assert known.then.startswith("edgekit ")
    assert "{file}" in known.then


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    assert main(["fetch"], remember=True) == 0
    listed = capsys.readouterr().out
    assert all(known.name in listed for known in catalogue.ENTRIES)
    assert main(["fetch", "vgg"]) == 2
    assert "'vgg' is not in the catalogue; it has keras-inception-resnet-v2" in capsys.readouterr().err
    path = archive(tmp_path / "slim.tar.gz", member("inception_resnet_v2_2016_08_30.ckpt"))
    assert main(["fetch", "slim-inception-resnet-v2", "--from", str(path), "--json", "-"], remember=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["use"] == str(tmp_path / "home/fetched/slim-inception-resnet-v2/unpacked/inception_resnet_v2_2016_08_30.ckpt")
    assert report["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    # The catalogue was only looked at; the fetch is in the history.
    runs = RunStore().find()
    assert [(run.command, run.summary) for run in runs] == [("fetch", "slim-inception-resnet-v2, new")]
    assert runs[0].artefacts == (Artefact(role="fetched", file=report["use"], sha256=report["sha256"]),)
    assert RunStore().get(1).report == report
