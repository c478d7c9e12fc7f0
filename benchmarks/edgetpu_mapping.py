"""Predicted Edge TPU mapping against compiled models, the log parser against real logs, predicted memory against logged memory.

    python benchmarks/edgetpu_mapping.py FOLDER

FOLDER has ``pairs.json`` (of each CPU model: ``file``, ``cpu_ops``, ``left_on_cpu``), the models, and ``logs/``. Few of the
pairs leave anything on the CPU, so the ops that are left there are scored on their own: "all mapped" would have a recall of
0. Memory is compared on ``published/edgetpu_memory.json``, which needs no folder. Appends to
``results/edgetpu_mapping.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from record import append

from devices.edgetpu import log as edgetpu_log
from devices.edgetpu import mapping as edgetpu
from devices.edgetpu import memory as edgetpu_memory
from devices.edgetpu.ops import STATUSES
from devices.op_list import Network, Op, Operand

MIB = 1 << 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    args = parser.parse_args()
    figures: dict[str, Any] = {"memory": memory()}
    if args.folder is not None:
        figures["mapping"] = mapping(args.folder)
        figures["logs"] = logs(args.folder / "logs")
    print(append("edgetpu_mapping", figures))
    return 0


def mapping(folder: Path) -> dict[str, Any]:
    from edge.artefact import graph
    from edge.predict.op_list import network_of

    total = Counter[str]()
    wrong: dict[str, Any] = {}
    start = time.perf_counter()
    pairs = json.loads((folder / "pairs.json").read_text(encoding="utf-8"))
    for pair in pairs:
        path = folder / pair["file"]
        network = network_of(graph.read(path.read_bytes()), path)
        prediction = edgetpu.predict(network)
        names = {op.index: f"CUSTOM:{op.name}" if op.is_custom else op.name for op in network.ops}
        predicted = Counter(names[op.index] for op in prediction.per_op if not op.mapped)
        actual = Counter(pair["left_on_cpu"])
        both = predicted & actual
        total.update(ops=len(network.ops), left=actual.total(), predicted_left=predicted.total(), both=both.total())
        if predicted != actual:
            wrong[pair["cpu"]] = {"too_many": dict(predicted - actual), "missed": dict(actual - predicted)}
    print(f"{len(pairs)} pairs, {total['ops']} ops: {len(pairs) - len(wrong)} pairs exactly right")
    print(f"ops left on the CPU: {total['left']}, predicted {total['predicted_left']}, of them right {total['both']}")
    for name, difference in wrong.items():
        print(f"  wrong: {name}: {difference}")
    return {
        "pairs": len(pairs),
        "pairs_right": len(pairs) - len(wrong),
        "ops": total["ops"],
        "left_on_cpu": total["left"],
        "left_recall": round(total["both"] / total["left"], 4) if total["left"] else None,
        "left_precision": round(total["both"] / total["predicted_left"], 4) if total["predicted_left"] else None,
        "wrong": wrong,
        "seconds": round(time.perf_counter() - start, 2),
    }


def logs(folder: Path) -> dict[str, Any]:
    counts = Counter[str]()
    for path in sorted(folder.iterdir()):
        log = edgetpu_log.parse(path.read_text(encoding="utf-8"))
        counts.update(logs=1, models=len(log.models), errors=bool(log.errors))
        for model in log.models:
            counts.update(rows=len(model.rows), unknown_status=sum(row.status not in STATUSES for row in model.rows))
            counts.update(with_memory=model.on_chip_used_bytes is not None)
    print(f"logs: {dict(counts)}")
    return dict(counts)


def memory() -> dict[str, Any]:
    published = json.loads((Path(__file__).parent / "published" / "edgetpu_memory.json").read_text(encoding="utf-8"))
    result: dict[str, Any] = {}
    for name, build in (("convolutions", convolutions), ("dense", dense)):
        totals, cached, streamed = [], [], []
        for row in published[name]["rows"]:
            network = build(row["width"])
            estimate = edgetpu_memory.estimate(network, frozenset(op.index for op in network.ops))
            logged = (row["cached_mib"] + row["streamed_mib"]) * MIB
            totals.append(abs(estimate.weight_bytes / logged - 1))
            cached.append(abs(estimate.cached_bytes / MIB - row["cached_mib"]))
            if row["streamed_mib"]:
                streamed.append(abs(estimate.streamed_bytes / MIB / row["streamed_mib"] - 1))
        result[name] = {
            "networks": len(totals),
            "weights_median_error": round(statistics.median(totals), 4),
            "weights_largest_error": round(max(totals), 4),
            "streamed_median_error": round(statistics.median(streamed), 3),
            "streamed_largest_error": round(max(streamed), 3),
            "cached_median_error_mib": round(statistics.median(cached), 3),
            "cached_largest_error_mib": round(max(cached), 3),
        }
        print(f"memory, {name}: {result[name]}")
    return result


def convolutions(width: int) -> Network:
    """Five 3x3 convolutions on 64 x 64 pixels."""
    shapes = [(width, 3, 3, 3), *[(width, 3, 3, width)] * 4]
    return _chain("CONV_2D", shapes, [(1, 64, 64, 3), *[(1, 64, 64, width)] * 5])


def dense(width: int) -> Network:
    """64 to N, three of N to N, N to 10."""
    shapes = [(width, 64), *[(width, width)] * 3, (10, width)]
    return _chain("FULLY_CONNECTED", shapes, [(1, 64), *[(1, width)] * 4, (1, 10)])


def _chain(name: str, weights: Sequence[tuple[int, ...]], activations: Sequence[tuple[int, ...]]) -> Network:
    numbers: Iterator[int] = iter(range(10_000))

    def operand(shape: tuple[int, ...], constant: bool) -> Operand:
        index = next(numbers)
        return Operand(
            index=index,
            name=f"t{index}",
            shape=shape,
            dtype="int8",
            is_constant=constant,
            is_quantized=True,
            is_open=False,
            values=None,
            is_zero=None,
        )

    tensors = [operand(shape, False) for shape in activations]
    ops = tuple(
        Op(
            index=i,
            name=name,
            version=3,
            inputs=(tensors[i], operand(shape, True), None),
            outputs=(tensors[i + 1],),
            options={},
            is_custom=False,
            macs=0,
        )
        for i, shape in enumerate(weights)
    )
    return Network(ops=ops, inputs=(tensors[0],), outputs=(tensors[-1],), file_bytes=0)


if __name__ == "__main__":
    sys.exit(main())
