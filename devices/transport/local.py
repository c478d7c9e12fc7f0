"""This machine as a target: no connection, otherwise like a board."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import IO

from ..errors import RemoteError
from .shell import CommandResult, finish, quote, start


class LocalShell:
    """Runs commands here."""

    def __init__(self, python: str | None = None) -> None:
        self.name = "local"
        self.python = python or sys.executable

    def connect(self) -> None:
        """Do nothing: this machine is always there."""

    def close(self) -> None:
        """Do nothing: nothing was opened."""

    def run(self, args: Sequence[str], *, timeout_s: float, check: bool = True, stdin: bytes = b"") -> CommandResult:
        """Run a command to its end; see `Shell.run`."""
        quote(args)  # the same arguments are refused as over SSH
        try:
            process = start(args, subprocess.PIPE)
        except OSError as error:
            # What a shell would say: 127 for a command that does not exist.
            if check:
                raise RemoteError(f"local: {args[0]} cannot be run: {error.strerror}") from error
            return CommandResult(
                args=tuple(args), returncode=127, stdout="", stderr=f"{args[0]}: {error.strerror}", duration_s=0.0
            )
        return finish(process, args, where=self.name, timeout_s=timeout_s, stdin=stdin, check=check)

    def open(self, args: Sequence[str], *, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a command with pipes; see `Shell.open`."""
        quote(args)
        try:
            return start(args, stderr)
        except OSError as error:
            raise RemoteError(f"local: {args[0]} cannot be run: {error.strerror}") from error
