"""What goes into a network: which input is the picture, and what the others are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge.artefact.contract import ExtraInput
from edge.artefact.vocabulary import IMAGE
from edge.errors import ContractError

from ..errors import LoadError

Inputs = Mapping[str, ExtraInput | Mapping[str, Any]]

PICTURE = "input"  # what the picture's tensor is called in every file
NO_PICTURE = (1, 1, 0)  # the input shape of a network that takes none


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


def specify(found: Sequence[FoundInput], given: Inputs | None, *, where: str) -> tuple[tuple[ExtraInput, ...], tuple[str, ...]]:
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
