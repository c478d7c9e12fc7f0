"""A server on this machine that breaks off, lies and redirects, and archives as one likes them."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quantize.fetch import download
from quantize.fetch.catalogue import Published
from quantize.fetch.download import Expected

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
