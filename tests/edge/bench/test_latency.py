from __future__ import annotations

import json
from pathlib import Path

import pytest

import edge
from edge.bench.gauges import Gauges, Recorder
from edge.bench.latency import benchmark, latency_stats, sweep, trace_of
from edge.bench.soak import WINDOWS, parse_duration, soak
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
    assert report["thermal"]["samples"] >= 2
    assert report["per_op"] is None and "--per-op" in report["per_op_note"]
    json.dumps(report, allow_nan=False)


def test_a_run_that_was_throttled_is_marked(tiny_int8_artefact: Path, tmp_path: Path) -> None:
    flags = tmp_path / "sys/devices/platform/soc/soc:firmware/get_throttled"
    flags.parent.mkdir(parents=True)
    for bits, good in (("0", True), ("50000", True), ("50005", False)):
        flags.write_text(bits)
        report = benchmark(tiny_int8_artefact, min_runs=3, min_seconds=0.0, recorder=Recorder(Gauges(tmp_path)))
        reasons = report.to_dict()["not_quotable_because"]
        assert any("throttled" in reason for reason in reasons) is not good
        assert ("NOT this machine's speed: throttled, under-voltage" in report.to_text()) is not good


def test_a_sweep_reports_every_number_of_threads_and_the_best(tiny_int8_artefact: Path) -> None:
    opened = []

    def open_model(threads: int) -> edge.Model:
        opened.append(threads)
        return edge.load(tiny_int8_artefact, threads=threads)

    report = sweep(open_model, threads=(1, 2), min_runs=3, min_seconds=0.0)
    assert opened == [1, 2] == [row["threads"] for row in report.to_dict()["sweep"]]
    medians = {row.threads: row.latency.p50_ms for row in report.sweep}
    assert report.runtime.threads == (2 if medians[2] < 0.98 * medians[1] else 1)
    assert report.latency.p50_ms == medians[report.runtime.threads]
    assert report.to_text().count("<- best") == 1


def test_a_soak_has_windows_and_ends_in_time(tiny_int8_artefact: Path) -> None:
    said: list[str] = []
    report = soak(edge.load(tiny_int8_artefact, threads=1), 0.3, advance=said.append)
    assert 3 <= len(report.windows) == len(said) <= WINDOWS + 1
    times = [window.t_s for window in report.windows]
    assert times == sorted(times) and times[-1] >= 0.29
    runs = [window.runs for window in report.windows]
    assert report.cold.runs == runs[0] and report.sustained.runs == sum(runs[-(len(runs) // 3) :])
    plain = report.to_dict()
    assert plain["p50_ms"] == plain["soak"]["sustained"]["p50_ms"] and plain["soak"]["slowdown"] > 0
    json.dumps(plain, allow_nan=False)
    assert "sustained p50" in report.to_text()


def test_a_trace_has_the_heat_of_its_time() -> None:
    points = trace_of([1_000_000_000] * 4, [(0.0, 40.0), (2.5, 60.0)])
    assert [(point.t_s, point.celsius) for point in points] == [(1.0, 40.0), (2.0, 40.0), (3.0, 60.0), (4.0, 60.0)]
    assert len(trace_of([1000] * 1000, [])) == 120


@pytest.mark.parametrize(("text", "seconds"), [("90", 90.0), ("90s", 90.0), ("10m", 600.0), ("1.5h", 5400.0), (" 2 M", 120.0)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5s", "10x", "m", "1e3", "13h", "10m30s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="no duration"):
        parse_duration(text)


def test_nothing_to_measure_is_refused(tiny_int8_artefact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="nothing to measure"):
        benchmark(tiny_int8_artefact, min_runs=0)
    assert main(["benchmark", str(tiny_int8_artefact), "--sweep-threads", "--threads", "2"]) == 2
    assert "leave --threads" in capsys.readouterr().err


def test_the_command_writes_json(tiny_int8_artefact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for extra in ([], ["--sweep-threads"], ["--soak", "0.1s"]):
        assert main(["benchmark", str(tiny_int8_artefact), "--runs", "3", "--seconds", "0", *extra, "--json", "-"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["runs"] >= 1 and {"quotable", "thermal", "trace"} <= report.keys()
        assert bool(report.get("sweep")) is ("--sweep-threads" in extra) and ("soak" in report) is ("--soak" in extra)
