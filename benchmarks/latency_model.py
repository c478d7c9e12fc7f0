"""The latency model against published measurements: each network predicted from the others (leave one out), per class of board.

    python benchmarks/latency_model.py

Needs no board: the measurements and their sources stand in ``published/latencies.json``. The constants of
``devices/predict/core_costs.py`` and ``devices/predict/latency.py`` are what the fit over all rows gives; this script fits again
without the network that is predicted, the scaling over threads included. Predictions use the public model's multiply-accumulates,
activations and bytes only. Rows of another runtime are predicted with the shipped constants and never fitted. Appends to
``results/latency_model.json``.
"""

from __future__ import annotations

import functools
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

from devices.edgetpu import memory as edgetpu_memory
from devices.predict import core_costs, latency, op_work
from devices.predict.core_costs import FLOAT, INT8, CoreCost
from devices.predict.latency import Attachment

Row = dict[str, Any]
Fit = Callable[[Sequence[Row]], Callable[[Row], float]]

PUBLISHED = json.loads((Path(__file__).parent / "published" / "latencies.json").read_text(encoding="utf-8"))
NETWORKS: dict[str, dict[str, Any]] = PUBLISHED["networks"]
INPUT_BYTES = 3  # per pixel
# Below this many activations per MAC a network shows how computing scales with threads, above it how memory does.
HEAVY = 0.01
# Cores whose rows do not tell two rates apart, and the core with the same kernels whose rates they have times one factor.
SAME_KERNELS = {("Cortex-A53", INT8): "Cortex-A72", ("Cortex-A76", FLOAT): "Cortex-A72"}
# No kernel of a whole network keeps its core at the peak: a fit to few rows stays below this share of it.
REACHED = 0.9
_RATIOS = [10 * 1.05**i for i in range(-60, 70)]  # MACs per element


def rows_of(core: str, arithmetic: str, runtime: str | None = None) -> list[Row]:
    """The rows of one core and arithmetic, run by ``runtime`` (None: TensorFlow Lite)."""
    own = [row for row in PUBLISHED["rows"] if (row.get("core"), row.get("arithmetic")) == (core, arithmetic)]
    return [row for row in own if row.get("runtime") == runtime]


def post_ms(row: Row) -> float:
    """What an SSD's post-processing takes, on one core: 91 classes for every box."""
    scores = NETWORKS[row["network"]].get("boxes", 0) * 91
    return float(scores * op_work.POSTPROCESS_CYCLES / (row["clock_mhz"] * 1e3))


@functools.cache
def older_kernels(without: str | None = None) -> float:
    """How many times longer ruy's int8 kernels take than XNNPACK's: what suits the rows of both best, those of one network left out."""

    def loss(older: float) -> float:
        base_rows, own = kept("Cortex-A72", INT8, without), kept("Cortex-A53", INT8, without)
        base = fit_core(base_rows, "Cortex-A72", INT8, older)
        costs = ((base_rows, base), (own, fit_factor(own, base, "Cortex-A53", INT8, older)))
        return sum(abs(math.log(cpu_time(row, cost, older) / row["ms"])) for rows, cost in costs for row in rows)

    return min((1 + 0.05 * step for step in range(17)), key=loss)


def network_ms(row: Row, older: float) -> float:
    """The measured time less post-processing, as today's kernels would take it."""
    return float(row["ms"] - post_ms(row)) / (older if "kernels" in row else 1.0)


def cpu_time(row: Row, cost: CoreCost, older: float | None = None) -> float:
    """The predicted time of a row. older: what older kernels take times longer, where the row ran on those; default the best."""
    network = NETWORKS[row["network"]]
    ms = latency.cpu_ms(network["macs"], network["elements"], cost, clock_mhz=row["clock_mhz"], threads=row["threads"])
    return ms * ((older or older_kernels()) if "kernels" in row else 1.0) + post_ms(row)


def kept(core: str, arithmetic: str, without: str | None) -> list[Row]:
    """The rows of a core but for one network, whatever its input size."""
    return [row for row in rows_of(core, arithmetic) if without is None or family(row["network"]) != family(without)]


