"""Two networks on the same images: accuracy, images lost and won with their interval, agreement and output error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from edge.artefact.contract import Contract, InputSpec, OutputSpec
from edge.data.dataset import LabelledImages
from edge.errors import DatasetError, ImageError, UsageError
from edge.numbers import statistics
from edge.runtime.classify import best_ids
from edge.runtime.preprocess import load_pixels, lookup_table, to_tensor

from ..calibrate import output_error
from ..calibrate.output_error import Outputs

Pixels = NDArray[np.uint8]
Tensor = NDArray[np.float32]

KEPT_BYTES = 256 << 20
"""Decoded pixels that are kept (1,000 photos at 299 x 299); whatever is beyond is decoded again on each pass."""


class Pictures(Sequence[Tensor]):
    """A sequence of float32 ``(1, height, width, channels)``, each from kept pixels or from its file, when it is asked for.

    A pass over any number of photos takes the memory of a few.
    """

    def __init__(self, spec: InputSpec, sources: Iterable[Path | Pixels] = ()) -> None:
        self._spec = spec
        self._table = lookup_table(spec)
        self._sources = list(sources)
        self.kept_bytes = sum(source.nbytes for source in self._sources if isinstance(source, np.ndarray))

    def append(self, path: Path) -> None:
        """Read a photo, to see that it can be read, and keep its pixels while there is room. Raises ImageError."""
        pixels = load_pixels(path, self._spec)
        fits = self.kept_bytes + pixels.nbytes <= KEPT_BYTES
        self.kept_bytes += pixels.nbytes * fits
        self._sources.append(pixels if fits else path)

    def at(self, positions: Iterable[int]) -> Pictures:
        """Return those at ``positions``; kept pixels are shared, not copied."""
        return Pictures(self._spec, [self._sources[position] for position in positions])

    def __len__(self) -> int:
        return len(self._sources)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> Pictures: ...
    def __getitem__(self, index: int | slice) -> Tensor | Pictures:
        if isinstance(index, slice):
            return self.at(range(*index.indices(len(self))))
        source = self._sources[index]
        tensor: Tensor = to_tensor(load_pixels(source, self._spec) if isinstance(source, Path) else source, self._table)
        return tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Photos:
    """Preprocessed images ``(1, height, width, channels)`` float32 each, and their class ids (None without labels).

    ``tensors`` of a folder or manifest are made one by one when they are asked for (`Pictures`).
    """

    tensors: Sequence[NDArray[np.float32]]
    labels: NDArray[np.int32] | None
    ids: tuple[str, ...]
    unreadable: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tensors)

    @classmethod
    def open(cls, path: str | Path, contract: Contract, *, limit: int | None = None) -> Photos:
        """Read a folder or manifest as the contract says, at most ``limit`` images evenly spread. Raises DatasetError."""
        if contract.extra_inputs or contract.input.frames != 1:
            raise UsageError(
                f"{contract.name}: explain and tune take networks of one picture; this one takes {contract.input.frames} frames and"
                f" {len(contract.extra_inputs)} other inputs: compare its variants with edgekit validate or compare"
            )
        spec = next((output for output in contract.outputs if output.is_classes), None)
        dataset = LabelledImages.open(path, labels=spec.labels if spec and spec.labels else None, unlabelled=spec is None)
        dataset = dataset if limit is None else dataset.subset(limit)
        tensors, labels, ids, unreadable = Pictures(contract.input), [], [], []
        for item in dataset:
            try:
                tensors.append(item.path)
            except ImageError:
                unreadable.append(item.id)
                continue
            labels.append(-1 if item.label is None else item.label)
            ids.append(item.id)
        if not tensors:
            raise DatasetError(f"{path}: none of the {len(dataset)} images can be read")
        known = np.array(labels, np.int32) if dataset.labelled else None
        return cls(tensors=tensors, labels=known, ids=tuple(ids), unreadable=tuple(unreadable))

    def split(self, share: float) -> tuple[Photos, Photos]:
        """Return the images evenly divided: ``share`` of them, and the rest."""
        count = len(self)
        first = {int(i) for i in np.linspace(0, count - 1, max(1, round(share * count)))}
        return self._chosen(sorted(first)), self._chosen([i for i in range(count) if i not in first])

    def few(self, count: int) -> Photos:
        """Return at most ``count`` of the images, evenly divided."""
        return self if len(self) <= count else self.split(count / len(self))[0]

    def _chosen(self, positions: list[int]) -> Photos:
        tensors = self.tensors
        return Photos(
            tensors=tensors.at(positions) if isinstance(tensors, Pictures) else [tensors[i] for i in positions],
            labels=None if self.labels is None else self.labels[positions],
            ids=tuple(self.ids[i] for i in positions),
            unreadable=(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """``candidate`` against ``reference`` on the same images; rates are fractions, drops reference minus candidate.

    ``top1``, ``drop``, ``ci95``, ``lost``, ``won``, ``p_value``: None without labels or classes. ``error``: mean output error
    (total variation for probabilities).
    """

    images: int
    agreement: float | None
    error: float
    top1: float | None = None
    drop: float | None = None
    ci95: tuple[float, float] | None = None
    lost: int | None = None
    won: int | None = None
    p_value: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


def compare(reference: Outputs, candidate: Outputs, labels: NDArray[np.int32] | None, contract: Contract) -> Pairing:
    """Return how ``candidate`` differs from ``reference``. Both hold the outputs of each image by name."""
    compared = output_error.kinds_of(contract)
    error = float(np.mean(output_error.per_image(reference, candidate, compared)))
    spec = next((output for output in contract.outputs if output.is_classes), None)
    if spec is None:
        return Pairing(images=len(reference), agreement=None, error=error)
    before, after = (classes(outputs, spec) for outputs in (reference, candidate))
    agreement = float(np.mean(before == after))
    if labels is None:
        return Pairing(images=len(reference), agreement=agreement, error=error)
    lost = int(np.sum((before == labels) & (after != labels)))
    won = int(np.sum((before != labels) & (after == labels)))
    return Pairing(
        images=len(reference),
        agreement=agreement,
        error=error,
        top1=float(np.mean(after == labels)),
        drop=(lost - won) / len(labels),
        ci95=statistics.paired_interval(lost, won, len(labels)),
        lost=lost,
        won=won,
        p_value=statistics.mcnemar_exact(lost, won),
    )


def classes(outputs: Outputs, spec: OutputSpec) -> NDArray[np.int32]:
    """Return the first class of the output ``spec`` for each image, never the background."""
    return np.array([best_ids(row[spec.name], spec)[0] for row in outputs], np.int32)
