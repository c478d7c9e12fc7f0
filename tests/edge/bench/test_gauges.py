"""Temperature, clock and flags, read from a made-up ``/sys`` that changes while something is measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edge.bench.gauges import Conditions, Gauges, Recorder, Sample

ZONE = "sys/class/thermal/thermal_zone0/temp"
POLICY = "sys/devices/system/cpu/cpufreq/policy0"
FLAGS = "sys/devices/platform/soc/soc:firmware/get_throttled"


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A Raspberry Pi's gauges: 45 degrees, 1500 MHz, nothing throttled."""
    write(tmp_path, ZONE, "45000\n")
    write(tmp_path, "sys/class/thermal/thermal_zone1/temp", "41250\n")
    for name, text in (("scaling_cur_freq", "1500000"), ("cpuinfo_max_freq", "1500000"), ("scaling_governor", "ondemand")):
        write(tmp_path, f"{POLICY}/{name}", f"{text}\n")
    write(tmp_path, FLAGS, "0\n")
    return tmp_path


def conditions(*samples: Sample, clock_max_mhz: float | None = 1500.0) -> Conditions:
    return Conditions(governor="ondemand", clock_max_mhz=clock_max_mhz, samples=samples)


def sample(at_s: float = 0.0, *, clock: float | None = 1500.0, throttled: int | None = 0) -> Sample:
    return Sample(at_s=at_s, celsius=50.0, clock_mhz=clock, throttled=throttled)


def test_what_a_board_tells(board: Path) -> None:
    gauges = Gauges(board)
    assert gauges.read() == Sample(at_s=0.0, celsius=45.0, clock_mhz=1500.0, throttled=0)
    assert (gauges.governor, gauges.clock_max_mhz, gauges.costly_flags) == ("ondemand", 1500.0, False)
    write(board, FLAGS, "50005\n")
    write(board, ZONE, "no number\n")
    assert gauges.read() == Sample(at_s=0.0, celsius=41.25, clock_mhz=1500.0, throttled=0x50005)
    assert gauges.read(flags=False).throttled is None


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    gauges = Gauges(tmp_path)
    assert gauges.read() == Sample(at_s=0.0, celsius=None, clock_mhz=None, throttled=None)
    with Recorder(gauges) as recorder:
        pass
    found = recorder.conditions()
    assert found.flags == () and found.heat() == []
    assert {value for name, value in found.to_dict().items() if name not in ("flags", "samples", "contention")} == {None}


def test_the_flags_of_the_program_where_the_kernel_has_no_file(board: Path) -> None:
    (board / FLAGS).unlink()
    write(board, "usr/bin/vcgencmd", "#!/bin/sh\necho throttled=0x$(cat $0.$1)\n")
    write(board, "usr/bin/vcgencmd.get_throttled", "20002")
    (board / "usr/bin/vcgencmd").chmod(0o755)
    gauges = Gauges(board)
    assert gauges.costly_flags and gauges.read().throttled == 0x20002
    write(board, "usr/bin/vcgencmd.get_throttled", " and nonsense")
    assert gauges.read().throttled is None


def test_the_recorder_sees_what_happens_meanwhile(board: Path) -> None:
    with Recorder(Gauges(board), period_s=0.001) as recorder:
        write(board, ZONE, "81000\n")
        write(board, FLAGS, "80008\n")
        before = len(recorder.samples)
        while len(recorder.samples) < before + 3:
            pass
        write(board, FLAGS, "80000\n")
    found = recorder.conditions()
    assert found.flags == ("soft temperature limit",)
    assert not found.quotable and "soft temperature limit while it was measured" in found.objections
    plain = found.to_dict()
    assert (plain["before_c"], plain["max_c"], plain["throttled"]) == (45.0, 81.0, "0x80000")
    assert plain["samples"] == len(found.samples) >= 5
    times = [one.at_s for one in found.samples]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ((0, 0, 0), ()),
        ((0x50000, 0x50000, 0x50000), ()),  # of an earlier time
        ((0, 0, 0x50000), ("throttled", "under-voltage")),  # came up between two looks
        ((0, 0x4, 0x0), ("throttled",)),
        ((0x10000, None, 0x50000), ("throttled",)),
        ((None, None, None), ()),
    ],
)
def test_which_flags_count(bits: tuple[int | None, ...], expected: tuple[str, ...]) -> None:
    found = conditions(*(sample(i, throttled=value) for i, value in enumerate(bits)))
    assert found.flags == expected
    assert found.quotable is not bool(expected)


def test_a_clock_far_below_the_highest_is_not_the_boards_speed() -> None:
    slow = [sample(i, clock=600.0) for i in range(5)]
    assert conditions(*slow).objections == ("the clock was at 600 of 1500 MHz",)
    # Idle before and after, at full clock under load: as it should be.
    assert conditions(slow[0], sample(1), sample(2), slow[0]).quotable
    assert conditions(*slow, clock_max_mhz=None).quotable
    assert conditions(*(dataclasses.replace(one, clock_mhz=None) for one in slow)).quotable
