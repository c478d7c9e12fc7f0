"""One network opened in one way by whatever runtime this Python has: ``runtimes_worker.py WAY FILE INPUTS.npz THREADS CACHE COMPILED.py``.

Needs numpy and the runtime, and nothing of edgekit but one file. Says as JSON what it answered and what it takes; after that each line on
stdin is how many runs to time, and is answered by their nanoseconds of processor time. INPUTS.npz: arrays ``SAMPLE/POSITION``.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

# Sets the inputs, runs, and returns the outputs in the order of the file.
Opened = tuple[Callable[[list[Any]], None], Callable[[], None], Callable[[], list[Any]]]


def interpreter(file: str, threads: int, cache: str, compiled: str) -> Opened:
    """The classic interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    native = Interpreter(model_path=file, num_threads=threads)
    native.allocate_tensors()
    into, out = ([one["index"] for one in side] for side in (native.get_input_details(), native.get_output_details()))

    def feed(arrays: list[Any]) -> None:
        for index, array in zip(into, arrays, strict=True):
            native.set_tensor(index, array)

    return feed, native.invoke, lambda: [native.get_tensor(index) for index in out]


def compiled_model(file: str, threads: int, cache: str, compiled: str) -> Opened:
    """The package's own ``CompiledModel``; threads only where the release lets one say so."""
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.interpreter import Interpreter

    shapes = [
        (int(np.prod(one["shape"])), one["dtype"], one["shape"])
        for one in Interpreter(model_path=file, num_threads=1).get_output_details()
    ]
    try:
        from ai_edge_litert.options import CpuOptions, Options
    except ImportError:
        model = CompiledModel.from_file(file)
    else:
        model = CompiledModel.from_file(file, options=Options(cpu_options=CpuOptions(num_threads=threads)))
    inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)

    def feed(arrays: list[Any]) -> None:
        for buffer, array in zip(inputs, arrays, strict=True):
            buffer.write(array)

    def read() -> list[Any]:
        found = []
        for buffer, (size, dtype, shape) in zip(outputs, shapes, strict=True):
            found.append(np.asarray(buffer.read(size, dtype)).reshape(shape))
        return found

    return feed, lambda: model.run_by_index(0, inputs, outputs), read


def packed_weights(file: str, threads: int, cache: str, compiled: str) -> Opened:
    """A compiled model with packed weights in a file, as edgekit opens it; the first process makes the file."""
    import ai_edge_litert

    spec = importlib.util.spec_from_file_location("compiled", compiled)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    library = os.path.join(ai_edge_litert.__path__[0], "libLiteRt.so")
    made = os.path.exists(cache)
    native = module.CompiledNative(library, file, threads, os.open(cache, os.O_RDONLY) if made else cache)
    if not made:
        native.close()
        if not os.path.exists(cache):
            raise RuntimeError("the library made no file of packed weights")
        return packed_weights(file, threads, cache, compiled)
    into, out = ([one["index"] for one in side] for side in (native.get_input_details(), native.get_output_details()))

    def feed(arrays: list[Any]) -> None:
        for index, array in zip(into, arrays, strict=True):
            native.set_tensor(index, array)

    return feed, native.invoke, lambda: [native.get_tensor(index) for index in out]


WAYS = {"Interpreter": interpreter, "CompiledModel": compiled_model, "packed weights": packed_weights}


def mib(file: str, name: str) -> float:
    """A figure of ``/proc`` in MiB."""
    with open(file, encoding="ascii") as stream:
        return next(int(line.split()[1]) / 1024 for line in stream if line.startswith(name))


def main() -> int:
    """Open, answer, and time on demand."""
    way, file, inputs, threads, cache, compiled = sys.argv[1:]
    with np.load(inputs, allow_pickle=False) as kept:
        samples: dict[str, list[Any]] = {}
        for name in sorted(kept.files):
            samples.setdefault(name.partition("/")[0], []).append(kept[name])
    try:
        feed, run, read = WAYS[way](file, int(threads), cache, compiled)
        answers = {}
        for name, arrays in samples.items():
            feed(arrays)
            run()
            answers[name] = [base64.b64encode(np.ascontiguousarray(array).tobytes()).decode() for array in read()]
    except Exception as error:  # whatever a release does wrong is what the table is there for
        print(json.dumps({"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}), flush=True)
        return 0
    memory = {
        "peak_mib": mib("/proc/self/status", "VmHWM"),
        "private_dirty_mib": mib("/proc/self/smaps_rollup", "Private_Dirty"),
    }
    print(json.dumps({"answers": answers, **memory}), flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            begin = time.process_time_ns()
            run()
            times.append(time.process_time_ns() - begin)
        print(json.dumps(times), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
