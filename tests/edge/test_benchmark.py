from __future__ import annotations

import json
from pathlib import Path

import pytest

import edge
from edge.benchmarking import benchmark, latency_stats
from edge.cli import main
from edge.errors import UsageError


def test_percentiles_are_runs_that_were_measured() -> None:
    times = [int(ms * 1e6) for ms in range(1, 101)]
    stats = latency_stats(times[::-1], warmup_runs=3)
    assert (stats.p50_ms, stats.p90_ms, stats.p99_ms) == (50.0, 90.0, 99.0)
    assert stats.mean_ms == pytest.approx(50.5)
    assert (stats.min_ms, stats.runs, stats.warmup_runs) == (1.0, 100, 3)
    alone = latency_stats([7_000_000], warmup_runs=0)
    assert (alone.p50_ms, alone.p99_ms) == (7.0, 7.0)


def test_both_minima_are_reached(tiny_int8_artefact: Path) -> None:
    model = edge.load(tiny_int8_artefact, threads=1)
    assert benchmark(model, min_runs=7, min_seconds=0.0).latency.runs == 7
    by_time = benchmark(model, min_runs=1, min_seconds=0.05).latency
    assert by_time.runs > 1
    assert by_time.runs * by_time.mean_ms >= 0.5 * 50


def test_the_report_has_the_promised_keys(tiny_int8_artefact: Path) -> None:
    report = benchmark(tiny_int8_artefact, threads=1, min_runs=3, min_seconds=0.0).to_dict()
    assert {"p50_ms", "p90_ms", "p99_ms", "runs", "threads", "peak_memory_mib", "thermal"} <= report.keys()
    assert report["p50_ms"] <= report["p90_ms"] <= report["p99_ms"]
    assert report["threads"] == 1
    assert report["peak_memory_mib"] > 10
    assert report["load_s"] > 0
    json.dumps(report, allow_nan=False)


def test_nothing_to_measure_is_refused(tiny_int8_artefact: Path) -> None:
    with pytest.raises(UsageError, match="nothing to measure"):
        benchmark(tiny_int8_artefact, min_runs=0)


def test_the_command_writes_json(tiny_int8_artefact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", str(tiny_int8_artefact), "--runs", "3", "--seconds", "0", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 3
