"""Images per second of ``edge.validate`` as a share of bare ``invoke()`` on all cores, on tensors decoded beforehand.

    python benchmarks/validation_throughput.py flowers.int8.tflite --images test/ [--limit 300] [--rounds 5]

Side by side: every round runs each arrangement once over the same images, so that a slow minute of the machine hits all of them.
The ratio of a round is validate over the fastest bare arrangement of that round; printed is the median of the rounds. Bare
arrangements: one single-threaded interpreter per core in threads, the same in processes, and one interpreter with all threads.

Also given is the processor time per image of validate and of bare threads: their ratio says the same, and stays true when other
work keeps the machine busy. Appends to ``benchmarks/results/validation_throughput.json``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import append

import edge
from edge.data.dataset import LabelledImages
from edge.runtime.interpreter import LoadedInterpreter, open_interpreter
from edge.runtime.pool import cores

Tensors = NDArray[Any]
Measured = tuple[float, float]  # seconds by the clock, seconds of processor time
BARE = ("threads", "processes", "one interpreter")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    model = edge.load(args.model, threads=1)
    dataset = LabelledImages.open(args.images, unlabelled=True).subset(args.limit)
    tensors = np.concatenate([model.preprocess(item.path) for item in dataset])
    arrangements: dict[str, Callable[[], Measured]] = {
        "threads": lambda: bare(args.model, tensors, workers=cores(), threads=1),
        "processes": lambda: bare_processes(args.model, tensors, workers=cores()),
        "one interpreter": lambda: bare(args.model, tensors, workers=1, threads=cores()),
        "validate": lambda: validated(model, dataset),
    }
    rates: dict[str, list[float]] = {name: [] for name in arrangements}
    spent: dict[str, list[float]] = {name: [] for name in arrangements}
    for _ in range(args.rounds):
        for name, measure in arrangements.items():
            elapsed_s, cpu_s = measure()
            rates[name].append(len(dataset) / elapsed_s)
            spent[name].append(1000 * cpu_s / len(dataset))
    ratios = [rates["validate"][i] / max(rates[name][i] for name in BARE) for i in range(args.rounds)]
    work = [mine / bare_ms for mine, bare_ms in zip(spent["validate"], spent["threads"], strict=True)]
    ratio, work_ratio = statistics.median(ratios), 1 / statistics.median(work)
    for name, values in rates.items():
        print(f"{name:16} {statistics.median(values):8.1f} images/s   (rounds: {', '.join(f'{v:.1f}' for v in values)})")
    print(f"validate over the fastest bare arrangement: {ratio:.3f}   (rounds: {', '.join(f'{r:.3f}' for r in ratios)})")
    cpu_ms = {name: round(statistics.median(spent[name]), 2) for name in ("threads", "validate")}
    print(f"processor time per image: bare {cpu_ms['threads']} ms, validate {cpu_ms['validate']} ms, ratio {work_ratio:.3f}")
    figures = {
        "model": args.model.name,
        "images": len(dataset),
        "rounds": args.rounds,
        "cores": cores(),
        "images_per_second": {name: round(statistics.median(values), 1) for name, values in rates.items()},
        "ratio": round(ratio, 3),
        "ratios": [round(r, 3) for r in ratios],
        "cpu_ms_per_image": cpu_ms,
        "cpu_ratio": round(work_ratio, 3),
    }
    append("validation_throughput", figures)
    return 0


def validated(model: edge.Model, dataset: LabelledImages) -> Measured:
    """One validation as a user runs it: reading, hashing, decoding, running, scoring, journal, report."""
    with TemporaryDirectory() as home:
        os.environ["EDGEKIT_HOME"] = home
        timing = edge.validate(model, dataset).timing
    return timing["seconds"], timing["cpu_seconds"]


def bare(path: Path, tensors: Tensors, *, workers: int, threads: int) -> Measured:
    ready = [open_interpreter(path, threads=threads) for _ in range(workers)]
    crew = [threading.Thread(target=run, args=(interpreter, tensors[i::workers])) for i, interpreter in enumerate(ready)]
    start, worked = time.perf_counter(), time.process_time()
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    return time.perf_counter() - start, time.process_time() - worked


def bare_processes(path: Path, tensors: Tensors, *, workers: int) -> Measured:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(workers + 1)
    crew = [context.Process(target=process, args=(path, tensors[i::workers], barrier)) for i in range(workers)]
    for worker in crew:
        worker.start()
    barrier.wait()
    start = time.perf_counter()
    barrier.wait()
    elapsed_s = time.perf_counter() - start
    for worker in crew:
        worker.join()
    return elapsed_s, 0.0  # their processor time is not this process's


def process(path: Path, tensors: Tensors, barrier: Any) -> None:
    interpreter = open_interpreter(path, threads=1)
    barrier.wait()
    run(interpreter, tensors)
    barrier.wait()


def run(interpreter: LoadedInterpreter, tensors: Tensors) -> None:
    for tensor in batches(tensors):
        interpreter.set_input(tensor)
        interpreter.invoke()
        interpreter.output()


def batches(tensors: Tensors) -> Iterator[Tensors]:
    for i in range(len(tensors)):
        yield tensors[i : i + 1]


if __name__ == "__main__":
    raise SystemExit(main())
