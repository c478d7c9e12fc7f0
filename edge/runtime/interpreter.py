"""The one place that knows the TFLite interpreter: ai-edge-litert where it is installed, else tflite-runtime."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import os
import re
import sys
import threading
import types
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.texts import clean

from ..artefact.tensors import QuantParams, TensorSpec, is_stated
from ..errors import InterpreterError, ShapeError
from ..system.stderr import diverted

PACKAGES = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
KERNELS = ("optimized", "reference")
MOST_THREADS = 1024  # far above what helps: where the system refuses the kernels so many, they end the process
_COMPILES = "ai-edge-litert"

_FORCE_VARIABLE = "EDGEKIT_RUNTIME"
# What the libraries say on stderr although all is well. Everything else that they write is passed on.
_CHATTER = re.compile(
    rb"(INFO: |WARNING: All log messages before absl|WARNING: \[(npu|gpu)_registry\.cc|[IW]\d{4} \d\d:\d\d:|I0000 |W0000 ).*"
)
_stderr_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeInfo:
    """Which interpreter runs, and how. ``delegate`` is ``xnnpack``, ``none``, or the file name of the library that was given.

    ``weight_cache``: whether the kernels' packed weights are in a file (`edge.runtime.weight_cache`) and not in memory of its own.
    """

    package: str
    version: str
    kernels: str
    threads: int
    delegate: str
    weight_cache: bool = False

    def to_dict(self) -> dict[str, str | int]:
        """Return plain data."""
        return asdict(self)

    def describe(self) -> str:
        """Return one line for people."""
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        cached = ", weights from the cache" if self.weight_cache else ""
        return f"{self.package} {self.version}, {self.kernels} kernels, {threads}, delegate {self.delegate}{cached}"


def default_threads() -> int:
    """Return the number of threads to use unless told otherwise: the cores that this process may use, at most 4."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, usable)


def checked_threads(threads: int | None) -> int:
    """Return ``threads``, or `default_threads`. Raises InterpreterError for less than one and for more than `MOST_THREADS`."""
    threads = default_threads() if threads is None else threads
    if not 1 <= threads <= MOST_THREADS:
        raise InterpreterError(f"threads is {threads}, expected 1 to {MOST_THREADS}")
    return threads


def available() -> tuple[str, ...]:
    """Return the names of the interpreter packages that are installed, the preferred one first. Imports none of them."""
    return tuple(name for name, module in PACKAGES.items() if importlib.util.find_spec(module) is not None)


def import_package(package: str | None = None) -> tuple[str, types.ModuleType]:
    """Return the name and the module of an interpreter package: ``package``, what EDGEKIT_RUNTIME says, or the first installed.

    Raises InterpreterError if it cannot be imported.
    """
    wanted = package or os.environ.get(_FORCE_VARIABLE) or None
    if wanted is not None and wanted not in PACKAGES:
        raise InterpreterError(
            f"runtime {wanted!r} is unknown, expected one of {', '.join(PACKAGES)} (argument or {_FORCE_VARIABLE})"
        )
    problems = []
    for name in [wanted] if wanted else PACKAGES:
        try:
            return name, importlib.import_module(f"{PACKAGES[name]}.interpreter")
        except ImportError as error:
            problems.append(f"{name}: {error}")
    raise InterpreterError(
        f"no TFLite interpreter can be imported ({'; '.join(problems)}); pip install {wanted or next(iter(PACKAGES))}"
    )


def installed(package: str | None = None) -> str:
    """Return name and version of the interpreter package that is used (see `import_package`)."""
    name, _ = import_package(package)
    return f"{name} {_version(name)}"


def compiled_library() -> tuple[str, str] | None:
    """Return the path of the library that runs compiled models (`edge.runtime.compiled`) and the version of its package.

    None where another package runs models, or this one has no such library. Imports less than `import_package`.
    """
    wanted = os.environ.get(_FORCE_VARIABLE) or _COMPILES
    if wanted != _COMPILES:
        return None
    try:
        module = importlib.import_module(PACKAGES[_COMPILES])
    except ImportError:
        return None
    library = os.path.join(os.path.dirname(str(module.__file__)), "libLiteRt.so")
    return (library, _version(_COMPILES)) if os.path.isfile(library) else None


def check_kernels(kernels: str) -> None:
    """Raise InterpreterError if there are no such kernels."""
    if kernels not in KERNELS:
        raise InterpreterError(f"kernels is {kernels!r}, expected one of {', '.join(KERNELS)}")


