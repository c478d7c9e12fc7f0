"""The error of a quantized network where nothing saturates.

A network that knows a photo by heart answers 0.9999, and goes on answering it whatever its ranges do: probabilities are blind just
where most people calibrate. So the values before the softmax (or the sigmoid) are compared, as probabilities at a temperature at which
the float network is about as unsure as it is on photos that it has never seen. Each photo is measured as it is and mirrored: two
samples of the rounding's noise, and one photo in the statistics.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.artefact import graph
from edge.runtime.model import Feed

from ..tflite import edit as flatbuffer_edit
from ..tflite.answers import Answer, output_names
from . import activations, output_error
from .output_error import Floats, Outputs

_SURE = 0.7  # mean probability of the first class at the temperature; nothing is made surer than it is
_HOTTEST = 1000.0
_SQUASHING = {"SOFTMAX": "logits", "LOGISTIC": "scores"}
_FITTING = {"SOFTMAX": "probabilities", "LOGISTIC": "multilabel"}
_PASSING = frozenset({"DEQUANTIZE", "QUANTIZE", "RESHAPE"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measure:
    """The photos, what the float network says of them before its last softmax or sigmoid, and how files are compared with it.

    By the name of the output: ``compared`` is ``logits``, ``scores`` (before a sigmoid) or as in `output_error`, ``temperatures`` what
    logits and scores are divided by. ``squashed``: the outputs that are read before the op that squashes.
    """

    images: list[Feed]
    reference: Outputs
    compared: Mapping[str, str]
    squashed: frozenset[str]
    temperatures: Mapping[str, float]

    def error(self, flatbuffer: bytes, numbers: Sequence[int] | None = None) -> Floats:
        """Return the error of each photo (of those of ``numbers``), the mean of the photo and its mirror image."""
        chosen = range(len(self.images)) if numbers is None else numbers
        answers = _answers(flatbuffer, self.squashed, _both(self.images[i] for i in chosen))
        reference = [self.reference[2 * i + mirror] for i in chosen for mirror in (0, 1)]
        total = np.zeros(len(reference))
        for name, kind in self.compared.items():
            a, b = ([row[name] for row in rows] for rows in (reference, answers))
            if kind in ("logits", "scores"):
                a, b = ([values / self.temperatures[name] for values in rows] for rows in (a, b))
            if kind == "scores":
                a, b = ([_sigmoid(values) for values in rows] for rows in (a, b))
            mine, theirs = ([{name: values} for values in rows] for rows in (a, b))
            total += output_error.per_image(mine, theirs, {name: "multilabel" if kind == "scores" else kind})
        found: Floats = total.reshape(-1, 2).mean(axis=1) / max(len(self.compared), 1)
        return found


def measure(float_flatbuffer: bytes, images: list[Feed], compared: Mapping[str, str]) -> Measure:
    """Run the float network on ``images`` and their mirror images. compared: by output name, of `output_error.kinds`."""
    model = graph.read(float_flatbuffer)
    ways = dict(compared)
    for name, index in zip(output_names(model), model.main.outputs, strict=True):
        op = _squashing_op(model, index)
        if op is not None and op.inputs[0] not in model.main.outputs and _FITTING[op.name] == compared[name]:
            ways[name] = _SQUASHING[op.name]
    squashed = frozenset(name for name, way in ways.items() if way != compared[name])
    reference = _answers(float_flatbuffer, squashed, _both(images))
    heat = {name: temperature([row[name] for row in reference], way) for name, way in ways.items()}
    return Measure(images=images, reference=reference, compared=ways, squashed=squashed, temperatures=heat)


def _answers(flatbuffer: bytes, squashed: Collection[str], images: Iterable[Feed]) -> list[Answer]:
    model = graph.read(flatbuffer)
    return activations.run(_before_squashing(flatbuffer, model, squashed), images, names=output_names(model))


def _before_squashing(flatbuffer: bytes, model: graph.Graph, squashed: Collection[str]) -> bytes:
    """Return the file with what goes into the last softmax or sigmoid as its output, in place of what comes out.

    squashed: the names of the outputs to exchange. The file that comes out has no signature.
    """
    if not squashed:
        return flatbuffer
    ops = [_squashing_op(model, index) for index in model.main.outputs]
    outputs = [
        op.inputs[0] if name in squashed and op is not None else index
        for op, name, index in zip(ops, output_names(model), model.main.outputs, strict=True)
    ]
    return flatbuffer_edit.with_outputs(flatbuffer, outputs)


def _squashing_op(model: graph.Graph, index: int) -> graph.Op | None:
    made_by = {output: op for op in model.ops for output in op.outputs}
    op = made_by.get(index)
    while op is not None and op.name in _PASSING:
        op = made_by.get(op.inputs[0])
    return op if op is not None and op.name in _SQUASHING else None


def _both(images: Iterable[Feed]) -> Iterator[Feed]:
    """Yield each picture and its mirror image, made when it is asked for: a copy of all would double what they take."""
    for image in images:
        yield image
        yield _mirrored(image)


def _mirrored(image: Feed) -> Feed:
    """Return the picture mirrored; what is no picture stays."""
    if isinstance(image, tuple):
        return tuple(_flip(each) for each in image)
    return _flip(image)


def _flip(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array[:, :, ::-1]) if array.ndim == 4 else array


def temperature(rows: list[NDArray[np.float32]], way: str) -> float:
    """Return the least temperature of at least 1 at which the mean probability of the surer answer is at most ``_SURE``."""
    values = np.array(rows, np.float64).reshape(len(rows), -1)
    if way == "logits":
        gaps = values - values.max(axis=1, keepdims=True)

        def sure(heat: float) -> float:
            return float(np.mean(1 / np.exp(gaps / heat).sum(axis=1)))
    elif way == "scores":

        def sure(heat: float) -> float:
            return float(np.mean(_sigmoid(np.abs(values) / heat)))
    else:
        return 1.0
    low, high = 1.0, _HOTTEST
    if sure(low) <= _SURE:
        return low
    for _ in range(40):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if sure(middle) > _SURE else (low, middle)
    return high


def _sigmoid(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    result: NDArray[np.floating] = 1 / (1 + np.exp(-np.clip(scores, -60, 60)))
    return result
