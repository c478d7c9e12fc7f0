"""Downloading a file: resumed where the server can, verified, and complete under its name or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edge.errors import EdgeError, OutputError
from edge.files import atomic_write_text
from edge.progress import Progress

from ..errors import FetchError, UnreachableError

MAX_BYTES = 2 << 30
"""Of a file whose size its publisher does not say."""

_PIECE = 1 << 20
_TIMEOUT_S = 30.0
_ATTEMPTS = 5
_PAUSE_S = 2.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_BROKEN = (TimeoutError, ConnectionError, http.client.HTTPException)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What is known of a file beforehand; None where it is not."""

    size: int | None = None
    algorithm: str | None = None
    digest: str | None = None


def download(url: str, target: Path, expected: Expected, *, attempts: int = _ATTEMPTS, pause_s: float = _PAUSE_S) -> None:
    """Download ``url`` to ``target``. What an earlier, interrupted call left beside it is gone on with where the file is the same.

    Raises FetchError for a wrong size or hash (nothing is kept then), UnreachableError where the server cannot be reached or breaks
    off again and again (what came so far is kept), OutputError where the file cannot be written.
    """
    part = target.with_name(f".{target.name}.part")
    limit = expected.size if expected.size is not None else MAX_BYTES
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, attempts + 1):
            try:
                _transfer(url, part, limit)
                break
            except (_Broken, *_BROKEN) as error:
                if attempt == attempts:
                    raise UnreachableError(
                        f"{url}: the transfer broke off {attempts} times, at {_size(part):,} bytes ({_reason(error)});"
                        " what came is kept, so that the same command goes on from there"
                    ) from error
                time.sleep(pause_s * attempt)
        try:
            verify(part, expected, where=url)
        except FetchError:
            _forget(part)
            raise
        os.replace(part, target)
        _state(part).unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, EdgeError):
            raise
        raise OutputError(
            f"{target}: cannot be written ({error.strerror or error}); free some space or set EDGEKIT_HOME"
        ) from error


def verify(file: Path, expected: Expected, *, where: str) -> None:
    """Compare a file's size and hash with what is known. Raises FetchError."""
    size = _size(file)
    if expected.size is not None and size != expected.size:
        raise FetchError(f"{where}: has {size:,} bytes, expected {expected.size:,}: cut off, or another file; it is not used")
    if expected.algorithm is not None:
        found = digest(file, expected.algorithm)
        if found != expected.digest:
            raise FetchError(
                f"{where}: its {expected.algorithm} is {found}, expected {expected.digest}: damaged or altered; it is not used"
            )


def digest(file: Path, algorithm: str) -> str:
    """Return the hash of a file in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _transfer(url: str, part: Path, limit: int) -> None:
    """Bring ``part`` to its full length. Raises _Broken where the server broke off."""
    begin, validator = _resumable(part, url)
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "edgekit"})
    if begin:
        request.add_header("Range", f"bytes={begin}-")
        # If the file has changed meanwhile, all of it comes instead.
        request.add_header("If-Range", validator)
    try:
        with _opener().open(request, timeout=_TIMEOUT_S) as response:
            offset, total = _position(response, begin, url)
            if total is not None and total > limit:
                raise FetchError(f"{url}: has {total:,} bytes, expected at most {limit:,}; it is not fetched")
            _remember(part, url, response)
            with part.open("r+b" if offset else "wb") as stream:
                stream.seek(offset)
                stream.truncate()
                _copy(response, stream, offset, total, limit, url)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # what is there is more than the file has
            _forget(part)
            raise _Broken("the part that was there does not belong to this file") from error
        if error.code >= 500:
            raise _Broken(f"the server answers {error.code} {error.reason}") from error
        raise FetchError(
            f"{url}: the server answers {error.code} {error.reason}; the file may have moved: get it elsewhere and give it"
            " with --from FILE"
        ) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, FetchError):
            raise error.reason from error
        if isinstance(error.reason, TimeoutError | ConnectionResetError):
            raise _Broken(_reason(error)) from error
        host = urllib.parse.urlsplit(url).hostname
        raise UnreachableError(
            f"{url}: {host} cannot be reached ({_reason(error)}); where there is no network, download it on another machine and give"
            " it with --from FILE"
        ) from error


def _copy(response: Any, stream: IO[bytes], offset: int, total: int | None, limit: int, url: str) -> None:
    done = offset
    with Progress(max(1, (total or limit) >> 20), "download (MiB)") as progress:
        progress.skip(offset >> 20)
        while True:
            try:
                piece = response.read(_PIECE)
            except http.client.IncompleteRead as error:
                piece = error.partial
            if not piece:
                break
            stream.write(piece)
            progress.advance((done + len(piece) >> 20) - (done >> 20))
            done += len(piece)
            if done > limit:
                raise FetchError(f"{url}: sends more than {limit:,} bytes; it is not used")
    if total is not None and done < total:
        raise _Broken(f"{done:,} of {total:,} bytes came")


def _position(response: Any, begin: int, url: str) -> tuple[int, int | None]:
    """Return where the answer's bytes belong, and how many the whole file has."""
    length = response.headers.get("Content-Length")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise FetchError(f"{url}: the server packs what it sends, which was not asked for; it is not used")
    if response.status == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or int(found.group(1)) != begin:
            raise FetchError(
                f"{url}: the server sends another part than the one that was asked for; try again, or give it with --from"
            )
        return begin, None if found.group(3) == "*" else int(found.group(3))
    return 0, int(length) if length is not None and length.isdigit() else None


def _resumable(part: Path, url: str) -> tuple[int, str]:
    """Return how much of the file is there already, and what identifies the file on the server."""
    try:
        state = json.loads(_state(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0, ""
    if not isinstance(state, dict) or state.get("url") != url or not state.get("validator"):
        return 0, ""
    return _size(part), str(state["validator"])


def _remember(part: Path, url: str, response: Any) -> None:
    tag = response.headers.get("ETag", "")
    validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
    atomic_write_text(_state(part), json.dumps({"url": url, "validator": validator}))


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _state(part).unlink(missing_ok=True)


def _state(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(file: Path) -> int:
    with contextlib.suppress(OSError):
        return file.stat().st_size
    return 0


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return " ".join(str(getattr(reason, "strerror", None) or reason).split()) or type(error).__name__


class _Broken(Exception):
    """The transfer broke off; another attempt may go on."""


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to http(s) only, and never from an encrypted connection to one that is not."""

    max_redirections = 5

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        before, after = urllib.parse.urlsplit(req.full_url).scheme, urllib.parse.urlsplit(newurl).scheme
        if after not in ("http", "https") or (before == "https" and after != "https"):
            raise FetchError(f"{req.full_url}: the server leads on to {newurl}, which is not as safe; it is not followed")
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        for name in ("Range", "If-range"):
            if made is not None and req.has_header(name):
                made.add_header(name, req.get_header(name))
        return made


def _opener() -> Any:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _SafeRedirects,
    ):
        opener.add_handler(handler())
    return opener
