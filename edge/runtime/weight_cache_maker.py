"""Makes a file of packed weights, in another process, and finds out there whether it may be used: `edge.runtime.weight_cache` keeps it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..artefact.container import Container
from ..artefact.graph import Graph
from ..artefact.tensors import TensorSpec
from ..errors import InterpreterError
from ..system.child import Child, ChildDiedError, Message, answer_requests
from . import interpreter, isolation, trust
from .interpreter import LoadedInterpreter
from .pool import free_memory_bytes

# Where the interpreter itself was compared with compiled models by edgekit's own tests: the comparison may be left out where a board
# has no memory for it. Elsewhere it has to be made.
COMPARED_VERSIONS = frozenset({"2.3.0"})
# What the interpreter takes: the file, the packed weights, and what lies between the ops.
_INTERPRETER_PER_BYTE = 2.5
_INTERPRETER_BYTES = 96 << 20
# A model whose weights XNNPACK does not take has next to nothing in its file.
_LEAST_PACKED_SHARE = 4
# They remember something between two runs, and a compiled model cannot be told to forget it.
_STATEFUL = frozenset({"CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "HASHTABLE", "HASHTABLE_IMPORT"})
_PATTERNS = 3


class Problem(NamedTuple):
    """Why a model gets no file, in a few words; ``note`` where that is not simply how it is made.

    ``lasting``: whether it will be so the next time. A process that the system ended for want of memory, or was too slow, says nothing.
    """

    why: str
    note: str | None = None
    lasting: bool = True


def make(source: Container, part: str, *, threads: int, version: str) -> Problem | None:
    """Write the packed weights of a model to ``part``; return None if they may be used, else what stands against it.

    version: of the runtime. The first time that this file meets the runtime: its graph is checked, and what native code does with it
    ends only another process.

    Raises ArtefactError if its graph is not sound, InterpreterError if no process can be started.
    """
    if (unfit := _unfit(source.graph)) is not None:
        return Problem(unfit)
    patience_s = trust.PATIENCE_S + trust.PATIENCE_S_PER_MIB * source.file_bytes / (1 << 20)
    with Child("edge.runtime.weight_cache_maker", str(patience_s), timeout_s=patience_s) as process:
        request = {"path": str(source.path), "part": part, "threads": threads}
        problem = _ask(process, source, {**request, "compare": False})
        if problem is None and os.stat(part).st_size * _LEAST_PACKED_SHARE < source.flatbuffer_bytes:
            problem = Problem("XNNPACK packs next to none of its weights")
        elif problem is None and (_has_memory(source) or version not in COMPARED_VERSIONS):
            problem = _ask(process, source, {**request, "compare": True})
            if problem is not None and not problem.lasting and version in COMPARED_VERSIONS:
                problem = None  # no memory for the interpreter, whatever the system said
    source.check_unchanged()
    return problem


def _unfit(graph: Graph) -> str | None:
    if len(graph.subgraphs) != 1:
        return "it has more than one graph"
    if len(graph.signatures) > 1:
        return "it has more than one signature"
    if any(op.is_custom for op in graph.ops):
        return "it has ops of somebody's own"
    if any(tensor.is_variable for tensor in graph.tensors) or any(op.name in _STATEFUL for op in graph.ops):
        return "it remembers something between two runs"
    if any(size < 1 for index in (*graph.main.inputs, *graph.main.outputs) for size in _shape(graph, index)):
        return "the size of an input or output is open"
    return None


def _shape(graph: Graph, index: int) -> tuple[int, ...]:
    tensor = graph.tensors[index]
    return tensor.shape_signature or tensor.shape


def _has_memory(source: Container) -> bool:
    free = free_memory_bytes()
    return free is None or free >= source.flatbuffer_bytes * _INTERPRETER_PER_BYTE + _INTERPRETER_BYTES


def _ask(process: Child, source: Container, request: dict[str, Any]) -> Problem | None:
    lasting = True
    try:
        answer, _ = process.ask(request)
        why = answer["problem"]
    except TimeoutError:
        why, lasting = f"it does not finish within {process.timeout_s:g} s", False
    except ChildDiedError as died:
        why, lasting = f"it takes the runtime down ({died.how})", died.how != "SIGKILL"
    if why is None:
        return None
    note = f"{source.path}: running without a cache of packed weights: tried out in another process: {why}"
    return Problem(str(why), note, lasting)


def serve(timeout_s: str) -> None:
    """Answer requests on stdin until it ends. Runs in the other process only."""

    def answer(request: dict[str, Any], payload: list[bytes]) -> Message:
        isolation.limit(request["path"], float(timeout_s))
        try:
            if request["compare"]:
                problem = _compare(request["path"], request["part"], request["threads"])
            else:
                problem = _write(request["path"], request["part"], request["threads"])
        except InterpreterError as error:
            problem = str(error).removeprefix(f"{request['path']}: ")
        except (ValueError, TypeError, RuntimeError, MemoryError, OSError) as error:
            problem = f"its tensors cannot be read or written ({error})"
        return {"problem": problem}, []

    answer_requests(answer)


def _write(path: str, part: str, threads: int) -> str | None:
    """Write the file, and run the model from it."""
    interpreter.open_compiled(path, part, threads=threads).close()
    descriptor = os.open(part, os.O_RDWR)
    try:
        os.fsync(descriptor)  # pages that are not on the disk yet would count as memory of whoever maps them
    finally:
        os.close(descriptor)
    with _reopened(path, part, threads) as loaded:
        if not _mapped(part):
            return "the runtime does not take the file that it wrote"
        _answers(loaded)
    return None


def _compare(path: str, part: str, threads: int) -> str | None:
    """Say whether the model answers from the file as it does in the interpreter."""
    with _reopened(path, part, threads) as loaded:
        described = _described(loaded)
        answered = _answers(loaded)
    loaded = interpreter.open_interpreter(path, threads=threads, package="ai-edge-litert")
    if _described(loaded) != described:
        return "its inputs and outputs are not described as by the interpreter"
    same = all(one == other for one, other in zip(_answers(loaded), answered, strict=True))
    return None if same else "it does not answer bit for bit as in the interpreter"


@contextlib.contextmanager
def _reopened(path: str, part: str, threads: int) -> Any:
    descriptor = os.open(part, os.O_RDONLY)
    try:
        loaded = interpreter.open_compiled(path, descriptor, threads=threads)
    finally:
        os.close(descriptor)
    try:
        yield loaded
    finally:
        loaded.close()


def _mapped(part: str) -> bool:
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as stream:
        return any(os.path.basename(part) in line for line in stream)


def _described(loaded: LoadedInterpreter) -> list[tuple[Any, ...]]:
    return [_plain(spec) for spec in (*loaded.inputs, *loaded.outputs)]


def _plain(spec: TensorSpec) -> tuple[Any, ...]:
    quant = spec.quant and (spec.quant.scale.tobytes(), spec.quant.zero_point.tobytes(), spec.quant.quantized_dimension)
    return spec.name, spec.index, spec.shape, str(spec.dtype), quant


def _answers(loaded: LoadedInterpreter) -> list[bytes]:
    """Return the bytes of every output for a few made-up inputs."""
    found = []
    for seed in range(_PATTERNS):
        for position, array in enumerate(_made_up(loaded.inputs, seed)):
            loaded.set_input(array, position)
        loaded.invoke()
        found += [loaded.output(position).tobytes() for position in range(len(loaded.outputs))]
    return found


def _made_up(specs: Sequence[TensorSpec], seed: int) -> list[NDArray[Any]]:
    """Return noise for each input: -1 to 1 in float, the whole range of 8 and 16 bits, else 0 and 1, which is an index too."""
    random = np.random.default_rng(seed)
    made = []
    for spec in specs:
        noise: NDArray[Any]
        if np.issubdtype(spec.dtype, np.floating):
            noise = random.uniform(-1, 1, spec.shape)
        elif np.issubdtype(spec.dtype, np.integer) and spec.dtype.itemsize < 4:
            limits = np.iinfo(spec.dtype)
            noise = random.integers(limits.min, limits.max, spec.shape, endpoint=True)
        else:
            noise = random.integers(0, 2, spec.shape)
        made.append(noise.astype(spec.dtype))
    return made
