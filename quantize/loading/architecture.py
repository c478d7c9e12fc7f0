"""Architectures that edgekit can build by name, for files that hold weights only, and recognise in a loaded model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import LoadError, first_line
from ..quiet import import_keras, quiet
from . import h5_files
from .keras_files import load_weights

INCEPTION_RESNET_V2 = "inception_resnet_v2"
POOLINGS = ("avg", "max")
ACTIVATIONS = ("softmax", "sigmoid", "linear")

# InceptionResNetV2 has 1536 features: a dense layer on them has 1537 weights per class (a kernel column and a bias).
_HEADLESS_WEIGHTS = 54_336_736
_WEIGHTS_PER_CLASS = 1537
_BLOCKS = {"block35": 10, "block17": 20, "block8": 10}


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What a weights file does not say about its network.

    ``classes``: of the top; None reads it from the weights. ``include_top``: None reads it from the weights. ``pooling``: without
    the top, ``avg`` or ``max`` for a feature vector, None for the feature map. ``activation``: of the top.
    """

    name: str = INCEPTION_RESNET_V2
    classes: int | None = None
    include_top: bool | None = None
    pooling: str | None = None
    activation: str = "softmax"

    def __post_init__(self) -> None:
        if self.name != INCEPTION_RESNET_V2:
            raise LoadError(f"architecture {self.name!r} is not known, expected {INCEPTION_RESNET_V2}")
        if self.pooling not in (None, *POOLINGS):
            raise LoadError(f"pooling {self.pooling!r} is not known, expected one of {', '.join(POOLINGS)}")
        if self.activation not in ACTIVATIONS:
            raise LoadError(f"activation {self.activation!r} is not known, expected one of {', '.join(ACTIVATIONS)}")
        if self.classes is not None and self.classes < 1:
            raise LoadError(f"classes is {self.classes}, expected at least 1")


def check_size(input_shape: tuple[int, int, int] | None, *, where: str) -> None:
    """Raise LoadError where nobody says the input size of a file of weights."""
    if input_shape is None:
        raise LoadError(f"{where}: weights alone do not say the input size; give it with --input-shape HEIGHTxWIDTH")


def load_weights_file(
    path: Path, architecture: Architecture, *, input_shape: tuple[int, int, int] | None, where: str
) -> tuple[Any, tuple[str, ...]]:
    """Build ``architecture`` and set its weights from an HDF5 file of weights only. Returns the model and notes.

    Raises LoadError when the file is none of this architecture, or contradicts what was said about it.
    """
    check_size(input_shape, where=where)
    with h5_files.opened(path, where=where) as file:
        stored = sum(h5_files.size(shape) for shape in h5_files.arrays(file).values())
    classes = _classes(stored, architecture, where=where)
    keras = import_keras()
    with quiet():
        try:
            model = keras.applications.InceptionResNetV2(
                weights=None,
                include_top=classes is not None,
                classes=1000 if classes is None else classes,
                pooling=architecture.pooling,
                input_shape=input_shape,
                classifier_activation=None if architecture.activation == "linear" else architecture.activation,
            )
        except ValueError as error:
            raise LoadError(f"{where}: {architecture.name} cannot be built: {first_line(error)}") from error
    load_weights(model, path, where=where)
    if classes is not None:
        top = f"with its top, {classes} classes, {architecture.activation}"
    else:
        top = f"without its top, {f'{architecture.pooling} pooling' if architecture.pooling else 'no pooling'}"
    return model, (f"built {architecture.name} {top}, from the weights",)


def _classes(stored: int, architecture: Architecture, *, where: str) -> int | None:
    """Return the number of classes, or None for a network without its top, from the number of weights and what was said."""
    top = stored - _HEADLESS_WEIGHTS
    if top < 0 or top % _WEIGHTS_PER_CLASS:
        raise LoadError(
            f"{where}: has {stored:,} weights; {architecture.name} has {_HEADLESS_WEIGHTS:,} without its top and"
            f" {_WEIGHTS_PER_CLASS} more per class; a model with layers of your own has to be saved whole (.keras or .h5)"
        )
    found = top // _WEIGHTS_PER_CLASS or None
    if architecture.include_top is not None and architecture.include_top != (found is not None):
        has = f"a top with {found} classes" if found else "no top"
        raise LoadError(f"{where}: has {has}, include_top={architecture.include_top} was asked for")
    if architecture.classes is not None and found is not None and architecture.classes != found:
        raise LoadError(f"{where}: has a top with {found} classes, {architecture.classes} were asked for")
    if architecture.classes is not None and found is None:
        raise LoadError(f"{where}: has no top, {architecture.classes} classes were asked for; leave --classes out")
    return found


def recognise(names: Iterable[str]) -> str:
    """Return the architecture that layer, variable or node names belong to, or "" for another one."""
    found = {match.group(1, 2) for name in names for match in re.finditer(r"\b(block35|block17|block8)_(\d+)_mixed", name)}
    counts = Counter(block for block, _ in found)
    return INCEPTION_RESNET_V2 if all(counts[block] >= count for block, count in _BLOCKS.items()) else ""
