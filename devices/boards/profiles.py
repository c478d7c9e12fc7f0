"""Profiles by name: boards, Edge TPU accelerators, operating systems. Facts only, no I/O."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Protocol, TypeVar

from ..errors import UnknownProfileError
from .coral import CORAL_ACCELERATORS, CORAL_BOARDS
from .other_accelerators import OTHER_ACCELERATORS
from .others import OTHER_BOARDS
from .raspberry_pi import RASPBERRY_PI_BOARDS
from .records import AcceleratorProfile, BoardProfile, OtherAccelerator, SystemProfile
from .systems import SYSTEMS

BOARDS: tuple[BoardProfile, ...] = (*RASPBERRY_PI_BOARDS, *CORAL_BOARDS, *OTHER_BOARDS)
ACCELERATORS: tuple[AcceleratorProfile, ...] = CORAL_ACCELERATORS
PROFILES: tuple[BoardProfile | AcceleratorProfile, ...] = (*BOARDS, *ACCELERATORS)


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Profile = TypeVar("_Profile", bound=_Named)


def board(name: str, own: Iterable[BoardProfile] = ()) -> BoardProfile:
    """Return the board called ``name``, also of the user's ``own``. Raises UnknownProfileError, which lists the known ones."""
    if name in {each.name for each in ACCELERATORS}:
        raise UnknownProfileError(f"{name} is no board, it is plugged into one: say it with --accelerator {name}")
    return _find(name, (*BOARDS, *own), "board")


def accelerator(name: str) -> AcceleratorProfile:
    """Return the accelerator called ``name``. Raises UnknownProfileError, which lists the known ones."""
    for other in OTHER_ACCELERATORS:
        if name == other.name:
            known = ", ".join(profile.name for profile in ACCELERATORS)
            raise UnknownProfileError(f"edgekit cannot use {other.title}: it takes {other.used_by.value}; known: {known}")
    if name in {each.name for each in BOARDS}:
        raise UnknownProfileError(f"{name} is no accelerator: say it with --board {name}")
    return _find(name, ACCELERATORS, "accelerator")


def system(name: str) -> SystemProfile:
    """Return the operating system called ``name``. Raises UnknownProfileError, which lists the known ones."""
    return _find(name, SYSTEMS, "operating system")


def find(name: str, own: Iterable[BoardProfile] = ()) -> BoardProfile | AcceleratorProfile | OtherAccelerator:
    """Return the board or accelerator called ``name``, also of ``own``, also one that edgekit cannot use.

    Raises UnknownProfileError, which lists the known ones.
    """
    everything: tuple[BoardProfile | AcceleratorProfile | OtherAccelerator, ...] = (
        *BOARDS,
        *own,
        *ACCELERATORS,
        *OTHER_ACCELERATORS,
    )
    return _find(name, everything, "board or accelerator")


def _find(name: str, profiles: Iterable[_Profile], kind: str) -> _Profile:
    by_name = {profile.name: profile for profile in profiles}
    if name in by_name:
        return by_name[name]
    close = difflib.get_close_matches(name.lower(), by_name, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UnknownProfileError(f"no {kind} is called {name!r}; {hint}known: {', '.join(by_name)}")
