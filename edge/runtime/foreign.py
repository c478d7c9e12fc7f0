"""Models of somebody else's: no contract travels with them, so it is put together from what is known, and never guessed.

What is known: the graph itself (sizes; a softmax at the end gives probabilities), the standard TFLite Metadata (normalisation,
labels), and what the caller says. The caller's word goes first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..artefact import labels as class_labels
from ..artefact import outline, tflite_metadata
from ..artefact.container import Container, check_fit
from ..artefact.contract import Contract, InputSpec, OutputSpec
from ..artefact.graph import Graph, Tensor
from ..artefact.tflite_metadata import InputMetadata, ModelMetadata
from ..artefact.vocabulary import CLASS_KINDS
from ..errors import ArtefactError, ContractError
from . import feeding
from .classify import class_count
from .feeding import Feeding

# Ops that hand values on; what was computed before them is what the output holds.
_PASS_ON = frozenset({"QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE"})
_NO_FLAGS = "this command takes files whose contract or TFLite Metadata says it, such as edgekit quantize makes"
_KIND_OF_OP = {"SOFTMAX": "probabilities", "LOGISTIC": "multilabel"}


def contract(
    source: Container,
    *,
    input: InputSpec | Mapping[str, Any] | None = None,  # noqa: A002 - the contract's word for it
    outputs: Sequence[OutputSpec] | None = None,
    labels: Sequence[str] | None = None,
    kind: str | None = None,
    background: int | None = None,
) -> Contract:
    """Return how to feed and read a foreign model.

    input: an InputSpec, or its fields without ``width`` and ``height`` (the model knows those). kind: of each output that does
    not end in a softmax or sigmoid. labels, background: of the first output with classes.

    Raises ContractError naming what is missing.
    """
    where = str(source.path)
    described = _described(source)
    fed = _feed(source, input, described)
    specs = _outputs(where, source, described, kind) if outputs is None else tuple(outputs)
    if labels is not None or background is not None:
        sizes = [tensor.elements for tensor in _output_tensors(source.graph)]
        specs = _with_classes(where, specs, sizes, labels, background)
    built = Contract(
        name=source.path.stem,
        input=fed.spec,
        outputs=specs,
        model_sha256=source.model_sha256,
        notes=("put together for a model without a contract", f"fed: {fed.to_text()}"),
    )
    check_fit(where, built, outline.read(source.flatbuffer(), where=where))
    return built


def feed(source: Container, *, input: InputSpec | Mapping[str, Any] | None = None) -> Feeding:  # noqa: A002 - as above
    """Return how a model is fed, and who says so: its own contract, ``input``, or its metadata.

    Raises ContractError where nothing says it, or where the values do not fit the input (see `edge.runtime.feeding.check`).
    """
    if source.contract is not None:
        first = _inputs(source.graph)[0]
        return feeding.describe(source.contract.input, first, feeding.ITS_CONTRACT)
    return _feed(source, input, _described(source))


def _described(source: Container) -> ModelMetadata | None:
    try:
        return tflite_metadata.read(source.flatbuffer(), source.graph)
    except ArtefactError as error:
        raise ArtefactError(f"{source.path}: {error}") from error


def _feed(source: Container, given: InputSpec | Mapping[str, Any] | None, described: ModelMetadata | None) -> Feeding:
    where = str(source.path)
    height, width, channels = _image_shape(where, source.graph)
    tensor = _inputs(source.graph)[0]
    spec, why = _input(where, height, width, channels, given, described, tensor)
    return feeding.check(where, spec, tensor, why)


def _inputs(graph: Graph) -> list[Tensor]:
    return [graph.tensors[i] for i in graph.main.inputs]


def _output_tensors(graph: Graph) -> list[Tensor]:
    return [graph.tensors[i] for i in graph.main.outputs]


def _image_shape(where: str, graph: Graph) -> tuple[int, int, int]:
    shapes = [tensor.shape for tensor in _inputs(graph)]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][0] != 1 or shapes[0][3] not in (1, 3):
        raise ContractError(
            f"{where}: its inputs have the shapes {shapes}, expected one image of shape (1, height, width, 1 or 3)"
        )
    open_sizes = [t.shape_signature for t in _inputs(graph) if any(size < 0 for size in t.shape_signature[1:])]
    if open_sizes:
        raise ContractError(
            f"{where}: its input has no fixed size ({list(open_sizes[0])}); convert it with a fixed height and width"
        )
    return shapes[0][1], shapes[0][2], shapes[0][3]


def _input(
    where: str,
    height: int,
    width: int,
    channels: int,
    given: InputSpec | Mapping[str, Any] | None,
    described: ModelMetadata | None,
    tensor: Tensor,
) -> tuple[InputSpec, str]:
    """Return how the image is fed, and who says so."""
    if isinstance(given, InputSpec):
        return given, "said by input="
    if given is not None:
        spec = InputSpec.fitting(given, height=height, width=width, channels=channels)
        return spec, "said by flags or input="
    if described is not None and described.inputs:
        return _described_input(where, height, width, channels, described.inputs[0], tensor)
    raise _unsaid(f"{where}: nothing in the file says how a picture is fed to it", tensor)


def _unsaid(message: str, tensor: Tensor) -> ContractError:
    say = f"say so with --preprocess inception, raw or unit (input=InputSpec(...) in Python){feeding.advice(tensor)}"
    return ContractError(message, ways=(("--preprocess", say),), otherwise=_NO_FLAGS)


def _described_input(
    where: str, height: int, width: int, channels: int, image: InputMetadata, tensor: Tensor
) -> tuple[InputSpec, str]:
    # The metadata's normalisation is for a float input. Into a uint8 tensor TFLite's Task Library writes the bytes as they are,
    # and that is what the authors of such files saw (task/vision/utils/image_utils, ImagePreprocessor).
    plain = feeding.as_bytes(tensor)
    missing = [
        what
        for what, is_missing in (
            ("that the input is an image", not image.is_image),
            ("its colour order", image.color is None),
            ("its normalisation", plain is None and (not image.mean or len(image.mean) != len(image.std))),
        )
        if is_missing
    ]
    if missing:
        raise _unsaid(f"{where}: its TFLite Metadata does not say {', '.join(missing)}", tensor)
    assert image.color is not None
    mean, std = (image.mean, image.std) if plain is None else ((plain[0],), (plain[1],))
    repeat = channels if len(mean) == 1 else 1
    spec = InputSpec(width=width, height=height, color=image.color, mean=mean * repeat, scale=std * repeat)
    if plain is None:
        return spec, "its TFLite Metadata says so"
    return spec, "its TFLite Metadata says that it is an image, and a uint8 input takes the bytes, as in TFLite's Task Library"


def _outputs(where: str, source: Container, described: ModelMetadata | None, kind: str | None) -> tuple[OutputSpec, ...]:
    graph = source.graph
    names = {index: name for signature in graph.signatures[:1] for name, index in signature.outputs.items()}
    specs = []
    for position, tensor in enumerate(_output_tensors(graph)):
        name = names.get(tensor.index) or tensor.name or f"output_{position}"
        found = _said(graph, tensor, kind)
        if found == "multilabel" and tensor.elements == 1 and len(graph.main.outputs) == 1 and kind != "multilabel":
            found = "probabilities"  # one sigmoid and nothing else: which of two classes it is
        if found is None:
            raise ContractError(
                f"{where}: output {name!r} does not end in a softmax or sigmoid, so its kind is not known",
                ways=(("--kind", "say so with --kind logits, probabilities, regression or features (kind= in Python)"),),
                otherwise=_NO_FLAGS,
            )
        if found in ("probabilities", "logits", "multilabel"):
            _check_vector(where, name, found, tensor)
        labels = _described_labels(where, source, described, position)
        specs.append(OutputSpec(name=name, kind=found, labels=_fitting(labels, found, tensor.elements)))
    if kind is not None and all(spec.kind != kind for spec in specs):
        ends = ", ".join(f"{spec.name!r} gives {spec.kind}" for spec in specs)
        raise ContractError(
            f"{where}: no output can be read as {kind}: by the softmax or sigmoid that the graph ends in, {ends}; leave --kind out"
            " (kind= in Python)"
        )
    return tuple(specs)


def _said(graph: Graph, tensor: Tensor, kind: str | None) -> str | None:
    """Return the kind of an output: what the graph proves goes first, but for what is true of any output beside it."""
    proven = _kind(graph, tensor.index)
    # Features are any values, also a map whose softmax goes along one of several axes. Where one output was asked about,
    # its sigmoid may end a number from 0 to 1, such as an acceleration.
    alone = len(graph.main.outputs) == 1
    if kind == "features" or (kind == "regression" and proven == "multilabel" and alone):
        return kind
    return proven or kind


def _fitting(labels: tuple[str, ...], kind: str, elements: int) -> tuple[str, ...]:
    two_class = kind in CLASS_KINDS and elements == 1
    return labels if len(labels) == (2 if two_class else elements) else ()


def _check_vector(where: str, name: str, kind: str, tensor: Tensor) -> None:
    """Raise ContractError for an output that is read as classes and has more than one axis: a map of the picture, or boxes."""
    wide = [size for size in tensor.shape if size > 1]
    if len(wide) > 1:
        shape = "x".join(map(str, tensor.shape))
        raise ContractError(
            f"{where}: output {name!r} has the shape {shape}: this is no class vector ({kind} has one value per class), but a map of"
            " the picture or a list of boxes; read it as numbers with --kind features (kind='features' and predict() in Python)"
        )


def _kind(graph: Graph, index: int) -> str | None:
    """Return the kind of an output that the graph itself proves, None where it does not."""
    makers = {output: op for op in graph.ops for output in op.outputs}
    op = makers.get(index)
    while op is not None and op.name in _PASS_ON and op.inputs:
        op = makers.get(op.inputs[0])
    return None if op is None else _KIND_OF_OP.get(op.name)


def _described_labels(where: str, source: Container, described: ModelMetadata | None, position: int) -> tuple[str, ...]:
    if described is None or position >= len(described.outputs) or not described.outputs[position].label_files:
        return ()
    file = described.outputs[position].label_files[0]
    if file not in source.members:
        raise ArtefactError(f"{where}: its TFLite Metadata names the label file {file!r}, which is not packed into it")
    return class_labels.parse(source.members[file], where=f"{where}: {file}")


def _with_classes(
    where: str, outputs: tuple[OutputSpec, ...], sizes: Sequence[int], labels: Sequence[str] | None, background: int | None
) -> tuple[OutputSpec, ...]:
    for i, spec in enumerate(outputs):
        if spec.kind in ("probabilities", "logits", "multilabel"):
            nothing = spec.background_index if background is None else background
            changed = dataclasses.replace(
                spec,
                labels=spec.labels
                if labels is None
                else class_labels.fit(labels, class_count(spec, sizes[i]), nothing, where=where),
                background_index=nothing,
            )
            return (*outputs[:i], changed, *outputs[i + 1 :])
    raise ContractError(f"{where}: labels or a background class are given, and no output has classes")
