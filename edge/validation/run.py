"""Prove what an artefact's accuracy is, and what it lost against a reference, on the user's own images.

report = edge.validate("flowers.int8.tflite", "test/", reference="flowers.float32.tflite", max_drop=0.01)
report.verdict        # pass, fail or undecided
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from devices.findings import Finding

from ..artefact.contract import OutputSpec
from ..data.dataset import MOST_SHOWN, ImageItem, LabelledImages, shown
from ..data.image_list import ids_of
from ..errors import DatasetError, UsageError
from ..progress import Progress, stage
from ..runtime.classify import best_ids
from ..runtime.loading import load
from ..runtime.model import Model
from ..runtime.pool import ordered
from ..version import __version__
from . import diagnose as causes
from . import findings, targets
from .class_scores import ClassScorer, ClassSummary
from .journal import Journal, cache_folder, key, key_of
from .paired import BUILT_IN_DELEGATES, READ, UNREADABLE, Comparison, share_cores
from .pairing import Output, PathOrModel, Reference
from .reference import SUFFIX, ReferenceOutputs
from .report import ValidationReport, build
from .value_scores import FeatureScorer, MultilabelScorer, RegressionScorer

MOST_UNREADABLE = 0.01
DIAGNOSE = ("auto", "always", "never")


def validate(
    model: PathOrModel,
    images: str | os.PathLike[str] | LabelledImages,
    *,
    reference: PathOrModel | ReferenceOutputs | None = None,
    max_drop: float | None = None,
    limit: int | None = None,
    unlabelled: bool = False,
    follow_links: bool = False,
    label_offset: int | None = None,
    workers: int | None = None,
    threads: int | None = None,
    max_unreadable: float = MOST_UNREADABLE,
    diagnose: str = "auto",
    resume: bool = True,
    progress: TextIO | None = None,
) -> ValidationReport:
    """Run ``model``, and ``reference`` beside it, over ``images`` and report accuracy, drop, verdict and findings.

    images: a folder of class sub-folders, a flat folder, a CSV manifest, or an opened `LabelledImages`. Without labels the report
    has what needs none: agreement, probability shift and changed answers.
    reference: an artefact, usually the float one, or a file of stored outputs (``.npz`` of ``quantize.reference_outputs``).
    max_drop: the drop of top-1 that is acceptable, a fraction (0.01 is one point); the verdict comes from the 95 % interval.
    limit: take this many images, evenly spread. unlabelled: ignore all classes that the folder or manifest names. follow_links,
    label_offset: as of `LabelledImages.open`.
    workers, threads: interpreters at work and the threads of each; default one single-threaded worker per core. The report does
    not depend on them.
    max_unreadable: share of images that may be unreadable; they are listed, and left out on both sides.
    diagnose: look for swapped channels, wrong scale and shifted labels: ``auto`` (top-1 below 0.7), ``always`` or ``never``.
    resume: go on where an interrupted run of the same comparison stopped. progress: a stream for progress, none by default.

    Raises DatasetError, ArtefactError, ContractError, InterpreterError, and UsageError for arguments that contradict one another.
    """
    _check(max_drop, max_unreadable, diagnose, reference)
    count, each = share_cores(workers, threads, model, reference)
    candidate = model if isinstance(model, Model) else load(model, threads=each)
    compared = _reference(reference, each)
    if candidate.runtime.delegate not in BUILT_IN_DELEGATES:
        count = 1
    headline = next((spec for spec in candidate.contract.outputs if spec.is_classes), None)
    dataset = _dataset(images, candidate, headline, unlabelled=unlabelled, follow_links=follow_links, label_offset=label_offset)
    dataset = dataset if limit is None else dataset.subset(limit)
    comparison = Comparison(candidate, compared, workers=count, threads=each, dataset=dataset)
    truths = {output.spec.name: _truth(comparison, dataset, output, headline) for output in comparison.outputs}
    if max_drop is not None and (headline is None or truths[headline.name] is None):
        what = "the model has no output with classes" if headline is None else f"{dataset.root} has no labels"
        raise UsageError(f"max_drop is about top-1, and {what}; leave it out, or give labelled images")
    with _journal(comparison, dataset, resume=resume) as journal:
        if journal.note is not None and progress is not None:
            progress.write(f"note: {journal.note}\n")
        resumed, started, worked = journal.count, time.monotonic(), time.process_time()
        _run(comparison, dataset, journal, max_unreadable, progress)
        elapsed_s, cpu_s = time.monotonic() - started, time.process_time() - worked
        report = _report(comparison, dataset, journal, truths, headline, max_drop, diagnose, progress)
    scored = [output.spec.name for output in comparison.outputs if not isinstance(output.scorer, FeatureScorer)]
    if scored and not unlabelled and all(truths[name] is None for name in scored):
        report = dataclasses.replace(report, findings=(*findings.without_score(dataset, scored), *report.findings))
    elif not scored and not unlabelled:
        report = dataclasses.replace(report, findings=(*findings.of_features(dataset), *report.findings))
    timing = {
        "seconds": elapsed_s,
        "cpu_seconds": cpu_s,
        "images_per_second": (len(dataset) - resumed) / elapsed_s,
        "resumed_images": resumed,
        "workers": count,
    }
    return dataclasses.replace(report, timing=timing, note=journal.note)


def dataset_sha256(dataset: LabelledImages, image_sha256: NDArray[np.uint8]) -> str:
    """Return SHA-256 over (id, content SHA-256, label, other columns) of every image, sorted by id.

    image_sha256: (N, 32), in the order of the dataset; zeros for an image that could not be opened.
    """
    digest = hashlib.sha256()
    for i in _by_id(dataset):
        item, sha256 = dataset.items[i], bytes(image_sha256[i]).hex()
        digest.update(json.dumps([item.id, sha256, dataset.label_text(item), *item.targets]).encode() + b"\n")
    return digest.hexdigest()


def image_digests(dataset: LabelledImages, image_sha256: NDArray[np.uint8]) -> str:
    """Return base64 of 8 bytes per image, sorted: the first of SHA-256 over its id and content. `edge.validation.merging` finds by
    them an image that is in two shares.
    """
    found = np.empty((len(dataset), 8), np.uint8)
    for row, name, sha256 in zip(found, ids_of(dataset.items), image_sha256, strict=True):
        text = f"{name}\0{bytes(sha256).hex()}"
        row[:] = np.frombuffer(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], np.uint8)
    return base64.b64encode(np.sort(found.reshape(-1).view(">u8")).tobytes()).decode()


def _by_id(dataset: LabelledImages) -> Sequence[int]:
    """Return the positions of the images in the order of their ids, in which they stand unless somebody chose another one."""
    if all(first <= second for first, second in itertools.pairwise(ids_of(dataset.items))):
        return range(len(dataset))
    return sorted(range(len(dataset)), key=list(ids_of(dataset.items)).__getitem__)


def _check(max_drop: float | None, max_unreadable: float, diagnose: str, reference: object) -> None:
    if max_drop is not None and not 0.0 < max_drop < 1.0:
        raise UsageError(f"max_drop is {max_drop}, expected a fraction above 0 and below 1 (0.01 is one point)")
    if max_drop is not None and reference is None:
        raise UsageError("max_drop needs a reference to drop from: a float artefact, or stored outputs")
    if not 0.0 <= max_unreadable <= 1.0:
        raise UsageError(f"max_unreadable is {max_unreadable}, expected a fraction from 0 to 1")
    if diagnose not in DIAGNOSE:
        raise UsageError(f"diagnose is {diagnose!r}, expected one of {', '.join(DIAGNOSE)}")


def _reference(reference: PathOrModel | ReferenceOutputs | None, threads: int) -> Reference | None:
    if reference is None or isinstance(reference, Model | ReferenceOutputs):
        return reference
    return ReferenceOutputs.open(reference) if Path(reference).suffix.lower() == SUFFIX else load(reference, threads=threads)


def _dataset(
    images: str | os.PathLike[str] | LabelledImages,
    model: Model,
    headline: OutputSpec | None,
    *,
    unlabelled: bool,
    follow_links: bool,
    label_offset: int | None,
) -> LabelledImages:
    if isinstance(images, LabelledImages):
        dataset = images
    else:
        labels = None if headline is None else headline.labels
        dataset = LabelledImages.open(
            images,
            labels=labels,
            unlabelled=unlabelled or headline is None,
            follow_links=follow_links,
            background=None if headline is None else headline.background_index,
            label_offset=label_offset,
        )
    if headline is not None and dataset.labelled and dataset.labels and dataset.labels != headline.labels:
        # Also where the model has none: the order of the folders would be a guess.
        known = f"labels {shown(headline.labels)}" if headline.labels else "no labels"
        own = model.container.contract is not None
        raise DatasetError(
            f"{dataset.root}: its classes are {shown(dataset.labels)}, the model has {known}, so it is not known which belong"
            " together",
            ways=(
                (None, f"edgekit relabel {model.path} LABELS") if own else ("--labels", "give the model's labels (--labels)"),
                (None, "give class numbers for names"),
                ("--unlabelled", "ignore the classes (--unlabelled)"),
            ),
        )
    return dataset


def _journal(comparison: Comparison, dataset: LabelledImages, *, resume: bool) -> Journal:
    """Open the journal whose name covers all that the records depend on. Labels are not among it: they only enter the summary."""
    candidate, reference = comparison.candidate, comparison.reference
    runtimes = [dataclasses.asdict(m.runtime) for m in (candidate, reference) if isinstance(m, Model)]
    for runtime in runtimes:
        del runtime["threads"]
    models = [None if m is None else (m.sha256, m.contract.to_json()) for m in (candidate, reference)]
    # The other columns count where they are inputs; as targets they only enter the summary.
    fed = bool(candidate.contract.extra_inputs)
    stamps = ((*_stamp(item), *(item.targets if fed else ())) for item in dataset)
    name = key("validation", __version__, models, runtimes, key_of(stamps))
    return Journal(cache_folder() / "validate", name, comparison.dtype, resume=resume)


def _stamp(item: ImageItem) -> tuple[str, str, int, int]:
    try:
        found = [path.stat() for path in item.sources]
    except OSError:
        return item.id, str(item.path), -1, -1
    return item.id, str(item.path), sum(status.st_size for status in found), sum(status.st_mtime_ns for status in found)


def _run(comparison: Comparison, dataset: LabelledImages, journal: Journal, max_unreadable: float, stream: TextIO | None) -> None:
    allowed = int(max_unreadable * len(dataset))
    unreadable = np.flatnonzero(journal.records()["status"] == UNREADABLE).tolist()
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(Progress(len(dataset), "validate", stream)) if stream is not None else None
        if progress is not None:
            progress.skip(journal.count)
        chunks = _chunks(dataset.items[journal.count :], comparison)
        # One thread more than interpreters: it decodes while all of them are at work.
        for records in ordered(comparison.records, chunks, comparison.pool.size + 1):
            unreadable += (journal.count + np.flatnonzero(records["status"] == UNREADABLE)).tolist()
            journal.extend(records)
            if len(unreadable) > allowed:
                break
            if progress is not None:
                progress.advance(len(records))
    if len(unreadable) > allowed:
        first = [dataset.items[i] for i in unreadable[: MOST_SHOWN + 1]]
        named, reason = shown([item.id for item in first], len(unreadable)), comparison.why_unreadable(first[0])
        raise DatasetError(
            f"{dataset.root}: {len(unreadable)} of the first {journal.count} images cannot be read, of {len(dataset)} at most"
            f" {max_unreadable:.1%} may: {named} ({reason}); repair or remove them, or allow more (--max-unreadable)"
        )


def _chunks(items: Sequence[ImageItem], comparison: Comparison) -> Iterator[Sequence[ImageItem]]:
    start = 0
    for size in comparison.chunk_sizes(len(items)):
        yield tuple(items[start : start + size])
        start += size


def _truth(comparison: Comparison, dataset: LabelledImages, output: Output, headline: OutputSpec | None) -> NDArray[Any] | None:
    """Return what the dataset says about an output. Before the long work: what does not fit is to be known at once."""
    spec, size, only = output.spec, output.size, len(comparison.outputs) == 1
    if isinstance(output.scorer, ClassScorer):
        return targets.class_ids(dataset, spec, size, headline=spec is headline)
    if isinstance(output.scorer, MultilabelScorer):
        return targets.label_truth(dataset, spec, size, only=only)
    if isinstance(output.scorer, RegressionScorer):
        return targets.numbers(dataset, spec, size, only=only)
    return None


def _report(
    comparison: Comparison,
    dataset: LabelledImages,
    journal: Journal,
    truths: dict[str, NDArray[Any] | None],
    headline: OutputSpec | None,
    max_drop: float | None,
    diagnose: str,
    stream: TextIO | None,
) -> ValidationReport:
    records = journal.records()
    broken = [dataset.items[int(i)] for i in np.flatnonzero(records["status"] != READ)]
    unreadable = {item.id: comparison.why_unreadable(item) for item in broken}
    sha256, digests = dataset_sha256(dataset, records["sha256"]), image_digests(dataset, records["sha256"])
    total = len(dataset)
    if unreadable:
        read = np.flatnonzero(records["status"] == READ)
        records, dataset = journal.records(read), dataset.take(read)
        truths = {name: None if truth is None else truth[read] for name, truth in truths.items()}
    if not len(dataset):
        raise DatasetError(f"{dataset.root}: none of the {total} images can be read")
    notes = [*findings.about_images(dataset, unreadable, records, total), *findings.about_models(comparison, dataset, records)]
    summary: ClassSummary | None = None
    answers: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None
    outputs: dict[str, Mapping[str, Any]] = {}
    for i, output in enumerate(comparison.outputs):
        rows, truth = records[f"output{i}"], truths[output.spec.name]
        if isinstance(output.scorer, ClassScorer):
            found = output.scorer.summary(rows, truth)
            outputs[output.spec.name] = found.to_dict()
            if output.spec is headline:
                summary = found
                predicted = rows["candidate"]["top"][:, 0]
                if comparison.reference is not None:
                    answers = rows["reference"]["top"][:, 0], predicted
                notes += findings.about_classes(found, predicted)
                notes += findings.about_flips(found, dataset)
                notes += _causes(comparison, dataset, output, found, predicted, truth, diagnose, stream)
        elif isinstance(output.scorer, FeatureScorer):
            outputs[output.spec.name] = output.scorer.summary(rows, paired=comparison.reference is not None)
        elif isinstance(output.scorer, RegressionScorer):
            outputs[output.spec.name] = output.scorer.summary(rows, truth, [item.id for item in dataset])
        else:
            outputs[output.spec.name] = output.scorer.summary(rows, truth)
    return build(
        comparison,
        dataset,
        dataset_sha256=sha256,
        digests=digests,
        contents=records["sha256"],
        unreadable=unreadable,
        headline=summary,
        outputs=outputs,
        findings=tuple(notes),
        max_drop=max_drop,
        answers=answers,
    )


def _causes(
    comparison: Comparison,
    dataset: LabelledImages,
    output: Output,
    summary: ClassSummary,
    predicted: NDArray[np.int32],
    truth: NDArray[np.int32] | None,
    when: str,
    stream: TextIO | None,
) -> Iterator[Finding]:
    low = summary.candidate is not None and summary.candidate.top1 < causes.LOW_TOP1
    if truth is None or not (when == "always" or (when == "auto" and low)):
        return

    def answer(tensor: NDArray[Any]) -> int:
        return int(best_ids(comparison.answer(tensor)[output.spec.name], output.spec)[0])

    model = comparison.candidate
    sample = np.linspace(0, len(dataset) - 1, min(causes.SAMPLE, len(dataset))).astype(int)
    items = [dataset.items[i] for i in sample]
    trials = causes.try_labels(output.spec, predicted, truth) + causes.try_order(output.spec, predicted, truth)
    if len(model.inputs) > 1 or model.contract.input.frames != 1:
        items = []  # the changes of the preprocessing that are tried are those of one picture
    with contextlib.nullcontext() if not items or stream is None else stage("low top-1: looking for a cause", stream):
        if items:
            trials += causes.try_inputs(model.input, model.contract.input, answer, items, truth[sample], comparison.pool.size + 1)
    found = causes.finding(trials)
    if found is not None:
        yield found
    elif low and trials:
        yield causes.nothing_fits(trials)
