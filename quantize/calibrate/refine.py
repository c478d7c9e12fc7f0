"""What can still be won in the int8 file: biases and weights edited, kept only where held-out images say it helps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from edge.progress import stage
from edge.runtime.model import Feed

from ..tflite.float_weights import FloatWeights
from ..tflite.int8_file import Int8File
from . import adaptive_rounding, bias_correction, output_error, unsaturated
from .activations import Tensors
from .auto_ranges import held_out
from .sketch import Spread

_MOST_IMAGES = 64  # for means and second moments, which more images hardly change
MOST_HELD_OUT = 128
"""Images held out that measure, evenly spread over all of them; a float image of 299 x 299 takes 1 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Refinement:
    """``flatbuffer``: the int8 file, edited or as it was. ``kept``: what was kept. ``error``: mean held-out error by step, measured where
    nothing saturates (`unsaturated`).
    """

    flatbuffer: bytes
    kept: tuple[str, ...]
    error: dict[str, float]

    def describe(self) -> str:
        """One line for people."""
        steps = ", ".join(f"{name} {value:.4f}" for name, value in self.error.items())
        return f"refined: {' and '.join(self.kept) or 'nothing kept'} (error against float: {steps})"


def refine(
    int8_flatbuffer: bytes, float_flatbuffer: bytes, tensors: Tensors, *, kinds: Iterable[str] | None = None
) -> Refinement:
    """Return the int8 file with coarsely rounded weights rounded adaptively and biases corrected, each where it helps.

    int8_flatbuffer: as TensorFlow's quantizer gives it (the tensor names are still the float network's), integer or float I/O.
    tensors: representative images whenever called; of two in five, which are held out and only measure, ``MOST_HELD_OUT`` are
    looked at, of the others 64, both evenly spread. An ordinary int8 file comes out.
    """
    with stage("refine weights and biases"):
        held, fit = _divided(tensors)
        compared = output_error.kinds(Int8File(float_flatbuffer).graph, None if kinds is None else tuple(kinds))
        error = unsaturated.measure(float_flatbuffer, held, compared).error

        def fitting() -> Iterator[Feed]:
            fitted = 0
            for number, tensor in enumerate(tensors()):
                if not held_out(number):
                    if fitted in fit:
                        yield tensor
                    fitted += 1

        weights = FloatWeights(float_flatbuffer)
        best, best_error = int8_flatbuffer, error(int8_flatbuffer)
        errors = {"before": float(best_error.mean())}
        kept: list[str] = []
        for name in ("adaptive rounding", "bias correction"):
            file = Int8File(best)
            edited = (
                adaptive_rounding.round_adaptively(file, weights, fitting)
                if name == "adaptive rounding"
                else bias_correction.correct_biases(file, weights, fitting())
            )
            if not edited:
                continue
            candidate = file.pack()
            candidate_error = error(candidate)
            errors[name] = float(candidate_error.mean())
            if output_error.better(candidate_error, best_error, certainty=0.5):
                best, best_error = candidate, candidate_error
                kept.append(name)
    return Refinement(flatbuffer=best, kept=tuple(kept), error=errors)


def _divided(tensors: Tensors) -> tuple[list[Feed], set[int]]:
    """Return the images that measure, at most ``MOST_HELD_OUT``, and which of the others means and moments come from."""
    held: Spread[Feed] = Spread(MOST_HELD_OUT)
    others = 0
    for number, tensor in enumerate(tensors()):
        if held_out(number):
            held.add(number - others, tensor)
        else:
            others += 1
    fit = {int(i) for i in np.linspace(0, others - 1, min(others, _MOST_IMAGES))}
    # Where none is held out, the few that there are measure themselves.
    return held.values() or list(tensors()), fit
