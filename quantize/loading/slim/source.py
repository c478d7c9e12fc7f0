"""TF-slim's Inception-ResNet-v2 from a frozen graph, a meta graph or a checkpoint, as a Keras network and a Source.

The Keras network has the weights that the file has, and its answers are compared with those of the graph itself. What the network
takes can be changed without changing what it computes: the order of the colours, and whether pixels come normalised.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.artefact import labels as class_labels
from edge.artefact.contract import Contract, InputSpec, OutputSpec, Provenance
from edge.files import sha256_file
from edge.runtime import golden
from edge.runtime.preprocess import load_pixels, lookup_table, to_tensor

from ...errors import LoadError, first_line
from ...quiet import import_keras, import_tensorflow, quiet
from .. import keras_object
from ..contract_check import stated
from ..source import Source
from . import files as slim_files
from . import network
from . import weights as slim_weights
from .weights import Weights

TOLERANCE = 1e-4
"""Largest difference between the graph's answers and the Keras network's, as a share of the largest answer."""

INPUT_ORDERS = ("rgb", "bgr")
CLASSES_WITH_BACKGROUND = 1001
PUBLISHED_SIZE = (299, 299, 3)
CROP_FRACTION = 0.875  # the centre that slim's evaluation, and the published accuracy, look at

_FIRST = "Conv2d_1a_3x3"
_PATTERNS = golden.PATTERNS[:2]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlimOptions:
    """What is wanted of a slim network.

    ``output``: the node it is cut at, one of ``network.OUTPUTS``. ``input_node``: where its pixels come in. ``checkpoint``:
    the prefix of a meta graph's variables, where they are not beside it. ``background``: index of the class that means nothing,
    -1 for none; None is 0 for 1001 classes, else none. ``input_order``: ``rgb`` as trained, or ``bgr``: the channels of the first
    convolution are re-ordered. ``fold_preprocessing``: mean and scale go into the first convolution, which then takes 0..255.
    """

    output: str = network.AUXILIARY
    input_node: str = "input"
    checkpoint: Path | None = None
    background: int | None = None
    input_order: str = "rgb"
    fold_preprocessing: bool = False

    def __post_init__(self) -> None:
        if self.output not in network.OUTPUTS:
            raise LoadError(f"output {self.output!r} is not known, expected one of {', '.join(network.OUTPUTS)}")
        if self.input_order not in INPUT_ORDERS:
            raise LoadError(f"input order {self.input_order!r} is not known, expected one of {', '.join(INPUT_ORDERS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far the Keras network's answers are from the graph's: ``absolute``, and ``relative`` to the largest answer.

    ``same_first``: the share of pictures with the same best class.
    """

    pictures: int
    absolute: float
    relative: float
    same_first: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Imported:
    """A slim network. ``source`` is what everything else takes, ``source.model`` the Keras network.

    ``agreement`` is with the graph on made-up pictures, None where the file has no graph. ``original``: how the graph is fed.
    """

    source: Source
    original: InputSpec
    agreement: Agreement | None
    _graph: Any
    _options: SlimOptions

    @property
    def has_graph(self) -> bool:
        return self._graph is not None

    def compare(self, pictures: Iterable[Any]) -> Agreement:
        """Feed pictures (paths, or uint8 (height, width, 3) RGB) to the graph and to the Keras network, each as its contract says.

        Raises LoadError when the answers differ by more than TOLERANCE, or there is no graph.
        """
        if self._graph is None:
            raise LoadError(f"{self.source.name}: a checkpoint without its graph: there is nothing to compare with")
        run = _runner(self._graph, self._options)
        own, spec = lookup_table(self.original), self.source.contract.input
        answers = []
        for picture in pictures:
            expected = run(to_tensor(load_pixels(picture, self.original), own)).reshape(-1)
            (found,) = self.source.predict(to_tensor(load_pixels(picture, spec), lookup_table(spec))).values()
            answers.append((expected, found.reshape(-1)))
        return _judge(answers, where=self.source.contract.source.file)


