"""The errors of ``devices``. Each carries the exit code with which the command line ends.

DeviceError                                   wrong usage or input: exit code 2
├── UnknownProfileError (LookupError)         no board, accelerator or operating system of that name
├── BoardFileError (ValueError)               a file of own boards that says something impossible
├── TargetError (ValueError)                  a target or a name that cannot be one
├── VirtualBoardError (RuntimeError)          a virtual board cannot be made or started here
├── UnforeseenError (RuntimeError)            our own fault with one of several boards: exit code 70
├── NoReleaseError (LookupError)              there is no release to go back to; the board did nothing wrong
└── RemoteError (RuntimeError)                the board or the connection failed: exit code 3
    ├── BoardConnectionError (ConnectionError)  no connection, or it was lost
    ├── BoardBusyError                        somebody else is deploying to it
    └── BoardRefusedError                     the board cannot do what was asked: disk, memory, Python, no wheel
        └── BoardShortError                   it has no process or memory to spare at the moment
"""

from __future__ import annotations


class DeviceError(Exception):
    """Base of all errors for which the user can do something: wrong usage, exit code 2."""

    exit_code = 2


class UnknownProfileError(DeviceError, LookupError):
    """No profile has that name; the message lists the names that exist."""


class BoardFileError(DeviceError, ValueError):
    """A file of the user's own boards cannot be read, or says what a profile cannot say."""


class TargetError(DeviceError, ValueError):
    """A text that names no target, or a name with characters that a name cannot have."""


class VirtualBoardError(DeviceError, RuntimeError):
    """A virtual board cannot be made, started or removed here; the message says what is missing."""


class UnforeseenError(DeviceError, RuntimeError):
    """Something that edgekit did not foresee went wrong with one of several boards. The others keep their results."""

    exit_code = 70


class NoReleaseError(DeviceError, LookupError):
    """There is no release to go back to. The board works, and nothing on it was changed."""


class RemoteError(DeviceError, RuntimeError):
    """The board failed: a command ended badly, or answered nonsense."""

    exit_code = 3


class BoardConnectionError(RemoteError, ConnectionError):
    """The board cannot be reached, will not let us in, is not the one we know, or went away."""


class BoardBusyError(RemoteError):
    """Another deployment to the same board is under way."""


class BoardRefusedError(RemoteError):
    """The board works but cannot take this: too little disk or memory, no Python, no interpreter for it."""


class BoardShortError(BoardRefusedError):
    """The board could not start a program: no process or no memory is left there. It says nothing of what lies on it."""
