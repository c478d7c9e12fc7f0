"""The predictions of ``edgekit check`` as text and as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from devices.edgetpu import compilation
from devices.edgetpu.log import CompilerLog
from devices.edgetpu.ops import ONE_SUBGRAPH
from devices.predict.fit import BoardFit, TpuFit
from devices.predict.latency import Latency

from .check import CheckReport

_MIB = 1 << 20
_VERDICTS = {True: "yes", False: "no", None: "unknown"}
_REASONS_SHOWN = 8


def to_dict(report: CheckReport) -> dict[str, Any]:
    """Return the report as plain data: for one board its keys stand at the top, for all of them there is ``boards``."""
    head = {
        "file": report.file,
        "model_sha256": report.model_sha256,
        "macs": report.macs,
        "ops": report.ops,
        "weight_bytes": report.weight_bytes,
        "fits": report.fits,
    }
    if len(report.boards) == 1:
        return {**head, **_board(report.boards[0], per_op=True), "advice": [asdict(item) for item in report.advice]}
    return {**head, "boards": [_board(board, per_op=False) for board in report.boards]}


def _board(found: BoardFit, *, per_op: bool) -> dict[str, Any]:
    need = found.footprint
    return {
        "board": found.board,
        "accelerator": found.accelerator,
        "fits": found.fits,
        "findings": [asdict(finding) for finding in found.findings],
        "memory_mib": {
            "peak": _mib(need.peak_bytes),
            "base": _mib(need.base_bytes),
            "file": _mib(need.file_bytes),
            "packed_weights": _mib(need.packed_bytes),
            "arena": _mib(need.arena_bytes),
            "private": _mib(need.private_bytes if found.cached else need.private_bytes + need.packed_bytes),
            "file_backed": _mib(need.file_backed_bytes if found.cached else need.file_backed_bytes - need.packed_bytes),
            "weight_cache": found.cached,
            "room": [_mib(size) for size in found.room_bytes] if found.room_bytes else None,
        },
        "latency_ms": _latency(found.latency),
        "cpu_latency_ms": _latency(found.cpu),
        "cpu_latency_boosted_ms": _latency(found.boosted),
        "edgetpu": None if found.tpu is None else _edgetpu(found.tpu, per_op=per_op),
    }


def _edgetpu(tpu: TpuFit, *, per_op: bool) -> dict[str, Any]:
    prediction, memory = tpu.prediction, tpu.memory
    data = {
        "compiler": prediction.compiler,
        "failure": prediction.failure,
        "mapped": prediction.mapped,
        "cpu": prediction.cpu,
        "subgraphs": prediction.subgraphs,
        "weights_mib": _mib(memory.weight_bytes),
        "cached_mib": _mib(memory.cached_bytes),
        "streamed_mib": {
            "low": _mib(memory.streamed_low_bytes),
            "expected": _mib(memory.streamed_bytes),
            "high": _mib(memory.streamed_high_bytes),
        },
        "segments": [asdict(segment) for segment in memory.segments],
        "link": None if tpu.link is None else tpu.link.name,
    }
    if per_op:
        data["per_op"] = [asdict(op) for op in prediction.per_op]
    return data


def _latency(estimate: Latency | None) -> dict[str, Any] | None:
    return None if estimate is None else {key: round(v, 2) if isinstance(v, float) else v for key, v in asdict(estimate).items()}


def to_text(report: CheckReport) -> str:
    """Return the report for people: one board in full, several as a table."""
    head = (
        f"{report.file}: {report.macs / 1e9:.2f} GMAC, {report.ops} ops, {report.weight_bytes / _MIB:.1f} MiB of weights"
        " (all figures below are predictions)"
    )
    if len(report.boards) > 1:
        return "\n".join([head, "", *_table(report.boards)])
    return "\n".join([head, "", *_one(report.boards[0]), *_advice_lines(report)])


def _table(boards: tuple[BoardFit, ...]) -> Iterator[str]:
    rows = [("board", "fits", "memory", "Edge TPU", "expected", "interval", "on the CPU")]
    for found in boards:
        tpu = found.tpu
        rows.append(
            (
                found.board,
                _VERDICTS[found.fits],
                f"{_mib(found.footprint.peak_bytes):.0f} MiB",
                "-" if tpu is None else f"{tpu.prediction.mapped}/{len(tpu.prediction.per_op)} ops",
                _ms(found.latency),
                _interval(found.latency),
                _ms(found.cpu),
            )
        )
    yield from _columns(rows)
    for found in boards:
        for finding in found.findings:
            # Of a board that fits, its own page says more; of the others the table must say why.
            if finding.severity == "error" or (found.fits is None and finding.check in ("memory", "latency")):
                yield f"{found.board}: {finding.message}"


def _one(found: BoardFit) -> Iterator[str]:
    with_tpu = f" with {found.accelerator}" if found.accelerator else ""
    yield f"{found.board}{with_tpu}: fits: {_VERDICTS[found.fits]}"
    for finding in found.findings:
        yield f"  {finding.severity}: {finding.message}"
    need = found.footprint
    room = "" if found.room_bytes is None else f" of {_mib(found.room_bytes[0]):.0f} to {_mib(found.room_bytes[1]):.0f} MiB"
    yield (
        f"  memory     about {_mib(need.peak_bytes):.0f} MiB{room}: file {_mib(need.file_bytes):.0f}, packed weights"
        f" {_mib(need.packed_bytes):.0f}, activations {_mib(need.arena_bytes):.0f}, interpreter {_mib(need.base_bytes):.0f}"
    )
    if found.cached:
        yield (
            f"             of it private {_mib(need.private_bytes):.0f}, from files {_mib(need.file_backed_bytes):.0f}: shared by"
            " processes, and dropped where memory runs short"
        )
    if found.tpu is not None:
        yield from _tpu_lines(found.tpu)
    if found.latency is not None:
        yield f"  latency    {_ms(found.latency)} ({_interval(found.latency)})"
        yield f"             {found.latency.basis}"
    if found.tpu is not None and found.cpu is not None:
        yield f"  on the CPU {_ms(found.cpu)} ({_interval(found.cpu)})"


def _tpu_lines(tpu: TpuFit) -> Iterator[str]:
    prediction, memory = tpu.prediction, tpu.memory
    yield (
        f"  Edge TPU   {prediction.mapped} of {len(prediction.per_op)} ops mapped, {prediction.subgraphs}"
        f" subgraph{'' if prediction.subgraphs == 1 else 's'} (compiler {prediction.compiler})"
    )
    if prediction.mapped:
        yield (
            f"             weights {memory.weight_bytes / _MIB:.2f} MiB as laid out: {memory.cached_bytes / _MIB:.2f} cached,"
            f" {memory.streamed_bytes / _MIB:.2f} streamed ({memory.streamed_low_bytes / _MIB:.2f} to"
            f" {memory.streamed_high_bytes / _MIB:.2f})"
        )
    for number, segment in enumerate(memory.segments if len(memory.segments) > 1 else ()):
        yield (
            f"             segment {number}: ops {segment.first} to {segment.last}, {segment.cached_bytes / _MIB:.2f} cached,"
            f" {segment.streamed_bytes / _MIB:.2f} streamed"
        )
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for op in prediction.per_op:
        if not op.mapped and op.reason != ONE_SUBGRAPH:
            reasons.setdefault((op.op, op.reason, op.way_out), []).append(op.detail)
    for (name, reason, way_out), details in list(reasons.items())[:_REASONS_SHOWN]:
        among = " (the first of them)" if len(set(details)) > 1 else ""
        yield f"             {name} x {len(details)}: {reason}: {details[0]}{among}; {way_out}"
    if len(reasons) > _REASONS_SHOWN:
        yield f"             and {len(reasons) - _REASONS_SHOWN} more (--json lists every op)"
    stranded = sum(1 for op in prediction.per_op if op.reason == ONE_SUBGRAPH)
    if stranded:
        yield f"             {stranded} ops: {ONE_SUBGRAPH} (they depend on those)"


def _advice_lines(report: CheckReport) -> Iterator[str]:
    if report.advice:
        yield ""
        yield "what would help (each predicted anew)"
    for item in report.advice:
        time = ""
        if item.expected_ms is not None:
            before = "" if item.instead_of_ms is None else f" instead of {_number(item.instead_of_ms)}"
            time = f": {_number(item.expected_ms)} ms{before}"
        yield f"  {item.change}{time}. {item.cost}"


def comparison(tpu: TpuFit, log: CompilerLog) -> dict[str, Any]:
    """Return prediction and compiler in the same form, and the ops of which they do not map the same number."""
    mine, theirs = compilation.predicted(tpu.prediction, tpu.memory), compilation.logged(log)
    return {"predicted": asdict(mine), "compiler": asdict(theirs), "differing_ops": compilation.differing_ops(mine, theirs)}


def compared(tpu: TpuFit, log: CompilerLog) -> list[str]:
    """Return prediction and compiler's log side by side, op by op."""
    mine, theirs = compilation.predicted(tpu.prediction, tpu.memory), compilation.logged(log)
    if theirs.failure:
        return [f"the compiler made no model: {theirs.failure}"]
    differing = compilation.differing_ops(mine, theirs)
    rows = [("op", "predicted mapped", "compiler mapped", "of", "")]
    for name in sorted(mine.by_op.keys() | theirs.by_op.keys()):
        known = str(theirs.mapped_of(name)) if theirs.by_op else "?"
        count = str(max(mine.count_of(name), theirs.count_of(name)))
        rows.append((name, str(mine.mapped_of(name)), known, count, "differs" if name in differing else ""))
    lines = list(_columns(rows))
    totals = (("all ops", mine.mapped, theirs.mapped), ("subgraphs", mine.subgraphs, theirs.subgraphs))
    lines += [f"{name}: predicted {own}, compiler {said}" for name, own, said in totals if said is not None]
    sizes = (
        ("cached on the chip", mine.cached_bytes, theirs.cached_bytes),
        ("streamed", mine.streamed_bytes, theirs.streamed_bytes),
    )
    for name, own, said in sizes:
        if own is not None and said is not None:
            lines.append(f"{name}: predicted {own / _MIB:.2f} MiB, compiler {said / _MIB:.2f} MiB")
    return lines


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    yield from ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _ms(estimate: Latency | None) -> str:
    return "unknown" if estimate is None else f"{_number(estimate.expected)} ms"


def _interval(estimate: Latency | None) -> str:
    return "" if estimate is None else f"{_number(estimate.low)} to {_number(estimate.high)} ms"


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _mib(size: int) -> float:
    return round(size / _MIB, 1)
