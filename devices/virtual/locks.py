"""What only one process at a time may make: templates and boards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock ``path``, which is made and stays. Another process that has it is waited for, which is said."""
    import fcntl  # not on Windows, where boards can be named all the same

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"waiting for another process that is making the same ({path})")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
