"""The process of one step: edgekit's command line, which ends when the process that began it is gone."""

from __future__ import annotations

import os
import signal
import sys
import threading

from edge.cli import main


def serve(descriptor: str, *words: str) -> None:
    """Run one command line. ``descriptor``: a pipe that nobody writes to, and that ends with the process that began this one."""
    threading.Thread(target=_end_with, args=(int(descriptor),), daemon=True).start()
    sys.exit(main(words))


def _end_with(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)  # as `timeout` does: the command puts everything in order
