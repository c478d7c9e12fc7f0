"""Several artefacts on the same images: which is the best, the smallest, the fastest, and what each generation made worse.

report = edge.compare(["bot-1.tflite", "bot-2.tflite", "bot-3.tflite"], "test.csv")

Each model runs once over the images, fed as its own contract says: generations may differ in size, preprocessing, frames and extra
inputs, as long as they share an output. All comparisons are paired, image by image.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ..artefact.contract import OutputSpec
from ..bench import host
from ..bench import latency as bench_latency
from ..data.dataset import ImageItem, LabelledImages
from ..errors import ContractError, DatasetError, ImageError, UsageError
from ..numbers import metrics, statistics
from ..progress import Progress
from ..runtime.classify import best_ids
from ..runtime.extra_inputs import Columns
from ..runtime.loading import load
from ..runtime.model import Model
from ..runtime.pool import Pool, cores, ordered
from . import targets
from .class_scores import class_name
from .findings import about_skipped
from .generations_text import CompareReport, Generation, Regression, Step

MEASURED = ("probabilities", "logits", "multilabel", "regression")
LATENCY_SECONDS = 2.0
_FEWEST_RUNS = 10  # of a slow variant: more would take longer than was said
TOLERANCE = 0.1  # of the targets' range: an error that grew by less is no regression


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Answers:
    """What a model answers to the images (N, values), and how wrong each is: 0 or 1 for classes, mean |error| for numbers."""

    values: NDArray[np.float32]
    errors: NDArray[np.float64]


def compare(
    files: Sequence[str | os.PathLike[str]],
    images: str | os.PathLike[str],
    *,
    output: str | None = None,
    limit: int | None = None,
    follow_links: bool = False,
    latency_seconds: float = LATENCY_SECONDS,
    tolerance: float = TOLERANCE,
    reference: str | os.PathLike[str] | None = None,
    max_drop: float | None = None,
    progress: TextIO | None = None,
) -> CompareReport:
    """Rank artefacts by accuracy, size and latency on ``images``, and list what each made worse than the one before it.

    files: two or more, the oldest first: the order in which regressions are looked for. images: a folder of class sub-folders or
    a manifest with labels or a column for the output. output: which output is compared; default the first that all share and
    the images have the truth of. limit: this many images, evenly spread. follow_links: as of `LabelledImages.open`.
    latency_seconds: to time each for; 0 leaves it out.
    tolerance: how much an error must grow to be a regression, as a share of the targets' range (numbers only). reference: the
    artefact that each is also compared with, one of ``files`` or another one, which then comes first. max_drop: what each of them may
    lose against it, a fraction, for a verdict each; of outputs with classes or labels only.

    Raises UsageError, DatasetError, ContractError, and what `edge.load` raises.
    """
    if reference is not None and not any(_is_same(reference, file) for file in files):
        files = [reference, *files]
    if max_drop is not None and (reference is None or not -1.0 <= max_drop <= 1.0):
        raise UsageError("max_drop needs a reference" if reference is None else f"max_drop is {max_drop}, expected a fraction")
    if len(files) < 2:
        raise UsageError(f"{len(files)} artefact given, expected two or more to compare")
    if not 0.0 <= tolerance < 1.0 or latency_seconds < 0.0:
        raise UsageError(f"tolerance is {tolerance}, latency_seconds {latency_seconds}; expected 0 to 1, and no negative time")
    models = [load(file) for file in files]
    spec = _common(models, output)
    if max_drop is not None and spec.kind == "regression":
        raise UsageError(f"output {spec.name!r} is of numbers, which have no share that is right; leave max_drop out")
    base = None if reference is None else next(i for i, file in enumerate(files) if _is_same(reference, file))
    dataset = LabelledImages.open(
        images, labels=spec.labels if spec.is_classes else None, unlabelled=not spec.is_classes, follow_links=follow_links
    )
    if progress is not None:
        progress.writelines(f"warning: {finding.message}\n" for finding in about_skipped(dataset))
    dataset = dataset if limit is None else dataset.subset(limit)
    size = math.prod(models[0].outputs[models[0].contract.outputs.index(spec)].shape)
    truth = _truth(dataset, spec, size, only=all(len(model.outputs) == 1 for model in models))
    found = [_answers(model, spec, dataset, truth, progress) for model in models]
    timed = [
        bench_latency.benchmark(model, min_runs=_FEWEST_RUNS, min_seconds=latency_seconds) if latency_seconds else None
        for model in models
    ]
    generations = [
        Generation(
            file=str(model.path),
            name=model.contract.name,
            variant=model.contract.quantization.variant,
            bytes=model.container.file_bytes,
            sha256=model.sha256,
            p50_ms=None if time is None else time.latency.p50_ms,
            not_quotable_because=() if time is None else time.conditions.objections,
            energy=None if time is None else time.energy.first,
            score=_score(spec, answers),
            metrics=_metrics(spec, answers, truth),
        )
        for model, time, answers in zip(models, timed, found, strict=True)
    ]
    best = min(range(len(found)), key=lambda i: (float(np.mean(found[i].errors)), i))
    least = 0.5 if spec.kind != "regression" else tolerance * float(np.ptp(truth))
    return CompareReport(
        output=spec.name,
        kind=spec.kind,
        images=len(dataset),
        generations=tuple(generations),
        best=best,
        against_best=tuple(_step(spec, dataset, truth, found, best, i, least) for i in range(len(found)) if i != best),
        steps=tuple(_step(spec, dataset, truth, found, i - 1, i, least) for i in range(1, len(found))),
        against_reference=()
        if base is None
        else tuple(_step(spec, dataset, truth, found, base, i, least) for i in range(len(found)) if i != base),
        max_drop=max_drop,
        tolerance=least,
        host=host.describe(),
        runtime=models[0].runtime.to_dict(),
    )


def _is_same(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    return os.path.abspath(one) == os.path.abspath(other)


def _common(models: Sequence[Model], name: str | None) -> OutputSpec:
    """Return the first model's spec of the output that is compared."""
    for spec in models[0].contract.outputs:
        others = [next((o for o in model.contract.outputs if o.name == spec.name), None) for model in models]
        alike = [other is not None and (other.kind, other.labels) == (spec.kind, spec.labels) for other in others]
        if spec.kind in MEASURED and all(alike) and name in (None, spec.name):
            return spec
    listed = "; ".join(f"{m.path.name}: {', '.join(f'{o.name} ({o.kind})' for o in m.contract.outputs)}" for m in models)
    wanted = "no output of the same name, kind and labels" if name is None else f"no output {name!r} of the same kind and labels"
    raise ContractError(f"the artefacts have {wanted} that could be measured ({listed}); compare generations of one task")


