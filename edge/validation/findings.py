"""What a validation notices beside its numbers: a data set that does not say what it seems to, answers that cannot be right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.findings import ERROR, INFO, WARNING, Finding
from devices.manifests import is_label

from ..data import picture_kinds
from ..data.dataset import MOST_SHOWN, LabelledImages, shown
from ..data.image_list import ids_of
from .class_scores import NEAR_TIE, ClassSummary, class_name
from .paired import CANDIDATE_NOT_FINITE, REFERENCE_NOT_FINITE, Comparison

REFERENCE_SILENT = "reference_not_finite"  # the finding that the reference answers images with NaN or infinity
FOUND_CAUSE = "preprocessing"  # as an error: the finding that names how the images are fed or labelled wrongly

BUG_DROP = 0.005  # full integer InceptionResNetV2 loses 0.0003 to 0.0011 on ImageNet; more than this is a bug to find

_COLLAPSED = 0.9  # share of one answer, among data whose largest class is half of that or less
_FEW_IMAGES = 100
_LISTS = frozenset({".csv", ".tsv", ".txt", ".json", ".jsonl", ".xml", ".xlsx", ".parquet"})


def unproven(found: Iterable[tuple[str, str]]) -> str:
    """Return why the interval of a drop is not about the two models, so that no limit is proven; empty where nothing says so.

    found: check and severity of each finding.
    """
    errors = {check for check, severity in found if severity == ERROR}
    if REFERENCE_SILENT in errors:
        return "the reference has no answer to some images; make it anew"
    # Two models that are fed or labelled wrongly in the same way lose nothing against one another.
    return "the images are fed or labelled wrongly, as the finding says; put that right first" if FOUND_CAUSE in errors else ""


def about_skipped(dataset: LabelledImages) -> Iterator[Finding]:
    """Yield the pictures of a folder that are left out because they cannot be read here."""
    if dataset.skipped:
        kinds = ", ".join(sorted({PurePosixPath(name).suffix.lower() or "no ending" for name in dataset.skipped}))
        yield Finding(
            check="skipped",
            severity=WARNING,
            message=f"{len(dataset.skipped)} pictures of kinds that are not read ({kinds}) are left out: {shown(dataset.skipped)};"
            f" {picture_kinds.advice(dataset.skipped)}",
        )


def about_images(dataset: LabelledImages, unreadable: Mapping[str, str], records: NDArray[Any], total: int) -> Iterator[Finding]:
    """Yield findings about the images themselves. records: of those that could be read (N,)."""
    if unreadable:
        yield Finding(
            check="unreadable",
            severity=WARNING,
            message=f"{len(unreadable)} of {total} images cannot be read, left out on both sides: {shown(list(unreadable))}",
        )
    yield from about_skipped(dataset)
    repeated = _repeated(records["sha256"])
    if repeated:
        yield Finding(
            check="duplicates",
            severity=WARNING,
            message=f"{repeated} images have the same content as another one; the interval takes them as independent",
        )
    if len(records) < _FEW_IMAGES:
        yield Finding(
            check="few_images",
            severity=WARNING,
            message=f"{len(records)} images say little; see edgekit validate --plan --max-drop",
        )


def without_score(dataset: LabelledImages, outputs: Sequence[str]) -> Iterator[Finding]:
    """Yield why there is no score: labelled data that give none are never passed over. outputs: names, none of which has a truth."""
    wanted = f"label (a class name or number) or {shown(outputs)}"
    if dataset.columns:
        found = f"its columns {shown(dataset.columns)} are none that says what is right; call the right one {wanted}"
    elif dataset.root.is_dir():
        lists = sorted(
            path.name for path in dataset.root.iterdir() if path.suffix.lower() in _LISTS and not path.name.startswith(".")
        )
        inside = any("/" in name for name in ids_of(dataset.items))
        found = "its folders are no answers of this model" if inside else "its pictures lie in no class folders"
        found += f"; {shown(lists)} was not read: give it instead of the folder, as a CSV file" if lists else ""
        found += f" with the columns path and {wanted}"
    else:
        found = f"it has no column {wanted}"
    yield Finding(
        check="no_score",
        severity=WARNING,
        message=f"no accuracy: {dataset.root.name} does not say what is right: {found} (--unlabelled where that is meant)",
    )


def of_features(dataset: LabelledImages) -> Iterator[Finding]:
    """Yield that a labelled data set gives no accuracy where all outputs are features."""
    if not (any("/" in name for name in ids_of(dataset.items)) if dataset.root.is_dir() else any(map(is_label, dataset.columns))):
        return
    yield Finding(
        check="no_score",
        severity=INFO,
        message=f"no accuracy: features are no classes, so the labels of {dataset.root.name} are not used; two models are compared"
        " by cosine and SQNR (--reference)",
    )


def about_models(comparison: Comparison, dataset: LabelledImages, records: NDArray[Any]) -> Iterator[Finding]:
    """Yield findings about how candidate and reference were fed, and about what no number can express."""
    candidate, reference = comparison.candidate, comparison.reference
    if reference is not None and candidate.contract.input != reference.contract.input:
        fields = _difference(candidate.contract.input, reference.contract.input)
        yield Finding(
            check="preprocessing",
            severity=WARNING,
            message=f"candidate and reference are fed differently ({fields});"
            " the drop is of both, quantization and preprocessing",
        )
    calibrated = {sha256 for _, sha256 in candidate.contract.quantization.representative}
    seen = sum(bytes(row).hex() in calibrated for row in records["sha256"]) if calibrated else 0
    if seen:
        yield Finding(
            check="overlap",
            severity=WARNING,
            message=f"{seen} of {len(records)} images set the ranges of this artefact when it was quantized; validate on others",
        )
    for flag, side in ((CANDIDATE_NOT_FINITE, "candidate"), (REFERENCE_NOT_FINITE, "reference")):
        broken = np.flatnonzero(records["not_finite"] & flag)
        if broken.size:
            first = dataset.items[broken[0]].id
            unproven = ", and no limit is proven against it" if side == "reference" else ""
            yield Finding(
                check=REFERENCE_SILENT if side == "reference" else "not_finite",
                severity=ERROR,
                message=f"the {side} answers {broken.size} images with NaN or infinity (first: {first}); they count as wrong{unproven}",
            )


def about_classes(summary: ClassSummary, predicted: NDArray[np.int32]) -> Iterator[Finding]:
    """Yield findings about an output with classes. predicted: first answers (N,)."""
    spec = summary.spec
    present = {row.class_id for row in summary.per_class}
    if present and spec.labels:
        absent = [label for i, label in enumerate(spec.labels) if i not in present and i != spec.background_index]
        if absent:
            yield Finding(
                check="classes_missing",
                severity=WARNING,
                message=f"no image of {len(absent)} of the model's {len(spec.labels)} classes: {shown(absent)}",
            )
    largest = max((row.images for row in summary.per_class), default=0) / max(summary.images, 1)
    answers = np.bincount(predicted[predicted >= 0]) if np.any(predicted >= 0) else np.zeros(1, np.int64)
    favourite = int(np.argmax(answers))
    if summary.per_class and answers[favourite] >= _COLLAPSED * summary.images and largest <= _COLLAPSED / 2:
        share = answers[favourite] / summary.images
        yield Finding(
            check="one_answer",
            severity=ERROR,
            message=f"{share:.0%} of the answers are {class_name(spec, favourite)!r}: the model is fed wrongly, or is broken",
        )
    drop = summary.drop
    if drop is not None and drop.ci95[0] > BUG_DROP:
        yield Finding(
            check="large_drop",
            severity=WARNING,
            message=f"the drop is above {BUG_DROP * 100:g} points even at the lower end of its interval; full int8 costs"
            " this network about a tenth of a point: look at the representative dataset and at the classes that lost most",
        )


def about_flips(summary: ClassSummary, dataset: LabelledImages) -> Iterator[Finding]:
    """Yield a finding where answers changed of which the reference was sure: rounding turns near ties over, and nothing else."""
    margins = summary.margins
    if margins is None:
        return
    sure = sorted((i for i in summary.changed if margins[i] > NEAR_TIE), key=lambda i: -float(margins[i]))
    if sure:
        first = [dataset.items[i].id for i in sure[: MOST_SHOWN + 1]]
        yield Finding(
            check="sure_answers_changed",
            severity=WARNING,
            message=f"{len(sure)} of {len(summary.changed)} changed answers are no near ties, the reference was sure of them by more"
            f" than {NEAR_TIE:g} (at most {margins[sure[0]]:.2f}): {shown(first, len(sure))};"
            " look at these images, and at what edgekit explain says",
        )


def _repeated(sha256: NDArray[np.uint8]) -> int:
    """Return how many rows (N, 32) are another one's again."""
    if len(sha256) < 2:
        return 0
    words = np.ascontiguousarray(sha256).view(np.uint64)
    ordered = words[np.lexsort(words.T)]
    return int(np.sum(np.all(ordered[1:] == ordered[:-1], axis=1)))


def _difference(mine: Any, other: Any) -> str:
    fields = [name for name in mine.__slots__ if getattr(mine, name) != getattr(other, name)]
    return ", ".join(f"{name} {getattr(mine, name)} against {getattr(other, name)}" for name in fields)
