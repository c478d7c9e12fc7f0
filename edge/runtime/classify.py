"""Scores become named classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from ..artefact.contract import OutputSpec
from ..errors import ShapeError
from ..numbers import markup, metrics


class Classification(NamedTuple):
    """One class: its index in the output, its score (0..1) and its label (empty if the model has none)."""

    class_id: int
    score: float
    label: str


class Classifications(Sequence[Classification]):
    """All classes of one picture in descending order of score; equal scores in the order of the classes.

    Of an output of one value the class that its threshold decides for comes first, whatever the scores. The order beyond what is
    asked for is found when it is asked for: of ten thousand classes the first five are wanted, for every frame.
    """

    def __init__(self, found: NDArray[np.float32], spec: OutputSpec, *, two_class: bool = False) -> None:
        """found: scores, one per class."""
        self._found = found
        self._spec = spec
        self._two_class = two_class
        self._order: NDArray[np.intp] | None = None

    def top(self, k: int) -> list[Classification]:
        """Return the ``k`` best (fewer if the model has fewer classes)."""
        return [self._item(i) for i in self._leading(max(0, k))]

    @property
    def is_finite(self) -> bool:
        """False where the model answered with NaN or infinity: then no class is better than another."""
        finite = np.isfinite(self._found)
        if self._spec.background_index is not None:
            finite[self._spec.background_index : self._spec.background_index + 1] = True
        return bool(np.all(finite))

    @property
    def best(self) -> Classification:
        return self[0]

    @overload
    def __getitem__(self, index: int) -> Classification: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Classification, ...]: ...
    def __getitem__(self, index: int | slice) -> Classification | tuple[Classification, ...]:
        if isinstance(index, slice):
            return tuple(self._item(i) for i in self._all()[index])
        order = self._leading(index + 1) if index >= 0 else self._all()
        return self._item(order[index])

    def __iter__(self) -> Iterator[Classification]:
        return map(self._item, self._all())

    def __len__(self) -> int:
        background = self._spec.background_index
        return self._found.size - (background is not None and 0 <= background < self._found.size)

    def __repr__(self) -> str:
        return f"Classifications({', '.join(f'{c.label or c.class_id}: {c.score:.4f}' for c in self.top(5))})"

    def _repr_html_(self) -> str:
        rows = [(c.label or c.class_id, f"{c.score:.1%}", markup.bar(c.score)) for c in self.top(5)]
        return markup.table(rows, ("class", "score", ""))

    def _item(self, class_id: np.intp) -> Classification:
        label = self._spec.labels[class_id] if self._spec.labels else ""
        return Classification(class_id=int(class_id), score=float(self._found[class_id]), label=label)

    def _all(self) -> NDArray[np.intp]:
        if self._order is None:
            self._order = self._sorted(self._found.size)
        return self._order

    def _leading(self, k: int) -> NDArray[np.intp]:
        return self._sorted(k + 1)[:k] if self._order is None else self._order[:k]

    def _sorted(self, k: int) -> NDArray[np.intp]:
        """Return the ``k`` best, without the background: one fewer where it is among them."""
        order = metrics.leading(self._found, k)
        if self._two_class:
            order = np.array([1, 0] if self._found[1] >= self._spec.threshold else [0, 1])
        return order if self._spec.background_index is None else order[order != self._spec.background_index]


def rank(values: NDArray[np.float32], spec: OutputSpec) -> Classifications:
    """Return the classes of an output's real values.

    values: float32, one per class, any shape. Raises ShapeError if ``spec`` has another number of labels.
    """
    values = values.reshape(-1)
    found = scores(values, spec)
    if spec.labels and len(spec.labels) != found.size:
        raise ShapeError(f"output {spec.name!r} has {values.size} values and {len(spec.labels)} labels, expected as many")
    return Classifications(found.copy(), spec, two_class=is_two_class(spec, values.size))


def scores(values: NDArray[np.float32], spec: OutputSpec) -> NDArray[np.float32]:
    """Return probabilities along the last axis: the softmax of logits, ``exp(x - max) / sum``; other kinds unchanged.

    One value is the probability ``p`` of the second of two classes (its sigmoid, of a logit) and becomes ``(1 - p, p)``.
    """
    if is_two_class(spec, values.shape[-1] if values.ndim else 1):
        second: NDArray[np.float32] = _sigmoid(values) if spec.kind == "logits" else values
        return np.concatenate([1.0 - second, second], axis=-1, dtype=values.dtype)
    if spec.kind != "logits":
        return values
    exponentials: NDArray[np.float32] = np.exp(values - values.max(axis=-1, keepdims=True))
    total: NDArray[np.float32] = exponentials.sum(axis=-1, keepdims=True)
    return exponentials / total


def is_two_class(spec: OutputSpec, size: int) -> bool:
    """Whether an output of ``size`` values per image says with one value which of two classes it is."""
    return spec.is_classes and size == 1


def class_count(spec: OutputSpec, size: int) -> int:
    """Return the number of classes of an output of ``size`` values: two for a single value."""
    return 2 if is_two_class(spec, size) else size


def best_ids(values: NDArray[np.floating[Any]], spec: OutputSpec, k: int = 1) -> NDArray[np.int32]:
    """Return the ``k`` best class ids of one image's values, int32 (k,), the background left out; see `metrics.top_k`."""
    raw = values.reshape(-1)
    found = metrics.top_k(scores(raw, spec), k, background=spec.background_index)
    if is_two_class(spec, raw.size) and found[0] != metrics.NO_CLASS:
        first = int(scores(raw, spec)[1] >= spec.threshold)
        found[:2] = np.array([first, 1 - first], np.int32)[:k]
    return found


def _sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    # exp of what is not above zero only: no overflow at either end.
    small = np.exp(-np.abs(values))
    upper = np.where(values >= 0, np.ones_like(small), small)
    result: NDArray[np.float32] = np.divide(upper, np.add(small, np.ones_like(small)))
    return result
