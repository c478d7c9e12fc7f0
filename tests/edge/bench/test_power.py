"""What measures power, read from made-up trees of ``/sys`` and a made-up ``vcgencmd``."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.bench import power

# What a Raspberry Pi 5 printed, read for the form of its lines: amperes first, rails in another order than their numbers.
PI_5 = """\
     3V7_WL_SW_A current(0)=0.05855580A
       3V3_SYS_A current(1)=0.06148359A
       1V8_SYS_A current(2)=0.13272650A
      DDR_VDD2_A current(3)=0.13955800A
      DDR_VDDQ_A current(4)=0.00000000A
       1V1_SYS_A current(5)=0.19811380A
        0V8_SW_A current(6)=0.34157550A
      VDD_CORE_A current(7)=5.00000000A
       3V3_DAC_A current(17)=0.00006105A
       3V3_ADC_A current(18)=0.00054945A
       0V8_AON_A current(16)=0.00531135A
          HDMI_A current(22)=0.02161170A
     3V7_WL_SW_V volt(8)=3.61069200V
       3V3_SYS_V volt(9)=3.29982600V
       1V8_SYS_V volt(10)=1.81684800V
      DDR_VDD2_V volt(11)=1.10109800V
      DDR_VDDQ_V volt(12)=0.60366240V
       1V1_SYS_V volt(13)=1.10292900V
        0V8_SW_V volt(14)=0.80292960V
      VDD_CORE_V volt(15)=0.90000000V
       3V3_DAC_V volt(20)=3.29944700V
       3V3_ADC_V volt(21)=3.30402600V
       0V8_AON_V volt(19)=0.79618980V
          HDMI_V volt(23)=4.92450000V
         EXT5V_V volt(24)=4.92450000V
          BATT_V volt(25)=0.00341880V
