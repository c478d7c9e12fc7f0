"""What can still be won in the int8 file: biases and weights edited, kept only where held-out images say it helps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.model import Feed
from edge.progress import stage

from . import activations, adaptive_rounding, bias_correction, output_error
from .activations import Tensors
from .answers import Answer
from .auto_ranges import held_out
from .float_weights import FloatWeights
from .int8_file import Int8File

_MOST_IMAGES = 64  # for means and second moments, which more images hardly change


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Refinement:
    """``flatbuffer``: the int8 file, edited or as it was. ``kept``: what was kept. ``error``: mean held-out error by step."""

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
    tensors: representative images whenever called; two in five are held out and only measure. An ordinary int8 file comes out.
    """
    with stage("refine weights and biases"):
        held, reference = _held_out(float_flatbuffer, tensors)
        compared = output_error.kinds(Int8File(float_flatbuffer).graph, None if kinds is None else tuple(kinds))

        def error(flatbuffer: bytes) -> NDArray[np.float64]:
            return output_error.per_image(reference, activations.run(flatbuffer, held), compared)

        def fitting() -> Iterator[Feed]:
            given = 0
            for number, tensor in enumerate(tensors()):
                if given < _MOST_IMAGES and not held_out(number):
                    given += 1
                    yield tensor

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


def _held_out(flatbuffer: bytes, tensors: Tensors) -> tuple[list[Feed], list[Answer]]:
    images = [tensor for number, tensor in enumerate(tensors()) if held_out(number)] or list(tensors())
    return images, activations.run(flatbuffer, images)
