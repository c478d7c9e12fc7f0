"""A low score has few usual causes: channels swapped, pixels scaled wrongly, labels off by one or in another order.

Each is tried alone; what needs runs of the model, on a sample.

What helps is reported as a finding and never applied: the contract, or the labels, are to be put right by their owner.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.findings import ERROR, Finding

from ..artefact.contract import InputSpec, OutputSpec
from ..artefact.tensors import TensorSpec
from ..data.dataset import ImageItem
from ..errors import ImageError
from ..numbers import metrics, statistics
from ..runtime import preprocess
from ..runtime.pool import ordered
from .class_scores import class_name
from .findings import FOUND_CAUSE

Answer = Callable[[NDArray[Any]], int]

LOW_TOP1 = 0.7  # below this a validation looks for a cause
SAMPLE = 100  # images that each change is tried on

# A change is the cause if it raises top-1 by this much, and chance explains that less often than this.
_LEAST_GAIN = 0.1
_LARGEST_P = 0.001
_LISTED = 12  # classes that a message names

_SCALES = {
    "pixels scaled to 0..1": (0.0, 255.0),
    "pixels left at 0..255": (0.0, 1.0),
    "pixels scaled to -1..1": (127.5, 127.5),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One change, the share of the sample that is right with it, and the chance of such a gain if it changed nothing."""

    change: str
    advice: str
    before: float
    top1: float
    p_value: float
    images: int

    @property
    def helps(self) -> bool:
        return self.top1 - self.before >= _LEAST_GAIN and self.p_value <= _LARGEST_P


def input_changes(spec: InputSpec) -> Iterator[tuple[str, str, InputSpec]]:
    """Yield (what, advice, changed spec) for every single change of the preprocessing that is tried."""
    swapped = {"rgb": "bgr", "bgr": "rgb"}.get(spec.color)
    if swapped is not None:
        change = dataclasses.replace(spec, color=swapped, mean=spec.mean[::-1], scale=spec.scale[::-1])
        yield f"channels in the order {swapped}", f"input.color is {spec.color}, it should probably be {swapped}", change
    for name, (mean, scale) in _SCALES.items():
        means, scales = (mean,) * spec.frame_channels, (scale,) * spec.frame_channels
        if (means, scales) != (spec.mean, spec.scale):
            advice = f"input.mean is {spec.mean} and input.scale {spec.scale}, they should probably be {means} and {scales}"
            yield name, advice, dataclasses.replace(spec, mean=means, scale=scales)


def try_inputs(
    tensor: TensorSpec, spec: InputSpec, answer: Answer, items: Sequence[ImageItem], labels: NDArray[np.int32], threads: int
) -> list[Trial]:
    """Run a sample through every change of the preprocessing ``spec`` of the input ``tensor``.

    answer: from an input tensor to the class id of the model's first answer, called by ``threads`` threads. labels: class ids
    (N,). Images that cannot be read count as wrong.
    """

    def right(changed: InputSpec) -> NDArray[np.bool_]:
        table = preprocess.lookup_table(changed, tensor)

        def one(item: ImageItem) -> int:
            try:
                return answer(preprocess.to_tensor(preprocess.load_pixels(item.path, changed), table))
            except ImageError:
                return metrics.NO_CLASS

        answers = np.array(list(ordered(one, items, threads)), np.int32)
        return np.equal(answers, labels)

    before = right(spec)
    return [_trial(name, advice, before, right(changed)) for name, advice, changed in input_changes(spec)]


def try_labels(spec: OutputSpec, predicted: NDArray[np.int32], labels: NDArray[np.int32]) -> list[Trial]:
    """See whether the answers (N,) are right when counted one class up or down: no run needed, so all images take part."""
    before = predicted == labels
    example = class_name(spec, int(labels[0]))
    classes = max(len(spec.labels), int(predicted.max(initial=0)) + 1, int(labels.max(initial=0)) + 1)
    return [
        _trial(
            f"labels counted one {'up' if step > 0 else 'down'}",
            f"class numbers are shifted by one (a background class on one side only?): answer {int(labels[0]) - step} seems to"
            f" mean {example!r}; put the label list right",
            before,
            (predicted >= 0) & ((predicted + step) % classes == labels),
        )
        for step in (1, -1)
    ]


def try_order(spec: OutputSpec, predicted: NDArray[np.int32], labels: NDArray[np.int32]) -> list[Trial]:
    """See whether the answers (N,) are right with the class names in another order. No run needed.

    The order is read off every other image and tried on the rest, as an order with as many freedoms as classes fits its own images
    by chance. Empty where there is no other order to be seen.
    """
    meant = _order(predicted[::2], labels[::2])
    moved = sorted(answer for answer, meaning in meant.items() if answer != meaning)
    if not moved:
        return []
    rest, truth = predicted[1::2], labels[1::2]
    after = np.array([meant.get(int(answer), int(answer)) for answer in rest], np.int64) == truth
    lines = [f"class {answer} is {class_name(spec, meant[answer])!r}" for answer in moved[:_LISTED]]
    more = f" and {len(moved) - _LISTED} more" if len(moved) > _LISTED else ""
    return [
        _trial(
            f"the class names in another order ({len(moved)} moved)",
            f"the label list has another order than the network: {', '.join(lines)}{more}; put the label list into that order",
            rest == truth,
            after,
        )
    ]


def _order(predicted: NDArray[np.int32], labels: NDArray[np.int32]) -> dict[int, int]:
    """Return answer -> the class that it stands for, one to one, the most frequent pairs first."""
    pairs = np.stack([predicted, labels], axis=1)[(predicted >= 0) & (labels >= 0)]
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    meant: dict[int, int] = {}
    taken: set[int] = set()
    for answer, label in found[np.argsort(-counts, kind="stable")].tolist():
        if answer not in meant and label not in taken:
            meant[answer] = label
            taken.add(label)
    return meant


def finding(trials: Sequence[Trial]) -> Finding | None:
    """Return the finding about the one change that helps most, or None where none does."""
    helpful = [trial for trial in trials if trial.helps]
    if not helpful:
        return None
    best = max(helpful, key=lambda trial: trial.top1)
    return Finding(
        check=FOUND_CAUSE,
        severity=ERROR,
        message=f"with {best.change} top-1 is {best.top1:.1%} instead of {best.before:.1%} on {best.images} images: {best.advice}"
        " (tried, not applied)",
    )


def nothing_fits(trials: Sequence[Trial]) -> Finding:
    """Return what was tried for a low score, where nothing helps."""
    tried = "; ".join(f"{trial.change} {trial.top1:.1%}" for trial in trials)
    return Finding(
        check="cause",
        severity="info",
        message=f"top-1 is low and no usual cause explains it. Tried, with the top-1 that each gives: {tried}",
    )


def _trial(change: str, advice: str, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Trial:
    p_value = statistics.mcnemar_exact(int(np.sum(before & ~after)), int(np.sum(~before & after)))
    return Trial(
        change=change,
        advice=advice,
        before=float(np.mean(before)),
        top1=float(np.mean(after)),
        p_value=p_value,
        images=before.size,
    )
