"""Scores become named classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from .contract import OutputSpec
from .errors import ShapeError


class Classification(NamedTuple):
    """One class: its index in the output, its score (0..1) and its label (empty if the model has none)."""

    class_id: int
    score: float
    label: str


class Classifications(Sequence[Classification]):
    """All classes of one picture in descending order of score; equal scores in the order of the classes."""

    def __init__(self, items: Sequence[Classification]) -> None:
        self._items = tuple(items)

    def top(self, k: int) -> list[Classification]:
        """Return the ``k`` best (fewer if the model has fewer classes)."""
        return list(self._items[: max(0, k)])

    @property
    def is_finite(self) -> bool:
        """False where the model answered with NaN or infinity: then no class is better than another."""
        return all(math.isfinite(item.score) for item in self._items)

    @property
    def best(self) -> Classification:
        return self._items[0]

    @overload
    def __getitem__(self, index: int) -> Classification: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Classification, ...]: ...
    def __getitem__(self, index: int | slice) -> Classification | tuple[Classification, ...]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"Classifications({', '.join(f'{c.label or c.class_id}: {c.score:.4f}' for c in self._items[:5])})"


def rank(values: NDArray[np.float32], spec: OutputSpec) -> Classifications:
    """Return the classes of an output's real values.

    values: float32, one per class, any shape. Raises ShapeError if ``spec`` has another number of labels.
    """
    found = scores(values, spec).reshape(-1)
    if spec.labels and len(spec.labels) != found.size:
        raise ShapeError(f"output {spec.name!r} has {found.size} values and {len(spec.labels)} labels, expected as many")
    # Stable, so that equal scores (common in int8) come in a fixed order.
    order = np.argsort(-found, kind="stable")
    return Classifications(
        [
            Classification(class_id=int(i), score=float(found[i]), label=spec.labels[i] if spec.labels else "")
            for i in order
            if i != spec.background_index
        ]
    )


def scores(values: NDArray[np.float32], spec: OutputSpec) -> NDArray[np.float32]:
    """Return probabilities: the softmax of logits, ``exp(x - max) / sum``, along the last axis; other kinds unchanged."""
    if spec.kind != "logits":
        return values
    exponentials: NDArray[np.float32] = np.exp(values - values.max(axis=-1, keepdims=True))
    total: NDArray[np.float32] = exponentials.sum(axis=-1, keepdims=True)
    return exponentials / total
