"""Where the time of one run goes: milliseconds per op and per block, and which kernels ran each op.

The profiler of ai-edge-litert tells it (`edge.runtime.profiler`), in another process. XNNPACK names its own ops, not the file's: they are
matched in order, as TensorFlow Lite hands whole groups of ops over, and where that does not come out even, only times per kernel are told.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..artefact import blocks, container
from ..artefact.graph import Graph, Op
from ..errors import InterpreterError, UsageError
from ..runtime import interpreter, isolation
from ..runtime.profiler import Event, ProfiledNative
from ..system.child import Child, ChildDiedError, Message, answer_requests

XNNPACK, BUILT_IN = "XNNPACK", "built-in"
METHOD = "the profiler of libLiteRt.so"
RUNS = 30
CLOSE = 0.05  # the ops' sum and the whole run are at most so far apart, as a share
_WARMUP_RUNS = 3
_TIMEOUT_S = 600.0
_BUSY = 0.6  # of the cores that were asked for
_MOST_ROWS = 10  # of blocks and of ops in text; JSON has all

# What XNNPACK calls an op begins with one of these; the first op of the file that it belongs to has one of those names.
_OPS_OF = {
    "Convolution": {"CONV_2D", "DEPTHWISE_CONV_2D"},
    "Fully Connected": {"CONV_2D", "FULLY_CONNECTED"},
    "Deconvolution": {"TRANSPOSE_CONV"},
    "Max Pooling": {"MAX_POOL_2D"},
    "Average Pooling": {"AVERAGE_POOL_2D"},
    "Global Average Pooling": {"AVERAGE_POOL_2D", "MEAN"},
    "Mean": {"MEAN"},
    "Sum": {"SUM"},
    "Add": {"ADD"},
    "Subtract": {"SUB"},
    "Multiply": {"MUL"},
    "Divide": {"DIV"},
    "Maximum": {"MAXIMUM"},
    "Minimum": {"MINIMUM"},
    "Copy": {"CONCATENATION", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SPLIT", "STRIDED_SLICE"},
    "Static Reshape": {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"},
    "Static Slice": {"SLICE", "STRIDED_SLICE", "SPLIT"},
    "Static Constant Pad": {"PAD", "PADV2"},
    "Constant Pad": {"PAD", "PADV2"},
    "Transpose": {"TRANSPOSE"},
    "Resize Bilinear": {"RESIZE_BILINEAR"},
    "Softmax": {"SOFTMAX"},
    "Sigmoid": {"LOGISTIC"},
    "Tanh": {"TANH"},
    "HardSwish": {"HARD_SWISH"},
    "Leaky ReLU": {"LEAKY_RELU"},
    "PReLU": {"PRELU"},
    "ELU": {"ELU"},
    "GELU": {"GELU"},
    "Clamp": {"RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"},
    "Convert": {"QUANTIZE", "DEQUANTIZE", "CAST"},
}
# What an op brings with it: dynamic quantization or a change of shape before it, a fused activation or a change of shape behind it.
_BEFORE = {"Convert": {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}, "Static Reshape": {"FULLY_CONNECTED"}}
_BEHIND = {"Clamp": {"ADD", "SUB", "MUL", "DIV", "CONCATENATION"}, "Static Reshape": {"MEAN", "SUM"}}
_WITHOUT_WORK = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "PAD", "PADV2"}  # or done by the op behind


@dataclass(frozen=True, slots=True, kw_only=True)
class OpTime:
    """One op of the file; ``kernels`` ran it, in this order."""

    index: int
    op: str
    tensor: str
    ms: float
    ran_by: str
    kernels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTime:
    """All calls of one kernel in a run."""

    kernel: str
    ran_by: str
    calls: int
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTime:
    """Consecutive ops ``first`` to ``last`` of the file."""

    name: str
    first: int
    last: int
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OpTimes:
    """Milliseconds of a run. ``whole_ms``: median of the ``runs`` without the profiler; the others are means over that half of the runs
    with it that other programs disturbed least, ``profiled_ms`` of the whole run.

    ``ops`` and ``blocks`` are empty where XNNPACK's ops could not be matched with the file's. ``cores_busy``: processor time by
    elapsed time, of runs without the profiler. ``spread``: half of the middle 80 % of whole runs, as a share of their median.
    """

    threads: int
    runs: int
    whole_ms: float
    profiled_ms: float
    spread: float
    cores_busy: float
    kernels: tuple[KernelTime, ...]
    ops: tuple[OpTime, ...]
    blocks: tuple[BlockTime, ...]

    @property
    def sum_ms(self) -> float:
        return sum(kernel.ms for kernel in self.kernels)

    def findings(self) -> list[str]:
        """Return what stands out, in sentences."""
        found = []
        slow = [kernel for kernel in self.kernels if kernel.ran_by != XNNPACK]
        if slow:
            share = sum(kernel.ms for kernel in slow) / max(self.sum_ms, 1e-9)
            names = ", ".join(f"{kernel.calls} {kernel.kernel}" for kernel in slow)
            found.append(f"left XNNPACK for built-in kernels, {share:.0%} of the time: {names}")
        if abs(self.sum_ms - self.profiled_ms) > CLOSE * self.profiled_ms:
            found.append(f"the ops sum up to {self.sum_ms:.2f} of {self.profiled_ms:.2f} ms: the rest lies between them")
        if self.threads > 1 and self.cores_busy < _BUSY * self.threads:
            found.append(f"{self.threads} threads were asked for, and {self.cores_busy:.1f} cores were busy")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"method": METHOD, **asdict(self), "sum_ms": self.sum_ms, "findings": self.findings()}

    def to_text(self) -> str:
        plural = "s" if self.threads > 1 else ""
        lines = [
            f"  where the time goes: {METHOD}, {self.runs} runs on {self.threads} thread{plural}, {self.cores_busy:.1f} cores busy",
            f"  whole {self.whole_ms:.2f} ms (+-{self.spread:.0%}), profiled {self.profiled_ms:.2f} ms, ops {self.sum_ms:.2f} ms",
            *(self._row(kernel.ms, f"{kernel.calls:4d} x {kernel.kernel}, {kernel.ran_by}") for kernel in self.kernels),
        ]
        if self.ops:
            slowest = sorted(self.blocks, key=lambda block: -block.ms)[:_MOST_ROWS]
            lines += ["  the slowest blocks:", *(self._row(b.ms, f"{b.name}, ops {b.first}-{b.last}") for b in slowest)]
            ops = sorted(self.ops, key=lambda op: -op.ms)[:_MOST_ROWS]
            lines += [
                "  the slowest ops:",
                *(self._row(op.ms, f"{op.index} {op.op} {_short(op.tensor)}, {op.ran_by}") for op in ops),
            ]
        else:
            lines += ["  XNNPACK's ops cannot be matched with the file's one by one: only times per kernel are known"]
        return "\n".join([*lines, *(f"  finding: {text}" for text in self.findings())])

    def _row(self, ms: float, text: str) -> str:
        return f"  {ms:9.3f} ms {ms / max(self.sum_ms, 1e-9):6.1%}  {text}"


def _short(tensor: str) -> str:
    """Return what a person knows a tensor by: the first of the names that the converter puts together, without the network's."""
    return tensor.partition(";")[0].partition("/")[2] or tensor.partition(";")[0]


