"""edgekit's workstation side: load a trained network, quantize it, check it. Needs the ``[quantize]`` extra (TensorFlow).

Names are loaded when they are first used, and TensorFlow when a function first needs it: ``import quantize`` costs nothing (all names,
without TensorFlow: 0.6 s of processor time).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edge.version import __version__

if TYPE_CHECKING:
    from edge.artefact.contract import Contract, InputSpec, OutputSpec

    from .calibrate.representative import RepresentativeDataset
    from .errors import BridgeError, CalibrationError, ConversionError, LoadError, TrainingError, UnsafeModelError
    from .loading.architecture import Architecture
    from .loading.load import load
    from .loading.source import Source
    from .ptq import Artefact, PtqConfig, post_training, post_training_variants
    from .qat.api import QatConfig, QatResult, quantization_aware
    from .reference import reference_outputs
    from .shrinking.api import ShrinkConfig, ShrinkResult, shrink

__all__ = [
    "Architecture",
    "Artefact",
    "BridgeError",
    "CalibrationError",
    "Contract",
    "ConversionError",
    "InputSpec",
    "LoadError",
    "OutputSpec",
    "PtqConfig",
    "QatConfig",
    "QatResult",
    "RepresentativeDataset",
    "ShrinkConfig",
    "ShrinkResult",
    "Source",
    "TrainingError",
    "UnsafeModelError",
    "__version__",
    "load",
    "post_training",
    "post_training_variants",
    "quantization_aware",
    "reference_outputs",
    "shrink",
]

# No module may be called like a function that is exported here: importing it would put the module in the function's place.
_HOMES = {
    **dict.fromkeys(("Contract", "InputSpec", "OutputSpec"), "edge.artefact.contract"),
    **dict.fromkeys(("CalibrationError", "ConversionError", "LoadError", "UnsafeModelError"), "quantize.errors"),
    **dict.fromkeys(("Artefact", "PtqConfig", "post_training", "post_training_variants"), "quantize.ptq"),
    **dict.fromkeys(("BridgeError", "TrainingError"), "quantize.errors"),
    **dict.fromkeys(("QatConfig", "QatResult", "quantization_aware"), "quantize.qat.api"),
    **dict.fromkeys(("ShrinkConfig", "ShrinkResult", "shrink"), "quantize.shrinking.api"),
    "Architecture": "quantize.loading.architecture",
    "RepresentativeDataset": "quantize.calibrate.representative",
    "Source": "quantize.loading.source",
    "load": "quantize.loading.load",
    "reference_outputs": "quantize.reference",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
