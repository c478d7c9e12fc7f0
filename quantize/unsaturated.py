"""The error of a quantized network where nothing saturates.

A network that knows a photo by heart answers 0.9999, and goes on answering it whatever its ranges do: probabilities are blind just
where most people calibrate. So the values before the softmax (or the sigmoid) are compared, as probabilities at a temperature at which
the float network is about as unsure as it is on photos that it has never seen. Each photo is measured as it is and mirrored: two
samples of the rounding's noise, and one photo in the statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge import graph
from edge.model import Feed

from . import activations, flatbuffer_edit, output_error
from .output_error import Floats, Outputs

_SURE = 0.7  # mean probability of the first class at the temperature; nothing is made surer than it is
_HOTTEST = 1000.0
_SQUASHING = {"SOFTMAX": "logits", "LOGISTIC": "scores"}
_PASSING = frozenset({"DEQUANTIZE", "QUANTIZE", "RESHAPE"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measure:
    """The photos, what the float network says of them before its last softmax or sigmoid, and how files are compared with it.

    ``squashed``: by output, whether the int8 file is read before the op that squashes. ``compared``: ``logits``, ``scores`` (before a
    sigmoid) or as in `output_error`. ``temperatures``: by output.
    """

    images: list[Feed]
    reference: Outputs
    compared: tuple[str, ...]
    squashed: tuple[bool, ...]
    temperatures: tuple[float, ...]

    def error(self, flatbuffer: bytes, numbers: Sequence[int] | None = None) -> Floats:
        """Return the error of each photo (of those of ``numbers``), the mean of the photo and its mirror image."""
        chosen = range(len(self.images)) if numbers is None else numbers
        answers = activations.run(before_squashing(flatbuffer, self.squashed), _both([self.images[i] for i in chosen]))
        reference = [self.reference[2 * i + mirror] for i in chosen for mirror in (0, 1)]
        total = np.zeros(len(reference))
        for place, kind in enumerate(self.compared):
            a, b = ([(row[place],) for row in rows] for rows in (reference, answers))
            if kind in ("logits", "scores"):
                a, b = ([(row[0] / self.temperatures[place],) for row in rows] for rows in (a, b))
            if kind == "scores":
                a, b = ([(_sigmoid(row[0]),) for row in rows] for rows in (a, b))
            total += output_error.per_image(a, b, ("multilabel" if kind == "scores" else kind,))
        found: Floats = total.reshape(-1, 2).mean(axis=1) / max(len(self.compared), 1)
        return found


def measure(float_flatbuffer: bytes, images: list[Feed], compared: Sequence[str]) -> Measure:
    """Run the float network on ``images`` and their mirror images. compared: of `output_error.kinds`."""
    model = graph.read(float_flatbuffer)
    ops = [_squashing_op(model, index) for index in model.main.outputs]
    squashed = tuple(
        op is not None and (op.name == "LOGISTIC") == (kind == "multilabel") and kind in ("probabilities", "multilabel")
        for op, kind in zip(ops, compared, strict=True)
    )
    ways = tuple(
        _SQUASHING[op.name] if op is not None and taken else kind for op, taken, kind in zip(ops, squashed, compared, strict=True)
    )
    reference = activations.run(before_squashing(float_flatbuffer, squashed), _both(images))
    heat = tuple(_temperature([row[place] for row in reference], way) for place, way in enumerate(ways))
    return Measure(images=images, reference=reference, compared=ways, squashed=squashed, temperatures=heat)


def before_squashing(flatbuffer: bytes, squashed: Sequence[bool]) -> bytes:
    """Return the file with what goes into the last softmax or sigmoid as its output, in place of what comes out."""
    if not any(squashed):
        return flatbuffer
    schema, model = flatbuffer_edit._schema(), graph.read(flatbuffer)
    parts = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    ops = [_squashing_op(model, index) for index in model.main.outputs]
    parts.subgraphs[0].outputs = [
        op.inputs[0] if taken and op is not None else index
        for op, taken, index in zip(ops, squashed, model.main.outputs, strict=True)
    ]
    parts.signatureDefs = []  # they name the outputs that were
    return flatbuffer_edit._pack(schema, parts)


def _squashing_op(model: graph.Graph, index: int) -> graph.Op | None:
    made_by = {output: op for op in model.ops for output in op.outputs}
    op = made_by.get(index)
    while op is not None and op.name in _PASSING:
        op = made_by.get(op.inputs[0])
    return op if op is not None and op.name in _SQUASHING else None


def _both(images: Sequence[Feed]) -> list[Feed]:
    return [feed for image in images for feed in (image, _mirrored(image))]


def _mirrored(image: Feed) -> Feed:
    """Return the picture mirrored; what is no picture stays."""
    if isinstance(image, tuple):
        return tuple(_flip(each) for each in image)
    return _flip(image)


def _flip(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array[:, :, ::-1]) if array.ndim == 4 else array


def _temperature(rows: list[NDArray[np.float32]], way: str) -> float:
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