def _truth(dataset: LabelledImages, spec: OutputSpec, size: int, *, only: bool) -> NDArray[Any]:
    truth: NDArray[Any] | None
    if spec.is_classes:
        truth = targets.class_ids(dataset, spec, size, headline=True)
    elif spec.kind == "multilabel":
        truth = targets.label_truth(dataset, spec, size, only=only)
    else:
        truth = targets.numbers(dataset, spec, size, only=only)
    if truth is None:
        raise DatasetError(
            f"{dataset.root}: does not say what output {spec.name!r} should be; give labels, or a column of that name"
        )
    return truth


def _answers(model: Model, spec: OutputSpec, dataset: LabelledImages, truth: NDArray[Any], stream: TextIO | None) -> _Answers:
    columns = Columns.find(dataset, model.contract)
    # One interpreter per core, of one thread: as validation does.
    pool = Pool([model if i == 0 else load(model.path, threads=1) for i in range(cores())])

    def answer(item: ImageItem) -> NDArray[np.float32]:
        picture = (item.frames or item.path) if model.contract.input.frames else None
        values = {} if columns is None else columns.values(item)
        try:
            return pool.use(lambda each: each.predict(picture, **values)[spec.name].reshape(-1))
        except ImageError as error:
            raise DatasetError(f"{dataset.root}: {error}; compare on images that can be read") from error

    rows = []
    with Progress(len(dataset), f"run {model.path.name}", stream) as progress:
        for row in ordered(answer, dataset, cores() + 1):
            rows.append(row)
            progress.advance()
    values = np.stack(rows)
    return _Answers(values=values, errors=_errors(spec, values, truth))


