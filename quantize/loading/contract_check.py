"""The preprocessing contract against the model: what is said, and what the model itself does to its input.

A model with a Rescaling layer inside wants plain pixels; normalising before it as well is the commonest way to lose all accuracy
in silence. What can be told from the network alone is decided here; what needs images is in ``input_statistics``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.artefact.contract import InputSpec
from edge.artefact.vocabulary import RECIPES

from ..errors import LoadError
from .io_specs import NO_PICTURE

PIXEL_RANGE = 255.0
SMALLEST_SPAN, LARGEST_SPAN = 0.25, 20.0
"""A network's first convolution is trained on values that span something between these; usual are 1, 2 and about 4.5."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InsideNormalisation:
    """What the model does to its input before the first real layer: ``scale * x + offset``, one number or one per channel.

    ``names``: the layers or ops that do it, empty when the model takes its input as it comes. ``known``: whether scale and offset
    could be read. ``opaque``: a layer that might normalise and cannot be looked into, or "". ``swapped``: whether the model itself
    exchanges red and blue.
    """

    names: tuple[str, ...] = ()
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    known: bool = True
    opaque: str = ""
    swapped: bool = False

    @classmethod
    def nothing(cls) -> InsideNormalisation:
        return cls(scale=np.ones(1), offset=np.zeros(1))

    def describe(self) -> str:
        """Return the layers and their effect, for notes and messages."""
        names = ", ".join(self.names)
        if not self.known:
            return f"{names} (normalises by numbers that are not in the graph)"
        low, high = float(self.offset.min()), float((self.scale * PIXEL_RANGE + self.offset).max())
        return f"{names} (takes 0..255 to {low:.4g}..{high:.4g}{', red and blue exchanged' if self.swapped else ''})"


def decide(
    preprocess: str | InputSpec | Mapping[str, Any] | None,
    *,
    shape: tuple[int, int, int],
    inside: InsideNormalisation,
    architecture: str,
    where: str,
) -> tuple[InputSpec, tuple[str, ...]]:
    """Return the input contract and notes on how it was settled.

    preprocess: the name of a recipe, the fields of an InputSpec without its size, a whole InputSpec, or None.
    Raises LoadError when nothing is said and the model does not say it itself, and when model and contract both normalise.
    """
    height, width, channels = shape
    if shape == NO_PICTURE:
        if preprocess is not None:
            raise LoadError(f"{where}: it takes no picture, so how pictures are fed cannot be said; leave --preprocess out")
        return InputSpec(width=1, height=1, frames=0), ()
    if channels != 1 and channels % 3:
        is_rgba = ", the fourth constant (an opaque alpha): keras.ops.pad with constant_values" if channels == 4 else ""
        raise LoadError(
            f"{where}: its input has {channels} channels{' (RGBA)' if is_rgba else ''}, expected 3 (RGB or BGR), 1 (grey) or stacked"
            f" frames of 3; wrap it: x = keras.Input(({height}, {width}, 3)), and make its {channels} channels from x{is_rgba}"
        )
    if channels > 3:
        return _stacked(preprocess, shape=shape, where=where)
    if preprocess is None:
        spec = _unsaid(shape, inside, architecture, where=where)
        return spec, (f"the model normalises its input itself in {inside.describe()}, so pixels are fed as they are, 0..255",)
    spec = stated(preprocess, height=height, width=width, channels=channels, where=where)
    if (spec.height, spec.width, spec.channels) != shape:
        raise LoadError(
            f"{where}: the model takes {height}x{width}x{channels}, the contract says"
            f" {spec.height}x{spec.width}x{spec.channels}; they must agree"
        )
    return spec, _agreement(spec, inside, where=where)


