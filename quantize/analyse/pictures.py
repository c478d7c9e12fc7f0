"""Preprocessed photos that are made when they are asked for: a pass over any number of them takes the memory of a few."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from edge.artefact.contract import InputSpec
from edge.runtime.preprocess import load_pixels, lookup_table, to_tensor

Pixels = NDArray[np.uint8]
Tensor = NDArray[np.float32]

KEPT_BYTES = 256 << 20
"""Decoded pixels that are kept (1,000 photos at 299 x 299); whatever is beyond is decoded again on each pass."""


class Pictures(Sequence[Tensor]):
    """A sequence of float32 ``(1, height, width, channels)``, each from kept pixels or from its file."""

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
