"""One pass of the float network over the representative images: what every tensor does, in bounded memory, on all cores.

The interpreter keeps every tensor between the layers (``preserve``), with the fast kernels; what is kept of an image is its
extremes and its share of a histogram, so that memory grows with the number of tensors and not with the number of images.

TensorFlow's own calibrator reads a tensor after later ops may have written over it in place: an operand of a residual add then gets
the range of the sum (TensorFlow 2.21; a test shows it), several times too wide for a branch. Here every tensor keeps its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge import graph
from edge.inference import Pool, default_workers, ordered
from edge.interpreter import LoadedInterpreter, open_interpreter
from edge.model import Feed
from edge.tensors import dequantize, quantize

from . import answers, same_range
from .answers import Answer
from .errors import CalibrationError
from .ranges import BINS, Observed, merged, widen

Tensors = Callable[[], Iterable[Feed]]

# A histogram needs no more values of one image than this; larger tensors are sampled evenly. Extremes are always exact.
_HISTOGRAM_VALUES = 1 << 15
_LOWEST_EXPONENT = -40  # a tensor of zeros has a limit too


@dataclass(slots=True, kw_only=True, eq=False)
class Activations:
    """What a float network did on ``images`` images.

    ``lows``, ``highs``: float64 ``(images, tensors)``. ``outputs``: per image the network's outputs by name.
    Histograms are kept apart for each of ``parts`` parts of the images, so that one part can be held out.
    """

    model: graph.Graph
    tensors: tuple[int, ...]
    parts: int
    lows: list[NDArray[np.float64]] = field(default_factory=list)
    highs: list[NDArray[np.float64]] = field(default_factory=list)
    outputs: list[Answer] = field(default_factory=list)
    part_of: list[int] = field(default_factory=list)
    _counts: NDArray[np.float64] = field(init=False)
    _exponents: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self._counts = np.zeros((self.parts, len(self.tensors), BINS))
        self._exponents = np.full(len(self.tensors), _LOWEST_EXPONENT)

    def add(self, seen: _Image, part: int) -> None:
        """Take in one image."""
        self.lows.append(seen.lows)
        self.highs.append(seen.highs)
        self.outputs.append(seen.outputs)
        self.part_of.append(part)
        for position, (exponent, counts) in enumerate(zip(seen.exponents, seen.counts, strict=True)):
            known = int(self._exponents[position])
            if exponent > known:
                for each in range(self.parts):
                    self._counts[each, position] = widen(self._counts[each, position], int(exponent) - known)
                self._exponents[position] = exponent
            self._counts[part, position] += widen(counts, max(known - int(exponent), 0))

    def observed(self, tensors: Sequence[int], parts: Sequence[int]) -> Observed:
        """Return what tensors that share a range did on the images of ``parts``."""
        chosen = np.isin(self.part_of, parts)
        places = [self.tensors.index(tensor) for tensor in tensors]
        lows, highs = np.array(self.lows)[chosen], np.array(self.highs)[chosen]
        return merged(
            [
                Observed(
                    lows=lows[:, place],
                    highs=highs[:, place],
                    counts=self._counts[list(parts), place].sum(axis=0),
                    limit=float(2.0 ** self._exponents[place]),
                )
                for place in places
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Image:
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]
    exponents: NDArray[np.int64]
    counts: list[NDArray[np.float64]]
    outputs: Answer


def gather(
    flatbuffer: bytes,
    tensors: Tensors,
    *,
    part: Callable[[int], int] = lambda _: 0,
    parts: int = 1,
    progress: Callable[[], None] | None = None,
) -> Activations:
    """Run the float ``flatbuffer`` over all images and return what its tensors did. ``part(i)`` puts image i into a part.

    tensors: called once; gives float32 ``(1, height, width, channels)``, preprocessed. Raises CalibrationError when it gives
    none, and for activations that are not finite.
    """
    model = graph.read(flatbuffer)
    indices = same_range.activations(model)
    found = Activations(model=model, tensors=indices, parts=parts)
    kept = 4 * sum(model.tensors[index].elements for index in indices)
    workers = default_workers(2 * len(flatbuffer) + kept)
    pool = Pool(open_interpreter(flatbuffer, threads=1, preserve=True) for _ in range(workers))

    names = answers.output_names(model)

    def look(tensor: Feed) -> _Image:
        return pool.use(lambda interpreter: _look(interpreter, tensor, indices, names))

    for number, seen in enumerate(ordered(look, tensors(), workers)):
        if not (np.isfinite(seen.lows).all() and np.isfinite(seen.highs).all()):
            raise CalibrationError(f"representative image {number + 1} makes the float network answer NaN or infinity")
        found.add(seen, int(part(number)))
        if progress is not None:
            progress()
    if not found.outputs:
        raise CalibrationError("no representative image; give --images DIR")
    return found


def run(flatbuffer: bytes, tensors: Iterable[Feed], *, kernels: str = "optimized", workers: int | None = None) -> list[Answer]:
    """Return the real-valued outputs, by name, of ``flatbuffer`` (float or integer) for each of ``tensors``.

    workers: interpreters at work; default one for each core.
    """
    workers = workers or default_workers(2 * len(flatbuffer))
    pool = Pool(open_interpreter(flatbuffer, threads=1, kernels=kernels) for _ in range(workers))

    names = answers.output_names(graph.read(flatbuffer))

    def answer(tensor: Feed) -> Answer:
        return pool.use(lambda interpreter: infer(interpreter, tensor, names))

    return list(ordered(answer, tensors, workers))


def infer(interpreter: LoadedInterpreter, tensor: Feed, names: Sequence[str] = ()) -> Answer:
    """Feed real-valued input (a tuple for several inputs) to a float or integer network; return its real-valued outputs.

    names: of the file's outputs (`answers.output_names`); without them the names of the tensors.
    """
    for position, each in enumerate(tensor if isinstance(tensor, tuple) else (tensor,)):
        spec = interpreter.inputs[position]
        interpreter.set_input(each if spec.quant is None else quantize(each, spec.quant, spec.dtype), position)
    interpreter.invoke()
    outputs = {}
    for position, (output, name) in enumerate(
        zip(interpreter.outputs, names or [o.name for o in interpreter.outputs], strict=True)
    ):
        raw = interpreter.output(position)[0]
        outputs[name] = np.asarray(raw, np.float32) if output.quant is None else dequantize(raw, output.quant)
    return Answer(outputs)


def _look(interpreter: LoadedInterpreter, tensor: Feed, indices: Sequence[int], names: Sequence[str]) -> _Image:
    outputs = infer(interpreter, tensor, names)
    lows, highs = np.zeros(len(indices)), np.zeros(len(indices))
    exponents, counts = np.zeros(len(indices), np.int64), []
    for position, index in enumerate(indices):
        values = interpreter.tensor(index).reshape(-1)
        lows[position], highs[position] = values.min(), values.max()
        largest = max(-lows[position], highs[position])
        if not np.isfinite(largest):
            counts.append(np.zeros(BINS))
            continue
        exponent = _LOWEST_EXPONENT if largest <= 0 else max(int(np.floor(np.log2(largest))) + 1, _LOWEST_EXPONENT)
        exponents[position] = exponent
        # An odd stride walks through all channels, whose number is even nearly always.
        stride = values.size // _HISTOGRAM_VALUES | 1 if values.size > _HISTOGRAM_VALUES else 1
        bins = ((values[::stride] * np.float32(2.0**-exponent) + 1.0) * (BINS / 2)).astype(np.int32)
        counts.append(np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS).astype(np.float64) * (values.size / bins.size))
    return _Image(lows=lows, highs=highs, exponents=exponents, counts=counts, outputs=outputs)
