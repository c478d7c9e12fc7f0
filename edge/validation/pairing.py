"""Which output of the reference belongs to which of the candidate, and what measures the two."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from ..artefact.contract import OutputSpec
from ..errors import ContractError
from ..runtime.model import Model
from .class_scores import ClassScorer
from .reference import ReferenceOutputs
from .value_scores import FeatureScorer, MultilabelScorer, RegressionScorer

PathOrModel = str | os.PathLike[str] | Model
Reference = Model | ReferenceOutputs
Scorer = ClassScorer | MultilabelScorer | RegressionScorer | FeatureScorer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Output:
    """One output of the candidate, how it is measured, and the reference's output that it is compared with."""

    spec: OutputSpec
    size: int
    scorer: Scorer
    reference_name: str | None


def pair_outputs(candidate: Model, reference: Reference | None) -> tuple[Output, ...]:
    """Return the candidate's outputs, each with the reference's that it is compared with.

    Raises ContractError if they cannot be the same thing.
    """
    mine = _sizes(candidate)
    theirs = _sizes(reference) if reference is not None else {}
    result = []
    for position, (spec, size) in enumerate(mine.values()):
        other: tuple[OutputSpec, int] | None = None
        if reference is not None:
            # By name; a converter may have renamed them, then by position.
            other = theirs.get(spec.name) or (list(theirs.values())[position] if len(theirs) == len(mine) else None)
            if other is None:
                known = ", ".join(theirs)
                raise ContractError(
                    f"{candidate.path}: the reference has no output {spec.name!r}, only {known}; compare variants of one model"
                )
        result.append(_output(spec, size, other))
    return tuple(result)


def _output(spec: OutputSpec, size: int, other: tuple[OutputSpec, int] | None) -> Output:
    name = None if other is None else other[0].name
    if spec.is_classes and (other is None or other[0].is_classes):
        scorer = ClassScorer(
            spec, size, reference=None if other is None else other[0], reference_size=size if other is None else other[1]
        )
        return Output(spec=spec, size=size, scorer=scorer, reference_name=name)
    if other is not None and (other[0].kind, other[1]) != (spec.kind, size):
        raise ContractError(
            f"output {spec.name!r} is {spec.kind} of {size} values, the reference's {other[0].name!r}"
            f" {other[0].kind} of {other[1]}; compare variants of one model"
        )
    paired = other is not None
    if spec.kind == "multilabel":
        return Output(spec=spec, size=size, scorer=MultilabelScorer(spec, size, paired=paired), reference_name=name)
    if spec.kind == "regression":
        return Output(spec=spec, size=size, scorer=RegressionScorer(spec, size, paired=paired), reference_name=name)
    return Output(spec=spec, size=size, scorer=FeatureScorer(spec), reference_name=name)


def _sizes(model: Reference) -> dict[str, tuple[OutputSpec, int]]:
    if isinstance(model, ReferenceOutputs):
        return {spec.name: (spec, size) for spec, size in zip(model.contract.outputs, model.sizes, strict=True)}
    return {spec.name: (spec, math.prod(t.shape)) for spec, t in zip(model.contract.outputs, model.outputs, strict=True)}
