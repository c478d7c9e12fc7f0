"""TensorFlow without its chatter: the one place that imports it, and a context that keeps its output off the terminal.

TensorFlow talks on three channels: Python logging (absl and ``tensorflow``), Python warnings and prints (thousands of TensorSpec
lines at each export), and lines that C++ writes straight to file descriptor 2 (oneDNN, CUDA, the converter). ``quiet`` holds all
three back and keeps them: they are shown only when something unexpected happened.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import IO, Any, TextIO

from edge import files
from edge.errors import EdgeError, MissingExtraError
from edge.system import child
from edge.system.stderr import diverted
from edge.terminal import shown

VERBOSE_VARIABLE = "EDGEKIT_TENSORFLOW_LOG"
"""Set to anything but 0 to see all of TensorFlow's output, unfiltered."""

_LOGGERS = ("tensorflow", "absl", "tf_keras", "keras")
_TAIL_BYTES = 64 * 1024


class Chatter:
    """What was held back. Valid while and after the ``quiet`` block that made it."""

    def __init__(self, stream: IO[bytes] | None, *, start: int = 0) -> None:
        self._stream = stream
        self._start = start
        self._kept = ""

    def text(self) -> str:
        """Return the end of the output so far (64 KiB at most), or an empty text when nothing is held back."""
        stream = self._stream
        if stream is None or stream.closed:
            return self._kept
        end = os.fstat(stream.fileno()).st_size
        # pread: the descriptor's own position is where C++ writes next and must stay.
        return os.pread(stream.fileno(), _TAIL_BYTES, max(self._start, end - _TAIL_BYTES)).decode("utf-8", "replace")

    def errors(self, limit: int = 3) -> str:
        """Return the last ``limit`` lines that look like errors, joined: for one-line messages."""
        lines = [line.strip() for line in self.text().splitlines()]
        wanted = [line for line in lines if "error" in line.lower() or line.startswith(("E0", "F0"))]
        return "; ".join(dict.fromkeys(wanted[-limit:]))

    def _keep(self) -> None:
        self._kept = self.text()


def verbose() -> bool:
    """Whether the user asked to see TensorFlow's own output."""
    return os.environ.get(VERBOSE_VARIABLE, "0") not in ("", "0")


