"""Fetching files from a server on this machine: cut links, wrong files, redirects."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.cli import main
from quantize.errors import FetchError, UnreachableError
from quantize.fetch import catalogue, download
from quantize.fetch.download import Expected
from tests.quantize.fetch.conftest import CONTENT, Server, expected, get, left_in


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
