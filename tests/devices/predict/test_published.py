"""Predictions and intervals against published measurements."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest

from devices.predict import core_costs, latency


@pytest.fixture(scope="module")
def published() -> ModuleType:
    """The published measurements, and the fit that leaves one network out (``benchmarks/latency_model.py``)."""
    path = Path(__file__).resolve().parents[3] / "benchmarks" / "latency_model.py"
    spec = importlib.util.spec_from_file_location("latency_model", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    try:
        sys.path.insert(0, str(path.parent))
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


def test_published_measurements_are_predicted_from_the_other_networks(published: ModuleType) -> None:
    errors: dict[str, list[float]] = {"cpu": [], "edgetpu": [], "Cortex-A76": []}
    for core, arithmetic in published.CPU_CLASSES:
        found = [abs(row["error"]) for row in published.left_out_cpu(core, arithmetic)]
        errors["cpu"] += found
        errors.setdefault(core, []).extend(found)
    for link in latency.LINKS:
        own = [row for row in published.PUBLISHED["rows"] if row.get("link") == link.name]
        errors["edgetpu"] += [abs(row["error"]) for row in published.leave_one_out(own, published.fitted_link)]
    medians = {kind: sorted(found)[len(found) // 2] for kind, found in errors.items()}
    assert len(errors["edgetpu"]) > 50 and medians["edgetpu"] <= 0.15
    assert len(errors["cpu"]) > 100 and medians["cpu"] <= 0.25
    assert len(errors["Cortex-A76"]) == 14 and medians["Cortex-A76"] <= 0.25


CLASSES = [(core, kind) for core in ("Cortex-A53", "Cortex-A72", "Cortex-A76") for kind in ("float32", "int8")]


@pytest.mark.parametrize(("core", "arithmetic"), CLASSES)
def test_the_interval_of_a_core_holds_nine_left_out_rows_in_ten(published: ModuleType, core: str, arithmetic: str) -> None:
    cost, rows = core_costs.CORES[core, arithmetic], published.left_out_cpu(core, arithmetic)
    assert published.inside(rows, cost.spread) >= 0.9 * len(rows)
    shipped = [published.compared(row, published.cpu_time(row, cost)) for row in rows]
    assert published.inside(shipped, cost.spread) >= 0.9 * len(rows)


@pytest.mark.parametrize(("core", "arithmetic"), CLASSES)
def test_the_shipped_constants_are_what_the_fit_gives(published: ModuleType, core: str, arithmetic: str) -> None:
    cost, fitted = core_costs.CORES[core, arithmetic], published.fitted_cost(core, arithmetic)
    assert cost.macs_per_cycle == pytest.approx(fitted.macs_per_cycle, rel=0.01)
    assert cost.elements_per_cycle == pytest.approx(fitted.elements_per_cycle, rel=0.01)
    assert cost.compute_scaling == pytest.approx(fitted.compute_scaling, abs=0.01)
    assert cost.memory_scaling == pytest.approx(fitted.memory_scaling, abs=0.01)


@pytest.mark.parametrize(("core", "arithmetic"), core_costs.CORES)
def test_no_constant_is_above_what_the_core_can_do(core: str, arithmetic: str) -> None:
    cost, peak = core_costs.CORES[core, arithmetic], core_costs.PEAKS[core, arithmetic]
    assert peak.source and cost.macs_per_cycle < peak.macs_per_cycle
    assert cost.elements_per_cycle * (4 if arithmetic == "float32" else 1) < peak.bytes_per_cycle
    for gains in (cost.compute_scaling, cost.memory_scaling):
        assert gains[0] == 1.0 and all(1.0 < gain < n for n, gain in enumerate(gains[1:], start=2))


def test_published_rows_are_slower_than_the_core_can_be(published: ModuleType) -> None:
    rows = [row for row in published.PUBLISHED["rows"] if row["kind"] == "cpu" and "runtime" not in row]
    assert len(rows) == 110
    for row in rows:  # ncnn's are left out: Winograd convolutions need fewer MACs than are counted
        peak = core_costs.PEAKS[row["core"], row["arithmetic"]].macs_per_cycle
        least = published.NETWORKS[row["network"]]["macs"] / (peak * row["clock_mhz"] * 1e3 * row["threads"])
        assert row["ms"] > least, row


@pytest.mark.parametrize("link", latency.LINKS, ids=lambda link: link.name)
def test_the_interval_of_a_link_holds_nine_published_rows_in_ten(published: ModuleType, link: latency.Attachment) -> None:
    own = [row for row in published.PUBLISHED["rows"] if row.get("link") == link.name]
    if not own:
        assert link.spread >= 1.75 and "no measurement" in link.basis
        return
    outside = [row for row in own if abs(math.log(published.tpu_time(row, link) / row["ms"])) > math.log(link.spread)]
    assert len(outside) <= 0.1 * len(own), outside
    left_out = published.leave_one_out(own, published.fitted_link)
    missed = [row for row in left_out if abs(math.log(row["predicted_ms"] / row["ms"])) > math.log(link.spread)]
    assert len(missed) <= 0.1 * len(own), missed
    if link.spread > 1.3:
        assert "wide" in link.basis, "a wide interval says why"
