"""The errors that the runtime raises; each also is the builtin that fits, so callers catch either.

EdgeError
├── ArtefactError (ValueError)        the file is no intact .tflite
├── ContractError (ValueError)        the contract is missing, malformed or newer than this edgekit
├── DatasetError (ValueError)         the images or the manifest cannot be used
├── ImageError (ValueError)           one image cannot be decoded
├── InterpreterError (RuntimeError)   no interpreter here, or it refuses the model
├── MissingExtraError (ImportError)   a command needs an extra that is not installed
├── OutputError (OSError)             a result cannot be written where it was asked for
├── ShapeError (ValueError)           an array does not fit the tensor
└── UsageError (ValueError)           an argument makes no sense
"""

from __future__ import annotations


class EdgeError(Exception):
    """Base of all errors for which the user can do something. The command line turns it into one line and ``exit_code``."""

    exit_code = 2


class ArtefactError(EdgeError, ValueError):
    """The file is not an intact .tflite: truncated, altered, or something else altogether."""


class ContractError(EdgeError, ValueError):
    """The contract is missing, malformed, contradicts the model, or was written by a newer edgekit."""


class DatasetError(EdgeError, ValueError):
    """A folder or manifest of images cannot be used as asked."""


class ImageError(EdgeError, ValueError):
    """An image cannot be decoded: missing, truncated, not an image, or too large to be honest."""


class InterpreterError(EdgeError, RuntimeError):
    """No interpreter is installed, or the one that is cannot run this model."""


class MissingExtraError(EdgeError, ImportError):
    """The command needs packages that only come with an extra; the message names the extra."""


class OutputError(EdgeError, OSError):
    """A result cannot be written where it was asked for."""


class ShapeError(EdgeError, ValueError):
    """An array does not have the shape or dtype that the tensor takes."""


class UsageError(EdgeError, ValueError):
    """An argument makes no sense, whatever the files hold."""
