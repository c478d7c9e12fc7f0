"""Ending on request: what `systemctl stop` and `timeout` send ends work as Ctrl-C does, with everything put in order."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM: somebody else ends this process, and waits a little before SIGKILL."""


@contextlib.contextmanager
def termination_interrupts() -> Iterator[None]:
    """Raise Terminated in the main thread at SIGTERM, as long as the block lasts. Elsewhere it changes nothing.

    Once only: what is put in order afterwards is not interrupted by a second SIGTERM. Where somebody handles SIGTERM already, or
    ignores it, that stays.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    if before is not signal.SIG_DFL:
        yield
        return

    def interrupt(*_: Any) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)
        raise Terminated

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
