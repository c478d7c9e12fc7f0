"""How much memory there is, and who may have it: what files that anybody wrote make this process allocate is bounded in total."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator

_UNKNOWN_BYTES = 1 << 30  # where the system does not say: a small board
# The limits of a container, by the version of control groups. (A limit that nobody set is "max", or more than there is.)
_GROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


_LARGE_BYTES = 64 << 20


@functools.cache
def total_bytes() -> int:
    """Return the memory that this process can have: the machine's, or less where a limit is set. Asked for once."""
    found = []
    with contextlib.suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for place in _GROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError), open(place, encoding="ascii") as stream:
            found.append(int(stream.read()))
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            limit, _ = resource.getrlimit(kind)
            if limit != resource.RLIM_INFINITY:
                found.append(limit)
    return min((bytes_ for bytes_ in found if bytes_ > 0), default=_UNKNOWN_BYTES)


class Budget:
    """Memory that threads share: each says what it takes, and waits while others have it.

    with budget.taken(bytes_):      # a thread never takes twice
        ...
    """

    def __init__(self, share: int) -> None:
        """share: ``1 / share`` of the memory that there is."""
        self._share = share
        self._used = 0
        self._changed = threading.Condition()

    @property
    def bytes(self) -> int:
        """All of it. What needs more than that must not be begun."""
        return total_bytes() // self._share

    @contextlib.contextmanager
    def taken(self, count: int) -> Iterator[None]:
        """Wait until ``count`` bytes are free (or nobody else has any), and hold them."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + count <= self.bytes)
            self._used += count
        try:
            yield
        finally:
            if count >= _LARGE_BYTES:
                _give_back()
            with self._changed:
                self._used -= count
                self._changed.notify_all()


def _give_back() -> None:
    """Let the system have what was freed: glibc keeps it, for each thread, where blocks are smaller than 32 MiB."""
    with contextlib.suppress(ImportError, OSError, AttributeError, TypeError):
        import ctypes  # not every Python has it

        ctypes.CDLL(None).malloc_trim(0)