def scaling(rows: Sequence[Row], core: str, arithmetic: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """How computing and memory gain from threads: medians over the networks that were timed with one thread and with more."""
    times: dict[tuple[str, str, float], dict[int, float]] = {}
    for row in rows:
        times.setdefault((row["network"], row["source"], row["clock_mhz"]), {})[row["threads"]] = row["ms"] - post_ms(row)

    def gains(heavy: bool | None) -> tuple[float, ...]:
        found = [
            times_of
            for (name, _, _), times_of in times.items()
            if 1 in times_of and heavy in (None, NETWORKS[name]["elements"] < HEAVY * NETWORKS[name]["macs"])
        ]
        if any(4 in times_of for times_of in found):
            return (1.0, *(statistics.median(t[1] / t[n] for t in found if n in t) for n in (2, 3, 4)))
        listed = [row for row in PUBLISHED["scaling"] if (row["core"], row["arithmetic"]) == (core, arithmetic)]
        four = statistics.median(row["gain"] for row in listed if row["heavy"] == heavy)
        share = (4 / four - 1) / 3  # what each further thread costs the others
        return tuple(n / (1 + share * (n - 1)) for n in (1, 2, 3, 4))

    timed = {NETWORKS[name]["elements"] < HEAVY * NETWORKS[name]["macs"] for (name, _, _), t in times.items() if len(t) > 1}
    if len(timed) == 1:  # only one kind was timed: it stands for both
        both = gains(None)
        return both, both
    return gains(True), gains(False)


def fit_core(rows: Sequence[Row], core: str, arithmetic: str, older: float) -> CoreCost:
    """The two rates that minimise the absolute logarithms of predicted over measured. Each network weighs the same.

    Absolute and not squared: a few rows are far off (another generation of kernels), and must not move the others.
    """
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["network"]] = counts.get(row["network"], 0) + 1
    compute, memory = scaling(rows, core, arithmetic)
    points = []
    for row in rows:
        network, cycles, n = NETWORKS[row["network"]], network_ms(row, older) * row["clock_mhz"] * 1e3, row["threads"] - 1
        points.append(
            (network["macs"] / cycles / compute[n], network["elements"] / cycles / memory[n], 1 / counts[row["network"]])
        )
    limit = math.log(REACHED * core_costs.PEAKS[core, arithmetic].macs_per_cycle)
    best = (math.inf, 0.0, 0.0)
    for ratio in _RATIOS:
        logs = [(math.log(macs + elements * ratio), weight) for macs, elements, weight in points]
        rate = min(weighted_median(logs), limit)
        best = min(best, (sum(weight * abs(value - rate) for value, weight in logs), math.exp(rate), ratio))
    _, macs, ratio = best
    return CoreCost(
        macs_per_cycle=macs,
        elements_per_cycle=macs / ratio,
        compute_scaling=compute,
        memory_scaling=memory,
        spread=1.0,
        basis="fitted",
    )


def weighted_median(values: Sequence[tuple[float, float]]) -> float:
    half, passed = sum(weight for _, weight in values) / 2, 0.0
    for value, weight in sorted(values):
        passed += weight
        if passed >= half:
            return value
    raise ValueError("no values")


def fit_factor(rows: Sequence[Row], base: CoreCost, core: str, arithmetic: str, older: float) -> CoreCost:
    """``base`` times one factor, with the scaling over threads of ``rows``: for a core with the same kernels and few rows."""
    compute, memory = scaling(rows, core, arithmetic)
    base = replace(base, compute_scaling=compute, memory_scaling=memory)
    factor = statistics.median((cpu_time(row, base, 1.0) - post_ms(row)) / network_ms(row, older) for row in rows)
    return replace(
        base, macs_per_cycle=base.macs_per_cycle * factor, elements_per_cycle=base.elements_per_cycle * factor, basis="factor"
    )


@functools.cache
def fitted_cost(core: str, arithmetic: str, *, without: str | None = None) -> CoreCost:
    """The constants of a core from the published rows, those of one network left out everywhere."""

    same, older = SAME_KERNELS.get((core, arithmetic)), older_kernels(without)
    if same is None:
        return fit_core(kept(core, arithmetic, without), core, arithmetic, older)
    base = fit_core(kept(same, arithmetic, without), same, arithmetic, older)
    return fit_factor(kept(core, arithmetic, without), base, core, arithmetic, older)


@functools.cache
def left_out_cpu(core: str, arithmetic: str) -> list[Row]:
    """Every row of a core, predicted from the other networks."""
    rows = rows_of(core, arithmetic)
    costs = {name: fitted_cost(core, arithmetic, without=name) for name in {row["network"] for row in rows}}
    return [compared(row, cpu_time(row, costs[row["network"]], older_kernels(row["network"]))) for row in rows]


def compared(row: Row, predicted: float) -> Row:
    return {**row, "predicted_ms": round(predicted, 2), "error": round(predicted / row["ms"] - 1, 3)}


def streamed(network: dict[str, Any]) -> int:
    _, room, _ = edgetpu_memory.capacity(0)
    return max(0, int(network["edgetpu_weight_bytes"]) - room)


def side(name: str) -> int:
    return int(name.rpartition("_")[2])


def family(name: str) -> str:
    """A network at any input size: one size of it would give the other away."""
    return name.rpartition("_")[0]


