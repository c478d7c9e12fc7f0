"""The errors that the runtime raises; each also is the builtin that fits, so callers catch either.

EdgeError
├── ArtefactError (ValueError)        the file is no intact .tflite
├── ContractError (ValueError)        the contract is missing, malformed or newer than this edgekit
├── DatasetError (ValueError)         the images or the manifest cannot be used
├── ImageError (ValueError)           one image cannot be decoded
├── InterpreterError (RuntimeError)   no interpreter here, or it refuses the model
├── MissingExtraError (ImportError)   a command needs an extra that is not installed
├── OutputError (OSError)             a result cannot be written where it was asked for
├── SeveralErrors (ValueError)        several of these at once, each a line of its own
├── ShapeError (ValueError)           an array does not fit the tensor
└── UsageError (ValueError)           an argument makes no sense
"""

from __future__ import annotations

from collections.abc import Collection, Sequence


class EdgeError(Exception):
    """Base of all errors for which the user can do something. The command line turns it into one line and ``exit_code``."""

    exit_code = 2


class ArtefactError(EdgeError, ValueError):
    """The file is not an intact .tflite: truncated, altered, or something else altogether."""


class AdvisingError(EdgeError):
    """An error that several commands meet, not all of which have the flags that would help.

    ``ways``: what can be done about it, each with the flag of the command line that it names, or None. ``otherwise``: what a
    command is told that has none of these flags.
    """

    def __init__(self, message: str = "", *, ways: Sequence[tuple[str | None, str]] = (), otherwise: str = "") -> None:
        self._message, self.ways, self._otherwise = message, tuple(ways), otherwise
        super().__init__(_with_ways(message, [way for _, way in ways]))

    def told(self, flags: Collection[str]) -> str:
        """Return the sentence for a command that has these flags: it advises no other."""
        fitting = [way for flag, way in self.ways if flag is None or flag in flags]
        return _with_ways(self._message, fitting or [self._otherwise] * bool(self._otherwise))


class ContractError(AdvisingError, ValueError):
    """The contract is missing, malformed, contradicts the model, or was written by a newer edgekit."""


class DatasetError(AdvisingError, ValueError):
    """A folder or manifest of images cannot be used as asked."""


def _with_ways(message: str, ways: Sequence[str]) -> str:
    if not ways:
        return message
    *first, last = ways
    return f"{message}; " + (f"{', '.join(first)} or {last}" if first else last)


class ImageError(EdgeError, ValueError):
    """An image cannot be decoded: missing, truncated, not an image, or too large to be honest."""


class InterpreterError(EdgeError, RuntimeError):
    """No interpreter is installed, or the one that is cannot run this model."""


class MissingExtraError(EdgeError, ImportError):
    """The command needs packages that only come with an extra; the message names the extra."""


class OutputError(EdgeError, OSError):
    """A result cannot be written where it was asked for."""


class SeveralErrors(EdgeError, ValueError):
    """Several mistakes that were found before anything was done. The command line prints each on a line of its own."""

    def __init__(self, errors: Sequence[EdgeError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(str, errors)))


class ShapeError(EdgeError, ValueError):
    """An array does not have the shape or dtype that the tensor takes."""


class UsageError(EdgeError, ValueError):
    """An argument makes no sense, whatever the files hold."""
