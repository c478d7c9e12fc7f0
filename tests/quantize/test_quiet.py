"""TensorFlow's chatter is held back, ours and errors are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY), **environment}
    return subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, timeout=120, check=False)


def test_output_from_python_and_from_descriptor_2_is_held_back_and_kept() -> None:
    script = (
        "import os, sys, logging, warnings\n"
        "from quantize.quiet import quiet\n"
        "with quiet() as chatter:\n"
        "    print('printed')\n"
        "    os.write(2, b'E0000 from C++: no such op\\n')\n"
        "    logging.getLogger('tensorflow').warning('logged')\n"
        "    warnings.warn('warned')\n"
        "    print('progress', file=sys.stderr)\n"
        "print('after')\n"
        "print(chatter.errors())\n"
    )
    result = run(script)
    assert result.stdout == "after\nE0000 from C++: no such op\n"
    assert result.stderr == "progress\n"


def test_what_was_held_back_is_shown_when_something_unexpected_happens() -> None:
    result = run("import os\nfrom quantize.quiet import quiet\nwith quiet():\n    os.write(2, b'from C++\\n')\n    1 / 0\n")
    assert result.stderr.startswith("from C++\nTraceback")


def test_a_users_mistake_stays_one_line() -> None:
    script = (
        "import os\nfrom quantize.errors import LoadError\nfrom quantize.quiet import quiet\n"
        "try:\n    with quiet():\n        os.write(2, b'from C++\\n')\n        raise LoadError('x')\n"
        "except LoadError:\n    pass\n"
    )
    assert run(script).stderr == ""


def test_nested_blocks_and_handlers_made_inside_outlive_them() -> None:
    script = (
        "import logging, os, sys\n"
        "from quantize.quiet import quiet\n"
        "with quiet():\n"
        "    with quiet():\n"
        "        handler = logging.StreamHandler(sys.stderr)\n"
        "        os.write(2, b'hidden')\n"
        "    os.write(2, b'hidden too')\n"
        "handler.emit(logging.LogRecord('x', 40, 'f', 1, 'still works', (), None))\n"
        "os.write(2, b'descriptor 2 again')\n"
    )
    assert run(script).stderr == "still works\ndescriptor 2 again"


def test_all_of_it_can_be_asked_for() -> None:
    script = "import os\nfrom quantize.quiet import quiet\nwith quiet():\n    os.write(2, b'from C++')\n"
    assert run(script, EDGEKIT_TENSORFLOW_LOG="1").stderr == "from C++"


def test_levels_are_restored() -> None:
    import logging

    from quantize.quiet import quiet

    before = logging.getLogger("tensorflow").level
    with pytest.raises(ZeroDivisionError), quiet():
        assert logging.getLogger("tensorflow").level == logging.ERROR
        _ = 1 / 0
    assert logging.getLogger("tensorflow").level == before


OVERLAPPING = """
import contextlib, logging, os, sys, threading, warnings
from quantize.quiet import quiet
from edge.runtime.interpreter import _quiet_stderr

def state():
    level = logging.getLogger('tensorflow').level
    return os.fstat(2), sys.stderr, sys.stdout, list(warnings.filters), level, len(os.listdir('/proc/self/fd'))

before = state()
kinds = {kinds}
inside = [threading.Event() for _ in kinds]
leave = [threading.Event() for _ in kinds]

def hold(number):
    with kinds[number]():
        inside[number].set()
        assert leave[number].wait(60)

threads = [threading.Thread(target=hold, args=(number,)) for number in range(len(kinds))]
for number, thread in enumerate(threads):
    thread.start()
    assert inside[number].wait(60)
    os.write(2, b'held back\\n')
for number in {order}:
    leave[number].set()
    threads[number].join()
after = state()
assert after == before, (before, after)
os.write(2, b'descriptor 2 again')
print('sys.stdout too')
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2, 1)])
def test_blocks_that_overlap_in_threads_give_everything_back(order: tuple[int, ...]) -> None:
    result = run(OVERLAPPING.format(kinds="[quiet, quiet, quiet]", order=list(order)))
    assert (result.stderr, result.stdout) == ("descriptor 2 again", "sys.stdout too\n")


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_so_do_blocks_that_overlap_with_the_loading_of_a_model(order: tuple[int, ...]) -> None:
    result = run(OVERLAPPING.format(kinds="[quiet, _quiet_stderr]", order=list(order)))
    assert result.stderr.endswith("descriptor 2 again") and "Error" not in result.stderr
    assert result.stdout == "sys.stdout too\n"