class LoadedInterpreter:
    """A model in an interpreter, ready to run. One thread at a time; `Model` sees to that."""

    def __init__(self, native: Any, runtime: RuntimeInfo) -> None:
        self._native = native
        self.runtime = runtime
        self.inputs = tuple(_spec(details) for details in native.get_input_details())
        self.outputs = tuple(_spec(details) for details in native.get_output_details())

    def set_input(self, array: NDArray[Any], position: int = 0) -> None:
        """Copy ``array`` into an input. Raises ShapeError if its shape or dtype is another than the tensor's."""
        spec = self.inputs[position]
        if array.shape != spec.shape or array.dtype != spec.dtype:
            raise ShapeError(f"input {spec.name!r} is {spec.dtype} {spec.shape}, got {array.dtype} {array.shape}")
        self._native.set_tensor(spec.index, array)

    def close(self) -> None:
        """Give the memory of a compiled model back now; an interpreter's goes with the object."""
        if hasattr(self._native, "close"):
            self._native.close()

    def invoke(self) -> None:
        """Run the model. Other Python threads go on meanwhile. Raises InterpreterError if a kernel fails."""
        try:
            # Recurrent layers keep their state between runs; every answer here is to be of what it was asked alone.
            self._native.reset_all_variables()
            self._native.invoke()
        except (RuntimeError, ValueError) as error:
            raise InterpreterError(f"the model failed while running in {self.runtime.package}: {error}") from error

    def output(self, position: int = 0) -> NDArray[Any]:
        """Return a copy of an output tensor, batch axis included, in the file's dtype."""
        array: NDArray[Any] = self._native.get_tensor(self.outputs[position].index)
        return array

    def run(self, tensors: Iterable[NDArray[Any]]) -> list[NDArray[Any]]:
        """Feed all inputs in the file's order, run the model, and return copies of all outputs. Raises as `set_input` and `invoke`."""
        for position, array in enumerate(tensors):
            self.set_input(array, position)
        self.invoke()
        return [self.output(position) for position in range(len(self.outputs))]

    def tensor(self, index: int) -> NDArray[Any]:
        """Return a copy of any tensor after `invoke`. Needs ``preserve``: otherwise its memory has been used again by then."""
        array: NDArray[Any] = self._native.get_tensor(index)
        return array


def open_interpreter(
    model: str | os.PathLike[str] | bytes,
    *,
    threads: int | None = None,
    kernels: str = "optimized",
    delegate: str | os.PathLike[str] | None = None,
    package: str | None = None,
    preserve: bool = False,
) -> LoadedInterpreter:
    """Load ``model`` (a path, or its bytes) and allocate its tensors.

    A path is mapped into memory by the interpreter, which then holds no second copy of the weights; packed files at the end do
    no harm. kernels: ``optimized`` (with XNNPACK) or ``reference`` (slow; equal on all machines for integer models). delegate:
    path of a delegate library such as ``libedgetpu.so.1``. preserve: keep every tensor's memory, so that
    `LoadedInterpreter.tensor` can read those between the ops.

    The caller checks the file first (`edge.artefact.container`): a damaged model can crash the process. Raises InterpreterError.
    """
    threads = checked_threads(threads)
    check_kernels(kernels)
    name, module = import_package(package)
    resolver = module.OpResolverType.BUILTIN_REF if kernels == "reference" else module.OpResolverType.AUTO
    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": os.fspath(model)}
    if delegate is not None:
        _check_library(os.fspath(delegate))
    where = "model" if isinstance(model, bytes) else os.fspath(model)
    with _quiet_stderr() as complaints, warnings.catch_warnings():
        try:
            if preserve:  # the library warns of the memory that it takes
                warnings.simplefilter("ignore")
            delegates = [module.load_delegate(os.fspath(delegate))] if delegate is not None else None
            native = module.Interpreter(
                **source,
                num_threads=threads,
                experimental_op_resolver_type=resolver,
                experimental_delegates=delegates,
                experimental_preserve_all_tensors=preserve,
            )
            native.allocate_tensors()
        except (ValueError, RuntimeError, OSError) as error:
            said = complaints()
            raise InterpreterError(f"{where}: {name} {_version(name)} refuses the model: {_one_line(error, said)}") from error
    used = "xnnpack" if _is_delegated(native) else "none"
    runtime = RuntimeInfo(
        package=name,
        version=_version(name),
        kernels=kernels,
        threads=threads,
        delegate=used if delegate is None else os.path.basename(delegate),
    )
    try:
        return LoadedInterpreter(native, runtime)
    except UnicodeDecodeError as error:
        raise InterpreterError(f"{where}: a tensor's name is not UTF-8 ({error}); the file is damaged, make it again") from error


