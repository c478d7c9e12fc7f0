"""Command lines of this machine's Python for our own modules and for pip."""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[1])


def command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs ``module`` as ``python -m`` does, but never takes a file of the working directory for it.

    edgekit's own packages are those that lie beside this one, wherever another copy is installed.
    """
    start = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module(sys.argv.pop(1), {}, '__main__', True)"
    return [sys.executable, "-P", "-c", start, _ROOT, module, *arguments]
