"""What the answers of commands and the records of runs look like, as far as anything reads them.

One definition for everything that reads such JSON (`edge.report`, `edge.history.store`, `edge.validation.merging`), and JSON Schema for
others:

    python -m edge.report_schema > reports.schema.json

Keys that are not named here may be there and are not looked at. What older releases did not write yet may be absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .schema import (
    DRAFT,
    Schema,
    anything,
    choice,
    either,
    flag,
    items,
    mapping,
    number,
    optional,
    problem,
    record,
    row,
    text,
    whole,
)

_MANY = 10**12  # images, runs, operations: more is no count of anything
_RATE = number(0, 1)
_DIFFERENCE = number(-1, 1)
_FIGURE = number(-1e15, 1e15)
_MS = number(1e-6, 1e12)
_COUNT = whole(0, _MANY)
_NO_TIME = number(0, 1e12)  # milliseconds, of what may be over within one tick of a clock
_VERDICT = choice("pass", "fail", "undecided")
_BOARD = either(text(), record({"profile": optional(text()), "model": optional(text()), "virtual": optional(flag())}))
_RUNTIME = record({"package": text(), "version": text(), "kernels": optional(text())})
_WHERE = {"board": optional(_BOARD), "target": optional(text()), "host": mapping(anything()), "runtime": _RUNTIME, "file": text()}
_ACCURACY = {"top1": optional(_RATE), "top5": optional(_RATE), "ece": optional(_RATE)}
_RATES = {name: _ACCURACY[name] for name in ("top1", "top5")}
_VALUES = {name: optional(_FIGURE) for name in ("top1", "exact_match", "mae", "rmse", "r2")}
_OUTPUT = record(
    {
        "kind": text(),
        **{side: optional(record(_VALUES)) for side in ("candidate", "reference")},
        "difference": optional(record({"mean_absolute": optional(_FIGURE)})),
        **{name: optional(_FIGURE) for name in ("agreement", "cosine", "sqnr_db")},
    }
)
_FLIP = record({"margin": optional(_FIGURE)}, image=text(), label=text(), reference=text(), candidate=text())
_MODEL = record({"file": text(), "bytes": _COUNT, "sha256": text(), "kind": text()})

VALIDATION = record(
    {
        **_WHERE,
        "schema_version": whole(1),
        "model": _MODEL,
        "probability_shift": optional(_RATE),
        "confusion": optional(mapping(optional(items(items(_COUNT))))),
        "dataset": record({"path": optional(text()), "image_digests": optional(text())}),
        "dataset_sha256": optional(text()),
        "outputs": mapping(_OUTPUT),
        "changed": items(_FLIP),
        "unreadable": items(record({"image": text(), "reason": text()})),
    },
    images=whole(1, _MANY),
    model_sha256=text(),
    reference=optional(
        record(
            {**_ACCURACY, "file": text(), "bytes": _COUNT, "kind": text(), "network_sha256": optional(text())},
            sha256=text(),
            top1=optional(_RATE),
        )
    ),
    candidate=record(_ACCURACY, top1=optional(_RATE)),
    drop=optional(
        record(top1=_DIFFERENCE, ci95=row(_DIFFERENCE, _DIFFERENCE), flips_lost=_COUNT, flips_won=_COUNT, p_value=_RATE)
    ),
    agreement=optional(_RATE),
    max_drop=optional(_DIFFERENCE),
    verdict=optional(_VERDICT),
    images_to_decide=optional(_COUNT),
    findings=items(record(severity=text(), message=text())),
    per_class=items(
        record(
            {"drop": optional(_DIFFERENCE)},
            class_id=_COUNT,
            label=text(),
            images=whole(1, _MANY),
            reference=optional(_RATE),
            candidate=_RATE,
            flips_lost=_COUNT,
            flips_won=_COUNT,
        )
    ),
    lost=items(_FLIP),
    won=items(_FLIP),
)
"""A validation of a whole data set."""

SHARE = record(
    {},
    **{
        **{name: VALIDATION["properties"][name] for name in VALIDATION["required"]},
        **{name: VALIDATION["properties"][name] for name in ("schema_version", "probability_shift", "changed", "unreadable")},
        "model": record(file=text()),
        "runtime": _RUNTIME,
        "reference": optional(record(VALIDATION["properties"]["reference"]["anyOf"][0]["properties"], sha256=text(), **_RATES)),
        "candidate": record(_ACCURACY, **_RATES),
    },
)
"""A validation that can be merged with others."""

SEQUENTIAL = record(
    _WHERE,
    verdict=_VERDICT,
    images=_COUNT,
    drop=record(flips_lost=_COUNT, flips_won=_COUNT),
    sequential=record(limit=_DIFFERENCE),
    model_sha256=text(),
)
"""A validation that stopped when it was decided."""

_JOULES = number(-1e9, 1e9)
_BENCHMARK = record(
    {
        **_WHERE,
        "energy": optional(
            record(
                {"above_uncertainty": flag(), "load_w": _FIGURE, "idle_w": _FIGURE, "looks_per_s": _FIGURE},
                meter=text(),
                scope=text(),
                joules_per_run=_JOULES,
                uncertainty_j=number(0, 1e9),
                joules_per_run_with_rest=_JOULES,
            )
        ),
        "energy_note": optional(text()),
        "per_op": optional(
            record(
                threads=_COUNT,
                findings=items(text()),
                kernels=items(record(kernel=text(), ran_by=text(), calls=_COUNT, ms=_NO_TIME)),
                blocks=items(record(name=text(), first=_COUNT, last=_COUNT, ms=_NO_TIME)),
                ops=items(record(index=_COUNT, ran_by=text(), ms=_NO_TIME)),
            )
        ),
        "machine": optional(text()),
        "percentiles_ms": optional(items(_MS)),
        "trace": optional(items(record(t_s=number(0, 1e12), p50_ms=_MS, celsius=optional(number(-300, 1e4))))),
        "quotable": flag(),
    },
    model_sha256=text(),
    runs=whole(1, _MANY),
    threads=_COUNT,
    min_ms=_MS,
    p50_ms=_MS,
    p90_ms=_MS,
    p99_ms=_MS,
    peak_memory_mib=number(0, 1e9),
)
MEASUREMENT = record({"not_quotable_because": items(text()), "threads": optional(_COUNT), "host": optional(mapping(anything()))})
"""What `edgekit check --learn` reads of a benchmark, beside what it asks for itself."""

_ON_BOARD = record(
    {"accelerator": optional(text())},
    board=text(),
    fits=optional(flag()),
    memory_mib=record(peak=number(0, 1e9)),
    latency_ms=optional(record({name: optional(number(0, 1e12)) for name in ("low", "expected", "high")})),
    edgetpu=optional(
        record(
            {
                "mapped": optional(_COUNT),
                "cpu": optional(_COUNT),
                "per_op": items(record(index=_COUNT, op=text(), mapped=flag(), reason=text())),
            }
        )
    ),
)
_HEAD = record({"file": text()}, model_sha256=text(), fits=optional(flag()))
_CHECK_ALL = record({}, **{**_HEAD["properties"], "boards": items(_ON_BOARD)})
_CHECK_ONE = record({}, **{**_HEAD["properties"], **_ON_BOARD["properties"]})
_EXPLAIN = record(
    {**_WHERE, "model_sha256": optional(text())},
    images=_COUNT,
    ladder=items(
        record(
            name=text(),
            step=optional(
                record({"drop": optional(_DIFFERENCE), "ci95": optional(row(optional(_DIFFERENCE), optional(_DIFFERENCE)))})
            ),
        )
    ),
    worst_step=optional(text()),
    ops=items(record(position=_COUNT, op=text(), tensor=text(), sqnr_db=optional(_FIGURE))),
)
_QAT = record(
    {
        "comparison": optional(
            record({"ptq": optional(record({"outputs": optional(mapping(_OUTPUT)), "candidate": optional(record(_ACCURACY))}))})
        ),
        "ptq": optional(text()),
    },
    trained=text(),
    recommended=text(),
    reason=text(),
    best_epoch=_COUNT,
    epochs=items(
        record(
            {"figure": text(), "output": optional(text())},
            epoch=_COUNT,
            **{name: optional(_FIGURE) for name in ("loss", "float", "fake_quantized", "int8")},
        ),
        least=1,
    ),
)
_ANY = record(
    {
        "board": optional(_BOARD),
        "target": optional(text()),
        "accelerator": optional(text()),
        "host": optional(mapping(anything())),
        "machine": optional(text()),
        "file": optional(text()),
    }
)
_TRIED: dict[str, Schema] = {
    **{"name": text(), "ms": _MS, "bytes": _COUNT},
    "int8": record(error=_FIGURE, agreement=optional(_FIGURE)),
}
_SHRINK = record(
    name=text(),
    int8=text(),
    timed=text(),
    chosen=text(),
    verdict=text(),
    lineage=anything(),
    original=record(**_TRIED),
    shrunk=record(**_TRIED, cut=record(blocks=items(text()), kept=mapping(items(_COUNT)))),
    candidates=items(record(**_TRIED)),
    front=items(text()),
    structure=record(blocks=items(text()), channels=mapping(whole(1))),
)
ANSWERS: Mapping[str, Schema] = {
    "validate": VALIDATION,
    "benchmark": _BENCHMARK,
    "check": _CHECK_ONE,
    "explain": _EXPLAIN,
    "qat": _QAT,
    "shrink": _SHRINK,
    "ship": record(shipped=optional(text()), verdict=text(40), sentence=text(), steps=anything(), advice=anything()),
    "tune": record({"chosen": optional(text()), "file": optional(text())}, candidates=anything(), ranking=anything()),
    # Its runtime is the name of the interpreter that was put on the board.
    "deploy": record(
        {"target": text(), "runtime": text(), "sha256": optional(text()), "previous": optional(text()), "mended": flag()},
        release=text(),
        changed=flag(),
    ),
    "selftest": record({**_WHERE, "model_sha256": text(), "passed": flag(), "exact": flag()}, results=anything()),
    "quantize": record(variants=items(record({"file": text(), "name": text(), "bytes": _COUNT}))),
    "import": record(
        agreement=optional(record(relative=_FIGURE)),
        keras=text(),
        float32=record(file=text()),
        source=record(parameters=_COUNT),
    ),
    "fetch": record({"sha256": optional(text())}, use=text(), name=text(), fresh=flag()),
}
"""By command. `schema_of` knows the other forms of some."""

RUN = record(
    {"report": optional(mapping(anything()))},
    id=optional(whole(0)),
    time=text(40),
    command=text(40),
    arguments=items(text()),
    exit_code=optional(whole(-1024, 1024)),
    seconds=optional(number(0, 1e12)),
    board=optional(text()),
    artefacts=items(record(role=text(), file=text(), sha256=optional(text()))),
    dataset_sha256=optional(text()),
    versions=mapping(text()),
    host=mapping(anything()),
    summary=text(),
    error=optional(text()),
)
"""A record of the history."""


def schema_of(command: str, report: Mapping[str, Any]) -> Schema:
    """Return what a command's answer must look like; any object for a command that is not known here."""
    if command == "validate" and "sequential" in report:
        return SEQUENTIAL
    if command == "check" and "boards" in report:
        return _CHECK_ALL
    return ANSWERS.get(command, mapping(anything()))


def problem_of(command: str, report: Mapping[str, Any]) -> str | None:
    """Return in what an answer is not as the command writes it, or None."""
    return problem(report, _ANY) or problem(report, schema_of(command, report))


def published() -> dict[str, Any]:
    """Return all of it as one JSON Schema."""
    answers = {**ANSWERS, "validate --sequential": SEQUENTIAL, "check (several boards)": _CHECK_ALL}
    return {
        "$schema": DRAFT,
        "title": "edgekit reports",
        "description": "The JSON that edgekit's commands write with --json, and the records of edgekit runs, as far as edgekit reads it.",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in ("run", *(_definition(name) for name in answers))],
        "$defs": {"run": RUN, **{_definition(name): {"title": f"edgekit {name}", **schema} for name, schema in answers.items()}},
    }


def _definition(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name).strip("_")


if __name__ == "__main__":
    print(json.dumps(published(), indent=1))