def _stacked(
    preprocess: str | InputSpec | Mapping[str, Any] | None, *, shape: tuple[int, int, int], where: str
) -> tuple[InputSpec, tuple[str, ...]]:
    """Return the contract of a network that takes several frames in its channels."""
    height, width, channels = shape
    if preprocess is None:
        raise LoadError(f"{where}: how are pictures fed? say it with --preprocess NAME ({', '.join(RECIPES)})")
    said = preprocess
    if isinstance(said, str | Mapping):
        spec = stated(said, height=height, width=width, channels=3, where=where)
        said = dataclasses.replace(spec, frames=channels // spec.frame_channels)
    if (said.height, said.width, said.channels) != shape:
        raise LoadError(
            f"{where}: the model takes {height}x{width}x{channels}, the contract says"
            f" {said.height}x{said.width}x{said.channels}; they must agree"
        )
    return said, (f"its {channels} input channels are {said.frames} frames of {said.frame_channels}, the oldest first",)


def _unsaid(shape: tuple[int, int, int], inside: InsideNormalisation, architecture: str, *, where: str) -> InputSpec:
    height, width, channels = shape
    recipes = ", ".join(RECIPES)
    if inside.names and inside.known and not inside.opaque and _fits(_span(inside, 1.0), inside):
        color = "gray" if channels == 1 else "rgb"
        return InputSpec(width=width, height=height, color=color, mean=(0.0,) * channels, scale=(1.0,) * channels)
    if inside.opaque:
        said = f"layer {inside.opaque!r} may normalise the input, which cannot be seen from outside"
    elif inside.names:
        said = f"the model has {inside.describe()}, which does not tell what it expects"
    elif architecture == "inception_resnet_v2":
        said = "Keras' InceptionResNetV2 was trained with inception (RGB, -1..1), and yours may differ"
    else:
        said = "the model does not normalise its input itself"
    raise LoadError(f"{where}: how are pictures fed? {said}; say it with --preprocess NAME ({recipes})")


def stated(preprocess: str | InputSpec | Mapping[str, Any], *, height: int, width: int, channels: int, where: str) -> InputSpec:
    """Return the InputSpec that a recipe's name, fields without size, or an InputSpec stand for. Raises LoadError."""
    if isinstance(preprocess, InputSpec):
        return preprocess
    if isinstance(preprocess, Mapping):
        return InputSpec.fitting(preprocess, height=height, width=width, channels=channels)
    if preprocess not in RECIPES:
        raise LoadError(f"{where}: preprocess {preprocess!r} is not known, expected one of {', '.join(RECIPES)}")
    mean, scale = RECIPES[preprocess]
    color = "gray" if channels == 1 else "rgb"
    return InputSpec(width=width, height=height, color=color, mean=(mean,) * channels, scale=(scale,) * channels)


def _agreement(spec: InputSpec, inside: InsideNormalisation, *, where: str) -> tuple[str, ...]:
    if inside.opaque and not inside.names:
        return (
            f"layer {inside.opaque!r} may normalise the input as well, which cannot be seen from outside: that it does not do what the"
            " contract does already was not checked",
        )
    if not inside.names:
        return ()
    if not inside.known:
        return (f"the model normalises its input itself in {inside.describe()}; whether that fits the contract was not checked",)
    pixel_scale = max(abs(1.0 / value) for value in spec.scale)
    span = _span(inside, pixel_scale)
    if any(spec.mean) and _twice(spec, inside):
        low, high = _range(spec, inside)
        raise LoadError(
            f"{where}: the model normalises its input itself in {inside.describe()}, and the contract does so too:"
            f" together pixels would lie at {low:.4g}..{high:.4g}; feed them as they are with --preprocess raw"
        )
    if inside.swapped and spec.color == "bgr":
        raise LoadError(
            f"{where}: the model exchanges red and blue itself in {inside.describe()}, and the contract feeds bgr: together nothing"
            " would be exchanged; feed rgb (leave --color out)"
        )
    if span < SMALLEST_SPAN <= _span(inside, 1.0):
        raise LoadError(
            f"{where}: the model normalises its input itself in {inside.describe()}, and the contract does so too:"
            f" together pixels would span {span:.2g}; feed them as they are with --preprocess raw"
        )
    if span > LARGEST_SPAN and not _fits(span, inside):
        raise LoadError(
            f"{where}: the model has {inside.describe()}, which expects small values, and the contract feeds up to"
            f" {PIXEL_RANGE * pixel_scale:.4g}: together they would span {span:.4g}; try --preprocess unit"
        )
    return (f"the model normalises its input itself in {inside.describe()}, after the contract's preprocessing",)


def _twice(spec: InputSpec, inside: InsideNormalisation) -> bool:
    """Whether both subtract a mean: the model's own, fit for plain pixels, finds nothing of what it was made for."""
    if not np.any(inside.offset) or not _fits(_span(inside, 1.0), inside):
        return False
    low, high = _range(spec, inside)
    plain_scale = np.allclose(spec.scale, 1.0, rtol=0.5) and np.allclose(inside.scale, 1.0, rtol=0.5)
    return bool(plain_scale) or (low * high > 0 and min(abs(low), abs(high)) > 2 * (high - low))


def _range(spec: InputSpec, inside: InsideNormalisation) -> tuple[float, float]:
    """Return the lowest and highest value that pixels have behind the contract's preprocessing and the model's own."""
    mean, scale = np.array(spec.mean), np.array(spec.scale)
    ends = [inside.scale * ((pixel - mean) / scale) + inside.offset for pixel in (0.0, PIXEL_RANGE)]
    return float(np.min(ends)), float(np.max(ends))


def _span(inside: InsideNormalisation, pixel_scale: float) -> float:
    """Return what black to white spans behind the model's own normalisation, in the channel where it is widest."""
    return float(np.abs(inside.scale).max()) * PIXEL_RANGE * pixel_scale


def _fits(span: float, inside: InsideNormalisation) -> bool:
    # A layer that only subtracts a mean leaves the span of the pixels, and is trained that way.
    return span >= SMALLEST_SPAN and (span <= LARGEST_SPAN or bool(np.allclose(inside.scale, 1.0, rtol=0.5)))
