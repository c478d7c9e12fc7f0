"""What was asked for wrongly, looked for before anything heavy is loaded or written, and told in one answer.

A command sets ``mistakes``, a function of its arguments and a `Mistakes`, beside ``run``; the root calls it first. What it checks is
cheap, and never stricter than what is checked again later, where the data are at hand.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from ..errors import EdgeError, OutputError, SeveralErrors

_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")


class Mistakes:
    """Errors that were met so far; each is told once."""

    def __init__(self) -> None:
        self._errors: list[EdgeError] = []

    def attempt(self, check: Callable[_Given, _Found], *args: _Given.args, **kwargs: _Given.kwargs) -> _Found | None:
        """Return what ``check`` returns, or keep the error that it raises and return None."""
        try:
            return check(*args, **kwargs)
        except EdgeError as error:
            if str(error) not in map(str, self._errors):
                self._errors.append(error)
            return None

    def tell(self) -> None:
        """Raise the error that was kept, or SeveralErrors of all; nothing where there is none."""
        if len(self._errors) > 1:
            raise SeveralErrors(self._errors)
        if self._errors:
            raise self._errors[0]


def check_out_folder(path: str | os.PathLike[str]) -> None:
    """Raise OutputError where a folder for outputs cannot be one: a file has its name, or the folder above takes no new ones."""
    there = _existing(Path(path))
    if not there.is_dir():
        raise OutputError(f"{path}: cannot be written to ({there} is no folder); choose another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: cannot be written to (Permission denied); choose another place")


def check_free(path: str | os.PathLike[str], needed: int, what: str) -> None:
    """Raise OutputError where the disk of a folder, there or still to be made, has fewer than ``needed`` bytes free.

    what: how the need was counted, for the message.
    """
    try:
        free = shutil.disk_usage(_existing(Path(path))).free
    except OSError:  # a place that cannot be looked at is told when it is written to
        return
    if free < needed:
        raise OutputError(
            f"{path}: {free / 2**20:,.1f} MiB are free there, and at least {needed / 2**20:,.1f} MiB are needed ({what});"
            " free some space there, or choose another place"
        )


def _existing(path: Path) -> Path:
    """Return ``path``, or what is there of the folders above it."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