def measure(path: str | os.PathLike[str], *, threads: int = 1, runs: int = RUNS) -> OpTimes:
    """Run the model of ``path`` (a .tflite, contract or not) on noise in another process and return where the time goes.

    Runs with and without the profiler take turns, so that other programs disturb both alike.

    Raises UsageError for fewer than one run or thread, InterpreterError where the installed runtime has no profiler or cannot run the
    model as a whole, ArtefactError for a damaged file.
    """
    if runs < 1 or threads < 1:
        raise UsageError(f"{runs} runs on {threads} threads, expected at least one of each")
    where = os.fspath(path)
    require_profiler(where)
    model = container.read(path).graph
    with Child("edge.bench.op_times", str(_TIMEOUT_S), timeout_s=_TIMEOUT_S) as process:
        try:
            answer, _ = process.ask({"path": where, "threads": threads, "runs": runs})
        except TimeoutError as error:
            raise InterpreterError(f"{where}: {runs} runs do not end within {_TIMEOUT_S:g} s; take fewer") from error
        except ChildDiedError as died:
            raise InterpreterError(f"{where}: the profiler takes the runtime down ({died.how})") from died
    if "problem" in answer:
        raise InterpreterError(f"{where}: no times per op: {answer['problem']}")
    events = [Event(*event) for event in answer["events"]]
    return _summed(model, events, np.asarray(answer["us"], float), answer, threads=threads)


