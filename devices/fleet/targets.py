"""What the user calls a target (`devices.boards.target_names`), and the shell that reaches it."""

from __future__ import annotations

from pathlib import Path

from ..boards import target_names
from ..boards.target_names import FORMS
from ..transport.local import LocalShell
from ..transport.shell import Shell
from ..transport.ssh import SshShell, SshTarget

__all__ = ["FORMS", "open_shell", "parse"]


def parse(text: str, *, config: Path | None = None) -> SshTarget | str:
    """Return an SshTarget, or ``local`` or ``virtual:NAME`` as they are. Raises TargetError.

    config: read by ssh instead of ``~/.ssh/config``.
    """
    name = target_names.read(text)
    if name.kind != target_names.SSH:
        return text
    return SshTarget(text=text, host=name.host, user=name.user, port=name.port, config=config)


def open_shell(text: str, *, config: Path | None = None) -> Shell:
    """Return the shell of a target, not yet connected. Raises TargetError; VirtualBoardError for a board that is not running."""
    target = parse(text, config=config)
    if isinstance(target, SshTarget):
        return SshShell(target)
    name = target_names.read(text)
    if name.kind == target_names.LOCAL:
        return LocalShell()
    # Most targets are no virtual boards: 84 ms of processor time, median of 10 fresh processes.
    from ..virtual import boards

    return SshShell(boards.target(name.host))
