"""``quantize.load``: a trained network from any of the forms in which people have one.

The first bytes decide what a file is, not its suffix. Nothing is unpickled, and nothing in a file runs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.artefact.contract import Contract, InputSpec, OutputSpec, Provenance
from edge.files import sha256_file

from ..errors import LoadError
from ..quiet import import_keras, import_tensorflow, quiet
from ..variants import file_name
from . import io_specs, keras_files, keras_object, outline, saved_model
from .architecture import Architecture, load_weights_file
from .contract_check import InsideNormalisation, decide
from .input_probe import measure
from .io_specs import NO_PICTURE, FoundInput, FoundOutput, Inputs, Labels, Outputs, check_order, specify_inputs, specify_outputs
from .keras_outputs import with_endings
from .keras_rewrite import TAKES_WHOLE_PIXELS
from .slim import files as slim_files
from .source import Source


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Loaded:
    """What the loaders of all formats come down to."""

    function: Any
    trackables: tuple[Any, ...]
    model: Any
    input_shape: tuple[int, int, int]
    outputs: tuple[FoundOutput, ...]
    inside: InsideNormalisation | None
    architecture: str
    parameters: int
    notes: tuple[str, ...]
    saved_with: str = ""
    extra_inputs: tuple[FoundInput, ...] = ()


def load(
    source: Any,
    *,
    name: str | None = None,
    preprocess: str | InputSpec | Mapping[str, Any] | None = None,
    labels: Labels | None = None,
    outputs: Outputs | None = None,
    input_shape: tuple[int, ...] | None = None,
    architecture: str | Architecture | None = None,
    allow_code: bool = False,
    background: int | None = None,
    inputs: Inputs | None = None,
) -> Source:
    """Load a trained network.

    source: path of a ``.keras`` file, a whole-model ``.h5`` (Keras 2 or 3), a SavedModel directory or a weights file; TF-slim's
    Inception-ResNet-v2 as frozen graph, meta graph or checkpoint (see ``quantize.loading.slim.source``); or a Keras model object
    (Keras 3 or tf_keras).
    name: of the artefacts made from it; by default the file's.
    preprocess: how pictures are fed: the name of a recipe (``inception``, ``raw``, ``unit``), an InputSpec, or its fields without
    width and height. None is enough only for a model that normalises its input itself.
    labels: class names of the only output with classes, or ``{output: class names}``.
    outputs: what an output means where its last layer leaves that open: ``logits``, ``regression``, ``features``, ...; one kind
    for all, ``{output: kind}``, or OutputSpecs. Softmax is read as probabilities, sigmoid as multilabel, no dense layer as
    features, one sigmoid alone as a two-class answer; a linear dense layer as logits when it has labels, else it must be said.
    input_shape: (height, width) or (height, width, channels), where the model leaves it open, or to build a fully convolutional
    one at another size.
    architecture: of a weights file: ``inception_resnet_v2``, or an Architecture.
    allow_code: run the Python code of Lambda layers in the file.
    background: the class that means nothing and is never an answer (0 in TF-slim's 1001 classes), -1 for none; labels may then
    leave it out. None is none, except for slim's own files with 1001 classes.
    inputs: of a network that takes more than a picture: ``{input: ExtraInput, or its mean, scale, meaning}``.

    Raises LoadError (UnsafeModelError where the file could do harm): one line that says what, where, and what to do.
    """
    shape = three(input_shape)
    if isinstance(source, str | os.PathLike) and slim_files.recognises(Path(source)):
        _without(_architecture(architecture), where=str(source))
        specify_inputs((), inputs, where=str(source))
        return _from_slim(Path(source), shape, name, preprocess, labels, outputs, background)
    if not isinstance(source, str | os.PathLike):
        loaded, provenance = _from_object(source, shape), None
        where = f"model {getattr(source, 'name', type(source).__name__)!r}"
    else:
        path = Path(source)
        where = str(path)
        loaded, form = _from_path(path, shape, _architecture(architecture), allow_code=allow_code, where=where)
        provenance = Provenance(file=path.name, sha256=_sha256(path), format=form)
    extra, silent = specify_inputs(loaded.extra_inputs, inputs, where=where)
    if loaded.input_shape != NO_PICTURE:
        check_order(loaded.input_shape, where=where)
    unread = Contract(
        name=file_name(name, source),
        input=InputSpec(width=1, height=1, frames=int(loaded.input_shape != NO_PICTURE)),
        outputs=tuple(OutputSpec(name=output.name, kind="features") for output in loaded.outputs),
        extra_inputs=extra,
    )
    traced = Source(
        name=unread.name,
        contract=unread,
        input_shape=loaded.input_shape,
        function=loaded.function,
        trackables=loaded.trackables,
        model=loaded.model,
    )
    graph = traced.concrete_function()
    found = with_endings(loaded.outputs, graph)
    pictured = loaded.input_shape != NO_PICTURE
    inside = measure(graph, loaded.input_shape, loaded.inside) if pictured else InsideNormalisation.nothing()
    whole = any(note.startswith(TAKES_WHOLE_PIXELS) for note in loaded.notes)
    preprocess = "raw" if whole and preprocess is None else preprocess
    input_spec, said = decide(preprocess, shape=loaded.input_shape, inside=inside, architecture=loaded.architecture, where=where)
    if whole and (any(input_spec.mean) or any(scale != 1.0 for scale in input_spec.scale)):
        raise LoadError(
            f"{where}: {TAKES_WHOLE_PIXELS}, 0 to 255, and the contract feeds (pixel - {input_spec.mean[0]:g}) /"
            f" {input_spec.scale[0]:g}; feed them as they are with --preprocess raw"
        )
    named = io_specs.name_background(found, labels, background, where=where)
    output_specs, inferred = specify_outputs(found, outputs, named, where=where)
    output_specs = io_specs.mark_background(output_specs, background, where=where)
    provenance = provenance or Provenance(sha256=keras_object.sha256(source), format="object")
    notes = (*loaded.notes, *said, *inferred, *silent)
    contract = unread.replace(
        input=input_spec,
        outputs=output_specs,
        source=Provenance(
            file=provenance.file,
            sha256=provenance.sha256,
            format=provenance.format,
            architecture=loaded.architecture or "other",
            parameters=loaded.parameters,
            tools=_tools(loaded.saved_with),
        ),
        notes=notes,
    )
    return dataclasses.replace(traced, contract=contract, notes=notes)


def _from_path(
    path: Path,
    shape: tuple[int, int, int] | None,
    architecture: Architecture | None,
    *,
    allow_code: bool,
    where: str,
) -> tuple[_Loaded, str]:
    """Return the network and the name of its format."""
    form = outline.form_of(path, architecture is not None, where=where)
    if form == outline.SAVED_MODEL:
        return _from_saved_model(path, shape, where=where), form
    if form != outline.WEIGHTS:
        _without(architecture, where=where)
    elif architecture is not None:
        model, notes = load_weights_file(path, architecture, input_shape=shape, where=where)
        return _from_keras(model, notes, where=where), form
    load_file = keras_files.load_zip if form == outline.KERAS else keras_files.load_h5
    model, notes = load_file(path, input_shape=shape, allow_code=allow_code, where=where)
    return _from_keras(model, notes, where=where), form


def _from_keras(model: Any, notes: tuple[str, ...], *, where: str) -> _Loaded:
    with quiet():
        parts = keras_object.inspect(model, where=where)
    return _Loaded(
        function=parts.function,
        trackables=parts.trackables,
        model=model,
        input_shape=parts.input_shape,
        outputs=parts.outputs,
        inside=parts.inside,
        architecture=parts.architecture,
        parameters=int(model.count_params()),
        notes=notes + parts.notes,
        extra_inputs=parts.extra_inputs,
    )


def _from_object(model: Any, shape: tuple[int, int, int] | None) -> _Loaded:
    where = f"model {getattr(model, 'name', type(model).__name__)!r}"
    with quiet():
        ready, notes = keras_object.ready(model, input_shape=shape, where=where)
    return _from_keras(ready, notes, where=where)


def _from_slim(
    path: Path,
    shape: tuple[int, int, int] | None,
    name: str | None,
    preprocess: str | InputSpec | Mapping[str, Any] | None,
    labels: Labels | None,
    outputs: Outputs | None,
    background: int | None,
) -> Source:
    from .slim import source as slim_source  # 17 ms of processor time; few files are of TF-slim

    where = str(path)
    if isinstance(labels, str | Mapping):
        raise LoadError(f"{where}: it has one output; expected labels as a list of class names")
    options = slim_source.SlimOptions(background=background)
    source = slim_source.load(path, options, name=name, preprocess=preprocess, labels=labels, input_shape=shape).source
    (output,) = source.contract.outputs
    said = outputs.get(output.name) if isinstance(outputs, Mapping) else outputs
    if isinstance(said, str) and said != output.kind:
        raise LoadError(
            f"{where}: its output is {output.kind}, {said!r} was said; edgekit import takes another one with --output"
        )
    return source


def _from_saved_model(path: Path, shape: tuple[int, int, int] | None, *, where: str) -> _Loaded:
    loaded = saved_model.load_directory(path, input_shape=shape, where=where)
    return _Loaded(
        function=loaded.call,
        trackables=(loaded.module,),
        model=None,
        input_shape=loaded.input_shape,
        outputs=loaded.outputs,
        inside=None,
        architecture=loaded.architecture,
        parameters=sum(int(variable.shape.num_elements()) for variable in loaded.signature.variables),
        notes=("a SavedModel does not tell where its first batch normalisation is; the pixel range was not checked against it",),
        saved_with=loaded.tensorflow_version,
    )


def _without(architecture: Architecture | None, *, where: str) -> None:
    if architecture is not None:
        raise LoadError(f"{where}: holds the whole model; --architecture is for files of weights only, leave it out")


def _architecture(value: str | Architecture | None) -> Architecture | None:
    return Architecture(name=value) if isinstance(value, str) else value


def three(shape: tuple[int, ...] | None) -> tuple[int, int, int] | None:
    """Return a shape as (height, width, channels). Raises LoadError for what is none."""
    if shape is None:
        return None
    whole = tuple(shape)
    if len(whole) == 2:
        whole = (*whole, 3)
    if len(whole) != 3 or not all(type(value) is int and 1 <= value <= 8192 for value in whole):
        raise LoadError(f"input shape is {tuple(shape)}, expected (height, width) or (height, width, channels), 1 to 8192 each")
    return whole[0], whole[1], whole[2]


def _sha256(path: Path) -> str:
    """Return the hash of a file; of a directory, of the sorted ``path hash`` lines of its files."""
    if path.is_file():
        return sha256_file(path)
    lines = [f"{file.relative_to(path).as_posix()} {sha256_file(file)}\n" for file in sorted(path.rglob("*")) if file.is_file()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _tools(saved_with: str) -> dict[str, str]:
    tools = {"tensorflow": str(import_tensorflow().__version__), "keras": str(import_keras().__version__)}
    return {**tools, "saved_with_tensorflow": saved_with} if saved_with else tools
