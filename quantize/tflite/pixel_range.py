"""The range of an input that takes pixels as they are: exactly 0..255, so that a byte of a uint8 input is the pixel itself.

What the representative photos happen to hold (3..251, say) would give a step of other than one, and every pixel would be rounded.
"""

from __future__ import annotations

from edge.artefact import graph
from edge.artefact.contract import InputSpec

from .calibrated import write_ranges

PIXELS = (0.0, 255.0)


def exact(calibrated: bytes, spec: InputSpec) -> bytes:
    """Return the calibrated flatbuffer with the range 0..255 for its only input, where ``spec`` feeds plain pixels."""
    if any(spec.mean) or any(value != 1.0 for value in spec.scale):
        return calibrated
    model = graph.read(calibrated)
    if len(model.main.inputs) != 1:
        return calibrated
    return write_ranges(calibrated, {model.tensors[model.main.inputs[0]].name: PIXELS})
