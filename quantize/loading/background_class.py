"""The background class of a network's only output with classes: put among the labels, and marked in the contract."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from edge.artefact import labels as class_labels
from edge.artefact.contract import OutputSpec

from ..errors import LoadError
from .outputs import FoundOutput, Labels


def name(found: Sequence[FoundOutput], labels: Labels | None, background: int | None, *, where: str) -> Labels | None:
    """Return ``labels`` with a name for the background class where they leave it out.

    Raises ContractError where their number or order does not fit.
    """
    if labels is None or isinstance(labels, str | Mapping):
        return labels
    if len(found) == 1 and found[0].size is not None and class_labels.has_gaps(labels) and background is None:
        return class_labels.fit(labels, found[0].size, None, where=where)
    if background is None or background < 0:
        return labels
    sizes = [output.size for output in found if output.size in (len(labels), len(labels) + 1) and output.size != 1]
    if len(sizes) != 1 or sizes[0] is None:
        return labels  # said by whoever looks for the output that they belong to
    return class_labels.fit(labels, sizes[0], background, where=where)


def mark(outputs: tuple[OutputSpec, ...], background: int | None, *, where: str) -> tuple[OutputSpec, ...]:
    """Return ``outputs`` with the background class in the only one that has classes. Raises LoadError where there is none."""
    if background is None or background < 0:
        return outputs
    classes = [output for output in outputs if output.is_classes]
    if len(classes) != 1:
        raise LoadError(f"{where}: has {len(classes)} outputs with classes, expected one for background class {background}")
    return tuple(dataclasses.replace(o, background_index=background) if o is classes[0] else o for o in outputs)
