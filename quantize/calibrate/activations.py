"""One pass of the float network over the representative images: what every tensor does, in bounded memory, on all cores.

The interpreter keeps every tensor between the layers (``preserve``), with the fast kernels; what is kept of the images is a sketch
(`quantize.calibrate.sketch`) and the answers to some, so that memory grows with the number of tensors and not with the number of images.

TensorFlow's own calibrator reads a tensor after later ops may have written over it in place: an operand of a residual add then gets
the range of the sum (TensorFlow 2.21; a test shows it), several times too wide for a branch. Here every tensor keeps its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge.artefact import graph
from edge.artefact.tensors import dequantize, quantize
from edge.runtime.interpreter import LoadedInterpreter, open_interpreter
from edge.runtime.interpreter_apart import InterpreterApart
from edge.runtime.model import Feed
from edge.runtime.pool import Pool, default_workers, ordered

from ..errors import CalibrationError
from ..tflite import answers
from ..tflite.answers import Answer
from . import same_range
from .ranges import Observed
from .sketch import Sketch, Spread, sampled

Tensors = Callable[[], Iterable[Feed]]

ANSWERS = 512
"""Images whose answers are kept, evenly spread over all: more do not choose ranges better, and take memory for each."""


@dataclass(slots=True, kw_only=True, eq=False)
class Activations:
    """What a float network did on the images.

    ``sketches``: of each part of the images, so that one can be held out. ``part_of``: the part of each image. ``outputs``: by the
    image's number the network's outputs without batch axis, of ``ANSWERS`` images at most. ``shared``: the positions in ``tensors``
    of those that have one range.
    """

    model: graph.Graph
    tensors: tuple[int, ...]
    parts: int
    outputs: Spread[Answer] = field(default_factory=lambda: Spread(ANSWERS))
    part_of: bytearray = field(default_factory=bytearray)
    shared: tuple[tuple[int, ...], ...] = field(init=False)
    sketches: list[Sketch] = field(init=False)

    def __post_init__(self) -> None:
        place = {tensor: position for position, tensor in enumerate(self.tensors)}
        groups = (group.tensors for group in same_range.groups(self.model))
        self.shared = tuple(tuple(sorted(place[i] for i in group)) for group in groups if len(group) > 1)
        self.sketches = [Sketch.empty(len(self.tensors), len(self.shared)) for _ in range(self.parts)]

    def add(self, seen: _Image, part: int) -> None:
        """Take in one image."""
        self.outputs.add(len(self.part_of), seen.outputs)
        self.part_of.append(part)
        self.sketches[part].merge(seen.sketch)

    def observed(self, tensors: Sequence[int], parts: Sequence[int]) -> Observed:
        """Return what a tensor, or all that share its range, did on the images of ``parts``."""
        places = tuple(sorted(self.tensors.index(tensor) for tensor in tensors))
        row = places[0] if len(places) == 1 else len(self.tensors) + self.shared.index(places)
        sizes = [self.model.tensors[self.tensors[place]].elements for place in places]
        together = Sketch.empty(len(places)).only(range(len(places)), 0)
        for part in parts:
            together.merge(self.sketches[part].only(places, row))
        return together.observed([size / sampled(size) for size in sizes])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Image:
    sketch: Sketch
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

    def look(numbered: tuple[int, Feed]) -> _Image:
        return pool.use(lambda interpreter: _look(interpreter, *numbered, indices, found.shared, names))

    for number, seen in enumerate(ordered(look, enumerate(tensors()), workers)):
        if not seen.sketch.finite:
            raise CalibrationError(f"representative image {number + 1} makes the float network answer NaN or infinity")
        found.add(seen, int(part(number)))
        if progress is not None:
            progress()
    if not found.outputs:
        raise CalibrationError("no representative image; give --images DIR")
    return found


def run(
    flatbuffer: bytes,
    tensors: Iterable[Feed],
    *,
    kernels: str = "optimized",
    workers: int | None = None,
    names: Sequence[str] = (),
) -> list[Answer]:
    """Return the real-valued outputs, by name, of ``flatbuffer`` (float or integer) for each of ``tensors``.

    workers: interpreters at work; default one for each core. names: other names than the file's own, in its order.
    """
    workers = workers or default_workers(2 * len(flatbuffer))
    pool = Pool(open_interpreter(flatbuffer, threads=1, kernels=kernels) for _ in range(workers))

    names = names or answers.output_names(graph.read(flatbuffer))

    def answer(tensor: Feed) -> Answer:
        return pool.use(lambda interpreter: infer(interpreter, tensor, names))

    return list(ordered(answer, tensors, workers))


def infer(interpreter: LoadedInterpreter | InterpreterApart, tensor: Feed, names: Sequence[str] = ()) -> Answer:
    """Feed real-valued input (a tuple for several inputs) to a float or integer network; return its real-valued outputs.

    names: of the file's outputs (`answers.output_names`); without them the names of the tensors.
    """
    given = zip(tensor if isinstance(tensor, tuple) else (tensor,), interpreter.inputs, strict=True)
    raw = interpreter.run(each if spec.quant is None else quantize(each, spec.quant, spec.dtype) for each, spec in given)
    outputs = {}
    for array, output, name in zip(raw, interpreter.outputs, names or [o.name for o in interpreter.outputs], strict=True):
        outputs[name] = np.asarray(array[0], np.float32) if output.quant is None else dequantize(array[0], output.quant)
    return Answer(outputs)


def _look(
    interpreter: LoadedInterpreter,
    number: int,
    tensor: Feed,
    indices: Sequence[int],
    shared: Sequence[Sequence[int]],
    names: Sequence[str],
) -> _Image:
    outputs = infer(interpreter, tensor, names)
    return _Image(sketch=Sketch.of(number, map(interpreter.tensor, indices), shared), outputs=outputs)
