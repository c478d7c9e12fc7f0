"""Times of single ops, from the profiler of ``libLiteRt.so``: what XNNPACK and the built-in kernels say of each run.

The functions are exported with a version (``VERS_1.0``); the structure is that of ``litert/c/litert_profiler_event.h``. Should a release
change it, `events` finds that more or fewer bytes were written than it knows, and raises RuntimeError. Models are opened for it in another
process only (`edge.bench.op_times`).
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from .compiled import CompiledNative

BUILT_IN, DELEGATE = 2, 8  # LiteRtProfilerEventType: OPERATOR_INVOKE_EVENT, DELEGATE_PROFILED_OPERATOR_INVOKE_EVENT
_DEFAULT = 1  # what is no op: "Invoke" is the whole run
_WHOLE = "Invoke"
_UNWRITTEN = 0xA5


class _Event(ctypes.Structure):
    _fields_ = [
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory_before", ctypes.c_int64 * 3),
        ("memory_after", ctypes.c_int64 * 3),
        ("number", ctypes.c_uint64),
        ("subgraph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    ]


class Event(NamedTuple):
    """One op of a run. ``number``: of the op in the file where the kernel is built in, else of XNNPACK's own op."""

    kernel: str
    built_in: bool
    number: int
    us: int


class ProfiledNative(CompiledNative):
    """A compiled model whose runs can be profiled. One thread at a time."""

    def __init__(self, library: str, model: str, threads: int) -> None:
        """Raises RuntimeError where a function fails, AttributeError where the library has no such function."""
        super().__init__(library, model, threads, None, profiled=True)
        self._profiler = ctypes.c_void_p()  # the model's own: it goes with it
        self._call("LiteRtCompiledModelGetProfiler", self._compiled, ctypes.byref(self._profiler))

    def profiled(self) -> tuple[list[Event], int]:
        """Run once; return the ops in the order in which they ran, and the microseconds of the whole run. Raises RuntimeError."""
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        try:
            self.invoke()
        finally:
            self._call("LiteRtStopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        room = (_Event * (4 * count.value + 1))()  # more than is needed: a larger structure must not write beyond it
        ctypes.memset(room, _UNWRITTEN, ctypes.sizeof(room))
        self._call("LiteRtGetProfilerEvents", self._profiler, count, ctypes.byref(room))
        if not _fits(bytes(room), count.value):
            raise RuntimeError("its profiler writes events of another layout")
        whole = [event.elapsed_us for event in room[: count.value] if event.type == _DEFAULT and event.tag == _WHOLE.encode()]
        if len(whole) != 1:
            raise RuntimeError(f"its profiler tells of {len(whole)} runs, expected one")
        events = [
            Event((event.tag or b"").decode("utf-8", "replace"), event.type == BUILT_IN, event.number, event.elapsed_us)
            for event in room[: count.value]
            if event.type in (BUILT_IN, DELEGATE)
        ]
        return events, whole[0]


def _fits(written: bytes, count: int) -> bool:
    """Whether ``count`` events were written, each as long as `_Event`: up to its last field, and nothing behind the last one."""
    size = ctypes.sizeof(_Event)
    inside, behind = written[(count - 1) * size : (count - 1) * size + _Event.source.offset], written[count * size :]
    return count > 0 and inside.strip(bytes([_UNWRITTEN])) != b"" and behind.strip(bytes([_UNWRITTEN])) == b""