def open_compiled(
    model: str | os.PathLike[str], cache: int | str, *, threads: int, library: tuple[str, str] | None = None
) -> LoadedInterpreter:
    """Load ``model`` (a path) with XNNPACK's packed weights in a file.

    cache: a file to be made, or the open descriptor of one that is there; it is not checked here, and a wrong one gives wrong
    answers (`edge.runtime.weight_cache` checks it). library: what `compiled_library` returned.

    Raises InterpreterError where this cannot be done.
    """
    library = compiled_library() if library is None else library
    where = os.fspath(model)
    if library is None:
        raise InterpreterError(f"{where}: {_COMPILES} with its libLiteRt.so is not installed")
    from .compiled import CompiledNative

    with _quiet_stderr() as complaints:
        try:
            native = CompiledNative(library[0], where, threads, cache)
        except (RuntimeError, AttributeError, OSError, ValueError) as error:
            said = complaints()
            raise InterpreterError(f"{where}: {_COMPILES} {library[1]} cannot compile it: {_one_line(error, said)}") from error
    runtime = RuntimeInfo(
        package=_COMPILES, version=library[1], kernels="optimized", threads=threads, delegate="xnnpack", weight_cache=True
    )
    return LoadedInterpreter(native, runtime)


def _is_delegated(native: Any) -> bool:
    """Return whether XNNPACK really took ops over: tflite-runtime 2.14 leaves integer models to the built-in kernels."""
    try:
        wrapper = native._interpreter  # a delegate's node comes after the model's own; there is no public way to ask
        return bool(wrapper.NodeName(wrapper.NumNodes() - 1) == "DELEGATE")
    except AttributeError:
        return False


def _check_library(library: str) -> None:
    # The packages' own loader leaves a half-made object behind when this fails, which then complains on stderr.
    try:
        ctypes.CDLL(library)
    except OSError as error:
        raise InterpreterError(f"delegate {library} cannot be loaded ({_one_line(error, '')}); give its path") from error


def _spec(details: dict[str, Any]) -> TensorSpec:
    found = details["quantization_parameters"]
    scale = np.asarray(found["scales"], np.float32)
    quant = None
    if is_stated(scale):
        axis = int(found["quantized_dimension"]) if scale.size > 1 else None
        quant = QuantParams(scale=scale, zero_point=np.asarray(found["zero_points"], np.int32), quantized_dimension=axis)
    shape = tuple(int(size) for size in details["shape"])
    return TensorSpec(
        name=str(details["name"]), index=int(details["index"]), shape=shape, dtype=np.dtype(details["dtype"]), quant=quant
    )


def _version(package: str) -> str:
    # Both packages say it themselves; importlib.metadata would take longer to import than the question is worth.
    return str(getattr(sys.modules[PACKAGES[package]], "__version__", "unknown"))


def _one_line(error: Exception, said: str) -> str:
    return " ".join(f"{error} {said}".split())[:500]


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[Any]:
    """Hold back what C++ code writes to stderr, and pass it on at the end without the chatter.

    Yields a function that takes what was written so far (then it is not passed on). The redirection is of the process; the lock
    keeps two of them from crossing, and other threads' lines arrive a little later.
    """
    with _stderr_lock, _memory_file() as kept:
        if sys.stderr is not None:
            sys.stderr.flush()
        taken = False

        def take() -> str:
            nonlocal taken
            taken = True
            return b"\n".join(_without_chatter(kept)).decode("utf-8", "replace")

        try:
            with diverted(kept):
                yield take
        finally:
            if not taken:
                for line in _without_chatter(kept):
                    with contextlib.suppress(OSError):
                        os.write(2, clean(line.decode("utf-8", "replace")).encode() + b"\n")


@contextlib.contextmanager
def _memory_file() -> Iterator[int]:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("edgekit-stderr")
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    else:
        # Only where there is no memfd: 7 ms of processor time, median of 10 fresh processes.
        import tempfile

        with tempfile.TemporaryFile() as stream:
            yield stream.fileno()


def _without_chatter(descriptor: int) -> list[bytes]:
    size = os.fstat(descriptor).st_size
    os.lseek(descriptor, 0, os.SEEK_SET)
    return [line for line in os.read(descriptor, size).splitlines() if line and not _CHATTER.match(line)]