def load(
    path: str | os.PathLike[str],
    options: SlimOptions | None = None,
    *,
    name: str | None = None,
    preprocess: str | InputSpec | Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    input_shape: tuple[int, int, int] | None = None,
) -> Imported:
    """Read a slim network and rebuild it in Keras. Nothing in the file is run before it was scanned.

    preprocess: mean, scale and geometry as of ``quantize.load``; by default -1..1 of the centre (CROP_FRACTION), RGB.
    labels: 1001 class names, or 1000 without the background class.
    Raises LoadError (UnsafeModelError for ops that could do harm) for files that are not this network, and when the rebuilt
    network answers differently; ContractError for labels that do not fit.
    """
    options = options or SlimOptions()
    file = Path(path)
    where = str(file)
    stored = slim_files.read(
        file, output=options.output, input_node=options.input_node, checkpoint=options.checkpoint, where=where
    )
    if stored.graph is not None:
        weights = slim_weights.from_graph(stored.graph, where=where)
    else:
        weights = slim_weights.from_variables(stored.variables, where=where)
    shape, notes = _shape(stored, options.input_node, input_shape, where=where)
    original = _original_input(preprocess, shape, where=where)
    spec = _input(original, options)
    model = network.build({**weights, **_first(weights, original, options)}, options.output, shape, where=where)
    with quiet():
        parts = keras_object.inspect(model, where=where)
    classes = int(model.outputs[0].shape[-1])
    output = _output(parts.outputs[0].name, classes, options, labels, where=where)
    notes = (*stored.notes, *notes, *_about(weights, output, options))
    contract = Contract(
        name=_name(name, file),
        input=spec,
        outputs=(output,),
        source=Provenance(
            file=file.name,
            sha256=_sha256(stored.files),
            format=stored.form,
            architecture="inception_resnet_v2_slim" + ("_aux" if options.output == network.AUXILIARY else ""),
            parameters=int(model.count_params()),
            tools={"tensorflow": str(import_tensorflow().__version__), "keras": str(import_keras().__version__)},
        ),
        notes=notes,
    )
    source = Source(
        name=contract.name,
        contract=contract,
        input_shape=shape,
        function=parts.function,
        trackables=parts.trackables,
        model=model,
        notes=notes,
    )
    imported = Imported(source=source, original=original, agreement=None, _graph=stored.graph, _options=options)
    if stored.graph is None:
        return imported
    pictures = [golden.pattern(pattern, *shape) for pattern in _PATTERNS]
    return dataclasses.replace(imported, agreement=imported.compare(pictures))


def _runner(graph: Any, options: SlimOptions) -> Any:
    """Return a function from a preprocessed tensor to the graph's answer."""
    tf = import_tensorflow()

    def build() -> None:
        tf.graph_util.import_graph_def(graph, name="")

    with quiet():
        try:
            wrapped = tf.compat.v1.wrap_function(build, [])
            pruned = wrapped.prune(f"{options.input_node}:0", f"{options.output}:0")
        except Exception as error:  # TensorFlow raises many types for a graph that it cannot take
            raise LoadError(f"TensorFlow {tf.__version__} cannot take the graph: {first_line(error)}") from error

    def run(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        with quiet():
            return np.asarray(pruned(tf.constant(tensor)).numpy(), np.float32)

    return run


def _judge(answers: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]], *, where: str) -> Agreement:
    if not answers:
        raise LoadError(f"{where}: no pictures to compare with the graph")
    if answers[0][0].shape != answers[0][1].shape:
        raise LoadError(f"{where}: the graph answers {answers[0][0].size} values, the rebuilt network {answers[0][1].size}")
    absolute = max(float(np.max(np.abs(found - expected))) for expected, found in answers)
    relative = max(
        float(np.max(np.abs(found - expected)) / max(float(np.max(np.abs(expected))), 1e-12)) for expected, found in answers
    )
    if not relative <= TOLERANCE:  # also where it is no number
        raise LoadError(
            f"{where}: the rebuilt network's answers differ from the graph's by {relative:.1e} of the largest, at most {TOLERANCE:g}"
            " expected: the graph is not TF-slim's Inception-ResNet-v2 as published (other scales, padding or layers); nothing was written"
        )
    same = sum(int(np.argmax(expected) == np.argmax(found)) for expected, found in answers)
    return Agreement(pictures=len(answers), absolute=absolute, relative=relative, same_first=same / len(answers))


def _shape(
    stored: slim_files.Stored, input_node: str, asked: tuple[int, int, int] | None, *, where: str
) -> tuple[tuple[int, int, int], tuple[str, ...]]:
    """Return (height, width, channels) and notes: as the graph says, as asked for where it is open, else the published size."""
    sizes: list[int] = []
    if stored.graph is not None:
        node = next(node for node in stored.graph.node if node.name == input_node)
        sizes = [size.size for size in node.attr["shape"].shape.dim]
        if sizes and len(sizes) != 4:
            raise LoadError(f"{where}: input {input_node!r} has shape {sizes}, expected (batch, height, width, channels)")
    fixed = [size if size > 0 else None for size in sizes[1:]] or [None, None, None]
    if asked is not None:
        if any(size is not None and size != wanted for size, wanted in zip(fixed, asked, strict=True)):
            raise LoadError(f"{where}: its input is {'x'.join(map(str, fixed))}, {'x'.join(map(str, asked))} was asked for")
        return asked, ()
    if None in fixed:
        height, width, channels = (size or default for size, default in zip(fixed, PUBLISHED_SIZE, strict=True))
        note = f"the file leaves the input size open; {height}x{width} is taken (--input-shape says otherwise)"
        return (height, width, channels), (note,)
    height, width, channels = (int(size or 0) for size in fixed)
    return (height, width, channels), ()


