"""Joules for a run: the sum done on made-up readings, then benchmarks beside sensors of made-up trees, and a ``vcgencmd`` on the path."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import edge
from edge.bench import power
from edge.bench.energy import Energy, EnergyMeter, EnergyReport, energy_of, said
from edge.bench.latency import benchmark, sweep
from edge.bench.soak import soak
from edge.cli import main
from edge.history.record import from_report
from edge.report import gathering, text
from edge.report.sections import build
from edge.report.verdict import judge
from edge.validation.generations import compare

RESTS = ((0.0, 2.0), (12.0, 14.0))
LOAD = (2.0, 12.0)
CHANNEL = "sys/class/hwmon/hwmon0"


def readings(load_w: float, before_w: float = 2.0, after_w: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Return (times, watts), ten a second for 14 seconds, of a machine that rests, runs, and rests."""
    times = np.arange(0.05, 14.0, 0.1)
    return times, np.where(times < 2.0, before_w, np.where(times < 12.0, load_w, after_w))


def found_in(
    times: np.ndarray,
    values: np.ndarray,
    *,
    counts: bool = False,
    runs: int = 100,
    rests: tuple[tuple[float, float], ...] = RESTS,
) -> Energy | None:
    return energy_of(times, values, counts=counts, load=LOAD, rests=rests, runs=runs, meter="a", scope="b")


def test_rest_is_taken_off() -> None:
    found = found_in(*readings(5.0))
    assert found is not None
    assert (found.load_w, found.idle_w, found.looks, found.idle_looks) == (5.0, 2.0, 100, 40)
    assert found.joules == pytest.approx(0.3) and found.joules_with_rest == pytest.approx(0.5)
    assert found.uncertainty_j == pytest.approx(0.0) and found.looks_per_s == pytest.approx(10.0)


def test_a_counter_tells_the_same_as_its_power() -> None:
    times, watts = readings(5.0)
    found = found_in(times, np.cumsum(watts * 0.1), counts=True)
    assert found is not None and found.joules == pytest.approx(0.3) and found.looks == 99


def test_a_rest_that_drifts_is_uncertain_by_half_of_it() -> None:
    found = found_in(*readings(5.0, before_w=2.0, after_w=3.0))
    assert found is not None and found.idle_w == pytest.approx(2.5)
    # Half of the watt between the rests, and the spread of the rests' batches beside it.
    assert found.uncertainty_j >= 0.5 * 10 / 100


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        times, watts = readings(5.0)
        found = found_in(times, watts + generator.normal(0.0, 0.5, watts.size))
        assert found is not None
        held += abs(found.joules - 0.3) <= found.uncertainty_j
    assert 0.93 <= held / 400 <= 1.0


@pytest.mark.parametrize("what", ["few", "no rest", "nothing", "failed"])
def test_what_was_not_measured_is_absent(what: str) -> None:
    times, watts = readings(5.0)
    if what == "few":
        times, watts = times[::30], watts[::30]
    if what == "nothing":
        watts = np.zeros_like(watts)
    if what == "failed":
        watts = np.full_like(watts, np.nan)
    assert found_in(times, watts, rests=() if what == "no rest" else RESTS) is None


def test_readings_that_failed_do_not_count() -> None:
    times, watts = readings(5.0)
    watts[::2] = np.nan
    found = found_in(times, watts)
    assert found is not None and found.joules == pytest.approx(0.3) and found.looks == 50


def test_an_energy_in_words() -> None:
    assert [said(joules) for joules in (1.234, 0.0123, 1.5e-5, -0.02, 0.0)] == ["1.23 J", "12.3 mJ", "15 µJ", "-20 mJ", "0 µJ"]


def test_a_load_that_does_not_show_is_not_told_as_one() -> None:
    times, watts = readings(2.0)
    found = found_in(times, watts + np.random.default_rng(1).normal(0.0, 0.5, watts.size))
    assert found is not None and not found.shows and "not seen above rest" in found.to_text()


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A board with a sensor that reads 2 W."""
    root = tmp_path / "board"
    (root / CHANNEL).mkdir(parents=True)
    (root / CHANNEL / "name").write_text("ina226\n")
    (root / CHANNEL / "power1_input").write_text("2000000\n")
    return root


class Busy:
    """A context in which the board's sensor reads 5 W."""

    def __init__(self, board: Path) -> None:
        self._file = board / CHANNEL / "power1_input"

    def __enter__(self) -> None:
        self._file.write_text("5000000\n")

    def __exit__(self, *_: object) -> None:
        self._file.write_text("2000000\n")


def test_a_meter_looks_while_it_rests_and_while_something_runs(board: Path) -> None:
    with EnergyMeter(power.find(board), period_s=0.001) as meter:
        meter.rest(0.05)
        with Busy(board):
            start, looks = time.perf_counter(), meter.looks
            while meter.looks < looks + 20:
                pass
            end = time.perf_counter()
        meter.rest(0.05)
    found = meter.report(start, end, runs=10).first
    assert found is not None and found.meter == "ina226 channel 1"
    assert found.load_w == pytest.approx(5.0, abs=0.35) and found.idle_w == pytest.approx(2.0, abs=0.35)
    assert found.joules == pytest.approx(3.0 * (end - start) / 10, rel=0.3)