"""


def write(root: Path, files: dict[str, object]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n", encoding="utf-8")


def program(root: Path, script: str) -> None:
    write(root, {"usr/bin/vcgencmd": f"#!/bin/sh\n{script}"})
    (root / "usr/bin/vcgencmd").chmod(0o755)


def test_a_machine_without_meters_has_none(tmp_path: Path) -> None:
    assert power.find(tmp_path) == power.Found()


def test_the_rails_of_a_pi_5_are_paired_by_name() -> None:
    watts = power.rail_watts(PI_5)
    assert len(watts) == 12 and not {"EXT5V", "BATT"} & watts.keys()
    assert watts["VDD_CORE"] == 4.5 and watts["DDR_VDDQ"] == 0.0
    assert sum(watts.values()) == pytest.approx(5.9146, abs=0.001)


@pytest.mark.parametrize(
    "line",
    [
        " BATT_A current(1)=nanA",
        " BATT_A volt(1)=1.0A",  # a voltage that says it is a current
        " BATT_A current(1)=1.0V",
        " BATT_A current(1)=1.2.3A",
        " BATT_A current(1)=-0.1A",
        " BATT_A current(1)=1e999A",
        " BATT_A current(1)=1.0A and more",
        " BATT_A current(1)=",
        'error=1 error_msg="Command not registered"',
        "\x00",
    ],
)
def test_what_is_no_reading_is_left_out(line: str) -> None:
    assert power.rail_watts(PI_5 + line) == power.rail_watts(PI_5)


def test_a_look_that_misses_a_rail_tells_nothing(tmp_path: Path) -> None:
    write(tmp_path, {"said": PI_5})
    program(tmp_path, f'[ "$1" = pmic_read_adc ] && cat {tmp_path}/said')
    (meter,) = power.find(tmp_path).meters
    assert meter.read() == pytest.approx(5.9146, abs=0.001) and not meter.counts
    assert meter.scope.startswith("12 rails behind the power chip")
    write(tmp_path, {"said": "\n".join(PI_5.splitlines()[:-4])})
    assert meter.read() is None
    (tmp_path / "said").unlink()
    assert meter.read() is None


def test_a_vcgencmd_that_is_not_allowed_says_why(tmp_path: Path) -> None:
    program(tmp_path, 'echo "Can\'t open device file: /dev/vcio" >&2; exit 255')  # who is not in the group video
    found = power.find(tmp_path)
    assert found.meters == () and "/dev/vcio" in found.notes[0]


def test_a_board_without_the_chip_has_nothing_to_say(tmp_path: Path) -> None:
    program(tmp_path, "echo 'error=1 error_msg=\"Command not registered\"'")  # a Pi 4
    assert power.find(tmp_path) == power.Found()


def test_an_ina_sensor_in_the_units_of_the_kernel(tmp_path: Path) -> None:
    ina226 = {"name": "ina226", "power1_input": 2_500_000, "curr1_input": 9, "in0_input": 1, "in1_input": 9, "power1_average": 7}
    ina3221 = {"name": "ina3221", "in1_label": "VDD_IN", "curr1_input": 1_000, "in1_input": 5_000, "curr2_input": 500}
    ina3221 |= {"in2_input": 3_300, "in4_input": 12, "curr3_input": "-"}
    for number, chip in enumerate((ina226, ina3221)):
        write(tmp_path, {f"sys/class/hwmon/hwmon{number}/{name}": text for name, text in chip.items()})
    found = power.find(tmp_path).meters
    assert [(meter.name, meter.read()) for meter in found] == [
        ("ina3221 VDD_IN", 5.0),
        ("ina226 channel 1", 2.5),  # of its own power, not of current times voltage as well
        ("ina3221 channel 2", 1.65),
    ]
    (tmp_path / "sys/class/hwmon/hwmon1/in1_input").unlink()
    assert found[0].read() is None


@pytest.mark.parametrize("name", ["amdgpu", "BAT0", "coretemp"])
def test_what_measures_something_else_is_no_meter(tmp_path: Path, name: str) -> None:
    chip = tmp_path / "sys/class/hwmon/hwmon0"
    power_files = {"power1_input": 1_000_000, "curr1_input": 100, "in1_input": 100} if name != "coretemp" else {"temp1_input": 40}
    write(chip, {"name": name, **power_files})
    if name == "BAT0":
        write(tmp_path, {"sys/class/power_supply/BAT0/type": "Battery"})
        (chip / "device").symlink_to(tmp_path / "sys/class/power_supply/BAT0")
        (tmp_path / "sys/class/power_supply/BAT0/subsystem").symlink_to(tmp_path / "sys/class/power_supply")
    assert power.find(tmp_path).meters == ()


def rapl(root: Path, **energies_uj: object) -> None:
    """Write zones with such counters, of which each ends at 1 J."""
    for zone, energy_uj in energies_uj.items():
        place = f"sys/class/powercap/{zone.replace('_', ':').replace('intel:', 'intel-')}"
        kind = "core" if zone.count("_") > 2 else "package-0"
        write(root, {f"{place}/name": kind, f"{place}/energy_uj": energy_uj, f"{place}/max_energy_range_uj": 1_000_000})


def test_packages_are_added_and_a_full_turn_is_no_loss(tmp_path: Path) -> None:
    rapl(tmp_path, intel_rapl_0=900_000, intel_rapl_1=100_000, intel_rapl_0_0=5)
    write(
        tmp_path, {"sys/class/powercap/intel-rapl-mmio:0/name": "package-0", "sys/class/powercap/intel-rapl-mmio:0/energy_uj": 9}
    )
    write(tmp_path, {"sys/class/powercap/intel-rapl:2/name": "psys", "sys/class/powercap/intel-rapl:2/energy_uj": 9})
    (meter,) = power.find(tmp_path).meters
    assert meter.counts and meter.scope.startswith("2 processor packages only") and meter.read() == 0.0
    rapl(tmp_path, intel_rapl_0=950_000, intel_rapl_1=150_000)
    assert meter.read() == pytest.approx(0.1)
    rapl(tmp_path, intel_rapl_0=150_000)
    assert meter.read() == pytest.approx(0.3)
    rapl(tmp_path, intel_rapl_0="no number")
    assert meter.read() is None
    rapl(tmp_path, intel_rapl_0=250_000)
    assert meter.read() == pytest.approx(0.4)


def test_a_counter_that_falls_without_a_known_end_tells_nothing(tmp_path: Path) -> None:
    rapl(tmp_path, intel_rapl_0=900_000)
    (tmp_path / "sys/class/powercap/intel-rapl:0/max_energy_range_uj").unlink()
    (meter,) = power.find(tmp_path).meters
    write(tmp_path, {"sys/class/powercap/intel-rapl:0/energy_uj": 10})
    assert meter.read() is None


def test_counters_that_are_shut_are_named(tmp_path: Path) -> None:
    rapl(tmp_path, intel_rapl_0="")
    found = power.find(tmp_path)
    assert found.meters == () and "intel-rapl:0/energy_uj cannot be read" in found.notes[0]
