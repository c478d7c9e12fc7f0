"""The drop ladder: from float to the int8 file one change at a time, each rung paired with the one before.

The loss then has an address: the conversion, the weights, the activations, or the kernels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.artefact.contract import Contract
from edge.artefact.graph import read
from edge.errors import InterpreterError
from edge.progress import stage
from edge.runtime.interpreter_apart import InterpreterApart
from edge.runtime.model import Feed
from edge.runtime.pool import Pool, default_workers, ordered

from ..calibrate import activations
from ..calibrate.output_error import Outputs
from ..tflite.answers import Answer, output_names
from ..tflite.float_weights import FloatWeights
from ..tflite.int8_file import Int8File
from .paired import Pairing, Photos, compare

Runner = Callable[[], Outputs]

_REFERENCE = "the file, reference kernels"
_PROCESS_BYTES = 150 << 20  # Python with NumPy and an interpreter


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
    candidate: bytes,
    reference: bytes,
    photos: Photos,
    contract: Contract,
    *,
    keras: Runner | None = None,
    notes: list[str] | None = None,
) -> tuple[Rung, ...]:
    """Return the rungs from ``reference`` (float32 flatbuffer) to ``candidate`` (int8 flatbuffer of the same network).

    keras: gives the original network's outputs, for a rung before the float file. float16 weights and int8 weights alone are the
    float file with its weights exchanged, so that both run on float kernels and differ in nothing else. notes: takes a line where
    the reference kernels cannot run the file (they know fewer versions of some ops, and abort on some networks).
    """
    rungs: list[Rung] = []
    before: Outputs | None = None
    first: Outputs | None = None
    for name, run in _runners(candidate, reference, photos, keras):
        try:
            with stage(f"ladder: {name}"):
                outputs = run()
        except InterpreterError as error:
            if name != _REFERENCE:
                raise
            if notes is not None:
                notes.append(f"without the rung {name!r}: {error}")
            continue
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
    rungs.append((_REFERENCE, lambda: _apart(candidate, photos)))
    rungs.append(("the file, optimised kernels", tflite(lambda: candidate)))
    return rungs


def _apart(flatbuffer: bytes, photos: Photos) -> Outputs:
    """Return the answers of the reference kernels, from other processes: they abort on some networks. Raises InterpreterError."""
    with contextlib.ExitStack() as stack:

        def opened() -> InterpreterApart:
            return stack.enter_context(contextlib.closing(InterpreterApart(flatbuffer, threads=1, kernels="reference")))

        workers = default_workers(_PROCESS_BYTES + 2 * len(flatbuffer))
        pool = Pool(opened() for _ in range(workers))

        names = output_names(read(flatbuffer))

        def answer(tensor: Feed) -> Answer:
            return pool.use(lambda interpreter: activations.infer(interpreter, tensor, names))

        return list(ordered(answer, photos.tensors, workers))


def worst(rungs: tuple[Rung, ...]) -> Rung:
    """Return the rung whose step changes the output most."""
    return max((rung for rung in rungs if rung.step is not None), key=lambda rung: rung.step.error if rung.step else 0.0)
