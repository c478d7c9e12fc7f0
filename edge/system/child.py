"""Python processes of our own for native code that may crash or hang: what happens there ends only that process.

A process answers one request at a time: a line of JSON, followed by as many raw bytes as it announces. It is started with ``-I`` and
the search path of this process, the standard library first and the working directory left out: a file beside a model is never what
an ``import`` finds. (``multiprocessing``, and with it ``concurrent.futures``, begins its processes in the working directory, runs the
caller's script again, and gives up all processes when one dies.)
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ..errors import InterpreterError

Message = tuple[dict[str, Any], list[bytes]]

_ROOT = str(Path(__file__).resolve().parents[2])
_STANDARD = os.path.dirname(os.__file__)
_PIECE = 1 << 20
_SAID_BYTES = 16 * 1024
_inside = False


class ChildDiedError(InterpreterError):
    """The other process ended before it answered. ``how`` is a signal's name or an exit code, ``said`` the end of its stderr."""

    def __init__(self, how: str, said: str) -> None:
        super().__init__(f"another process ended ({how}){': ' if said else ''}{said.splitlines()[-1] if said else ''}")
        self.how = how
        self.said = said


def inside() -> bool:
    """Whether this process is such a process itself: native code need not be put into yet another one."""
    return _inside


def search_path() -> list[str]:
    """Return this process' ``sys.path`` for another one: standard library, the folder that holds edgekit, and the rest.

    The working directory is left out, whether it came there by ``python -m``, ``python -c`` or ``PYTHONPATH``.
    """
    here = _real(os.curdir)
    rest = [entry for entry in sys.path if entry and _real(entry) != here]
    return list(dict.fromkeys([_STANDARD, os.path.join(_STANDARD, "lib-dynload"), _ROOT, *rest]))


def command(module: str, *arguments: str) -> list[str]:
    """Return the command line of a process that calls ``serve(*arguments)`` of ``module``."""
    start = f"import sys; sys.path[:] = {search_path()!r}; from {module} import serve; serve(*sys.argv[1:])"
    return [sys.executable, "-I", "-c", start, *arguments]


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs ``module`` as ``python -m`` does."""
    start = f"import sys; sys.path[:] = {search_path()!r}; import runpy; runpy.run_module({module!r}, {{}}, '__main__', True)"
    return [sys.executable, "-I", "-c", start, *arguments]


class Child:
    """A process that answers requests. Started on first use, and again after a request has taken it down. For any thread.

    module: has ``serve(*arguments)``, which calls `answer_requests`. keep_stderr: for `ChildDiedError.said` and `said`.
    """

    def __init__(self, module: str, *arguments: str, timeout_s: float | None = None, keep_stderr: bool = False) -> None:
        self.timeout_s = timeout_s
        self.starts = 0
        self._module, self._arguments = module, arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = bytearray()
        self._keep_stderr = keep_stderr
        self._stderr: IO[bytes] | None = None
        self._said_before = 0
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                process.kill()
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        with contextlib.suppress(OSError):
                            pipe.close()
            if self._stderr is not None:
                self._stderr.close()
                self._stderr = None

    def ask(self, request: Mapping[str, Any], payload: Sequence[bytes] = ()) -> Message:
        """Return the answer and what bytes came with it.

        Raises ChildDiedError if the process ended, TimeoutError after ``timeout_s`` (it is ended then), and InterpreterError if it
        cannot be started at all.
        """
        with self._lock:
            process = self._running()
            try:
                message = self._exchange(process, request, payload)
            except BaseException:  # it may be at work still, and its answer would be taken for the next one's
                self.close()
                raise
            if message is None:
                code, said = process.wait(), self.said()
                self.close()
                raise ChildDiedError(_how(code), said)
            return message

    def said(self) -> str:
        """Return the end of what the process wrote to stderr since the last request began; empty unless it is kept."""
        if self._stderr is None:
            return ""
        descriptor = self._stderr.fileno()
        end = os.fstat(descriptor).st_size
        start = max(self._said_before, end - _SAID_BYTES)
        return os.pread(descriptor, end - start, start).decode("utf-8", "replace").strip()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            line = command(self._module, *self._arguments)
            try:
                if self._keep_stderr:
                    # 9 ms of processor time, median of 10 fresh processes, and a board does without.
                    import tempfile

                    self._stderr = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with the process
                stderr = subprocess.DEVNULL if self._stderr is None else self._stderr
                self._process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)
            except OSError as error:
                raise InterpreterError(f"cannot start {sys.executable!r} to run native code apart ({error})") from error
            self._pending.clear()
            self.starts += 1
        self._said_before = 0 if self._stderr is None else os.fstat(self._stderr.fileno()).st_size
        return self._process

    def _exchange(self, process: subprocess.Popen[bytes], request: Mapping[str, Any], payload: Sequence[bytes]) -> Message | None:
        """Return the answer, None if the process ended instead. Raises TimeoutError."""
        assert process.stdin is not None
        try:
            _write(process.stdin, request, payload)
            line = self._read_line(process)
            if not line:
                return None
            plain = json.loads(line)
            pieces = [self._read(process, size) for size in plain["sizes"]]
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            return None
        return None if None in pieces else (plain["message"], [piece for piece in pieces if piece is not None])

    def _read_line(self, process: subprocess.Popen[bytes]) -> bytes:
        """Return the next line that the process writes, empty if it ends before. Raises TimeoutError."""
        while (end := self._pending.find(b"\n")) < 0:
            if not self._read_piece(process):
                return b""
        line = bytes(self._pending[:end])
        del self._pending[: end + 1]
        return line

    def _read(self, process: subprocess.Popen[bytes], size: int) -> bytes | None:
        while len(self._pending) < size:
            if not self._read_piece(process):
                return None
        data = bytes(self._pending[:size])
        del self._pending[:size]
        return data

    def _read_piece(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(self.timeout_s):
                raise TimeoutError
        piece = os.read(process.stdout.fileno(), _PIECE)
        self._pending += piece
        return bool(piece)


def answer_requests(answer: Callable[[dict[str, Any], list[bytes]], Message]) -> None:
    """Answer requests on stdin until it ends: what a module's ``serve`` calls, in the other process only."""
    global _inside
    _inside = True
    # Nothing but answers may reach the pipe, whatever the libraries print.
    answers = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests = sys.stdin.buffer
    for line in iter(requests.readline, b""):
        plain = json.loads(line)
        message, payload = answer(plain["message"], [requests.read(size) for size in plain["sizes"]])
        _write(answers, message, payload)


def _write(stream: IO[bytes], message: Mapping[str, Any], payload: Sequence[bytes]) -> None:
    stream.write(json.dumps({"message": message, "sizes": [len(piece) for piece in payload]}).encode() + b"\n")
    for piece in payload:
        stream.write(piece)
    stream.flush()


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except OSError:  # a working directory that is gone
        return path
