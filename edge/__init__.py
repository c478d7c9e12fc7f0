"""edgekit's small runtime: load an artefact, classify pictures, prove its accuracy. Needs numpy, Pillow and a TFLite interpreter.

Names are loaded when they are first used, so that ``import edge`` costs nothing (all of them: 0.6 s of processor time).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .artefact.contract import Contract, ExtraInput, InputSpec, OutputSpec
    from .bench.latency import benchmark
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
    from .live.drive import Command, DriveReport, drive
    from .live.frame import Frame, FrameSource
    from .live.frame_model import History, predictor, window_of
    from .live.frames import open_source
    from .live.watch import WatchReport, watch
    from .predict.check import check
    from .runtime.classify import Classification, Classifications
    from .runtime.golden import replay
    from .runtime.loading import load
    from .runtime.model import Model
    from .runtime.preprocess import load_pixels, preprocess
    from .validation.generations import compare
    from .validation.run import validate

__all__ = [
    "ArtefactError",
    "Classification",
    "Classifications",
    "Command",
    "Contract",
    "ContractError",
    "DatasetError",
    "DriveReport",
    "EdgeError",
    "ExtraInput",
    "Frame",
    "FrameSource",
    "History",
    "ImageError",
    "InputSpec",
    "InterpreterError",
    "MissingExtraError",
    "Model",
    "OutputError",
    "OutputSpec",
    "ShapeError",
    "UsageError",
    "WatchReport",
    "__version__",
    "benchmark",
    "check",
    "compare",
    "drive",
    "load",
    "load_pixels",
    "open_source",
    "predictor",
    "preprocess",
    "replay",
    "validate",
    "watch",
    "window_of",
]

# No room and no module beside this one may be called like a function that is exported here: importing it would put it in its place.
_HOMES = {
    **dict.fromkeys(("Classification", "Classifications"), "runtime.classify"),
    **dict.fromkeys(("Contract", "ExtraInput", "InputSpec", "OutputSpec"), "artefact.contract"),
    **dict.fromkeys((name for name in __all__ if name.endswith("Error")), "errors"),
    "Model": "runtime.model",
    "load": "runtime.loading",
    "benchmark": "bench.latency",
    "check": "predict.check",
    "replay": "runtime.golden",
    **dict.fromkeys(("load_pixels", "preprocess"), "runtime.preprocess"),
    **dict.fromkeys(("Frame", "FrameSource"), "live.frame"),
    "open_source": "live.frames",
    **dict.fromkeys(("History", "predictor", "window_of"), "live.frame_model"),
    **dict.fromkeys(("Command", "DriveReport", "drive"), "live.drive"),
    **dict.fromkeys(("WatchReport", "watch"), "live.watch"),
    "compare": "validation.generations",
    "validate": "validation.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
