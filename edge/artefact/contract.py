"""The contract: the single truth about how a model is fed and read. Travels inside the artefact as ``contract.json``.

Only plain data here (standard library), so that every part of edgekit can import it at no cost. `edge.artefact.contract_schema` says what
a document must look like, and makes the JSON Schema of it, ``edge/artefact/contract.schema.json``; what no schema can say is checked here.

Annotations are evaluated here: the reader goes by the fields' types, and to resolve them from text would cost each start of a
model more than all the parsing does.
"""

import dataclasses
import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from devices import jsontext

from ..errors import ContractError
from .vocabulary import (
    CLASS_KINDS,
    COLORS,
    FITS,
    IMAGE,
    LARGEST_SIDE,
    MOST_FRAMES,
    MOST_VALUES,
    OUTPUT_KINDS,
    RESAMPLES,
    SCHEMA_VERSION,
    UNFILTERED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """How an image becomes the input tensor.

    Geometry first, on 8-bit pixels: ``fit`` says how the picture meets ``(height, width)``.

    * ``stretch``: the whole picture, resized without regard to its aspect ratio.
    * ``crop``: the largest centred window of the input's aspect ratio, times ``crop_fraction``, then resized.
    * ``letterbox``: the whole picture, aspect ratio kept, centred on a canvas of ``letterbox_fill`` (0..255).

    Then ``(pixel - mean) / scale`` per channel, in the order of ``color``; ``mean`` and ``scale`` have one entry per channel and
    are in pixel units (0..255).  ``crop_fraction`` applies to ``stretch`` too: the centred fraction of each side is kept.
    ``antialias=False`` samples without a low-pass filter when shrinking, as ``tf.image.resize`` does by default.

    ``frames`` pictures, the oldest first, lie behind each other in the channels: 7 RGB frames are 21 channels. 0: the model takes no
    picture at all, only ``Contract.extra_inputs``.
    """

    width: int
    height: int
    color: str = "rgb"
    fit: str = "stretch"
    resample: str = "bilinear"
    antialias: bool = True
    crop_fraction: float = 1.0
    letterbox_fill: int = 0
    mean: tuple[float, ...] = (127.5, 127.5, 127.5)
    scale: tuple[float, ...] = (127.5, 127.5, 127.5)
    frames: int = 1

    @classmethod
    def fitting(cls, fields: Mapping[str, Any], *, height: int, width: int, channels: int) -> Self:
        """Return the spec of an input of that size from what was said of it: grey for one channel, one number for all channels.

        fields: those of an InputSpec; ``mean`` and ``scale`` also with one entry that holds for every channel. Raises ContractError.
        """
        whole = {"height": height, "width": width, "color": "gray" if channels == 1 else "rgb", **fields}
        count = 1 if whole["color"] == "gray" else 3
        for key in ("mean", "scale"):
            if key in whole and len(whole[key]) == 1:
                whole[key] = tuple(whole[key]) * count
        return cls(**whole)

    @property
    def frame_channels(self) -> int:
        """The channels of one picture: as many as ``mean`` and ``scale`` have entries."""
        return 1 if self.color == "gray" else 3

    @property
    def channels(self) -> int:
        """The channels of the input tensor: those of all stacked pictures."""
        return self.frame_channels * self.frames

    def __post_init__(self) -> None:
        _check(self.color in COLORS, "input.color", self.color, f"one of {', '.join(COLORS)}")
        _check(self.fit in FITS, "input.fit", self.fit, f"one of {', '.join(FITS)}")
        _check(self.resample in RESAMPLES, "input.resample", self.resample, f"one of {', '.join(RESAMPLES)}")
        for key in ("width", "height"):
            value = getattr(self, key)
            _check(1 <= value <= LARGEST_SIDE, f"input.{key}", value, f"1 to {LARGEST_SIDE} pixels")
        _check(0.0 < self.crop_fraction <= 1.0, "input.crop_fraction", self.crop_fraction, "above 0, at most 1")
        _check(0 <= self.letterbox_fill <= 255, "input.letterbox_fill", self.letterbox_fill, "0 to 255")
        for key in ("mean", "scale"):
            values = getattr(self, key)
            fits = len(values) == self.frame_channels and all(math.isfinite(v) for v in values)
            _check(fits, f"input.{key}", values, f"{self.frame_channels} finite numbers, one per channel of {self.color!r}")
        _check(all(v != 0.0 for v in self.scale), "input.scale", self.scale, "no zero")
        unfiltered = self.antialias or self.resample in UNFILTERED
        _check(unfiltered, "input.resample", self.resample, f"{' or '.join(UNFILTERED)} where antialias is off")
        whole = self.fit != "letterbox" or self.crop_fraction == 1.0
        _check(whole, "input.crop_fraction", self.crop_fraction, "1, as letterbox shows the whole picture")
        _check(0 <= self.frames <= MOST_FRAMES, "input.frames", self.frames, f"0 to {MOST_FRAMES} stacked pictures")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraInput:
    """An input beside the picture, such as a history of speeds: float values of ``shape`` (without batch axis).

    What is given are real quantities; the tensor gets ``(value - mean) / scale``. ``mean`` and ``scale`` have one entry, or one for
    each value of the last axis. ``meaning`` says in words, with unit and order, what the values are.
    """

    name: str
    shape: tuple[int, ...]
    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    meaning: str = ""

    def __post_init__(self) -> None:
        key = f"extra_inputs[{self.name}]"
        sizes = bool(self.shape) and all(1 <= size <= MOST_VALUES for size in self.shape)
        _check(sizes, f"{key}.shape", self.shape, "one size or more, each 1 or more")
        for name in ("mean", "scale"):
            values = getattr(self, name)
            fits = len(values) in (1, self.shape[-1]) and all(math.isfinite(v) for v in values)
            _check(fits, f"{key}.{name}", values, f"1 or {self.shape[-1]} finite numbers")
        _check(all(v != 0.0 for v in self.scale), f"{key}.scale", self.scale, "no zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """How one output tensor is read.

    ``kind``: ``probabilities`` (sum to one), ``logits``, ``multilabel`` (independent sigmoids), ``regression`` or ``features``.
    ``labels`` has one entry per class, or is empty where none are known. ``background_index`` is the class that means "nothing"
    (0 in TF-slim's 1001 classes), never reported as an answer. An output with classes that has one value says which of two classes
    it is: ``probabilities`` the probability of the second, ``logits`` its logit; it has two labels. ``threshold`` is for
    ``multilabel`` and for one value: from there on the label applies, or it is the second class.
    """

    name: str
    kind: str
    labels: tuple[str, ...] = ()
    background_index: int | None = None
    threshold: float = 0.5

    def __post_init__(self) -> None:
        _check(self.kind in OUTPUT_KINDS, f"outputs[{self.name}].kind", self.kind, f"one of {', '.join(OUTPUT_KINDS)}")
        broken = next((label for label in self.labels if "\n" in label or "\r" in label), "")
        _check(not broken, f"outputs[{self.name}].labels", broken, "names of one line each")
        _check(0.0 < self.threshold < 1.0, f"outputs[{self.name}].threshold", self.threshold, "between 0 and 1")
        if self.background_index is not None:
            top = len(self.labels) if self.labels else MOST_VALUES
            fits = 0 <= self.background_index < top
            _check(fits, f"outputs[{self.name}].background_index", self.background_index, f"0 to {top - 1}")

    @property
    def is_classes(self) -> bool:
        """Whether the output names one class per image (so that top-1 has a meaning)."""
        return self.kind in CLASS_KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where the network came from. ``sha256`` is of the source file (of the sorted file hashes for a directory)."""

    file: str = ""
    sha256: str = ""
    format: str = ""
    architecture: str = ""
    parameters: int = 0
    tools: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """What a network was before it was made smaller, and what was taken out of it.

    ``file``, ``sha256``, ``parameters``: of the network before. ``height``, ``width``: of its input. ``blocks``: the residual blocks that
    are gone, by the names of their sums. ``channels``: ``(convolution, channels left, channels before)``. ``training_s``: seconds that
    the rest was trained to answer as the network before.
    """

    file: str = ""
    sha256: str = ""
    parameters: int = 0
    height: int
    width: int
    blocks: tuple[str, ...] = ()
    channels: tuple[tuple[str, int, int], ...] = ()
    training_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """How the variant was made. ``representative`` lists ``(id, sha256)`` of the images that set the ranges."""

    variant: str = "float32"
    scheme: str = "float32"
    per_channel: bool = True
    ranges: str = ""
    io: str = "float32"
    seed: int = 0
    representative: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenOutputs:
    """What one runtime answered: ``values`` maps output name to base64 of zlib of the little-endian raw tensor."""

    runtime: str
    version: str
    kernels: str
    machine: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSample:
    """A synthetic input by name of its integer pattern, the SHA-256 of the input tensor, and the answers."""

    pattern: str
    input_sha256: str
    outputs: tuple[GoldenOutputs, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Everything that travels with a model. ``model_sha256`` is the hash of the flatbuffer without the packed files.

    The file's inputs are the picture, then ``extra_inputs`` in their order. ``lineage``: of each time that the network was made
    smaller, the first first. ``schema_version`` is the oldest that has all that this contract says, whatever it is given as.
    """

    name: str
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    source: Provenance = field(default_factory=Provenance)
    quantization: Quantization = field(default_factory=Quantization)
    model_sha256: str = ""
    golden: tuple[GoldenSample, ...] = ()
    notes: tuple[str, ...] = ()
    written_by: str = ""
    schema_version: int = SCHEMA_VERSION
    extra_inputs: tuple[ExtraInput, ...] = ()
    lineage: tuple[Lineage, ...] = ()

    def __post_init__(self) -> None:
        _check(bool(self.outputs), "outputs", "[]", "at least one output")
        names = [output.name for output in self.outputs]
        _check(len(set(names)) == len(names), "outputs", names, "names that differ")
        if self.extra_inputs:
            names = [IMAGE, *(extra.name for extra in self.extra_inputs)]
            _check(len(set(names)) == len(names), "extra_inputs", names[1:], f"names that differ, none of them {IMAGE!r}")
        else:
            _check(self.input.frames > 0, "input.frames", self.input.frames, "1 or more, as there are no extra_inputs")
        needed = 2 if self.extra_inputs or self.input.frames != 1 else 1
        object.__setattr__(self, "schema_version", 3 if self.lineage else needed)

    def replace(self, **changes: Any) -> "Contract":
        """Return a copy with ``changes``; the original is never altered."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        plain = dataclasses.asdict(self)
        if self.schema_version == 1:  # readable for an edgekit that does not know these keys
            del plain["extra_inputs"], plain["input"]["frames"]
        if self.schema_version < 3:
            del plain["lineage"]
        # Mappings are re-made as dicts with sorted keys: the same contract is the same bytes.
        return {"schema_version": plain.pop("schema_version"), **plain}

    def to_json(self) -> str:
        """Deterministic JSON: the same contract gives the same bytes."""
        return json.dumps(self.to_dict(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str) -> "Contract":
        """Parse ``contract.json``. ``where`` names the file in messages.

        Raises ContractError for malformed JSON, unknown or missing keys, wrong types and newer schema versions.
        """
        try:
            data = jsontext.loads(text)
        except ValueError as error:
            raise ContractError(
                f"{where}: contract.json is not JSON ({error}); the artefact is damaged, make it again"
            ) from error
        if not isinstance(data, dict):
            raise ContractError(f"{where}: contract.json holds {type(data).__name__}, expected an object")
        version = data.get("schema_version")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise ContractError(f"{where}: contract.json has schema_version {version!r:.40}, expected a whole number from 1 on")
        if version > SCHEMA_VERSION:
            writer = data.get("written_by") or "a newer edgekit"
            raise ContractError(
                f"{where}: its contract has schema version {version}, this edgekit reads up to {SCHEMA_VERSION};"
                f" {writer} wrote it and reads it: upgrade with pip install --upgrade edgekit"
            )
        # What no program that only makes contracts needs: 7 ms of processor time, median of 10 fresh processes.
        from .. import schema
        from . import contract_schema

        if (wrong := schema.differs(data, contract_schema.CONTRACT, "contract")) is not None:
            raise ContractError(f"{where}: contract.json: {wrong}")
        try:
            contract = _made(data, cls)
        except ContractError as error:
            raise ContractError(f"{where}: contract.json: {error}") from error
        assert isinstance(contract, Contract)
        return contract


def _check(fits: bool, key: str, value: object, expected: str) -> None:
    if not fits:
        raise ContractError(f"{key} is {value!r:.200}, expected {expected}")


def _made(value: Any, kind: Any) -> Any:
    """Return plain data that fits the schema as ``kind``: a dataclass, tuple of one kind of thing, mapping or plain type."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        kinds = {f.name: f.type for f in dataclasses.fields(kind)}
        return kind(**{name: _made(item, kinds[name]) for name, item in value.items()})
    if typing.get_origin(kind) is tuple:
        element = typing.get_args(kind)[0]
        return tuple(value) if element is str else tuple(_made(item, element) for item in value)
    return float(value) if kind is float else value
