"""One at a time: how much better the answer gets when this block alone computes in float."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge import graph
from edge.progress import Progress

from . import activations, blocks, calibrated, conversion, output_error
from .blocks import Block
from .int8_file import Int8File
from .output_error import Floats, Outputs
from .paired import Photos

_LOWEST, _HIGHEST = -128, 127


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
        ranges = {}
        names = {self.model.tensors[i].name for i in (*self.model.main.inputs, *(o for op in self.model.ops for o in op.outputs))}
        for name, index in file.by_name.items():
            if name in names and file.graph.tensors[index].dtype == "int8":
                scale, zero_point = float(file.scale(index)[0]), file.zero_point(index)
                ranges[name] = ((_LOWEST - zero_point) * scale, (_HIGHEST - zero_point) * scale)
        self.per_channel = any(file.scale(op.inputs[1]).size > 1 for op in file.weighted)
        self.calibrated = calibrated.write_ranges(reference, ranges)

    def make(self, in_float: Sequence[Block]) -> bytes:
        """Return the file with these blocks in float, the rest int8; float32 input and output."""
        names = [name for block in in_float for name in blocks.tensor_names(self.model, block.ops)]
        return conversion.quantize_int8(self.calibrated, io="float32", per_channel=self.per_channel, in_float=names)


def sensitivities(
    maker: MixedMaker,
    reference: Outputs,
    photos: Photos,
    compared: Sequence[str],
    groups: Sequence[Block],
    *,
    done: Callable[[Sensitivity], None] | None = None,
) -> tuple[Sensitivity, ...]:
    """Return the gain of each block, in the order given. reference: the float network's outputs on ``photos``.

    done: told of each as soon as it is known.
    """
    with Progress(len(groups) + 1, "sensitivity") as progress:
        base = _error(maker, (), reference, photos, compared)
        progress.advance()
        found = []
        for block in groups:
            gain = base - _error(maker, (block,), reference, photos, compared)
            se = float(np.std(gain, ddof=1) / np.sqrt(gain.size)) if gain.size > 1 else 0.0
            found.append(Sensitivity(block=block, gain=float(gain.mean()), se=se))
            if done is not None:
                done(found[-1])
            progress.advance()
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


def _error(maker: MixedMaker, in_float: Sequence[Block], reference: Outputs, photos: Photos, compared: Sequence[str]) -> Floats:
    return output_error.per_image(reference, activations.run(maker.make(in_float), photos.tensors), compared)
