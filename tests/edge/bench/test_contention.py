"""Whether a busy machine is told from an idle one: real programs on real cores, and the kernel's files as they are elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge
from edge.bench import contention
from edge.bench.contention import Contention, Usage
from edge.bench.latency import benchmark
from edge.runtime.pool import cores

SPIN = "while True: pass"


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Two programs per core that do nothing but run."""
    programs = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(2 * cores())]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this kernel keeps no schedstat")
def test_a_benchmark_beside_other_programs_is_not_this_machines_speed(tiny_int8_artefact: Path) -> None:
    model = edge.load(tiny_int8_artefact, threads=1)
    with busy():
        report = benchmark(model, min_runs=10, min_seconds=1.0)
    plain = report.to_dict()
    assert plain["quotable"] is False and any("other programs" in reason for reason in plain["not_quotable_because"])
    assert plain["thermal"]["contention"]["waited"] > contention.MOST_WAITED
    assert "NOT this machine's speed" in report.to_text()
    json.dumps(plain, allow_nan=False)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this kernel keeps no schedstat")
def test_the_time_that_threads_waited_is_counted() -> None:
    first = contention.look()
    with busy():
        end = time.perf_counter() + 0.5
        while time.perf_counter() < end:
            pass
    last = contention.look()
    assert first.ran_s is not None and last.ran_s is not None and last.ran_s > first.ran_s
    found = contention.between(first, last)
    assert found.waited is not None and 0.05 < found.waited < 1.0


def usage(at_s: float, ran: float | None, waited: float | None, stalled: float | None, stolen: float | None) -> Usage:
    return Usage(
        at_s=at_s,
        ran_s=ran,
        waited_s=waited,
        stalled_s=stalled,
        stolen_s=stolen,
        total_s=4 * at_s,
        involuntary_switches=int(at_s),
    )


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (usage(10.0, 9.9, 0.1, 0.3, 0.0), None),
        (usage(10.0, 5.0, 5.0, 9.0, 0.0), "waited for a core 50%"),
        (usage(10.0, None, None, 9.0, 0.0), "competed for the cores 90%"),
        (usage(10.0, 9.9, 0.1, 9.0, 0.0), None),  # others queue behind each other on other cores
        (usage(10.0, 9.9, 0.1, None, 8.0), "hypervisor took 20%"),
        (usage(10.0, None, None, None, None), None),
    ],
)
def test_what_speaks_against_a_measurement(last: Usage, expected: str | None) -> None:
    found = contention.between(usage(0.0, 0.0, 0.0, 0.0, 0.0), last)
    if expected is None:
        assert found.objections == ()
    else:
        assert len(found.objections) == 1 and expected in found.objections[0]


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    first, last = contention.look(tmp_path), contention.look(tmp_path)
    assert (first.ran_s, first.waited_s, first.stalled_s, first.stolen_s) == (None, None, None, None)
    found = contention.between(first, last)
    assert (found.waited, found.stalled, found.stolen) == (None, None, None) and found.objections == ()


def test_the_files_of_the_kernel_are_read_as_documented(tmp_path: Path) -> None:
    for name, text in (
        ("self/task/1/schedstat", "2000000000 500000000 7\n"),
        ("self/task/2/schedstat", "1000000000 500000000 7\n"),
        ("self/task/3/schedstat", "nonsense\n"),
        (
            "pressure/cpu",
            "some avg10=0.25 avg60=3.15 avg300=1.39 total=10206557\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
        ),
        ("stat", "cpu  100 0 100 500 100 0 100 100 50 50\ncpu0 1 2 3\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = contention.look(tmp_path)
    ticks = os.sysconf("SC_CLK_TCK")
    assert (found.ran_s, found.waited_s, found.stalled_s) == (3.0, 1.0, 10.206557)
    assert (found.stolen_s, found.total_s) == (100 / ticks, 1000 / ticks)  # guest time is part of user time


def test_contention_is_plain_data() -> None:
    found = Contention(waited=0.5, stalled=None, stolen=None, load=None, involuntary_switches=3)
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
