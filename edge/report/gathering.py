"""Reads what commands answered into the facts of a report. An answer may come from anywhere: what is malformed is left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from devices import origin
from devices.origin import Origin

from .. import report_schema
from ..history.record import Run, origin_of
from ..validation import headline
from .facts import (
    Certificate,
    ClassChange,
    Drop,
    Explanation,
    Facts,
    Flip,
    Joules,
    OpError,
    Part,
    Prediction,
    Sequential,
    Shrinking,
    Split,
    Timing,
    Training,
    Tried,
    Validation,
    Variant,
    basename,
)

# In this order everywhere, so that a variant keeps its place and colour from page to page.
_ORDER = ("float32", "float16", "dynamic", "int16x8", "int8", "int8-qat", "tuned")
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)


def gather(runs: Sequence[Run], left_out: Iterable[str] = ()) -> Facts:
    """Sort what ``runs`` found. Of several runs of one command on the same model and images, from the same origin, the last counts."""
    models: dict[str, tuple[str, int | None]] = {}
    reasons = list(left_out)
    found: dict[type, dict[Any, Any]] = {Validation: {}, Timing: {}, Prediction: {}, Explanation: {}, Training: {}, Shrinking: {}}
    for run in runs:
        if run.report is None:
            continue
        wrong = report_schema.problem_of(run.command, run.report)
        if wrong is not None:
            reasons.append(f"{run.label}: not as edgekit {run.command} writes it: {wrong}")
            continue
        try:
            entries = list(_READERS.get(run.command, lambda _: ())(run))
            _models(run, models)
            if run.command == "benchmark" and origin_of(run).emulated:
                reasons.append(f"{run.label}: a time of {origin_of(run)}, which is no board's speed")
                continue
            for entry in entries:
                kind, key = type(entry), _key(entry)
                found[kind][key] = _after(found[kind].get(key), entry)
        except _MALFORMED as error:
            reasons.append(f"{run.label}: not as edgekit {run.command} writes it ({type(error).__name__}: {error})")
    variants = _variants(models)
    order = {variant.key: place for place, variant in enumerate(variants)}

    def rank(entry: Any) -> int:
        return order.get(entry.variant, len(order))

    return Facts(
        runs=tuple(runs),
        variants=variants,
        validations=tuple(sorted(found[Validation].values(), key=rank)),
        timings=tuple(sorted(found[Timing].values(), key=rank)),
        predictions=tuple(sorted(found[Prediction].values(), key=rank)),
        explanations=tuple(found[Explanation].values()),
        trainings=tuple(found[Training].values()),
        shrinkings=tuple(found[Shrinking].values()),
        left_out=tuple(reasons),
    )


def _key(entry: Any) -> Any:
    if isinstance(entry, Training | Shrinking):
        return entry.name, entry.origin
    if isinstance(entry, Validation):
        return entry.variant, entry.origin, entry.run.dataset_sha256, entry.reference, entry.sequential is not None
    return entry.variant, entry.origin


def _after(before: Any, entry: Any) -> Any:
    """Return what counts after an earlier run of the same: the later one; for which boards it was certified adds up."""
    if not isinstance(before, Validation):
        return entry
    certified = {certificate.origin: certificate for certificate in (*before.holds_on, *entry.holds_on)}
    entry = replace(entry, holds_on=tuple(certified.values()))
    if entry.verdict is None and entry.drop == before.drop and entry.sequential == before.sequential:
        # Asked again without a limit, it answers no less than before.
        return replace(entry, max_drop=before.max_drop, verdict=before.verdict, images_to_decide=before.images_to_decide)
    return entry


def _models(run: Run, models: dict[str, tuple[str, int | None]]) -> None:
    report = run.report or {}
    for side in ("model", "reference"):
        entry = report.get(side)
        # Stored outputs stand for a network that is no file here.
        if isinstance(entry, Mapping) and "sha256" in entry and entry.get("kind", "artefact") == "artefact":
            models[str(entry["sha256"])] = str(entry["file"]), int(entry["bytes"]) if "bytes" in entry else None
    if "model_sha256" in report and str(report["model_sha256"]) not in models:
        models[str(report["model_sha256"])] = str(report.get("file", "")), None
    sizes = {str(entry.get("file")): entry.get("bytes") for entry in report.get("variants", ()) if isinstance(entry, Mapping)}
    for artefact in run.artefacts:
        if artefact.role == "made" and artefact.sha256 is not None:
            models.setdefault(artefact.sha256, (artefact.file, sizes.get(artefact.file)))


def _variants(models: Mapping[str, tuple[str, int | None]]) -> tuple[Variant, ...]:
    stems = {key: re.sub(r"\.tflite$", "", basename(file)) or key[:12] for key, (file, _) in models.items()}
    bases = {stem.rpartition(".")[0] for stem in stems.values()}
    short = {key: stem.rpartition(".")[2] if len(bases) == 1 else stem for key, stem in stems.items()}
    repeated = len(set(short.values())) < len(short)
    result = [
        Variant(key=key, name=f"{short[key]} {key[:6]}" if repeated else short[key], file=file, size_bytes=size)
        for key, (file, size) in models.items()
    ]
    return tuple(sorted(result, key=lambda variant: (_position(stems[variant.key]), variant.name)))


def _position(stem: str) -> int:
    name = stem.rpartition(".")[2]
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _validation(run: Run) -> Iterable[Validation]:
    report: Mapping[str, Any] = run.report or {}
    if "sequential" in report:
        yield _sequential(run, report)
        return
    # What shares were put together from has no matrix, no other outputs and no folder.
    drop, reference, confusion = report["drop"], report["reference"], report.get("confusion")
    if drop is not None and not drop["ci95"][0] <= drop["top1"] <= drop["ci95"][1]:
        raise ValueError(f"drop.top1 is {drop['top1']}, which is not within drop.ci95")
    if report["verdict"] is not None and (drop is None or report["max_drop"] is None):
        raise ValueError("a verdict without a drop and a limit")
    sides = {} if confusion is None else {name: side for name, side in confusion.items() if side is not None}
    full = all(_is_matrix(side, report["per_class"]) for side in sides.values())
    path = (report.get("dataset") or {}).get("path")
    measured = origin_of(run)
    stored = reference is None or reference.get("kind", "artefact") != "artefact"
    yield Validation(
        run=run,
        variant=str(report["model_sha256"]),
        reference=None if reference is None else str(reference["sha256"]),
        origin=measured,
        reference_origin=None if stored else measured,
        holds_on=_certificates(report),
        sequential=None,
        images=int(report["images"]),
        top1=report["candidate"]["top1"],
        reference_top1=None if reference is None else reference["top1"],
        drop=None
        if drop is None
        else Drop(
            top1=float(drop["top1"]),
            low=float(drop["ci95"][0]),
            high=float(drop["ci95"][1]),
            lost=int(drop["flips_lost"]),
            won=int(drop["flips_won"]),
            p_value=float(drop["p_value"]),
        ),
        agreement=report["agreement"],
        max_drop=report["max_drop"],
        verdict=report["verdict"],
        images_to_decide=report["images_to_decide"],
        classes=tuple(
            ClassChange(
                label=str(row["label"]),
                images=int(row["images"]),
                reference=row["reference"],
                candidate=float(row["candidate"]),
                lost=int(row["flips_lost"]),
                won=int(row["flips_won"]),
            )
            for row in report["per_class"]
        ),
        confusion=sides if sides and full else None,
        lost=_flips(report["lost"]),
        won=_flips(report["won"]),
        dataset=None if path is None else str(path),
        findings=tuple((str(finding["severity"]), str(finding["message"])) for finding in report["findings"]),
        outputs=report.get("outputs") or {},
    )


def _certificates(report: Mapping[str, Any]) -> tuple[Certificate, ...]:
    """Return for which board it was certified, where it was measured on another machine for it."""
    if report.get("measured_on") != origin.THIS_MACHINE:
        return ()
    return (Certificate(origin=origin.of_board(report), images=int(report["certificate"]["images"])),)


def _sequential(run: Run, report: Mapping[str, Any]) -> Validation:
    reference, dataset = report.get("reference"), report.get("dataset")
    return Validation(
        run=run,
        variant=str(report["model_sha256"]),
        reference=str(reference.get("network_sha256")) if isinstance(reference, Mapping) else None,
        origin=origin_of(run),
        reference_origin=None,
        holds_on=(),
        sequential=Sequential(lost=int(report["drop"]["flips_lost"]), won=int(report["drop"]["flips_won"])),
        images=int(report["images"]),
        top1=None,
        reference_top1=None,
        drop=None,
        agreement=None,
        max_drop=float(report["sequential"]["limit"]),
        verdict=str(report["verdict"]),
        images_to_decide=None,
        classes=(),
        confusion=None,
        lost=(),
        won=(),
        dataset=str(dataset["path"]) if isinstance(dataset, Mapping) and "path" in dataset else None,
        findings=(),
        outputs={},
    )


def _is_matrix(side: Sequence[Sequence[int]], classes: Sequence[Any]) -> bool:
    """Whether it is a matrix, and not the list of its cells that stands for one of very many classes."""
    return len(side) >= len(classes) and all(len(row) == len(side) for row in side)


def _flips(entries: Iterable[Mapping[str, Any]]) -> tuple[Flip, ...]:
    return tuple(
        Flip(
            **{name: str(entry[name]) for name in ("image", "label", "reference", "candidate")},
            margin=entry.get("margin"),
            sha256=None if entry.get("sha256") is None else str(entry["sha256"]),
        )
        for entry in entries
    )


def _timing(run: Run) -> Iterable[Timing]:
    report: Mapping[str, Any] = run.report or {}
    trace = tuple(
        (float(at["t_s"]), float(at["p50_ms"]), None if at["celsius"] is None else float(at["celsius"]))
        for at in report.get("trace") or ()
    )
    energy = report.get("energy")
    yield Timing(
        run=run,
        variant=str(report["model_sha256"]),
        origin=origin_of(run),
        runs=int(report["runs"]),
        threads=int(report["threads"]),
        min_ms=float(report["min_ms"]),
        p50_ms=float(report["p50_ms"]),
        p90_ms=float(report["p90_ms"]),
        p99_ms=float(report["p99_ms"]),
        memory_mib=float(report["peak_memory_mib"]),
        percentiles_ms=tuple(float(value) for value in report.get("percentiles_ms") or ()),
        trace=trace,
        quotable=bool(report.get("quotable", True)),
        energy=None
        if energy is None
        else Joules(
            joules=float(energy["joules_per_run"]),
            uncertainty_j=float(energy["uncertainty_j"]),
            joules_with_rest=float(energy["joules_per_run_with_rest"]),
            meter=str(energy["meter"]),
            scope=str(energy["scope"]),
        ),
        split=None if report.get("per_op") is None else Split.of(report["per_op"]),
    )


def _predictions(run: Run) -> Iterable[Prediction]:
    report: Mapping[str, Any] = run.report or {}
    for board in report.get("boards", [report]):
        latency, tpu = board["latency_ms"] or {}, board["edgetpu"] or {}
        attached = f" + {board['accelerator']}" if board.get("accelerator") else ""
        yield Prediction(
            run=run,
            variant=str(report["model_sha256"]),
            origin=Origin(machine=f"{board['board']}{attached}", how=origin.PREDICTED),
            fits=board["fits"],
            low_ms=latency.get("low"),
            expected_ms=latency.get("expected"),
            high_ms=latency.get("high"),
            peak_mib=float(board["memory_mib"]["peak"]),
            mapped=tpu.get("mapped"),
            on_cpu=tpu.get("cpu"),
            ops=tuple((int(op["index"]), str(op["op"]), bool(op["mapped"]), str(op["reason"])) for op in tpu.get("per_op", ())),
        )


def _explanation(run: Run) -> Iterable[Explanation]:
    report: Mapping[str, Any] = run.report or {}
    rungs = []
    for rung in report["ladder"]:
        step = rung["step"]
        if step is not None:
            low, high = step.get("ci95") or (None, None)
            rungs.append((str(rung["name"]), step.get("drop"), low, high))
    yield Explanation(
        run=run,
        variant=report.get("model_sha256"),
        origin=origin_of(run),
        images=int(report["images"]),
        rungs=tuple(rungs),
        worst_step=str(report["worst_step"]),
        ops=tuple(
            OpError(position=int(op["position"]), op=str(op["op"]), tensor=str(op["tensor"]), sqnr_db=op["sqnr_db"])
            for op in report["ops"]
        ),
    )


def _training(run: Run) -> Iterable[Training]:
    report: Mapping[str, Any] = run.report or {}
    ptq = (report.get("comparison") or {}).get("ptq") or {}
    first = report["epochs"][0]
    # Records of releases that knew classes only do not name the figure.
    figure, output = first.get("figure", "top1"), (ptq.get("outputs") or {}).get(first.get("output"))
    yield Training(
        run=run,
        name=basename(str(report["trained"])),
        origin=origin_of(run),
        figure=figure,
        epochs=tuple((int(e["epoch"]), e["loss"], e["float"], e["fake_quantized"], e["int8"]) for e in report["epochs"]),
        best_epoch=int(report["best_epoch"]),
        post_training=headline.of_report(output)[1] if output else (ptq.get("candidate") or {}).get("top1"),
        reason=str(report["reason"]),
    )


def _shrinking(run: Run) -> Iterable[Shrinking]:
    report: Mapping[str, Any] = run.report or {}
    front, cut, structure = set(report["front"]), report["shrunk"]["cut"], report["structure"]
    entries = [("original", report["original"])]
    entries += [("nothing beats it" if each["name"] in front else "tried", each) for each in report["candidates"]]
    entries += [("made", report["shrunk"])]
    gone, kept = set(cut["blocks"]), cut["kept"]
    blocks = [Part(name=name, how="block", left=float(name not in gone)) for name in structure["blocks"]]
    channels = [
        Part(name=name, how="channels", left=len(kept[name]) / count if name in kept else 1.0)
        for name, count in structure["channels"].items()
    ]
    faster = report["original"]["ms"] / report["shrunk"]["ms"]
    yield Shrinking(
        run=run,
        name=basename(str(report["int8"])),
        origin=origin_of(run),
        timed=str(report["timed"]),
        points=tuple(
            Tried(
                name=kind if kind == "original" else str(entry["name"]),
                kind=kind,
                ms=float(entry["ms"]),
                bytes=int(entry["bytes"]),
                error=float(entry["int8"]["error"]),
                agreement=entry["int8"]["agreement"],
            )
            for kind, entry in entries
        ),
        parts=(*blocks, *channels),
        reason=f"{basename(str(report['int8']))} is {faster:.2f} times faster ({report['timed']}); what it lost: {report['verdict']}.",
    )


_READERS = {
    "validate": _validation,
    "benchmark": _timing,
    "check": _predictions,
    "explain": _explanation,
    "qat": _training,
    "shrink": _shrinking,
}
