"""A thread that acts when nobody has fed it for too long: what keeps a stalled program from driving on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from ..errors import UsageError


class Watchdog:
    """Calls ``on_stall`` in a thread of its own when `feed` was not called for ``deadline_s`` seconds, and again every
    ``deadline_s`` until it is. Starts to count when it is entered.

        with Watchdog(0.5, brake) as watchdog:
            while True:
                work()
                watchdog.feed()

    It does not depend on what the other threads do, only on the interpreter's lock; ``invoke()``, reading and waiting release it.
    An exception in ``on_stall`` does not end the watchdog; the first one is kept in ``error``.
    """

    def __init__(self, deadline_s: float, on_stall: Callable[[], None]) -> None:
        if not 0.0 < deadline_s < threading.TIMEOUT_MAX:
            raise UsageError(f"a deadline of {deadline_s} s, expected more than 0")
        self.deadline_s = deadline_s
        self.stalls = 0
        self.error: Exception | None = None
        self._on_stall = on_stall
        self._changed = threading.Condition()
        self._closing = False
        self._hungry = False
        self._due = 0.0
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._due = time.monotonic() + self.deadline_s
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(2 * self.deadline_s)

    def feed(self) -> None:
        """Say that all is well, for ``deadline_s`` more seconds."""
        with self._changed:
            self._due = time.monotonic() + self.deadline_s
            self._hungry = False

    @property
    def overdue(self) -> bool:
        """Whether the last `feed` is longer ago than the deadline."""
        with self._changed:
            return self._hungry

    def _watch(self) -> None:
        while True:
            with self._changed:
                # A feed only moves the due time: the thread wakes at the old one and sleeps on.
                while not self._closing and (remaining := self._due - time.monotonic()) > 0.0:
                    self._changed.wait(remaining)
                if self._closing:
                    return
                self.stalls += not self._hungry
                self._hungry = True
                self._due = time.monotonic() + self.deadline_s
            try:
                self._on_stall()
            except Exception as error:  # noqa: BLE001 - a receiver that fails once must not leave the rest unwatched
                self.error = self.error or error