def require_profiler(where: str) -> None:
    """Raise InterpreterError, which names the model ``where``, unless the installed runtime has a profiler."""
    if interpreter.compiled_library() is None:
        raise InterpreterError(
            f"{where}: times per op need ai-edge-litert with its libLiteRt.so; pip install 'ai-edge-litert>=2.3'"
        )


def _summed(model: Graph, events: Sequence[Event], us: np.ndarray, answer: dict[str, Any], *, threads: int) -> OpTimes:
    """us: microseconds ``(runs, events)``."""
    # Means, not medians: the sum of medians is less than the median of sums where every run is disturbed somewhere else.
    ms = us[_undisturbed(us.sum(axis=1))].mean(axis=0) / 1e3
    whole = np.asarray(answer["whole_ms"], float)
    profiled = np.asarray(answer["profiled_ms"], float)
    low, high = np.quantile(whole, [0.1, 0.9])
    calls: Counter[tuple[str, str]] = Counter()
    times: defaultdict[tuple[str, str], float] = defaultdict(float)
    for event, one in zip(events, ms, strict=True):
        key = (event.kernel, BUILT_IN if event.built_in else XNNPACK)
        calls[key] += 1
        times[key] += float(one)
    owners = matched(model, events)
    ops = () if owners is None else tuple(_op_times(model, events, owners, ms))
    return OpTimes(
        threads=threads,
        runs=len(us),
        whole_ms=float(np.median(whole)),
        profiled_ms=float(profiled[_undisturbed(us.sum(axis=1))].mean()),
        spread=float((high - low) / 2 / np.median(whole)),
        cores_busy=float(answer["cores_busy"]),
        kernels=tuple(
            KernelTime(kernel=kernel, ran_by=by, calls=calls[kernel, by], ms=total)
            for (kernel, by), total in sorted(times.items(), key=lambda item: -item[1])
        ),
        ops=ops,
        blocks=tuple(
            BlockTime(name=b.name, first=b.first, last=b.last, ms=sum(ops[i].ms for i in b.ops)) for b in blocks.blocks(model)
        )
        if ops
        else (),
    )


def _undisturbed(totals: np.ndarray) -> np.ndarray:
    """Return which runs took no longer than the median: what other programs add comes on top."""
    kept: np.ndarray = totals <= np.median(totals)
    return kept


def _op_times(model: Graph, events: Sequence[Event], owners: Sequence[int], ms: np.ndarray) -> Iterator[OpTime]:
    events_of: defaultdict[int, list[int]] = defaultdict(list)
    for number, owner in enumerate(owners):
        events_of[owner].append(number)
    for op in model.ops:
        own = events_of[op.index]
        yield OpTime(
            index=op.index,
            op=op.name,
            tensor=model.tensors[op.outputs[0]].name,
            ms=float(sum(ms[i] for i in own)),
            ran_by=BUILT_IN if any(events[i].built_in for i in own) else XNNPACK,
            kernels=tuple(events[i].kernel for i in own),
        )


def matched(model: Graph, events: Sequence[Event]) -> list[int] | None:
    """Return the index of the op that each event belongs to, or None where the two do not come out even."""
    built_in = [event.number for event in events if event.built_in]
    if any(number >= len(model.ops) for number in built_in):
        return None
    order = _run_order(model, frozenset(built_in))
    owners: list[int] = []
    at = 0
    for op in order:
        if at < len(events) and events[at].built_in and events[at].number == op.index:
            owners.append(op.index)
            at += 1
            continue
        if op.index in built_in:
            return None
        taken = _taken(op, events[at:])
        if taken is None:
            return None
        owners += [op.index] * taken
        at += taken
    return owners if at == len(events) else None


