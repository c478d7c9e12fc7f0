"""The latency model against published measurements: each network predicted from the others (leave one out), per class of board.

    python benchmarks/latency_model.py

Needs no board: the measurements and their sources stand in ``published/latencies.json``. The constants of
``devices/latency.py`` are close to what the fit over all rows gives; this script fits again without the network that is
predicted. Predictions use the public model's multiply-accumulates, activations and bytes only. Appends to
``results/latency_model.json``.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from record import append

from devices import edgetpu_memory, latency
from devices.latency import FLOAT, INT8, CoreCost, Link

Row = dict[str, Any]
Fit = Callable[[Sequence[Row]], Callable[[Row], float]]

PUBLISHED = json.loads((Path(__file__).parent / "published" / "latencies.json").read_text(encoding="utf-8"))
NETWORKS: dict[str, dict[str, Any]] = PUBLISHED["networks"]
INPUT_BYTES = 3  # per pixel
_GRID_A = [0.5 + 0.05 * i for i in range(130)]
_GRID_B = [0.05 * 1.06**i for i in range(75)]


def cpu_time(row: Row, cost: CoreCost) -> float:
    network = NETWORKS[row["network"]]
    scale = latency.scaling(row["arithmetic"], row["threads"])
    ms: float = latency.cpu_ms(network["macs"], network["elements"], cost, clock_mhz=row["clock_mhz"], scale=scale)
    return ms


def fit_core(rows: Sequence[Row]) -> CoreCost:
    """The two rates that minimise the squared logarithms of predicted over measured. Each network weighs the same."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["network"]] = counts.get(row["network"], 0) + 1
    points = []
    for row in rows:
        network, scale = NETWORKS[row["network"]], latency.scaling(row["arithmetic"], row["threads"])
        cycles = row["ms"] * row["clock_mhz"] * 1e3 * scale
        points.append((network["macs"] / cycles, network["elements"] / cycles, 1 / counts[row["network"]]))
    best = min(
        ((sum(weight * math.log(m / a + e / b) ** 2 for m, e, weight in points), a, b) for a in _GRID_A for b in _GRID_B),
    )
    return CoreCost(macs_per_cycle=best[1], elements_per_cycle=best[2], spread=1.0, basis="fitted")


def fitted_core(rows: Sequence[Row]) -> Callable[[Row], float]:
    cost = fit_core(rows)
    return lambda row: cpu_time(row, cost)


def same_kernels(others: Sequence[Row]) -> Fit:
    """Another core with the same kernels: its two rates are those of ``others`` times one factor."""

    def fit(rows: Sequence[Row]) -> Callable[[Row], float]:
        def predict(row: Row) -> float:
            base = fit_core([other for other in others if other["network"] != row["network"]])
            factor = statistics.median(cpu_time(own, base) / own["ms"] for own in rows)
            return cpu_time(row, base) / float(factor)

        return predict

    return fit


def streamed(network: dict[str, Any]) -> int:
    _, room, _ = edgetpu_memory.capacity(0)
    return max(0, int(network["edgetpu_weight_bytes"]) - room)


def side(name: str) -> int:
    return int(name.rpartition("_")[2])


def tpu_time(row: Row, link: Link) -> float:
    network = NETWORKS[row["network"]]
    ms: float = latency.edgetpu_ms(network["macs"], streamed(network), INPUT_BYTES * side(row["network"]) ** 2, link)
    return ms


def fitted_link(rows: Sequence[Row]) -> Callable[[Row], float]:
    """Bytes per second from the rows that stream most, start-up from those that stream nothing."""
    name = rows[0]["link"]
    base = next(link for link in latency.LINKS if link.name == name)
    heavy = [row for row in rows if streamed(NETWORKS[row["network"]]) > 10e6]
    rate = statistics.median(
        [
            (streamed(NETWORKS[row["network"]]) + INPUT_BYTES * side(row["network"]) ** 2) / (row["ms"] - base.start_ms) * 1e3
            for row in heavy
        ]
        or [base.bytes_per_s]
    )
    link = replace(base, bytes_per_s=rate)
    light = [row for row in rows if not streamed(NETWORKS[row["network"]])]
    starts = [row["ms"] - (tpu_time(row, link) - link.start_ms) for row in light]
    link = replace(link, start_ms=max(0.0, statistics.median(starts) if starts else base.start_ms))
    return lambda row: tpu_time(row, link)


