"""All cores at work on a stream of images: decoding, several interpreters at once, results in the order of the input.

Threads, not processes: reading, decoding and ``invoke()`` all release Python's lock, so threads reach the same images per second
(benchmarks/validation_throughput.py measures both), the model file is in memory once, and nothing is pickled or spawned. One
interpreter per worker with one thread each beats one interpreter with many threads, whose cores wait for each other at every op.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Resource = TypeVar("Resource")

_WAITING_PER_THREAD = 4  # items taken in advance: enough to keep every core busy, few enough to bound the memory


class Pool(Generic[Resource]):
    """A fixed set of resources (interpreters), each used by one thread at a time."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        # Last in, first out: the one used last is still in the processor's cache.
        self._free: queue.LifoQueue[Resource] = queue.LifoQueue()
        self.size = 0
        for resource in resources:
            self._free.put(resource)
            self.size += 1

    def use(self, action: Callable[[Resource], Result]) -> Result:
        """Return ``action(resource)``; waits until one is free."""
        resource = self._free.get()
        try:
            return action(resource)
        finally:
            self._free.put(resource)


def ordered(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yield ``work(item)`` for every item, in the order of ``items``, computed by ``threads`` threads.

    At most a few items per thread are under way at any time, whatever their number. An exception in ``work`` is raised here, at
    its item's turn. When the caller stops early (Ctrl-C too) the threads end after the item that each is at.
    """
    todo: queue.SimpleQueue[tuple[int, Item] | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Result | None, BaseException | None]] = queue.SimpleQueue()
    stop = threading.Event()

    def serve() -> None:
        while (task := todo.get()) is not None and not stop.is_set():
            number, item = task
            try:
                done.put((number, work(item), None))
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                done.put((number, None, error))

    crew = [threading.Thread(target=serve, name=f"inference-{i}", daemon=True) for i in range(threads)]
    for thread in crew:
        thread.start()
    try:
        source = enumerate(items)
        early: dict[int, tuple[Result | None, BaseException | None]] = {}
        given = taken = 0
        exhausted = False
        while True:
            while not exhausted and given - taken < threads * _WAITING_PER_THREAD:
                task = next(source, None)
                exhausted = task is None
                if task is not None:
                    todo.put(task)
                    given += 1
            if exhausted and taken == given:
                return
            while taken not in early:
                number, result, error = done.get()
                early[number] = result, error
            result, error = early.pop(taken)
            taken += 1
            if error is not None:
                raise error
            yield result  # type: ignore[misc]  # a Result, as there is no error
    finally:
        stop.set()
        for _ in crew:
            todo.put(None)
        for thread in crew:
            thread.join()


def cores() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_workers(bytes_each: int) -> int:
    """Return one worker per core, fewer where the free memory would not hold an interpreter of ``bytes_each`` for each."""
    free = free_memory_bytes()
    return cores() if free is None else max(1, min(cores(), free // max(bytes_each, 1)))


def free_memory_bytes() -> int | None:
    """Return what the system could give to a process now, None where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            for line in stream:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None