def _taken(op: Op, events: Sequence[Event]) -> int | None:
    """Return how many of the next events are of ``op``, or None if they are not its own."""
    kinds = [_kind(event) for event in events[:4]]
    at = 0
    if at < len(kinds) and op.name in _BEFORE.get(kinds[at], ()):
        at += 1
    if at >= len(kinds) or op.name not in _OPS_OF.get(kinds[at], ()):
        return 0 if op.name in _WITHOUT_WORK and at == 0 else None
    at += 1
    while at < len(kinds) and op.name in _BEHIND.get(kinds[at], ()) and (kinds[at] != "Clamp" or op.options.get("activation", 0)):
        at += 1
    return at


def _kind(event: Event) -> str:
    """Return the kind of XNNPACK's op, ``Convolution`` of ``Convolution (NHWC, QC8) IGEMM``; nothing for a built-in kernel."""
    return "" if event.built_in else event.kernel.partition(" (")[0]


def _run_order(model: Graph, built_in: frozenset[int]) -> list[Op]:
    """Return the ops in the order in which they run: TensorFlow Lite gathers what one side can do before it goes to the other.

    As ``PartitionGraphIntoIndependentNodeSubsets`` (tensorflow/lite/graph_info.cc) does: of one side, all whose operands are there.
    """
    made = {index for op in model.ops for index in op.outputs}
    ready = {index for op in model.ops for index in op.inputs if index not in made}
    left, order = list(model.ops), []
    while left:
        side: bool | None = None
        gathered = True
        while gathered:
            gathered = False
            for op in list(left):
                if ready.issuperset(op.inputs) and side in (None, op.index in built_in):
                    side = op.index in built_in
                    ready.update(op.outputs)
                    order.append(op)
                    left.remove(op)
                    gathered = True
        if side is None:
            break  # a circle, which no file has that was read
    return order


def serve(timeout_s: str) -> None:
    """Answer requests on stdin until it ends. Runs in the other process only."""

    def answer(request: dict[str, Any], payload: list[bytes]) -> Message:
        isolation.limit(request["path"], float(timeout_s))
        try:
            return _profile(request["path"], request["threads"], request["runs"]), []
        except (RuntimeError, AttributeError, OSError, ValueError, MemoryError) as error:
            return {"problem": str(error) or type(error).__name__}, []

    answer_requests(answer)


def _profile(path: str, threads: int, runs: int) -> dict[str, Any]:
    library = interpreter.compiled_library()
    if library is None:
        raise RuntimeError("there is no libLiteRt.so")
    native = ProfiledNative(library[0], path, threads)
    random = np.random.default_rng(0)
    for details in native.get_input_details():
        native.set_tensor(details["index"], _noise(random, details["shape"], details["dtype"]))
    for _ in range(_WARMUP_RUNS):
        native.invoke()
    first: list[Event] | None = None
    us, whole_ms, profiled_ms, busy_s = [], [], [], 0.0
    for _ in range(runs):
        start, busy = time.perf_counter(), time.process_time()
        native.invoke()
        whole_ms.append((time.perf_counter() - start) * 1e3)
        busy_s += time.process_time() - busy
        events, took_us = native.profiled()
        first = first or events
        if [event[:3] for event in events] != [event[:3] for event in first]:
            raise RuntimeError("its profiler tells of other ops in another run")
        us.append([event.us for event in events])
        profiled_ms.append(took_us / 1e3)
    return {
        "events": [list(event) for event in first or ()],
        "us": us,
        "whole_ms": whole_ms,
        "profiled_ms": profiled_ms,
        "cores_busy": busy_s / max(sum(whole_ms) / 1e3, 1e-9),
    }


def _noise(random: np.random.Generator, shape: Sequence[int], dtype: np.dtype[Any]) -> np.ndarray:
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    return random.uniform(-1, 1, shape).astype(dtype)