def _errors(spec: OutputSpec, values: NDArray[np.float32], truth: NDArray[Any]) -> NDArray[np.float64]:
    """Return how wrong each answer is, (N,): 1 for a wrong class or any wrong label, the mean absolute error of numbers.

    What is not finite is the worst answer there is: wrong, or infinitely far off.
    """
    finite = np.all(np.isfinite(values), axis=1)
    if spec.is_classes:
        first = [best_ids(row, spec)[0] for row in values]
        return np.asarray(np.array(first) != truth, np.float64)
    if spec.kind == "multilabel":
        return np.asarray(np.any((values >= spec.threshold) != truth, axis=1) | ~finite, np.float64)
    return np.where(finite, np.mean(np.abs(values.astype(np.float64) - truth), axis=1), np.inf)


def _score(spec: OutputSpec, answers: _Answers) -> float:
    """Return what is ranked by: the share that is right, or for numbers the mean absolute error."""
    mean = float(np.mean(answers.errors))
    return mean if spec.kind == "regression" else 1.0 - mean


def _metrics(spec: OutputSpec, answers: _Answers, truth: NDArray[Any]) -> dict[str, float]:
    if spec.kind == "regression":
        found = {
            "mae": metrics.mean_absolute_error(answers.values, truth),
            "rmse": metrics.root_mean_square_error(answers.values, truth),
            "r2": float(np.mean([metrics.r_squared(answers.values[:, i], truth[:, i]) for i in range(truth.shape[1])])),
        }
        if np.any(truth > 0) and np.any(truth < 0):
            found["sign_agreement"] = metrics.sign_agreement(answers.values, truth)
        return found
    if spec.kind == "multilabel":
        f1 = metrics.f1_score(answers.values >= spec.threshold, truth)
        return {
            "exact_match": 1.0 - float(np.mean(answers.errors)),
            "f1": float(np.mean(f1[np.isfinite(f1)])) if np.isfinite(f1).any() else float("nan"),
        }
    recalls = [1.0 - float(np.mean(answers.errors[truth == label])) for label in np.unique(truth)]
    return {"top1": 1.0 - float(np.mean(answers.errors)), "mean_recall": sum(recalls) / len(recalls)}


def _step(
    spec: OutputSpec, dataset: LabelledImages, truth: NDArray[Any], found: Sequence[_Answers], old: int, new: int, least: float
) -> Step:
    """Compare two of the artefacts, paired: the mean of what the error grew by, and the images where it grew by more than ``least``."""
    with np.errstate(invalid="ignore"):
        growth = found[new].errors - found[old].errors
    growth = np.where(np.isnan(growth), 0.0, growth)  # not a number before and after
    if spec.kind == "regression":
        interval = statistics.mean_interval(growth)
    else:
        interval = statistics.paired_interval(int(np.sum(growth > 0)), int(np.sum(growth < 0)), growth.size)
    worse = [int(i) for i in np.argsort(-growth, kind="stable") if growth[i] > least]
    return Step(
        old=old,
        new=new,
        error_growth=float(np.mean(growth)),
        ci95=interval,
        better_images=int(np.sum(growth < -least)),
        regressions=tuple(
            Regression(
                image=dataset.items[i].id,
                truth=_told(spec, truth[i], is_truth=True),
                before=_told(spec, found[old].values[i]),
                after=_told(spec, found[new].values[i]),
                growth=float(growth[i]),
            )
            for i in worse
        ),
    )


def _told(spec: OutputSpec, value: Any, *, is_truth: bool = False) -> str:
    """Return an answer, or the truth, in words."""
    if spec.is_classes:
        first = int(value) if is_truth else int(best_ids(value, spec)[0])
        return class_name(spec, first)
    if spec.kind == "multilabel":
        on = np.flatnonzero(value if is_truth else value >= spec.threshold)
        return "+".join(class_name(spec, int(i)) for i in on) or "none"
    return " ".join(f"{number:.4g}" for number in np.ravel(value))
