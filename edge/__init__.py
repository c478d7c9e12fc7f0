"""edgekit's small runtime: load an artefact, classify pictures, prove its accuracy. Needs numpy, Pillow and a TFLite interpreter.

Names are loaded when they are first used, so that ``import edge`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .benchmarking import benchmark
    from .checking import check
    from .classify import Classification, Classifications
    from .contract import Contract, ExtraInput, InputSpec, OutputSpec
    from .errors import (
        ArtefactError,
        ContractError,
        DatasetError,
        EdgeError,
        ImageError,
        InterpreterError,
        MissingExtraError,
        OutputError,
        ShapeError,
        UsageError,
    )
    from .generations import compare
    from .golden import replay
    from .loading import load
    from .model import Model
    from .validation import validate

__all__ = [
    "ArtefactError",
    "Classification",
    "Classifications",
    "Contract",
    "ContractError",
    "DatasetError",
    "EdgeError",
    "ExtraInput",
    "ImageError",
    "InputSpec",
    "InterpreterError",
    "MissingExtraError",
    "Model",
    "OutputError",
    "OutputSpec",
    "ShapeError",
    "UsageError",
    "__version__",
    "benchmark",
    "check",
    "compare",
    "load",
    "replay",
    "validate",
]

_HOMES = {
    **dict.fromkeys(("Classification", "Classifications"), "classify"),
    **dict.fromkeys(("Contract", "ExtraInput", "InputSpec", "OutputSpec"), "contract"),
    **dict.fromkeys((name for name in __all__ if name.endswith("Error")), "errors"),
    "Model": "model",
    "load": "loading",
    "benchmark": "benchmarking",
    "check": "checking",
    "replay": "golden",
    "compare": "generations",
    "validate": "validation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
