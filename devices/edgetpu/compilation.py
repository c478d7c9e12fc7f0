"""One form for what the compiler is predicted to do and for what its log says that it did, so that the two stand side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from .log import CompilerLog
from .mapping import Prediction
from .memory import OnChipMemory
from .ops import MAPPED

CUSTOM = "CUSTOM"  # what the compiler calls every op of somebody else's


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """What a compilation comes to. ``by_op``: op -> status -> how many; empty where a log has no table. A figure may be missing.

    Of several files (pipeline segments) all figures are sums.
    """

    compiler: str | None
    failure: str | None
    mapped: int | None
    cpu: int | None
    subgraphs: int | None
    by_op: Mapping[str, Mapping[str, int]]
    cached_bytes: int | None
    streamed_bytes: int | None

    def mapped_of(self, op: str) -> int:
        return self.by_op.get(op, {}).get(MAPPED, 0)

    def count_of(self, op: str) -> int:
        return sum(self.by_op.get(op, {}).values())


def predicted(prediction: Prediction, memory: OnChipMemory) -> Compilation:
    """Return what a prediction comes to."""
    table: dict[str, Counter[str]] = {}
    for op in prediction.per_op:
        table.setdefault(CUSTOM if op.is_custom else op.op, Counter())[op.reason] += 1
    return Compilation(
        compiler=prediction.compiler,
        failure=prediction.failure,
        mapped=prediction.mapped,
        cpu=prediction.cpu,
        subgraphs=prediction.subgraphs,
        by_op={name: dict(counts) for name, counts in table.items()},
        cached_bytes=memory.cached_bytes,
        streamed_bytes=memory.streamed_bytes,
    )


def logged(log: CompilerLog) -> Compilation:
    """Return what a log tells of."""
    table: dict[str, Counter[str]] = {}
    for model in log.models:
        for name, counts in model.by_op().items():
            table.setdefault(name, Counter()).update(counts)

    def total(values: list[int | None]) -> int | None:
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    mapped, cpu = total([model.mapped for model in log.models]), total([model.cpu for model in log.models])
    everything = total([model.counts.get("total_ops") for model in log.models])
    if mapped is None and log.succeeded:
        mapped, cpu = everything, 0  # it counts apart only where something is left on the CPU
    return Compilation(
        compiler=log.compiler,
        failure=None if log.models else "; ".join(log.errors) or "no reason given",
        mapped=mapped,
        cpu=cpu,
        subgraphs=total([model.counts.get("subgraphs") for model in log.models]),
        by_op={name: dict(counts) for name, counts in table.items()},
        cached_bytes=total([model.on_chip_used_bytes for model in log.models]),
        streamed_bytes=total([model.off_chip_bytes for model in log.models]),
    )


def differing_ops(first: Compilation, second: Compilation) -> tuple[str, ...]:
    """Return the names of the ops of which the two do not map the same number; none where one has no table."""
    if not first.by_op or not second.by_op:
        return ()
    return tuple(op for op in sorted(first.by_op.keys() | second.by_op.keys()) if first.mapped_of(op) != second.mapped_of(op))
