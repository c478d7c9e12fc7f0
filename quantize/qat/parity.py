"""Is the converted file the network that was trained? Both answer the same images; where they part, the first such layer is named.

Importing this module imports TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import binom

from edge.artefact import graph
from edge.runtime import interpreter

from ..calibrate.activations import infer
from ..quiet import import_tf_keras, quiet
from ..tflite.answers import output_names
from . import export, scheme
from .bridge import QUANTIZED_INPUT
from .ranges import RangeTable
from .tensors import Places

Predict = Callable[[np.ndarray], list[np.ndarray]]

ENOUGH = 0.99
"""Share of images on which both must name the same class."""

_CHANCE = 0.05
_APART_STEPS = 2.0
"""Mean difference, in steps of a tensor, from which a layer counts as diverging: integer rounding alone stays below one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """``agreement``: share of images with the same first class (None without a class output). ``steps``: mean difference of the
    outputs in their own quantization steps. ``apart``: number of the image to look at, the first with another first class or, without
    a class output, the one that differs most.
    ``diverges``: the first layer that differs on it, looked for where the two are not ``close``. ``moves``: then by how many steps the
    network in training itself moves on that image where every second number of its input moves by one step: as many as the file is
    apart, and no layer is wrong; the network makes much of little, and the order of rounding alone decides.
    """

    images: int
    agreement: float | None
    steps: float
    apart: int | None = None
    diverges: str | None = None
    moves: float | None = None

    @property
    def close(self) -> bool:
        """Whether the images leave no doubt: ENOUGH of them have the same first class; without classes, few steps apart."""
        return self.steps <= _APART_STEPS if self.agreement is None else self.agreement >= ENOUGH

    @property
    def holds(self) -> bool:
        """Whether the file is the network that was trained.

        Rounding alone turns an image whose two best classes are nearly equal, and of 80 images one is already more than one in a
        hundred. So fewer than ENOUGH count only where a layer differs too, or where chance gives so few in less than 5 % of cases
        (one-sided binomial test). On an image that is undecided a layer of a deep network differs by rounding alone where the network
        in training itself ``moves`` as much: that is no wrong layer.
        """
        if self.close or self.agreement is None:
            return self.close or self.diverges is None
        others = round((1.0 - self.agreement) * self.images)
        sound = self.diverges is None or (self.moves is not None and self.moves >= self.steps)
        return sound and float(binom.sf(others - 1, self.images, 1.0 - ENOUGH)) > _CHANCE

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"holds": self.holds}


def compare(
    flatbuffer: bytes, simulated: Mapping[str, np.ndarray], images: Iterable[np.ndarray], *, headline: str | None
) -> Parity:
    """Compare a finished int8 file with what the fake-quantized network answers.

    simulated: its outputs by name, ``(N, ...)`` each. images: tensors ``(1, H, W, C)``, as many of the first of those N as are to be
    compared. headline: name of the output whose first class is compared, or None.
    """
    loaded = interpreter.open_interpreter(flatbuffer, threads=2)
    names = output_names(graph.read(flatbuffer))
    if headline is not None and math.prod(loaded.outputs[names.index(headline)].shape) == 1:
        headline = None  # one value has no first class: its steps tell
    equal: list[bool] = []  # of each image
    steps: list[float] = []
    for number, image in enumerate(images):
        answer = infer(loaded, image, names)
        apart = []
        for spec, name in zip(loaded.outputs, names, strict=True):
            theirs, ours = answer[name], simulated[name][number]
            step = 1 / 256 if spec.quant is None else float(spec.quant.scale[0])
            apart.append(float(np.mean(np.abs(theirs - ours))) / step)
            if name == headline:
                equal.append(bool(np.argmax(theirs) == np.argmax(ours)))
        steps.append(float(np.mean(apart)))
    if headline is None:
        return Parity(images=len(steps), agreement=None, steps=float(np.mean(steps)), apart=int(np.argmax(steps)))
    other = next((i for i, same in enumerate(equal) if not same), None)
    return Parity(images=len(steps), agreement=float(np.mean(equal)), steps=float(np.mean(steps)), apart=other)


def sensitivity(flatbuffer: bytes, predict: Predict, names: Sequence[str], image: np.ndarray) -> float:
    """Return by how many steps of its outputs, on average, the network in training moves with every second number of its input a step on.

    flatbuffer: the finished file, whose steps are meant. predict: gives the outputs of ``names`` for ``(1, H, W, C)``.
    """
    loaded = interpreter.open_interpreter(flatbuffer)
    given = loaded.inputs[0]
    step = float(np.ptp(image)) / 255 if given.quant is None else float(given.quant.scale[0])
    moved = (image + step * (np.indices(image.shape).sum(axis=0) % 2)).astype(np.float32)
    before, after = (dict(zip(names, predict(each), strict=True)) for each in (image, moved))
    sizes = {
        name: 1 / 256 if spec.quant is None else float(spec.quant.scale[0])
        for spec, name in zip(loaded.outputs, output_names(graph.read(flatbuffer)), strict=True)
    }
    return float(np.mean([np.mean(np.abs(after[name] - before[name])) / sizes[name] for name in names]))


def first_divergence(
    flatbuffer: bytes, tensor_of: Mapping[str, str], quantized: Any, table: RangeTable, places: Places, image: np.ndarray
) -> str | None:
    """Return the first layer whose tensor in the int8 flatbuffer differs from the fake-quantized network's, and by how much."""
    ranges = table.read()
    layers = [place.layer for place in places.tensors() if place.layer in tensor_of and place.layer != QUANTIZED_INPUT]
    wiring = scheme.wiring(quantized)
    taps = {layer: wiring[layer][1] for layer in layers}
    with quiet(), table.step(observe=False):
        simulated = import_tf_keras().Model(quantized.input, taps)(image, training=False)
    converted = export.run_all(flatbuffer, image)
    for layer in layers:
        theirs = converted.get(tensor_of[layer])
        if theirs is None:
            continue
        low, high = ranges[layer]
        ours = np.asarray(simulated[layer])
        apart = float(np.mean(np.abs(theirs.reshape(-1) - ours.reshape(-1)))) / max((high - low) / 255, 1e-12)
        if apart > _APART_STEPS:
            return f"{layer} ({places.places[layer].kind}), by {apart:.1f} steps on average"
    return None
