"""How far the outputs of a quantized network are from the float network's: one number for each image.

Top-1 hides what happened to the probabilities, and needs labels; this needs neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge.artefact.contract import Contract
from edge.artefact.graph import Graph
from edge.numbers.metrics import total_variation

from ..tflite.answers import output_names

Outputs = Sequence[Mapping[str, NDArray[np.float32]]]  # one `Answer` for each image
Floats = NDArray[np.float64]


def kinds(model: Graph, given: Sequence[str] | None = None) -> dict[str, str]:
    """Return how each output is compared, by its name: ``probabilities``, ``logits``, ``multilabel`` or ``values``.

    given: the kinds of the contract's outputs, in the file's order (`ptq.output_kinds`). Without them the op that makes the output
    decides.
    """
    if given is not None:
        return {name: _kind(kind) for name, kind in zip(output_names(model), given, strict=True)}
    made_by = {index: op.name for op in model.ops for index in op.outputs}
    known = {"SOFTMAX": "probabilities", "LOGISTIC": "multilabel"}
    by_name = zip(output_names(model), model.main.outputs, strict=True)
    return {name: known.get(made_by.get(index, ""), "values") for name, index in by_name}


def kinds_of(contract: Contract) -> dict[str, str]:
    """Return how each output of ``contract`` is compared, by its name, in the contract's order."""
    return {output.name: _kind(output.kind) for output in contract.outputs}


def per_image(reference: Outputs, candidate: Outputs, compared: Mapping[str, str]) -> Floats:
    """Return the error of each image, ``(images,)``, the mean over the outputs.

    Probabilities: total variation ``sum |p - q| / 2``; logits: of their softmax; multilabel: mean ``|p - q|``. Values: root mean
    square error over the reference's standard deviation across the images. 0 is equal in every case.
    """
    total = np.zeros(len(reference))
    for name, kind in compared.items():
        a = np.array([row[name] for row in reference], np.float64).reshape(len(reference), -1)
        b = np.array([row[name] for row in candidate], np.float64).reshape(len(reference), -1)
        if kind in ("probabilities", "logits"):
            p, q = (_probabilities(values, kind) for values in (a, b))
            total += [total_variation(x, y) for x, y in zip(p, q, strict=True)]
        elif kind == "multilabel":
            total += np.mean(np.abs(a - b), axis=1)
        else:
            spread = float(np.sqrt(np.mean(np.square(a - a.mean(axis=0)))))
            total += np.sqrt(np.mean(np.square(a - b), axis=1)) / max(spread, 1e-12)
    return total / max(len(compared), 1)


def agreement(reference: Outputs, candidate: Outputs, compared: Mapping[str, str]) -> float | None:
    """Return the share of images whose first class is the same, for the first output with classes; None without one."""
    for name, kind in compared.items():
        if kind in ("probabilities", "logits"):
            pairs = zip(reference, candidate, strict=True)
            return float(np.mean([_first(a[name], kind) == _first(b[name], kind) for a, b in pairs]))
    return None


def better(candidate: Floats, best: Floats, certainty: float = 1.0) -> bool:
    """Whether the mean error fell by more than ``certainty`` standard errors of the paired differences."""
    gain = best - candidate
    if gain.size < 2:
        return bool(gain.mean() > 0)
    return bool(gain.mean() > certainty * float(np.std(gain, ddof=1)) / math.sqrt(gain.size) and gain.mean() > 0)


def _kind(name: str) -> str:
    return name if name in ("probabilities", "logits", "multilabel") else "values"


def _probabilities(values: Floats, kind: str) -> Floats:
    """Return the probabilities (images, classes): of one value those of its two classes."""
    if values.shape[1] == 1:
        values = np.concatenate([-values / 2, values / 2] if kind == "logits" else [1.0 - values, values], axis=1)
    return values if kind == "probabilities" else _softmax(values)


def _first(values: NDArray[np.float32], kind: str) -> int:
    return int(np.argmax(_probabilities(values.reshape(1, -1).astype(np.float64), kind)))


def _softmax(scores: Floats) -> Floats:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: Floats = raised / raised.sum(axis=1, keepdims=True)
    return result