def test_a_machine_without_meters_neither_waits_nor_starts_a_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    with EnergyMeter(power.find(tmp_path)) as meter:
        assert threading.active_count() == before
        meter.rest(3600.0)
    assert meter.report(0.0, 1.0, 1) == EnergyReport() and meter.report(0.0, 1.0, 1).lines() == []


def test_a_benchmark_has_no_energy_where_nothing_measures(tiny_int8_artefact: Path, tmp_path: Path) -> None:
    report = benchmark(tiny_int8_artefact, min_runs=3, min_seconds=0.0, meter=EnergyMeter(power.find(tmp_path)))
    plain = report.to_dict()
    assert plain["energy"] is None and plain["energy_others"] == [] and "nothing here measures" in plain["energy_note"]
    assert "energy" not in report.to_text()
    (tmp_path / "sys/class/powercap/intel-rapl:0").mkdir(parents=True)
    (tmp_path / "sys/class/powercap/intel-rapl:0/name").write_text("package-0\n")
    shut = benchmark(tiny_int8_artefact, min_runs=3, min_seconds=0.0, meter=EnergyMeter(power.find(tmp_path)))
    assert shut.energy.first is None and "energy unknown: " in shut.to_text() and "root only" in shut.to_text()


def test_a_benchmark_and_a_soak_tell_what_was_measured(tiny_int8_artefact: Path, board: Path) -> None:
    model = edge.load(tiny_int8_artefact, threads=1)
    meter = EnergyMeter(power.find(board), period_s=0.001)
    report = benchmark(model, min_runs=50, min_seconds=0.1, meter=meter)
    soaked = soak(model, 0.3, meter=EnergyMeter(power.find(board), period_s=0.001))
    for one in (report, soaked):
        plain = one.to_dict()
        json.dumps(plain, allow_nan=False)
        assert plain["energy"]["load_w"] == 2.0 and plain["energy"]["looks"] >= 5 and plain["energy_note"] is None
        # All of what the machine took, of one run: 2 W for as long as a run takes.
        assert plain["energy"]["joules_per_run_with_rest"] == pytest.approx(2.0 * plain["mean_ms"] / 1e3, rel=0.5)
        assert "not seen above rest" in one.to_text() and "ina226 channel 1" in one.to_text()


def test_energy_is_remembered_and_reported(tiny_int8_artefact: Path, board: Path) -> None:
    meter = EnergyMeter(power.find(board), period_s=0.001)
    plain = benchmark(tiny_int8_artefact, min_runs=20, min_seconds=0.1, meter=meter).to_dict()
    plain["energy"] |= {"joules_per_run": 0.0123, "uncertainty_j": 0.0004, "joules_per_run_with_rest": 0.05}
    run = from_report(json.loads(json.dumps(plain)), time="2026-12-01T00:00:00+00:00", source="bench.json")
    assert run is not None and "0.0123 J" in run.summary
    facts = gathering.gather([run])
    for page in (text.to_text(facts), text.to_markdown(facts)):
        assert "12.3 mJ ± 400 µJ a run above rest" in page and "ina226 channel 1" in page
    section = next(one for one in build(facts, judge(facts), None, None) if one.id == "energy")
    assert section.tables[0].rows[0][2:4] == ("12.3 mJ ± 400 µJ", "50 mJ")
    bare = from_report({**plain, "energy": None}, time="2026-12-01T00:00:00+00:00", source="bench.json")
    assert bare is not None and " J" not in bare.summary
    assert "energy" not in {one.id for one in build(gathering.gather([bare]), judge(facts), None, None)}
    with pytest.raises(ValueError, match="not as edgekit benchmark writes it"):
        from_report({**plain, "energy": {"meter": "a"}}, time="2026-12-01T00:00:00+00:00")


@pytest.mark.usefixtures("power_chip")
def test_the_command_asks_the_power_chip(tiny_int8_artefact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", str(tiny_int8_artefact), "--seconds", "1.5", "--store", "none", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)["energy"]
    assert found["meter"] == "vcgencmd pmic_read_adc" and found["load_w"] == pytest.approx(1.6)
    assert found["scope"].startswith("1 rails") and 1.0 < found["looks_per_s"] <= 4.5


@pytest.mark.usefixtures("power_chip")
def test_a_sweep_and_a_comparison_tell_it_for_each(tiny_int8_artefact: Path, tiny_images: Path) -> None:
    swept = sweep(lambda n: edge.load(tiny_int8_artefact, threads=n), threads=(1,), min_runs=3, min_seconds=1.5)
    assert swept.sweep[0].energy is not None and swept.to_dict()["sweep"][0]["energy"]["load_w"] == pytest.approx(1.6)
    report = compare([tiny_int8_artefact, tiny_int8_artefact], tiny_images, latency_seconds=1.5)
    plain = report.to_dict()
    assert all(one["energy"]["load_w"] == pytest.approx(1.6) for one in plain["artefacts"])
    json.dumps(plain, allow_nan=False)
    assert "energy: a run above rest" in report.to_text() and "vcgencmd pmic_read_adc" in report.to_text()
    untimed = compare([tiny_int8_artefact, tiny_int8_artefact], tiny_images, latency_seconds=0.0)
    assert "energy" not in untimed.to_text() and untimed.to_dict()["artefacts"][0]["energy"] is None
