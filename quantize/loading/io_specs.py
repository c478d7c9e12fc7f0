"""What goes into a network and what comes out: the picture among the inputs, what outputs mean, and the background class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge.artefact import labels as class_labels
from edge.artefact.contract import ExtraInput, OutputSpec
from edge.artefact.vocabulary import CLASS_KINDS, IMAGE, OUTPUT_KINDS
from edge.errors import ContractError

from ..errors import LoadError

Inputs = Mapping[str, ExtraInput | Mapping[str, Any]]

PICTURE = "input"  # what the picture's tensor is called in every file
NO_PICTURE = (1, 1, 0)  # the input shape of a network that takes none
Outputs = str | Mapping[str, str] | Sequence[OutputSpec]
Labels = Sequence[str] | Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundInput:
    """An input beside the picture as the network has it: ``shape`` without batch (None: open)."""

    name: str
    shape: tuple[int | None, ...]


def picture_at(shapes: Sequence[Sequence[Any] | None], names: Sequence[str], *, where: str) -> int | None:
    """Return the position of the picture among the inputs of these shapes (batch first): the one of four axes, None without.

    Raises LoadError where several could be it, and for a single input that is none.
    """
    found = [i for i, shape in enumerate(shapes) if shape is not None and len(shape) == 4]
    if len(found) > 1:
        both = ", ".join(names[i] for i in found)
        raise LoadError(
            f"{where}: has {len(found)} inputs of pictures ({both}), expected one; where they have one size, wrap the network: one"
            " Input with the pictures behind each other in its channels, and keras.ops.split(x, N, axis=-1) behind it"
        )
    unknown = [name for name, shape in zip(names, shapes, strict=True) if shape is None or len(shape) < 2]
    if unknown:
        shape = next(iter(shapes), None)
        raise LoadError(f"{where}: input layer {unknown[0]!r} has shape {shape}, expected (batch, height, width, channels)")
    return found[0] if found else None


def check_order(shape: Sequence[int | None], *, where: str) -> None:
    """Raise LoadError for a picture (without batch axis) whose channels are its first axis, where its height belongs."""
    first, across, last = shape
    if first in (1, 3, 4) and (across is None or across > 8) and (last is None or last > 8):
        size = "x".join("?" if value is None else str(value) for value in shape)
        raise LoadError(
            f"{where}: its input is {size}, channels first; pictures are fed as height x width x channels: build the network with"
            f" data_format='channels_last' and an Input(({across}, {last}, {first})), set the old one's weights (kernels have the"
            " same layout in both), and save it"
        )


def specify_inputs(
    found: Sequence[FoundInput], given: Inputs | None, *, where: str
) -> tuple[tuple[ExtraInput, ...], tuple[str, ...]]:
    """Return the contract's entries for the inputs beside the picture, and notes on what nobody said.

    given: what is known of them by name: an ExtraInput, or its ``mean``, ``scale``, ``meaning``.
    Raises LoadError for names that the network does not have, and for fields or shapes that do not fit.
    """
    given = given or {}
    names = [each.name for each in found]
    unknown = [name for name in given if name not in names]
    if unknown:
        has = f"only {', '.join(names)}" if names else "none beside the picture"
        raise LoadError(f"{where}: it has no input {unknown[0]!r}, {has}")
    specs, silent = [], []
    for each in found:
        if each.name == IMAGE or each.name == PICTURE:
            raise LoadError(f"{where}: its input {each.name!r} has shape {each.shape} and the name of the picture; rename it")
        said = given.get(each.name)
        shape = tuple(size for size in each.shape if size is not None)
        if len(shape) != len(each.shape):
            raise LoadError(f"{where}: input {each.name!r} leaves its size open, {each.shape}; a board needs a fixed one")
        fields: dict[str, Any] = {"name": each.name, "shape": shape, **(said if isinstance(said, Mapping) else {})}
        try:
            spec = said if isinstance(said, ExtraInput) else ExtraInput(**fields)
        except (ContractError, TypeError) as error:
            raise LoadError(f"{where}: input {each.name!r}: {error}") from error
        if spec.shape != shape or spec.name != each.name:
            raise LoadError(f"{where}: input {each.name!r} has shape {shape}, {spec.name!r} of {spec.shape} was said")
        specs.append(spec)
        if said is None:
            silent.append(each.name)
    notes = (f"inputs {', '.join(silent)} are fed as they are given, as no mean and scale was said",) if silent else ()
    return tuple(specs), notes


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundOutput:
    """One output as the network has it: ``shape`` without batch (None: open), ``ending`` what calculates it.

    ``ending`` is ``softmax``, ``sigmoid``, ``log-softmax``, ``linear`` (a dense layer without activation), ``features`` (pooling, a
    convolution's map, an embedding) or ``other`` (some other activation).
    """

    name: str
    shape: tuple[int | None, ...]
    ending: str

    @property
    def size(self) -> int | None:
        """The number of values per image, or None where it is open."""
        total = 1
        for value in self.shape:
            if value is None:
                return None
            total *= value
        return total


def specify_outputs(
    found: Sequence[FoundOutput], outputs: Outputs | None, labels: Labels | None, *, where: str
) -> tuple[tuple[OutputSpec, ...], tuple[str, ...]]:
    """Return one OutputSpec per output, in the model's order, and notes on what was inferred.

    outputs: one kind for all, ``{name: kind}``, or OutputSpecs that are taken as they are. labels: class names of the only output
    with classes, or ``{name: class names}``.
    Raises LoadError for names the model does not have, a kind that cannot be told, and labels that do not fit.
    """
    names = [output.name for output in found]
    if outputs is not None and not isinstance(outputs, str | Mapping):
        return _as_given(found, outputs, where=where), ()
    kinds: dict[str, str] = {name: outputs for name in names} if isinstance(outputs, str) else dict(outputs or {})
    _check_names(kinds, names, "outputs", where=where)
    for name, kind in kinds.items():
        if kind not in OUTPUT_KINDS:
            raise LoadError(f"{where}: output {name!r} is said to be {kind!r}, expected one of {', '.join(OUTPUT_KINDS)}")
    own_labels = _labels_by_output(found, kinds, labels, where=where)
    specs, notes = [], []
    for output in found:
        kind, reason = kinds.get(output.name, ""), ""
        if not kind:
            own = own_labels.get(output.name, ())
            kind, reason = _infer(output, labelled=len(own), only=len(found) == 1, where=where)
            notes.append(f"output {output.name!r} is read as {kind}: {reason}")
        else:
            _check_kind(output, kind, where=where)
        specs.append(OutputSpec(name=output.name, kind=kind, labels=_fitting(output, kind, own_labels, where=where)))
    return tuple(specs), tuple(notes)


def _infer(output: FoundOutput, *, labelled: int, only: bool, where: str) -> tuple[str, str]:
    """labelled: the number of labels that it has. only: whether it is the model's only output."""
    if output.ending == "softmax":
        _check_kind(output, "probabilities", where=where)
        return "probabilities", "it ends in a softmax"
    if output.ending == "sigmoid" and output.size == 1 and (labelled == 2 or (only and not labelled)):
        return "probabilities", "it ends in one sigmoid, the probability of the second of two classes"
    if output.ending == "sigmoid":
        return "multilabel", "it ends in a sigmoid"
    if output.ending == "features":
        return "features", "it has no dense layer at its end"
    if output.ending == "log-softmax":
        return "logits", "it ends in a logarithm of a softmax (softmax is applied when it is read)"
    if labelled and output.ending == "linear":
        applied = "sigmoid" if output.size == 1 else "softmax"
        return "logits", f"it has labels and no {applied} ({applied} is applied when it is read)"
    raise LoadError(f"{where}: output {output.name!r} ends in {_asked(output)}")


def _asked(output: FoundOutput) -> str:
    """Return what a user has to be asked about an output, from what it ends in on."""
    values = "its value" if output.size == 1 else f"its {output.size} values"
    among = f"({output.name}=KIND among several outputs)"
    if output.ending == "linear":
        return (
            f"a dense layer without activation: {values} can be class scores or measured quantities; say which with --outputs"
            f" logits, regression or features {among}, or give --labels"
        )
    return (
        f"no softmax or sigmoid that the converted graph shows: {values} can be probabilities, class scores or measured"
        f" quantities; say which with --outputs probabilities, logits, multilabel, regression or features {among}"
    )


def _check_kind(output: FoundOutput, kind: str, *, where: str) -> None:
    """Raise LoadError where the network's end contradicts what an output is said to be."""
    if output.ending == "softmax" and output.size == 1:
        raise LoadError(f"{where}: output {output.name!r} is a softmax of one value, which is always 1; train with a sigmoid")
    if output.ending in ("softmax", "sigmoid") and kind == "logits":
        right = "probabilities" if output.ending == "softmax" or output.size == 1 else "multilabel"
        raise LoadError(
            f"{where}: output {output.name!r} is said to be logits and ends in a {output.ending}, which would be applied twice;"
            f" say {right}, or leave --outputs out"
        )


def _labels_by_output(
    found: Sequence[FoundOutput], kinds: Mapping[str, str], labels: Labels | None, *, where: str
) -> dict[str, tuple[str, ...]]:
    if not labels:
        return {}
    if isinstance(labels, str):
        raise LoadError(f"{where}: labels is one text, expected a list of class names")
    if isinstance(labels, Mapping):
        _check_names(labels, [output.name for output in found], "labels", where=where)
        return {name: tuple(own) for name, own in labels.items()}
    count = len(labels)
    open_to_labels = [o for o in found if kinds.get(o.name, "") in ("", "probabilities", "logits", "multilabel")]
    candidates = [
        o for o in open_to_labels if _takes(o, count, kinds.get(o.name, "")) and (o.ending != "features" or o.name in kinds)
    ]
    if len(candidates) > 1:
        certain = [o for o in candidates if kinds.get(o.name) or o.ending in ("softmax", "sigmoid")]
        candidates = certain if len(certain) == 1 else candidates
    if len(candidates) != 1:
        sizes = ", ".join(f"{output.name} has {output.size}" for output in found)
        which = "no output" if not candidates else f"{len(candidates)} outputs"
        if not candidates and len(found) == len(open_to_labels) == 1 and found[0].size not in (1, count):
            raise LoadError(f"{where}: {count} labels fit no output ({sizes}); expected one for each")
        raise LoadError(f"{where}: {count} labels fit {which} ({sizes}); say whose they are: labels={{NAME: [...]}} in Python")
    return {candidates[0].name: tuple(labels)}


def _fitting(output: FoundOutput, kind: str, labels: Mapping[str, tuple[str, ...]], *, where: str) -> tuple[str, ...]:
    own = labels.get(output.name, ())
    if not own:
        return ()
    if kind in ("regression", "features"):
        raise LoadError(f"{where}: output {output.name!r} is {kind}, which has no labels")
    if not _takes(output, len(own), kind):
        expected = "two for a two-class answer" if output.size == 1 and kind in CLASS_KINDS else "one for each"
        raise LoadError(
            f"{where}: output {output.name!r} has {output.size} values and {len(own)} labels; there must be {expected}"
        )
    if len(set(own)) != len(own):
        twice = next(label for label in own if own.count(label) > 1)
        raise LoadError(f"{where}: label {twice!r} is there twice for output {output.name!r}")
    return own


def _takes(output: FoundOutput, labels: int, kind: str) -> bool:
    """Whether an output of ``kind`` ("": open) can have so many labels: one per value, two where one value is a two-class answer."""
    if output.size == 1 and kind in ("", *CLASS_KINDS):
        return labels == 2 or (labels == 1 and not kind)
    return output.size == labels


def _as_given(found: Sequence[FoundOutput], specs: Sequence[OutputSpec], *, where: str) -> tuple[OutputSpec, ...]:
    by_name = {spec.name: spec for spec in specs}
    names = [output.name for output in found]
    if sorted(by_name) != sorted(names):
        raise LoadError(f"{where}: the model's outputs are {', '.join(names)}, given are {', '.join(by_name)}")
    for output in found:
        _fitting(output, by_name[output.name].kind, {output.name: by_name[output.name].labels}, where=where)
    return tuple(by_name[name] for name in names)


def _check_names(given: Mapping[str, object], names: Sequence[str], what: str, *, where: str) -> None:
    unknown = [name for name in given if name not in names]
    if unknown:
        raise LoadError(
            f"{where}: {what} names {unknown[0]!r}, which the model does not have; its outputs are {', '.join(names)}"
        )


def name_background(found: Sequence[FoundOutput], labels: Labels | None, background: int | None, *, where: str) -> Labels | None:
    """Return ``labels`` with a name for the background class where they leave it out.

    Raises ContractError where their number or order does not fit.
    """
    if labels is None or isinstance(labels, str | Mapping):
        return labels
    if len(found) == 1 and found[0].size is not None and class_labels.has_gaps(labels) and background is None:
        return class_labels.fit(labels, found[0].size, None, where=where)
    if background is None or background < 0:
        return labels
    sizes = [output.size for output in found if output.size in (len(labels), len(labels) + 1) and output.size != 1]
    if len(sizes) != 1 or sizes[0] is None:
        return labels  # said by whoever looks for the output that they belong to
    return class_labels.fit(labels, sizes[0], background, where=where)


def mark_background(outputs: tuple[OutputSpec, ...], background: int | None, *, where: str) -> tuple[OutputSpec, ...]:
    """Return ``outputs`` with the background class in the only one that has classes. Raises LoadError where there is none."""
    if background is None or background < 0:
        return outputs
    classes = [output for output in outputs if output.is_classes]
    if len(classes) != 1:
        raise LoadError(f"{where}: has {len(classes)} outputs with classes, expected one for background class {background}")
    return tuple(dataclasses.replace(o, background_index=background) if o is classes[0] else o for o in outputs)