def _original_input(
    preprocess: str | InputSpec | Mapping[str, Any] | None, shape: tuple[int, int, int], *, where: str
) -> InputSpec:
    """Return how the graph itself is fed."""
    height, width, channels = shape
    if channels != 3:
        raise LoadError(f"{where}: its input has {channels} channels, expected 3")
    if preprocess is None:
        return InputSpec(width=width, height=height, crop_fraction=CROP_FRACTION)
    spec = stated(preprocess, height=height, width=width, channels=channels, where=where)
    if spec.color != "rgb":
        raise LoadError(f"{where}: the network was trained on RGB; to feed it {spec.color} say --input-order bgr, not --color")
    if (spec.height, spec.width) != (height, width):
        raise LoadError(f"{where}: the network takes {height}x{width}, the contract says {spec.height}x{spec.width}")
    return spec


def _input(original: InputSpec, options: SlimOptions) -> InputSpec:
    """Return how the network is fed after the changes that were asked for."""
    spec = original
    if options.input_order == "bgr":
        spec = dataclasses.replace(spec, color="bgr", mean=spec.mean[::-1], scale=spec.scale[::-1])
    if options.fold_preprocessing:
        spec = dataclasses.replace(spec, mean=(0.0,) * 3, scale=(1.0,) * 3)
    return spec


def _first(weights: Mapping[str, Weights], original: InputSpec, options: SlimOptions) -> dict[str, Weights]:
    """Return the first convolution, changed so that the network takes its pixels in another form and computes the same.

    ``sum w (x - m) / s  =  sum (w / s) x  -  sum w m / s``; the last sum is one number for each filter, and goes into what is
    subtracted behind the convolution. It is the same at the borders, as the convolution has no padding.
    """
    first = weights.get(_FIRST)
    if first is None:
        return {}
    kernel, (beta, mean, variance) = first.kernel.astype(np.float64), first.normalised()[1]
    if options.fold_preprocessing:
        kernel = kernel / np.array(original.scale).reshape(1, 1, 3, 1)
        mean = mean + np.einsum("hwcf,c->f", kernel, np.array(original.mean))
    if options.input_order == "bgr":
        kernel = kernel[:, :, ::-1]
    norm = (beta, mean.astype(np.float32), variance)
    return {_FIRST: Weights(kernel=np.ascontiguousarray(kernel, np.float32), norm=norm)}


def _output(name: str, classes: int, options: SlimOptions, labels: Sequence[str] | None, *, where: str) -> OutputSpec:
    background = options.background
    if background is None:
        background = 0 if classes == CLASSES_WITH_BACKGROUND else -1
    index = None if background < 0 else background
    names = class_labels.fit(labels, classes, index, where=where) if labels else ()
    return OutputSpec(name=name, kind=network.OUTPUTS[options.output], labels=names, background_index=index)


def _about(weights: Mapping[str, Weights], output: OutputSpec, options: SlimOptions) -> tuple[str, ...]:
    notes = []
    counts = network.block_counts(weights)
    expected = {kind: n for kind, n in network.PUBLISHED_BLOCKS.items() if counts[kind] or kind != "block8"}
    if any(counts[kind] != count for kind, count in expected.items()):
        notes.append(f"its residual blocks are {counts}, not {expected} as published")
    if output.background_index is not None:
        notes.append(f"class {output.background_index} is the background and never an answer")
    repeated = len(output.labels) - len(set(output.labels))
    if repeated:
        notes.append(f"{repeated} classes have the name of another one")
    if options.input_order == "bgr":
        notes.append("the first convolution's channels were re-ordered: it takes BGR")
    if options.fold_preprocessing:
        notes.append("mean and scale are in the first convolution: it takes pixels as they are, 0..255")
    return tuple(notes)


def _name(name: str | None, file: Path) -> str:
    if name is None:
        name = re.sub(r"\.(pb|ckpt|index|meta|data-\d{5}-of-\d{5})$", "", file.name)
        name = re.sub(r"\.ckpt$", "", name)
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "model"


def _sha256(files: Sequence[Path]) -> str:
    """Return the hash of the only file, or of the sorted ``name hash`` lines of several."""
    if len(files) == 1:
        return sha256_file(files[0])
    lines = "".join(f"{file.name} {sha256_file(file)}\n" for file in sorted(set(files)))
    return hashlib.sha256(lines.encode()).hexdigest()
