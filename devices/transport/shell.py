"""Running commands on a target: argument lists with a deadline, answers with a size limit; the same here and over SSH."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Protocol

from ..errors import DeviceError, RemoteError
from ..texts import clean

MAX_OUTPUT_BYTES = 16 << 20  # what a board says is not trusted to be short
_SHOWN_STDERR = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """How a command ended. The texts are cleaned (`clean`)."""

    args: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    duration_s: float


class Shell(Protocol):
    """A way to run commands on a target. ``name`` is the target as the user wrote it; ``python`` its interpreter's command."""

    @property
    def name(self) -> str: ...

    @property
    def python(self) -> str: ...

    def run(self, args: Sequence[str], *, timeout_s: float, check: bool = True, stdin: bytes = b"") -> CommandResult:
        """Run a command to its end. Raises RemoteError: it ended with another code than 0 (only if ``check``), did not end in
        time, or said too much; BoardConnectionError: the connection failed.
        """

    def open(self, args: Sequence[str], *, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a command with pipes for stdin and stdout."""

    def connect(self) -> None:
        """See to it that commands can be run. Raises BoardConnectionError."""

    def close(self) -> None:
        """End what `connect` began. Nothing stays behind on either side."""


def one_line(text: str, limit: int = _SHOWN_STDERR) -> str:
    """Return ``text`` cleaned, on one line, cut to ``limit`` characters: for an error message."""
    line = " ".join(clean(text).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def quote(args: Sequence[str]) -> str:
    """Return ``args`` as one POSIX shell command line that gives exactly these arguments. The only place where this is done.

    Raises DeviceError for an empty command, or a NUL character, which no argument can hold.
    """
    if not args or not args[0]:
        raise DeviceError("an empty command was to be run on a board")
    for arg in args:
        if "\0" in arg:
            raise DeviceError(f"an argument with a NUL character cannot be passed to a command: {arg!r}")
    return shlex.join(args)


def start(args: Sequence[str], stderr: IO[bytes] | int) -> subprocess.Popen[bytes]:
    """Start a process with pipes, as the leader of a group, so that `end` reaches what it starts too."""
    return subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process from `start`, and all of its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def finish(
    process: subprocess.Popen[bytes], args: Sequence[str], *, where: str, timeout_s: float, stdin: bytes, check: bool
) -> CommandResult:
    """Feed a process, collect what it says, and wait for its end. Shared by both shells; ``where`` is for messages."""
    start = time.monotonic()
    kept: dict[str, bytes] = {"stdout": b"", "stderr": b""}
    too_much = threading.Event()

    def collect(name: str, stream: IO[bytes]) -> None:
        parts, size = [], 0
        while data := stream.read1(65536):  # type: ignore[attr-defined]  # a BufferedReader
            size += len(data)
            if size > MAX_OUTPUT_BYTES:
                too_much.set()
                end(process)
                break
            parts.append(data)
        kept[name] = b"".join(parts)
        stream.close()

    def feed() -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # it ended without reading everything: its exit code says why
            process.stdin.write(stdin)
        with contextlib.suppress(OSError):
            process.stdin.close()

    assert process.stdout is not None and process.stderr is not None
    threads = [
        threading.Thread(target=collect, args=("stdout", process.stdout), daemon=True),
        threading.Thread(target=collect, args=("stderr", process.stderr), daemon=True),
        threading.Thread(target=feed, daemon=True),
    ]
    for thread in threads:
        thread.start()
    shown = one_line(quote(args), 120)
    try:
        returncode = process.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        raise RemoteError(f"{where}: {shown} did not end within {timeout_s:g} s") from error
    finally:
        if process.poll() is None:
            end(process)
            process.wait()
        for thread in threads:
            thread.join(2.0)  # a grandchild may hold a pipe open; it is not waited for
    if too_much.is_set():
        raise RemoteError(f"{where}: {shown} said more than {MAX_OUTPUT_BYTES >> 20} MiB; stopped")
    result = CommandResult(
        args=tuple(args),
        returncode=returncode,
        stdout=clean(kept["stdout"].decode("utf-8", "replace")),
        stderr=clean(kept["stderr"].decode("utf-8", "replace")),
        duration_s=time.monotonic() - start,
    )
    if check and returncode != 0:
        said = one_line(result.stderr or result.stdout)
        raise RemoteError(f"{where}: {shown} ended with code {returncode}{': ' + said if said else ''}")
    return result
