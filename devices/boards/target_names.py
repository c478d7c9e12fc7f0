"""What the user calls a board: ``local``, ``[user@]host[:port]`` or ``virtual:NAME``. Words only; nothing is looked up."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import TargetError

FORMS = "local, [user@]host[:port] (an ssh destination) or virtual:NAME"
LOCAL, VIRTUAL, SSH = "local", "virtual", "ssh"
_VIRTUAL = "virtual:"
_PLAIN = re.compile(r"(?:(?P<user>[^@\s:/]+)@)?(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^@\s:/\[\]]+)(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetName:
    """``kind``: LOCAL, VIRTUAL (``host`` is the board's name) or SSH."""

    kind: str
    host: str = ""
    user: str | None = None
    port: int | None = None


def read(text: str) -> TargetName:
    """Return what ``text`` names. Raises TargetError."""
    if text == LOCAL:
        return TargetName(kind=LOCAL)
    if text.startswith(_VIRTUAL) and len(text) > len(_VIRTUAL):
        return TargetName(kind=VIRTUAL, host=text.removeprefix(_VIRTUAL))
    match = _PLAIN.fullmatch(text)
    if match is None or not text.isprintable():
        raise TargetError(f"{text!r} is no target; expected {FORMS}")
    user, host, port = match["user"], match["host"].strip("[]"), match["port"]
    # A name like an option would be one to ssh; OpenSSH refuses these characters in user names for the shells behind it.
    if host.startswith("-") or (user or "").startswith("-") or re.search(r"[$`'\"\\;&<>|(){}*?!]", f"{user or ''}{host}"):
        raise TargetError(f"{text!r} is no target: such characters cannot be in a user or host name; expected {FORMS}")
    if port is not None and not 0 < int(port) < 65536:
        raise TargetError(f"{text!r} is no target: port {port} does not exist")
    return TargetName(kind=SSH, host=host, user=user, port=int(port) if port else None)
