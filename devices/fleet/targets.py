"""What the user calls a target: ``local``, ``[user@]host[:port]`` or ``virtual:NAME``."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import TargetError
from ..transport.local import LocalShell
from ..transport.shell import Shell
from ..transport.ssh import SshShell, SshTarget

FORMS = "local, [user@]host[:port] (an ssh destination) or virtual:NAME"
_VIRTUAL = "virtual:"
_PLAIN = re.compile(r"(?:(?P<user>[^@\s:/]+)@)?(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^@\s:/\[\]]+)(?::(?P<port>\d{1,5}))?")


def parse(text: str, *, config: Path | None = None) -> SshTarget | str:
    """Return an SshTarget, or ``local`` or ``virtual:NAME`` as they are. Raises TargetError.

    config: read by ssh instead of ``~/.ssh/config``.
    """
    if text == "local" or (text.startswith(_VIRTUAL) and len(text) > len(_VIRTUAL)):
        return text
    match = _PLAIN.fullmatch(text)
    if match is None or not text.isprintable():
        raise TargetError(f"{text!r} is no target; expected {FORMS}")
    user, host, port = match["user"], match["host"].strip("[]"), match["port"]
    # A name like an option would be one to ssh; OpenSSH refuses these characters in user names for the shells behind it.
    if host.startswith("-") or (user or "").startswith("-") or re.search(r"[$`'\"\\;&<>|(){}*?!]", f"{user or ''}{host}"):
        raise TargetError(f"{text!r} is no target: such characters cannot be in a user or host name; expected {FORMS}")
    if port is not None and not 0 < int(port) < 65536:
        raise TargetError(f"{text!r} is no target: port {port} does not exist")
    return SshTarget(text=text, host=host, user=user, port=int(port) if port else None, config=config)


def open_shell(text: str, *, config: Path | None = None) -> Shell:
    """Return the shell of a target, not yet connected. Raises TargetError; VirtualBoardError for a board that is not running."""
    target = parse(text, config=config)
    if isinstance(target, SshTarget):
        return SshShell(target)
    if target == "local":
        return LocalShell()
    # Most targets are no virtual boards: 84 ms of processor time, median of 10 fresh processes.
    from ..virtual import boards

    return SshShell(boards.target(target.removeprefix(_VIRTUAL)))
