"""The errors that the workstation side raises; each also is the builtin that fits, so callers catch either.

EdgeError
├── LoadError (ValueError)               the source is no model that edgekit can take
│   └── UnsafeModelError (ValueError)    loading or running it could execute code or touch files
├── CalibrationError (ValueError)        the representative images cannot set the ranges
├── ConversionError (RuntimeError)       the converter refused the network
├── FetchError (OSError)                 a published file is not what it should be
│   └── UnreachableError (OSError)       its server cannot be reached
└── TrainingError (ValueError)           quantization-aware training cannot start or go on
    └── BridgeError (ValueError)         the network holds a layer that cannot be rebuilt for training
"""

from __future__ import annotations

from edge.errors import EdgeError


class LoadError(EdgeError, ValueError):
    """The source is not a trained model that edgekit can take: damaged, of another format, or it needs one more word from you."""


class UnsafeModelError(LoadError):
    """The model file holds code, or ops that reach outside the model. Refused before anything is loaded."""


class CalibrationError(EdgeError, ValueError):
    """The representative images cannot set the ranges: too few, unreadable, or not what the network was trained on."""


class ConversionError(EdgeError, RuntimeError):
    """The converter refused the network, or made a file that is not what was asked for."""


class FetchError(EdgeError, OSError):
    """A published file is not in the catalogue, or what came is not what was published."""


class UnreachableError(FetchError):
    """The server cannot be reached, or breaks off again and again."""

    exit_code = 3


class BoardError(EdgeError, RuntimeError):
    """A board that a file was to be explained on, or the connection to it, failed."""

    exit_code = 3


class TrainingError(EdgeError, ValueError):
    """Quantization-aware training cannot start or go on: what it was given does not fit, or the loss is no number any more."""


class BridgeError(TrainingError):
    """The network holds a layer that the bridge does not know, or the rebuilt network answers differently."""


def first_line(error: BaseException) -> str:
    """Return the first telling line of another library's error, for messages of one line."""
    text = str(error).split("Exception encountered:")[-1]  # Keras nests its errors, the cause last
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
