"""Tries a file out in another process: load, allocate, one run. A model that crashes or hangs the interpreter ends only that one.

The process answers one line of JSON per line of JSON, so that many files can be tried without starting it again.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from .errors import InterpreterError

TIMEOUT_S = 120.0

_GIB = 1 << 30
_ROOT = Path(__file__).resolve().parent.parent
# By path, not by name: a folder "edge" in the working directory must not be what the other process imports.
_START = f"import sys; sys.path.insert(0, {str(_ROOT)!r}); from edge.probe import serve; serve()"


class Prober:
    """A process that tries files out. Started on first use, and again after a file has taken it down.

    with Prober() as prober:
        problem = prober.try_file("model.tflite")    # None: it loads and runs
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self.timeout_s = timeout_s
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""

    def __enter__(self) -> Prober:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def try_file(self, path: str | os.PathLike[str]) -> str | None:
        """Return None if the model loads and runs, else what is wrong with it, in a few words.

        Raises InterpreterError only if the process cannot be started at all.
        """
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        request = json.dumps({"path": str(Path(path).resolve()), "timeout_s": self.timeout_s}).encode() + b"\n"
        try:
            process.stdin.write(request)
            process.stdin.flush()
            answer = self._read_line(process)
        except TimeoutError:
            self.close()
            return f"it does not finish its first run within {self.timeout_s:g} s"
        except OSError:
            answer = b""
        if not answer:
            code = process.wait()
            self.close()
            return f"it takes the interpreter down ({_how(code)})"
        problem = json.loads(answer)["problem"]
        return None if problem is None else str(problem)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
            except OSError as error:
                raise InterpreterError(f"cannot start {sys.executable!r} to try an unknown model out ({error})") from error
            self._pending = b""
            self.starts += 1
        return self._process

    def _read_line(self, process: subprocess.Popen[bytes]) -> bytes:
        """Return the next line that the process writes, empty if it ends before. Raises TimeoutError."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(self.timeout_s):
                    raise TimeoutError
                piece = os.read(process.stdout.fileno(), 1 << 16)
                if not piece:
                    return b""
                self._pending += piece
        line, _, self._pending = self._pending.partition(b"\n")
        return line


def serve() -> None:
    """Answer requests on stdin until it ends. Runs in the other process only."""
    # Nothing but answers may reach the pipe, whatever the libraries print.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _limit(request["path"], request["timeout_s"])
        answers.write(json.dumps({"problem": _try_out(request["path"])}).encode() + b"\n")


def _try_out(path: str) -> str | None:
    import numpy as np

    from . import interpreter

    try:
        loaded = interpreter.open_interpreter(path)
        for position, spec in enumerate(loaded.inputs):
            loaded.set_input(np.zeros(spec.shape, spec.dtype), position)
        loaded.invoke()
        for position in range(len(loaded.outputs)):
            loaded.output(position)
    except InterpreterError as error:
        return str(error).removeprefix(f"{path}: ")
    except (ValueError, TypeError, RuntimeError, MemoryError) as error:
        return f"its tensors cannot be read or written ({error})"
    return None


def _limit(path: str, timeout_s: float) -> None:
    """Bound what a broken model can take: memory, time (should the parent be gone), and no core file."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        resource.setrlimit(resource.RLIMIT_AS, (min(physical, 4 * _GIB + 8 * os.path.getsize(path)), hard))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(timeout_s) + 10)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
