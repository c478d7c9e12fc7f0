"""Room on a board's disk: asked for before anything is sent, and how much of it pictures and models may keep."""

from __future__ import annotations

import os

from ..errors import BoardRefusedError, DeviceError
from .session import Session

MARGIN_BYTES = 64 << 20  # left free on the board's disk
CAP_VARIABLE = "EDGEKIT_BOARD_CACHE_MIB"
_REMOVING_S = 600.0


def make(
    session: Session, needed_bytes: int, *, environment: str | None = None, wheels: str | None = None, hint: str = ""
) -> None:
    """See to it that the board has room for so many bytes: what is not in use there makes way, least recently used first.

    environment, wheels: the ones in use, where they are known. hint: what else the user can do, for the message.

    Raises BoardRefusedError where that is not enough.
    """
    wanted = needed_bytes + MARGIN_BYTES
    answer = session.ask("make_room", needed_bytes=wanted, environment=environment, wheels=wheels, timeout_s=_REMOVING_S)
    free = int(answer["free_bytes"])
    if free < wanted:
        raise BoardRefusedError(
            f"{session.shell.name}: {free >> 20} MiB free where {session.hello.get('root')} lies, {-(-wanted >> 20)} MiB are needed;"
            f" free some space (df -h, sudo apt-get clean){hint} or choose another folder (--folder)"
        )


def tidy(session: Session, environment: str, cap_bytes: int | None) -> None:
    """Remove what measuring with that environment has no use for. cap_bytes: for `trim`."""
    session.ask("tidy", environment=environment, cap_bytes=cap_bytes, timeout_s=_REMOVING_S)


def trim(session: Session) -> None:
    """Remove what is kept beyond the cap, once all is there that a command needs: that stays."""
    session.ask("trim", timeout_s=_REMOVING_S)


def cap_bytes() -> int | None:
    """Return how much a board may keep, None for its own choice. Raises DeviceError where the variable is no number."""
    text = os.environ.get(CAP_VARIABLE, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise DeviceError(f"{CAP_VARIABLE} is {text!r}, expected a whole number of MiB, as in {CAP_VARIABLE}=4096")
    return int(text) << 20