def tpu_time(row: Row, link: Attachment) -> float:
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
        others = [other for other in rows if family(other["network"]) != family(row["network"])]
        if others:
            result.append(compared(row, fit(others)(row)))
    return result


def shipped_error(rows: Iterable[Row], predict: Callable[[Row], float]) -> float:
    return float(statistics.median(abs(predict(row) / row["ms"] - 1) for row in rows))


def inside(rows: Iterable[Row], spread: float) -> int:
    """How many rows, compared with their prediction, lie in an interval of that factor."""
    return sum(1 / spread <= row["ms"] / row["predicted_ms"] <= spread for row in rows)


def main() -> int:
    rows: list[Row] = PUBLISHED["rows"]
    figures: dict[str, Any] = {}
    for core, arithmetic in CPU_CLASSES:
        cost, fitted = core_costs.CORES[core, arithmetic], fitted_cost(core, arithmetic)
        report(figures, f"{core} {arithmetic}", left_out_cpu(core, arithmetic), partial(cpu_time, cost=cost), cost.spread)
        gains = [[round(gain, 2) for gain in gains] for gains in (fitted.compute_scaling, fitted.memory_scaling)]
        rates = f"{fitted.macs_per_cycle:.2f} MAC/cycle, {fitted.elements_per_cycle:.3f} elements/cycle"
        print(f"  fit over all rows: {rates}, threads {gains}")
    for link in latency.LINKS:
        own = [row for row in rows if row["kind"] == "edgetpu" and row["link"] == link.name]
        if own:
            found = leave_one_out(own, fitted_link)
            report(figures, f"Edge TPU {link.name}", found, partial(tpu_time, link=link), link.spread)
    for kind in ("cpu", "edgetpu"):
        errors = [abs(row["error"]) for entry in figures.values() for row in entry["rows"] if row["kind"] == kind]
        print(f"all {kind} rows: {len(errors)}, median absolute error {statistics.median(errors):.1%} (leave one network out)")
        figures[f"all {kind}"] = {"median_absolute_error": round(statistics.median(errors), 3), "rows": []}
    figures["ncnn"] = {"rows": other_runtime("ncnn")}
    print(append("latency_model", {name: {**entry, "rows": slim(entry["rows"])} for name, entry in figures.items()}))
    return 0


CPU_CLASSES = [(core, arithmetic) for core in ("Cortex-A53", "Cortex-A72", "Cortex-A76") for arithmetic in (FLOAT, INT8)]


def other_runtime(runtime: str) -> list[Row]:
    """Rows of another runtime, predicted with the shipped constants."""
    found = [
        compared(row, cpu_time(row, core_costs.CORES[core, arithmetic]))
        for core, arithmetic in CPU_CLASSES
        for row in rows_of(core, arithmetic, runtime)
    ]
    print(f"{runtime}, which nothing is fitted to: median {statistics.median(abs(row['error']) for row in found):.0%}")
    print_rows(found)
    return found


def report(figures: dict[str, Any], name: str, predicted: list[Row], shipped: Callable[[Row], float], spread: float) -> None:
    errors = [abs(row["error"]) for row in predicted]
    with_shipped = inside([compared(row, shipped(row)) for row in predicted], spread)
    figures[name] = {
        "median_absolute_error": round(statistics.median(errors), 3),
        "largest_absolute_error": round(max(errors), 3),
        "shipped_median_absolute_error": round(shipped_error(predicted, shipped), 3),
        "inside_interval": f"{with_shipped} of {len(predicted)}",
        "left_out_inside_interval": f"{inside(predicted, spread)} of {len(predicted)}",
        "rows": predicted,
    }
    median, shipped_median = statistics.median(errors), figures[name]["shipped_median_absolute_error"]
    print(f"{name}: {len(predicted)} rows, leave one network out: median {median:.1%}, largest {max(errors):.0%}")
    print(f"  inside the interval (x {spread}): {figures[name]['left_out_inside_interval']}")
    print(f"  shipped constants: median {shipped_median:.1%}, {figures[name]['inside_interval']} inside the interval")
    print_rows(predicted)


def print_rows(rows: Iterable[Row]) -> None:
    for row in rows:
        where = f"{row['threads']} thr {row['clock_mhz']} MHz" if row["kind"] == "cpu" else ""
        outcome = f"measured {row['ms']:8.1f}  predicted {row['predicted_ms']:8.1f}  {row['error']:+.0%}"
        print(f"    {row['network']:32} {where:15} {outcome}")


def slim(rows: Sequence[Row]) -> list[Row]:
    keys = ("network", "threads", "clock_mhz", "ms", "predicted_ms", "error")
    return [{key: row[key] for key in keys if key in row} for row in rows]


if __name__ == "__main__":
    sys.exit(main())
