"""One figure that says what a network is worth on some images, for each kind of output, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artefact.contract import OutputSpec
from ..numbers import metrics
from ..runtime.classify import best_ids

TITLES = {
    "top1": "top-1",
    "exact_match": "images with every label right",
    "agreement": "same answer as float",
    "mae": "mean absolute error",
    "apart": "mean absolute difference from float",
    "cosine": "cosine with float",
}
"""What the figures are called."""

SHARES = frozenset({"top1", "exact_match", "agreement"})
"""Those that are fractions (0..1) of the images, shown in percent."""


def of_report(output: Mapping[str, Any]) -> tuple[str, float | None]:
    """Return the figure of one output in a validation report (``ValidationReport.to_dict()["outputs"][name]``) and its value.

    Against the truth where that is known: ``top1``, ``exact_match`` or ``mae``; else against the reference: ``agreement``,
    ``apart`` or, for features, ``cosine``.
    """
    kind, candidate = output["kind"], output.get("candidate") or {}
    if kind == "features":
        return "cosine", output.get("cosine")
    known, compared = {"multilabel": ("exact_match", "agreement"), "regression": ("mae", "apart")}.get(
        kind, ("top1", "agreement")
    )
    if candidate.get(known) is not None:
        return known, candidate[known]
    return compared, (output.get("difference") or {}).get("mean_absolute") if compared == "apart" else output.get(compared)


def of_values(spec: OutputSpec, values: NDArray[np.floating[Any]], truth: NDArray[Any] | None) -> float | None:
    """Return the figure of an output from its values (N, ...), None where no truth is known, and for features.

    truth: class ids (N,), whether each label applies (N, labels), or numbers (N, ...).
    """
    if truth is None or spec.kind == "features":
        return None
    if spec.is_classes:
        best = np.stack([best_ids(row, spec) for row in values])
        return metrics.hit_rate(best, truth)
    if spec.kind == "multilabel":
        return float(np.mean(np.all((values >= spec.threshold) == truth.reshape(values.shape), axis=-1)))
    return metrics.mean_absolute_error(values, truth.reshape(values.shape))


def shown(figure: str, value: float | None) -> str:
    """Return ``98.5%`` or ``0.1234``, ``-`` for what is not known."""
    if value is None:
        return "-"
    return f"{value:.1%}" if figure in SHARES else f"{value:.4g}"
