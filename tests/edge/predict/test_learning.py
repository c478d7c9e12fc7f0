"""What ``edgekit check`` learns from a measurement, and from what it learns nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from devices.boards import profiles
from devices.boards.records import verified
from devices.predict import fit
from edge.artefact import container
from edge.cli import main
from edge.errors import UsageError
from edge.predict import check as checking
from edge.predict import refinement
from edge.predict.op_list import network_of
from tests.edge.predict.conftest import bench, run_json


def test_a_measurement_refines_what_follows(
    small_artefacts: dict[str, Path], tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = small_artefacts["int8"]
    guess = checking.check(file, "pi-4b").boards[0].latency
    other_guess = checking.check(small_artefacts["uint8"], "pi-4b").boards[0].latency
    assert guess and other_guess
    host = {"processor": "Raspberry Pi 4 Model B Rev 1.4"}
    measured = bench(tmp_path / "bench.json", file, 3 * guess.expected, machine="aarch64", host=host, threads=4)
    _, data = run_json(capsys, str(file), "--board", "pi-4b", "--learn", measured)
    refined = data["latency_ms"]
    assert isinstance(refined, dict)
    assert refined["expected"] == pytest.approx(3 * guess.expected, abs=0.01)
    assert "measured on Raspberry Pi 4 Model B Rev 1.4" in refined["basis"] and "this very model" in refined["basis"]
    assert refined["high"] / refined["expected"] == pytest.approx(1.15, abs=0.03)  # of milliseconds with two decimals
    assert list(state.rglob("calibration.json"))
    # Another model of the same arithmetic: three times slower too, but less sure.
    other = checking.check(small_artefacts["uint8"], "pi-4b").boards[0].latency
    assert other and other.expected == pytest.approx(3 * other_guess.expected) and "1 other model measured" in other.basis
    assert 1.15 < other.high / other.expected < other_guess.high / other_guess.expected
    # Other boards and other ways of running are as unknown as before.
    on_tpu = checking.check(file, "pi-4b", "coral-usb").boards[0]
    assert on_tpu.latency and "measured on" not in on_tpu.latency.basis
    assert on_tpu.cpu and "measured on" in on_tpu.cpu.basis
    other_board = checking.check(file, "pi-400").boards[0].latency
    assert other_board and "measured on" not in other_board.basis
    # Measured again, it replaces the first run instead of being averaged with it.
    again = bench(tmp_path / "again.json", file, 2 * guess.expected, machine="aarch64", host=host, threads=4)
    assert main(["check", str(file), "--board", "pi-4b", "--learn", again, "--json", str(tmp_path / "out.json")]) == 0
    assert json.loads((tmp_path / "out.json").read_text())["latency_ms"]["expected"] == pytest.approx(
        2 * guess.expected, abs=0.01
    )
    refinement.default_path().write_text("{}")
    with pytest.raises(UsageError, match="calibration.json"):
        checking.check(file, "pi-4b")


def test_a_run_with_one_thread_says_nothing_of_four(
    small_artefacts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = small_artefacts["int8"]
    one = checking.check(file, "pi-4b", threads=1).boards[0].latency
    four = checking.check(file, "pi-4b").boards[0].latency
    assert one and four
    measured = bench(tmp_path / "bench.json", file, 3 * one.expected, machine="aarch64", threads=1)
    run_json(capsys, str(file), "--board", "pi-4b", "--threads", "1", "--learn", measured)
    refined, untouched = (checking.check(file, "pi-4b", threads=n).boards[0].latency for n in (1, 4))
    assert refined and refined.expected == pytest.approx(3 * one.expected) and refined.refined
    assert untouched and untouched.expected == pytest.approx(four.expected) and not untouched.refined
    assert "1 thread(s) were measured, which say nothing of 4" in untouched.basis


def test_the_clock_that_was_measured_is_predicted_for(
    small_artefacts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = small_artefacts["int8"]
    before = checking.check(file, "pi-4b").boards[0]
    assert before.cpu and before.boosted and "1500 MHz" in before.cpu.basis and "1800 MHz" in before.boosted.basis
    thermal = {"clock_max_mhz": 1800.0}
    measured = bench(tmp_path / "bench.json", file, before.boosted.expected, machine="aarch64", threads=4, thermal=thermal)
    _, data = run_json(capsys, str(file), "--board", "pi-4b", "--learn", measured)
    found = data["latency_ms"]
    assert isinstance(found, dict) and "at 1800 MHz" in found["basis"] and data["cpu_latency_boosted_ms"] is None
    assert found["expected"] == pytest.approx(before.boosted.expected, abs=0.01)
    (run,) = next(iter(refinement.load().values()))
    assert run.clock_mhz == 1800 and run.ratio == pytest.approx(1.0)
    # What was learnt holds for every model on that board.
    other = checking.check(small_artefacts["float32"], "pi-4b").boards[0]
    assert other.cpu and "at 1800 MHz" in other.cpu.basis and other.boosted is None
    code, given = run_json(capsys, str(file), "--board", "pi-5", "--clock", "3000")
    assert code == 0 and "at 3000 MHz" in given["latency_ms"]["basis"]  # type: ignore[index]
    assert main(["check", str(file), "--clock", "1800"]) == 2 and "--board" in capsys.readouterr().err
    assert main(["check", str(file), "--board", "pi-5", "--clock", "2"]) == 2 and "--clock is 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"machine": "x86_64"}, "from x86_64, and Raspberry Pi 4"),
        ({"host": {"processor": "Raspberry Pi 5 Model B Rev 1.0"}}, "give --board pi-5"),
        ({"host": {"processor": "Raspberry Pi Compute Module 4S Rev 1.0"}}, "give --board cm4s"),
        ({"host": {"processor": "Xunlong Orange Pi 5 Plus"}}, "give --board orange-pi-5-plus"),
        ({"quotable": False, "not_quotable_because": ["it was throttled"]}, "not this board's speed (it was throttled)"),
        ({"board": {"profile": "pi-4b", "virtual": True}}, "is of pi-4b, emulated, which is no board's speed"),
        ({"runtime": {"delegate": "libedgetpu.so.1"}}, "ran on an Edge TPU"),
        ({"p50_ms": "fast"}, "no p50_ms"),
        ({"p50_ms": 10**400}, "is a whole number of more than 64 bits"),
        ({"quotable": False, "not_quotable_because": 5}, "not_quotable_because is 5, expected a list"),
        ({"model_sha256": "0" * 64}, "is no measurement of"),
    ],
)
def test_a_measurement_of_something_else_is_refused(
    small_artefacts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: dict[str, object], words: str
) -> None:
    file = small_artefacts["int8"]
    measured = bench(tmp_path / "bench.json", file, 5.0)
    Path(measured).write_text(json.dumps({**json.loads(Path(measured).read_text()), **more}))
    assert main(["check", str(file), "--board", "pi-4b", "--learn", measured]) == 2
    assert words in capsys.readouterr().err
    assert not refinement.default_path().exists()


def test_a_board_of_the_users_own_learns_too(small_artefacts: dict[str, Path], tmp_path: Path) -> None:
    own = replace(profiles.board("pi-4b"), name="garden", device_tree=verified(("My Board",), "its maker"))
    source = container.read(small_artefacts["int8"])
    network = network_of(source.graph, source.path)
    found = fit.on_board(network, own)
    measured = {"p50_ms": 7.0, "host": {"processor": "My Board rev 2"}}
    run = refinement.learn(network, found, measured, board=own, model_sha256=source.model_sha256)
    assert run.host == "My Board rev 2"
    refined = refinement.apply(refinement.load(), network, found, model_sha256=source.model_sha256)
    assert refined.latency and refined.latency.expected == pytest.approx(7.0)
