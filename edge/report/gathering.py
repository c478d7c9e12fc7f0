"""Reads what commands answered into the facts of a report. An answer may come from anywhere: what is malformed is left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import measures
from ..run_record import Run
from .facts import (
    ClassChange,
    Drop,
    Explanation,
    Facts,
    Flip,
    OpError,
    Prediction,
    Timing,
    Training,
    Validation,
    Variant,
    basename,
)

HERE = "this machine"

# In this order everywhere, so that a variant keeps its place and colour from page to page.
_ORDER = ("float32", "float16", "dynamic", "int16x8", "int8", "int8-qat", "tuned")
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)


def gather(runs: Sequence[Run], left_out: Iterable[str] = ()) -> Facts:
    """Sort what ``runs`` found. Of several runs of one command on the same model, images and place, the last counts."""
    models: dict[str, tuple[str, int | None]] = {}
    reasons = list(left_out)
    found: dict[type, dict[Any, Any]] = {Validation: {}, Timing: {}, Prediction: {}, Explanation: {}, Training: {}}
    for run in runs:
        if run.report is None:
            continue
        try:
            _models(run, models)
            for entry in _READERS.get(run.command, lambda _: ())(run):
                found[type(entry)][_key(entry)] = entry
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
        left_out=tuple(reasons),
    )


def _key(entry: Any) -> Any:
    if isinstance(entry, Training):
        return entry.name
    if isinstance(entry, Explanation):
        return entry.variant
    if isinstance(entry, Validation):
        return entry.variant, entry.place, entry.run.dataset_sha256, entry.reference
    return entry.variant, entry.place


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


def _place(run: Run) -> str:
    if run.board is not None:
        return run.board
    processor = run.host.get("processor")
    if processor:
        return str(processor)
    machine = (run.report or {}).get("machine")
    return f"{HERE} ({machine})" if machine else HERE


def _validation(run: Run) -> Iterable[Validation]:
    report: Mapping[str, Any] = run.report or {}
    drop, reference, confusion = report["drop"], report["reference"], report["confusion"]
    full = confusion is not None and all(side is None or _is_matrix(side, report["per_class"]) for side in confusion.values())
    path = report["dataset"].get("path")
    yield Validation(
        run=run,
        variant=str(report["model_sha256"]),
        reference=None if reference is None else str(reference["sha256"]),
        place=_place(run),
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
        confusion={name: side for name, side in confusion.items() if side is not None} if full else None,
        lost=_flips(report["lost"]),
        won=_flips(report["won"]),
        dataset=None if path is None else str(path),
        findings=tuple((str(finding["severity"]), str(finding["message"])) for finding in report["findings"]),
        outputs=report["outputs"],
    )


def _is_matrix(side: Sequence[Sequence[int]], classes: Sequence[Any]) -> bool:
    """Whether it is a matrix, and not the list of its cells that stands for one of very many classes."""
    return len(side) >= len(classes) and all(len(row) == len(side) for row in side)


def _flips(entries: Iterable[Mapping[str, Any]]) -> tuple[Flip, ...]:
    return tuple(
        Flip(**{name: str(entry[name]) for name in ("image", "label", "reference", "candidate")}, margin=entry.get("margin"))
        for entry in entries
    )


def _timing(run: Run) -> Iterable[Timing]:
    report: Mapping[str, Any] = run.report or {}
    trace = tuple(
        (float(at["t_s"]), float(at["p50_ms"]), None if at["celsius"] is None else float(at["celsius"]))
        for at in report.get("trace") or ()
    )
    yield Timing(
        run=run,
        variant=str(report["model_sha256"]),
        place=_place(run),
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
    )


def _predictions(run: Run) -> Iterable[Prediction]:
    report: Mapping[str, Any] = run.report or {}
    for board in report.get("boards", [report]):
        latency, tpu = board["latency_ms"] or {}, board["edgetpu"] or {}
        attached = f" + {board['accelerator']}" if board.get("accelerator") else ""
        yield Prediction(
            run=run,
            variant=str(report["model_sha256"]),
            place=f"{board['board']}{attached}",
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
        figure=figure,
        epochs=tuple((int(e["epoch"]), e["loss"], e["float"], e["fake_quantized"], e["int8"]) for e in report["epochs"]),
        best_epoch=int(report["best_epoch"]),
        post_training=measures.of_report(output)[1] if output else (ptq.get("candidate") or {}).get("top1"),
        reason=str(report["reason"]),
    )


_READERS = {
    "validate": _validation,
    "benchmark": _timing,
    "check": _predictions,
    "explain": _explanation,
    "qat": _training,
}
