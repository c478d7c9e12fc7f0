from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from edge.runtime.pool import Pool, cores, default_workers, ordered


def test_results_come_in_order_whatever_finishes_first() -> None:
    # Every even item waits until the odd one after it is finished.
    finished = [threading.Event() for _ in range(40)]

    def work(i: int) -> int:
        if i % 2 == 0:
            assert finished[i + 1].wait(timeout=30)
        finished[i].set()
        return i * i

    assert list(ordered(work, range(40), 2)) == [i * i for i in range(40)]


def test_the_number_of_threads_does_not_change_the_results() -> None:
    expected = [i * 3 for i in range(100)]
    assert all(list(ordered(lambda i: i * 3, range(100), threads)) == expected for threads in (1, 2, 7))


def test_few_items_are_taken_in_advance() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for i in range(10_000):
            taken += 1
            yield i

    results = ordered(lambda i: i, items(), 2)
    assert [next(results) for _ in range(10)] == list(range(10))
    assert taken <= 10 + 2 * 4
    results.close()  # type: ignore[attr-defined]


def test_an_error_is_raised_at_its_turn_and_the_threads_end() -> None:
    def work(i: int) -> int:
        if i == 5:
            raise ValueError("five")
        return i

    before = threading.active_count()
    results = ordered(work, range(100), 3)
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(ValueError, match="five"):
        next(results)
    assert threading.active_count() == before


def test_no_items() -> None:
    assert list(ordered(lambda i: i, [], 3)) == []


def test_a_resource_is_used_by_one_thread_at_a_time() -> None:
    class Counter:
        busy = False
        used = 0

    def use(counter: Counter) -> None:
        assert not counter.busy
        counter.busy = True
        counter.used += 1
        counter.busy = False

    counters = [Counter(), Counter()]
    pool = Pool(counters)
    assert pool.size == 2
    list(ordered(lambda _: pool.use(use), range(500), 4))
    assert sum(counter.used for counter in counters) == 500


def test_a_resource_comes_back_after_an_error() -> None:
    pool = Pool(["only"])
    with pytest.raises(KeyError):
        pool.use(lambda _: dict[str, str]()["missing"])
    assert pool.use(str.upper) == "ONLY"


def test_workers_are_bounded_by_cores_and_memory() -> None:
    assert default_workers(1) == cores() >= 1
    assert default_workers(1 << 60) == 1