def leave_one_out(rows: Sequence[Row], fit: Fit) -> list[Row]:
    result = []
    for row in rows:
        others = [other for other in rows if other["network"] != row["network"]]
        if others:
            predicted = fit(others)(row)
            result.append({**row, "predicted_ms": round(predicted, 2), "error": round(predicted / row["ms"] - 1, 3)})
    return result


def shipped_error(rows: Iterable[Row], predict: Callable[[Row], float]) -> float:
    return float(statistics.median(abs(predict(row) / row["ms"] - 1) for row in rows))


def main() -> int:
    rows: list[Row] = PUBLISHED["rows"]
    figures: dict[str, Any] = {}
    for core, arithmetic in (("Cortex-A53", FLOAT), ("Cortex-A72", FLOAT), ("Cortex-A72", INT8), ("Cortex-A53", INT8)):
        own = [row for row in rows if row["kind"] == "cpu" and row["core"] == core and row["arithmetic"] == arithmetic]
        a72 = [row for row in rows if row.get("core") == "Cortex-A72" and row.get("arithmetic") == arithmetic]
        fit = same_kernels(a72) if (core, arithmetic) == ("Cortex-A53", INT8) else fitted_core
        cost = latency.CORES[core, arithmetic]
        report(figures, f"{core} {arithmetic}", own, fit, partial(cpu_time, cost=cost), cost.spread)
    for link in latency.LINKS:
        own = [row for row in rows if row["kind"] == "edgetpu" and row["link"] == link.name]
        if own:
            report(figures, f"Edge TPU {link.name}", own, fitted_link, partial(tpu_time, link=link), link.spread)
    for kind in ("cpu", "edgetpu"):
        errors = [abs(row["error"]) for entry in figures.values() for row in entry["rows"] if row["kind"] == kind]
        print(f"all {kind} rows: median absolute error {statistics.median(errors):.1%} (leave one network out)")
        figures[f"all {kind}"] = {"median_absolute_error": round(statistics.median(errors), 3), "rows": []}
    print(append("latency_model", {name: {**entry, "rows": slim(entry["rows"])} for name, entry in figures.items()}))
    return 0


def report(
    figures: dict[str, Any], name: str, rows: Sequence[Row], fit: Fit, shipped: Callable[[Row], float], spread: float
) -> None:
    predicted = leave_one_out(rows, fit)
    errors = [abs(row["error"]) for row in predicted]
    inside = sum(1 / spread <= row["ms"] / shipped(row) <= spread for row in rows)
    figures[name] = {
        "median_absolute_error": round(statistics.median(errors), 3),
        "largest_absolute_error": round(max(errors), 3),
        "shipped_median_absolute_error": round(shipped_error(rows, shipped), 3),
        "inside_interval": f"{inside} of {len(rows)}",
        "rows": predicted,
    }
    median, shipped_median = statistics.median(errors), figures[name]["shipped_median_absolute_error"]
    print(f"{name}: {len(rows)} rows, leave one network out: median {median:.1%}, largest {max(errors):.0%}")
    print(f"  shipped constants: median {shipped_median:.1%}, {inside} of {len(rows)} inside the interval")
    if fit is fitted_core:
        cost = fit_core(rows)
        print(f"  fit over all rows: {cost.macs_per_cycle:.2f} MAC/cycle, {cost.elements_per_cycle:.3f} elements/cycle")
    for row in predicted:
        where = f"{row['threads']} thr {row['clock_mhz']} MHz" if row["kind"] == "cpu" else ""
        outcome = f"measured {row['ms']:8.1f}  predicted {row['predicted_ms']:8.1f}  {row['error']:+.0%}"
        print(f"    {row['network']:30} {where:15} {outcome}")


def slim(rows: Sequence[Row]) -> list[Row]:
    return [{key: row[key] for key in ("network", "ms", "predicted_ms", "error")} for row in rows]


if __name__ == "__main__":
    sys.exit(main())
