"""One at a time: how much better the answer gets when this block alone computes in float."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.artefact import blocks, graph
from edge.artefact.blocks import Block
from edge.progress import Progress
from edge.runtime.pool import ordered

from ..calibrate.output_error import Floats, Outputs
from ..tflite import calibrated, conversion
from ..tflite.int8_file import Int8File
from .mixed_workers import Work, Workers
from .paired import Photos


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """``gain``: by how much the mean output error falls when ``block`` is in float; ``se`` its standard error over the images."""

    block: Block
    gain: float
    se: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"block": self.block.name, "ops": [self.block.first, self.block.last], "gain": self.gain, "se": self.se}


class MixedMaker:
    """Makes int8 files of one network with some of its blocks left in float.

    Ranges and weights' granularity are read from the int8 file itself, so that the file that is explained is what is varied, and
    nothing has to be calibrated again.
    """

    def __init__(self, reference: bytes, candidate: bytes) -> None:
        self.model = graph.read(reference)
        file = Int8File(candidate)
        computed = (*self.model.main.inputs, *(output for op in self.model.ops for output in op.outputs))
        names = {self.model.tensors[index].name for index in computed}
        held = {**_inside(file), **{name: i for name, i in file.by_name.items() if file.graph.tensors[i].dtype == "int8"}}
        ranges = {name: file.limits(index) for name, index in held.items() if name in names}
        self.per_channel = any(file.scale(op.inputs[1]).size > 1 for op in file.weighted)
        self.calibrated = calibrated.write_ranges(reference, ranges)

    def make(self, in_float: Sequence[Block]) -> bytes:
        """Return the file with these blocks in float, the rest int8; float32 input and output."""
        return conversion.quantize_int8(
            self.calibrated, io="float32", per_channel=self.per_channel, in_float=self.names(in_float)
        )

    def names(self, in_float: Sequence[Block]) -> tuple[str, ...]:
        """Return the names of the tensors that these blocks compute."""
        return tuple(name for block in in_float for name in blocks.tensor_names(self.model, block.ops))


def sensitivities(
    maker: MixedMaker,
    reference: Outputs,
    photos: Photos,
    compared: Mapping[str, str],
    groups: Sequence[Block],
    *,
    done: Callable[[Sensitivity, bytes], None] | None = None,
    size: int | None = None,
) -> tuple[Sensitivity, ...]:
    """Return the gain of each block, in the order given. reference: the float network's outputs on ``photos``.

    done: told of each with the file in which it alone is in float, in order, as soon as it is known. size: how many files are made
    at once; default as many as cores and memory allow.
    """
    work = Work(
        calibrated=maker.calibrated,
        per_channel=maker.per_channel,
        tensors=photos.tensors,
        reference=reference,
        compared=compared,
    )
    found: list[Sensitivity] = []
    base: Floats | None = None
    with Progress(len(groups) + 1, "sensitivity") as progress, Workers(work, files=len(groups), size=size) as workers:
        wanted = [(), *(maker.names((block,)) for block in groups)]
        for position, (error, made) in enumerate(ordered(workers.measure, wanted, workers.size)):
            progress.advance()
            if base is None:
                base = error
                continue
            gain = base - error
            se = float(np.std(gain, ddof=1) / np.sqrt(gain.size)) if gain.size > 1 else 0.0
            found.append(Sensitivity(block=groups[position - 1], gain=float(gain.mean()), se=se))
            if done is not None:
                done(found[-1], made)
    return tuple(found)


def refined(found: Sequence[Sensitivity], count: int) -> tuple[Block, ...]:
    """Return the single ops of the ``count`` blocks that gain most."""
    worst = sorted(found, key=lambda s: -s.gain)[:count]
    return tuple(
        Block(name=f"{s.block.name}, op {position}", first=position, last=position)
        for s in worst
        for position in s.block.ops
        if len(s.block.ops) > 1
    )


def _inside(file: Int8File) -> dict[str, int]:
    """Return the int8 tensor behind each input and output of another type, by the name of that input or output."""
    model = file.graph
    found = {}
    for op in model.ops:
        if op.name == "QUANTIZE" and op.inputs[0] in model.main.inputs:
            found[model.tensors[op.inputs[0]].name] = op.outputs[0]
        if op.name in ("DEQUANTIZE", "QUANTIZE") and op.outputs[0] in model.main.outputs:
            found[model.tensors[op.outputs[0]].name] = op.inputs[0]
    return {name: index for name, index in found.items() if model.tensors[index].dtype == "int8"}
