"""What goes into a model beside the picture: numbers such as a history of speeds, from Python or from a manifest's columns.

Only imported for models that have such inputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artefact import tensors
from ..artefact.contract import Contract, ExtraInput
from ..artefact.tensors import TensorSpec
from ..artefact.vocabulary import IMAGE
from ..data.dataset import ImageItem, LabelledImages, shown
from ..errors import DatasetError, ShapeError
from ..files import sha256_bytes

Values = Mapping[str, Any]  # input name to numbers of its shape: a list, nested lists, an array


def scaled(spec: ExtraInput, values: Any) -> NDArray[np.float32]:
    """Return ``(value - mean) / scale`` as float32 ``(1, *shape)``. values: as many numbers as the shape has, in its order.

    Raises ShapeError for another number of values, for what is no number, and for values that are not finite.
    """
    try:
        given = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"input {spec.name!r} takes numbers of shape {spec.shape}, got {values!r:.60}") from error
    if given.size != math.prod(spec.shape) or (given.ndim > 1 and given.shape[-len(spec.shape) :] != spec.shape):
        raise ShapeError(f"input {spec.name!r} takes {math.prod(spec.shape)} values of shape {spec.shape}, got {given.shape}")
    if not np.all(np.isfinite(given)):
        raise ShapeError(f"input {spec.name!r} has a value that is not finite")
    mean, scale = np.array(spec.mean, np.float64), np.array(spec.scale, np.float64)
    return ((given.reshape(1, *spec.shape) - mean) / scale).astype(np.float32)


def to_tensor(spec: ExtraInput, values: Any, tensor: TensorSpec) -> NDArray[Any]:
    """Return the input tensor in the model's dtype: quantized by its own scale and zero point where it has them."""
    real = scaled(spec, values)
    return real.astype(tensor.dtype) if tensor.quant is None else tensors.quantize(real, tensor.quant, tensor.dtype)


def split(contract: Contract, source: Any, given: Values) -> tuple[Any, dict[str, Any]]:
    """Return (picture or None, values by input name) of what ``Model.predict`` was called with.

    source: a picture, or a mapping of input names (``image`` is the picture). Raises ShapeError naming what lacks or is too much.
    """
    values = {**(source if isinstance(source, Mapping) else {IMAGE: source}), **given}
    picture = values.pop(IMAGE, None)
    wanted = [extra.name for extra in contract.extra_inputs]
    expected = ([IMAGE] if contract.input.frames else []) + wanted
    missing = [name for name in wanted if name not in values]
    if picture is None and contract.input.frames:
        missing.insert(0, IMAGE)
    unknown = [name for name in values if name not in wanted]
    if picture is not None and not contract.input.frames:
        unknown.insert(0, IMAGE)
    if missing or unknown:
        problem = f"lacks {shown(missing)}" if missing else f"has no input {shown(unknown)}"
        raise ShapeError(f"the model takes {', '.join(expected)}; what is given {problem}" if missing else f"the model {problem}")
    return picture, values


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where a manifest has the extra inputs: one column of the input's name, or ``NAME[0]``, ``NAME[1]``, ... of one value each."""

    root: str
    inputs: tuple[ExtraInput, ...]
    positions: tuple[tuple[int, ...], ...]

    @classmethod
    def find(cls, dataset: LabelledImages, contract: Contract) -> Columns | None:
        """Return the columns, or None where the model has no extra inputs.

        Raises DatasetError for columns that lack and for rows that do not have the frames that the model takes.
        """
        check_frames(dataset, contract)
        if not contract.extra_inputs:
            return None
        positions = tuple(_positions(dataset, extra) for extra in contract.extra_inputs)
        return cls(root=str(dataset.root), inputs=contract.extra_inputs, positions=positions)

    def values(self, item: ImageItem) -> dict[str, NDArray[np.float64]]:
        """Return the real values of each input. Raises DatasetError for a cell that is no number, or another number of them."""
        found: dict[str, NDArray[np.float64]] = {}
        for extra, positions in zip(self.inputs, self.positions, strict=True):
            words = " ".join(item.targets[i] for i in positions).replace(";", " ").split()
            try:
                values = np.array([float(word) for word in words])
            except ValueError:
                values = np.array([math.nan])
            size = math.prod(extra.shape)
            if values.size != size or not np.all(np.isfinite(values)):
                raise DatasetError(
                    f"{self.root}: row {item.id} has {len(words)} values for input {extra.name!r}, expected {size} finite numbers"
                    " separated by blanks or ;"
                )
            found[extra.name] = values.reshape(extra.shape)
        return found

    def tensors(self, item: ImageItem, specs: Sequence[TensorSpec | None]) -> tuple[NDArray[Any], ...]:
        """Return the input tensors of a row. specs: of the model's extra inputs; None gives float32."""
        values = self.values(item)
        pairs = zip(self.inputs, specs, strict=True)
        return tuple(scaled(e, values[e.name]) if t is None else to_tensor(e, values[e.name], t) for e, t in pairs)


def identity(data: bytes | list[bytes], item: ImageItem, columns: Columns | None) -> str:
    """Return the SHA-256 that tells what a model was fed with: of the file's content, or of all frames' and the extra values.

    data: what ``ImageItem.read`` gave; empty bytes where the model takes no picture.
    """
    if isinstance(data, bytes) and columns is None:
        return sha256_bytes(data)
    parts = [bytes.fromhex(sha256_bytes(each)) for each in ([data] if isinstance(data, bytes) else data)]
    if columns is not None:
        parts += [np.ascontiguousarray(values, "<f8").tobytes() for values in columns.values(item).values()]
    return sha256_bytes(b"".join(parts))


def check_frames(dataset: LabelledImages, contract: Contract) -> None:
    """Raise DatasetError for the first row that has another number of frames than the model takes."""
    frames = contract.input.frames
    for item in dataset:
        if frames and len(item.sources) != frames:
            how = "give a manifest whose first column has them all, the oldest first, separated by ;" if frames > 1 else ""
            raise DatasetError(
                f"{dataset.root}: {item.id} is {len(item.sources)} pictures, the model takes {frames}"
                + (f"; {how}" if how else "")
            )


def _positions(dataset: LabelledImages, extra: ExtraInput) -> tuple[int, ...]:
    if extra.name in dataset.columns:
        return (dataset.columns.index(extra.name),)
    names = [f"{extra.name}[{i}]" for i in range(math.prod(extra.shape))]
    missing = [name for name in names if name not in dataset.columns]
    if missing:
        raise DatasetError(
            f"{dataset.root}: the model also takes {extra.name!r} ({math.prod(extra.shape)} values), and there is no such column;"
            f" give a manifest (.csv) with a column {extra.name}, its values separated by blanks or ;"
        )
    return tuple(dataset.columns.index(name) for name in names)
