"""Holding back what native code writes to descriptor 2: for blocks that nest, and that overlap in several threads.

The descriptor belongs to the whole process. Whoever comes last has it; whoever leaves, in whatever order, hands it to the one that
came before and is still there, and the last one out gives the terminal back.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_held_by: list[int] = []
_terminal: int | None = None


@contextlib.contextmanager
def diverted(target: int) -> Iterator[int | None]:
    """Point descriptor 2 at the open file ``target`` and give a descriptor of the real one; None where the process has none.

    The real one stays open until the last of all blocks is left.
    """
    real = _enter(target)
    try:
        yield real
    finally:
        if real is not None:
            _leave(target)


def _enter(target: int) -> int | None:
    global _terminal
    with _lock:
        if _terminal is None:
            try:
                _terminal = os.dup(2)
            except OSError:
                return None
        _held_by.append(target)
        os.dup2(target, 2)
        return _terminal


def _leave(target: int) -> None:
    global _terminal
    with _lock:
        _held_by.remove(target)
        assert _terminal is not None
        os.dup2(_held_by[-1] if _held_by else _terminal, 2)
        if not _held_by:
            os.close(_terminal)
            _terminal = None
