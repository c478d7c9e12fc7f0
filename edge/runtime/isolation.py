"""Tries a file out in another process: load, allocate, one run. A model that crashes or hangs the interpreter ends only that one."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

from ..errors import InterpreterError
from ..system.child import Child, ChildDiedError, Message, answer_requests

TIMEOUT_S = 120.0
ENDED = "the system ended its first run (SIGKILL), as it does where memory runs out"
"""What `Prober.try_file` answers then: it says nothing about the file."""

_GIB = 1 << 30
_LEAST_BYTES = 2 * _GIB  # of addresses, not of memory: an interpreter with its threads reserves more than a small board has


class Prober(Child):
    """A process that tries files out. Started on first use, and again after a file has taken it down.

    with Prober() as prober:
        problem = prober.try_file("model.tflite")    # None: it loads and runs
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        super().__init__("edge.runtime.isolation", str(timeout_s), timeout_s=timeout_s)

    def try_file(self, path: str | os.PathLike[str], *, kernels: str = "optimized") -> str | None:
        """Return None if the model loads and runs, else what is wrong with it, in a few words.

        Raises InterpreterError only if the process cannot be started at all.
        """
        try:
            answer, _ = self.ask({"path": str(Path(path).resolve()), "delegate": None, "kernels": kernels})
        except TimeoutError:
            return f"it does not finish its first run within {self.timeout_s:g} s"
        except ChildDiedError as died:
            return ENDED if died.how == "SIGKILL" else f"it takes the interpreter down ({died.how})"
        return None if answer["problem"] is None else str(answer["problem"])


def serve(timeout_s: str) -> None:
    """Answer requests on stdin until it ends. Runs in the other process only."""

    def answer(request: dict[str, Any], payload: list[bytes]) -> Message:
        if request["delegate"] is None:  # a device's library maps what it likes
            limit(request["path"], float(timeout_s))
        return {"problem": _try_out(request["path"], request["delegate"], request.get("kernels", "optimized"))}, []

    answer_requests(answer)


def _try_out(path: str, delegate: str | None, kernels: str) -> str | None:
    # Only the other process needs them: 116 ms of processor time, median of 10 fresh processes.
    import numpy as np

    from . import interpreter

    try:
        loaded = interpreter.open_interpreter(path, delegate=delegate, kernels=kernels)
        loaded.run(np.zeros(spec.shape, spec.dtype) for spec in loaded.inputs)
    except InterpreterError as error:
        return str(error).removeprefix(f"{path}: ")
    except (ValueError, TypeError, RuntimeError, MemoryError) as error:
        return f"its tensors cannot be read or written ({error})"
    return None


def limit(path: str, timeout_s: float) -> None:
    """Bound what a broken model can take: memory, and time (should the parent be gone)."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        resource.setrlimit(resource.RLIMIT_AS, (min(max(physical, _LEAST_BYTES), 4 * _GIB + 8 * os.path.getsize(path)), hard))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as first:
        first.write("1000")  # where memory runs out, this process is what the kernel ends
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(timeout_s) + 10)
