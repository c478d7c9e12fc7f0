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
