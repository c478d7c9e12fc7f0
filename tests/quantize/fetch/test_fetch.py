"""Fetching published files from a server on this machine: cut links, wrong files, redirects, archives that mean harm."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import inspect
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.cli import main
from edge.errors import OutputError
from edge.history.record import Artefact
from edge.history.store import RunStore
from quantize.errors import FetchError, UnreachableError
from quantize.fetch import catalogue, download, fetch, unpacking
from quantize.fetch.catalogue import Published
from quantize.fetch.download import Expected
from tests.conftest import FILLER, Disk

CONTENT = bytes(range(256)) * 12_000  # 3 MB: three pieces


class Server(http.server.ThreadingHTTPServer):
    """``files``: path to content. ``cuts``: after how many bytes the next answers break off. ``requests``: (path, Range) of each."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/file.bin": CONTENT}
        self.redirects: dict[str, str] = {}
        self.cuts: list[int] = []
        self.errors: list[int] = []
        self.requests: list[tuple[str, str | None]] = []
        self.ranges = True
        self.lies: dict[str, str] = {}

    def url(self, path: str = "/file.bin") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        if self.path in self.server.redirects:
            self.send_response(302)
            self.send_header("Location", self.server.redirects[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.server.errors or self.path not in self.server.files:
            self.send_error(self.server.errors.pop(0) if self.server.errors else 404)
            return
        body = self.server.files[self.path]
        tag = f'"{hashlib.sha256(body).hexdigest()[:8]}"'
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        partial = bool(begin) and self.server.ranges and self.headers.get("If-Range") == tag
        if partial and begin >= len(body):
            self.send_error(416)
            return
        sent = body[begin:] if partial else body
        self.send_response(206 if partial else 200)
        headers = {"ETag": tag, "Content-Length": str(len(sent))}
        if partial:
            headers["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
        for name, value in (headers | self.server.lies).items():
            self.send_header(name, value)
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(sent)
        with contextlib.suppress(ConnectionError):  # a client that has seen enough leaves
            self.wfile.write(sent[:cut])
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def expected(content: bytes = CONTENT, algorithm: str = "sha256") -> Expected:
    return Expected(size=len(content), algorithm=algorithm, digest=hashlib.new(algorithm, content).hexdigest())


def get(url: str, target: Path, known: Expected, attempts: int = 3) -> None:
    download.download(url, target, known, attempts=attempts, pause_s=0.0)


def entry(*urls: str, **changes: Any) -> Published:
    fields: dict[str, Any] = {
        **dict(name="thing", what="a thing", urls=urls, filename="file.bin", size=None, algorithm=None, digest=None),
        **dict(hash_source="", member=None, then="edgekit inspect {file}"),
    }
    return Published(**{**fields, **changes})


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content) if content else None)
    return path


def member(name: str, content: bytes = b"weights", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("algorithm", catalogue.HASHES)
def test_a_file_arrives(server: Server, tmp_path: Path, algorithm: str) -> None:
    get(server.url(), tmp_path / "file.bin", expected(algorithm=algorithm))
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert left_in(tmp_path) == ["file.bin"]


def test_a_cut_link_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.cuts = [1_000_000, 500_000]
    get(server.url(), tmp_path / "file.bin", expected())
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=1000000-", "bytes=1500000-"]


def test_what_came_is_kept_for_the_next_call(server: Server, tmp_path: Path) -> None:
    server.cuts = [1_000_000, 10]
    with pytest.raises(UnreachableError, match=r"broke off 2 times, at 1,000,010 bytes .*the same command goes on") as failure:
        get(server.url(), tmp_path / "file.bin", expected(), attempts=2)
    assert failure.value.exit_code == 3
    assert not (tmp_path / "file.bin").exists()
    get(server.url(), tmp_path / "file.bin", expected())
    assert server.requests[-1] == ("/file.bin", "bytes=1000010-")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_comes_whole(server: Server, tmp_path: Path) -> None:
    server.cuts = [1_000_000]
    with pytest.raises(UnreachableError):
        get(server.url(), tmp_path / "file.bin", Expected(), attempts=1)
    other = server.files["/file.bin"] = CONTENT[::-1]
    get(server.url(), tmp_path / "file.bin", expected(other))
    assert (tmp_path / "file.bin").read_bytes() == other


def test_a_server_without_ranges(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cuts = [1_000_000]
    get(server.url(), tmp_path / "file.bin", expected())
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_server_that_sends_another_part(server: Server, tmp_path: Path) -> None:
    server.cuts = [1_000_000]
    with pytest.raises(UnreachableError):
        get(server.url(), tmp_path / "file.bin", expected(), attempts=1)
    server.lies = {"Content-Range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"}
    with pytest.raises(FetchError, match="sends another part"):
        get(server.url(), tmp_path / "file.bin", expected())


def test_a_part_longer_than_the_file_is_dropped(server: Server, tmp_path: Path) -> None:
    server.cuts = [1_000_000]
    with pytest.raises(UnreachableError):
        get(server.url(), tmp_path / "file.bin", expected(), attempts=1)
    with (tmp_path / ".file.bin.part").open("ab") as part:
        part.write(bytes(len(CONTENT)))
    get(server.url(), tmp_path / "file.bin", expected())
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_wrong_content_is_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"its sha256 is [0-9a-f]{64}, expected [0-9a-f]{64}: damaged or altered"):
        get(server.url(), tmp_path / "file.bin", expected(CONTENT[:-1] + b"x"))
    assert left_in(tmp_path) == []
    with pytest.raises(FetchError, match=r"has 3,072,000 bytes, expected 3,072,001"):
        get(server.url(), tmp_path / "file.bin", expected(CONTENT + b"x"))
    with pytest.raises(FetchError, match=r"has 3,072,000 bytes, expected at most 3,071,999; it is not fetched"):
        get(server.url(), tmp_path / "file.bin", expected(CONTENT[:-1]))
    assert not (tmp_path / "file.bin").exists()


def test_answers_that_are_errors(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"answers 404 Not Found; .* --from FILE") as failure:
        get(server.url("/gone"), tmp_path / "file.bin", Expected())
    assert failure.value.exit_code == 2
    server.errors = [503]
    get(server.url(), tmp_path / "file.bin", expected())
    assert len(server.requests) == 3


def test_redirects(server: Server, tmp_path: Path) -> None:
    server.redirects = {"/moved": server.url(), "/round": server.url("/round"), "/local": "file:///etc/hostname"}
    get(server.url("/moved"), tmp_path / "file.bin", expected())
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    with pytest.raises(FetchError, match="Redirection to url 'file:///etc/hostname' is not allowed"):
        get(server.url("/local"), tmp_path / "other.bin", Expected())
    with pytest.raises(FetchError, match="302"):
        get(server.url("/round"), tmp_path / "other.bin", Expected())


def test_an_encrypted_connection_is_not_left() -> None:
    import urllib.request

    handler, request = download._SafeRedirects(), urllib.request.Request("https://example.org/file")
    with pytest.raises(FetchError, match="not as safe"):
        handler.redirect_request(request, None, 302, "Found", {}, "http://example.org/file")


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # the port of nobody
    assert main(["fetch", "keras-inception-resnet-v2"]) == 3
    error = capsys.readouterr().err.splitlines()[-1]
    assert "cannot be reached (Connection refused); where there is no network" in error
    assert error.endswith("--from FILE")


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