@contextlib.contextmanager
def quiet() -> Iterator[Chatter]:
    """Hold back what TensorFlow prints inside the block, from Python and from C++.

    Inside, ``sys.stderr`` still reaches the terminal (progress goes there): only descriptor 2, to which C++ writes, is diverted.
    Code that kept an older reference to ``sys.stderr`` is held back too. When anything but an EdgeError or an interrupt leaves
    the block, what was held back is written to the real standard error first; a full disk, which TensorFlow tells in errors of its
    own, leaves it as an OutputError. Blocks may be nested, and may overlap in several
    threads: descriptor 2 and all settings are as they were when the last one is left. The diversion concerns the whole process: what
    other threads write is held back as well, by the block that was entered last.
    """
    if verbose():
        yield Chatter(None)
        return
    if child.inside():  # it has no terminal; what it says is kept for whoever started it, also if it ends here
        with os.fdopen(os.dup(2), "rb", buffering=0) as own:
            chatter = Chatter(own, start=os.fstat(2).st_size)
            try:
                yield chatter
            finally:
                chatter._keep()
        return
    with contextlib.ExitStack() as stack:
        held = stack.enter_context(tempfile.TemporaryFile(mode="w+b", buffering=0))
        chatter = Chatter(held)
        stack.callback(chatter._keep)
        stack.enter_context(_python_quiet())
        terminal = stack.enter_context(diverted(held.fileno()))
        stack.enter_context(_stderr_through(terminal))
        try:
            yield chatter
        except (EdgeError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            if files.is_full(error):
                raise files.full(error) from error
            if terminal is not None:
                os.write(terminal, chatter.text().encode("utf-8", "replace"))
            raise


class _Shared:
    """Settings of the process that the first block makes and the last one out takes back, in whatever order they are left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._stack = contextlib.ExitStack()

    @contextlib.contextmanager
    def hold(self, make: Callable[[contextlib.ExitStack], None]) -> Iterator[None]:
        """Call ``make`` if nobody is inside; what it has put on the stack is undone when nobody is inside any more."""
        with self._lock:
            if not self._inside:
                make(self._stack)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    self._stack.close()


_python = _Shared()
_stderr = _Shared()


class _Stream(io.TextIOBase):
    """Stands in for ``sys.stderr`` or ``sys.stdout`` inside a block. TensorFlow's log handlers may keep it for ever: afterwards
    it passes everything on to the stream that it stood in for.
    """

    def __init__(self, original: TextIO, descriptor: int) -> None:
        self._original = original
        self._descriptor: int | None = descriptor

    def write(self, text: str) -> int:
        if self._descriptor is None:
            return self._original.write(text)
        with contextlib.suppress(OSError):  # a process may have no descriptor 2
            os.write(self._descriptor, shown(text).encode(self._original.encoding or "utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        self._original.flush()

    def isatty(self) -> bool:
        return self._original.isatty() if self._descriptor is None else os.isatty(self._descriptor)

    def fileno(self) -> int:
        return self._original.fileno() if self._descriptor is None else self._descriptor

    def release(self) -> None:
        self._descriptor = None


def _python_quiet() -> contextlib.AbstractContextManager[None]:
    """Logging below ERROR, warnings and prints go to descriptor 2; every level is restored."""

    def make(stack: contextlib.ExitStack) -> None:
        printed = _Stream(sys.stdout, 2)
        stack.enter_context(contextlib.redirect_stdout(printed))
        stack.callback(printed.release)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for logger in map(logging.getLogger, _LOGGERS):
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)

    return _python.hold(make)


def _stderr_through(terminal: int | None) -> contextlib.AbstractContextManager[None]:
    """``sys.stderr`` goes to the real standard error, past the diversion of descriptor 2."""

    def make(stack: contextlib.ExitStack) -> None:
        original = sys.stderr
        if terminal is None or not _writes_to(original, 2):
            return
        original.flush()
        # Of its own: the diversion may end a moment before this does.
        own = os.dup(terminal)
        through = _Stream(original, own)

        def restore() -> None:
            through.release()
            if sys.stderr is through:
                sys.stderr = original
            os.close(own)

        stack.callback(restore)
        sys.stderr = through

    return _stderr.hold(make)


def _writes_to(stream: Any, descriptor: int) -> bool:
    try:
        return bool(stream.fileno() == descriptor)
    except (AttributeError, OSError, ValueError):
        return False  # replaced by a test runner or a notebook: it does not go through the descriptor


def import_tensorflow() -> Any:
    """Return the ``tensorflow`` module, imported without its notices.

    Sets ``TF_CPP_MIN_LOG_LEVEL`` and ``KERAS_BACKEND`` in the environment where they are not set: TensorFlow and Keras read them
    at import. Raises MissingExtraError when it is not installed.
    """
    return _import("tensorflow")


def import_keras() -> Any:
    """Return the ``keras`` module (Keras 3 on TensorFlow). Raises MissingExtraError when it is missing or on another backend."""
    import_tensorflow()
    keras = _import("keras")
    if int(keras.__version__.split(".")[0]) < 3:
        raise MissingExtraError(f"keras {keras.__version__} is installed, edgekit needs Keras 3: pip install 'edgekit[quantize]'")
    if keras.backend.backend() != "tensorflow":
        raise MissingExtraError(
            f"Keras runs on {keras.backend.backend()} here, quantization needs TensorFlow: set KERAS_BACKEND=tensorflow"
        )
    return keras


def import_tf_keras() -> Any:
    """Return the ``tf_keras`` module (Keras 2). Raises MissingExtraError when it is not installed."""
    import_tensorflow()
    return _import("tf_keras")


def _import(name: str) -> Any:
    if name in sys.modules:
        return sys.modules[name]
    if not verbose():
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        with quiet():
            return importlib.import_module(name)
    except ImportError as error:
        if error.name is not None and error.name.split(".")[0] != name:
            raise
        raise MissingExtraError(f"{name} is not installed; quantization needs it: pip install 'edgekit[quantize]'") from error
