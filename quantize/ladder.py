"""The drop ladder: from float to the int8 file one change at a time, each rung paired with the one before.

The loss then has an address: the conversion, the weights, the activations, or the kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.contract import Contract
from edge.errors import InterpreterError
from edge.graph import read
from edge.interpreter import open_interpreter
from edge.progress import stage

from . import activations
from .float_weights import FloatWeights
from .int8_file import Int8File
from .output_error import Outputs
from .paired import Pairing, Photos, compare

Runner = Callable[[], Outputs]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rung:
    """One step. ``step`` is against the rung before, ``total`` against the first; the first has no step."""

    name: str
    step: Pairing | None
    total: Pairing

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"name": self.name, "step": None if self.step is None else self.step.to_dict(), "total": self.total.to_dict()}


def climb(
    candidate: bytes, reference: bytes, photos: Photos, contract: Contract, *, keras: Runner | None = None
) -> tuple[Rung, ...]:
    """Return the rungs from ``reference`` (float32 flatbuffer) to ``candidate`` (int8 flatbuffer of the same network).

    keras: gives the original network's outputs, for a rung before the float file. float16 weights and int8 weights alone are the
    float file with its weights exchanged, so that both run on float kernels and differ in nothing else.
    """
    rungs: list[Rung] = []
    before: Outputs | None = None
    first: Outputs | None = None
    for name, run in _runners(candidate, reference, photos, keras):
        with stage(f"ladder: {name}"):
            outputs = run()
        first = outputs if first is None else first
        step = None if before is None else compare(before, outputs, photos.labels, contract)
        rungs.append(Rung(name=name, step=step, total=compare(first, outputs, photos.labels, contract)))
        before = outputs
    return tuple(rungs)


def _runners(candidate: bytes, reference: bytes, photos: Photos, keras: Runner | None) -> list[tuple[str, Runner]]:
    def tflite(make: Callable[[], bytes], kernels: str = "optimized") -> Runner:
        return lambda: activations.run(make(), photos.tensors, kernels=kernels)

    integer = any(tensor.dtype == "int8" for tensor in read(candidate).tensors)
    rungs = [] if keras is None else [("Keras float", keras)]
    rungs.append(("TFLite float32", tflite(lambda: reference)))
    rungs.append(("float16 weights", tflite(lambda: FloatWeights(reference).as_float16())))
    if integer:
        rungs.append(("int8 weights only", tflite(lambda: FloatWeights(reference).with_weights_of(Int8File(candidate)))))
    if _loads(candidate, "reference"):
        rungs.append(("the file, reference kernels", tflite(lambda: candidate, "reference")))
    rungs.append(("the file, optimised kernels", tflite(lambda: candidate)))
    return rungs


def _loads(flatbuffer: bytes, kernels: str) -> bool:
    """Whether these kernels have every op of the file: the reference kernels know fewer versions of some."""
    try:
        open_interpreter(flatbuffer, threads=1, kernels=kernels)
    except InterpreterError:
        return False
    return True


def worst(rungs: tuple[Rung, ...]) -> Rung:
    """Return the rung whose step changes the output most."""
    return max((rung for rung in rungs if rung.step is not None), key=lambda rung: rung.step.error if rung.step else 0.0)
