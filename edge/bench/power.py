"""What measures power here: sensors that Linux or a Raspberry Pi's firmware reads, each with the part of the machine that it sees.

Nothing is calculated from the load. Where nothing measures there is no meter, and no figure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from . import sensors
from .sensors import Firmware

FILE_PERIOD_S = 0.1  # reading a sensor's file takes well below a millisecond, an INA219 on a slow bus about one
PROGRAM_PERIOD_S = 0.25  # starting vcgencmd costs some milliseconds of one core, and the firmware some 20 to convert

# Names of hwmon drivers that see a graphics card, which runs no model of ours.
_NOT_OURS = frozenset({"amdgpu", "radeon", "nouveau", "nvidia", "i915", "xe"})
_RAIL = re.compile(r"(?P<rail>\S+)_(?P<kind>[AV])\s+(?P<what>current|volt)\(\d+\)=(?P<value>[0-9.eE+-]+)(?P<unit>[AV])")
_KINDS = {"A": ("current", "A"), "V": ("volt", "V")}
_MICRO = 1e6


class Meter(Protocol):
    """One thing that measures.

    ``name``: which sensor. ``scope``: which part of the machine it sees, in words. ``counts``: whether `read` returns joules since some
    moment, and else watts now. ``period_s``: how often it is worth looking.
    """

    @property
    def name(self) -> str: ...
    @property
    def scope(self) -> str: ...
    @property
    def counts(self) -> bool: ...
    @property
    def period_s(self) -> float: ...

    def read(self) -> float | None:
        """Return watts or joules, None where this look told nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All meters, the one of most worth first, and why others that are there cannot be read."""

    meters: tuple[Meter, ...] = ()
    notes: tuple[str, ...] = ()


def find(root: Path = Path("/")) -> Found:
    """Look for meters: hwmon sensors, then the power chip of a Raspberry Pi 5, then RAPL. root: another folder than ``/`` in tests only.

    Each is read once: what has nothing to tell is none. Of several hwmon channels the one that measures most now comes first, as the
    one that feeds the others does.
    """
    notes: list[str] = []
    channels = [(channel.read(), channel) for channel in _hwmon(root / "sys/class/hwmon")]
    known = sorted(((watts, channel) for watts, channel in channels if watts is not None), key=lambda pair: -pair[0])
    meters: list[Meter] = [channel for _, channel in known]
    firmware = sensors.firmware(root)
    if firmware is not None:
        rails = Rails(firmware)
        if rails.known:
            meters.append(rails)
        elif rails.complaint:
            notes.append(f"vcgencmd pmic_read_adc says: {rails.complaint}")
    package, note = _rapl(root / "sys/class/powercap")
    if package is not None:
        meters.append(package)
    return Found(meters=tuple(meters), notes=(*notes, *([note] if note else ())))


class Channel:
    """One channel of a hwmon chip: ``power*_input`` (microwatts), or ``curr*_input`` (mA) times ``in*_input`` (mV).

    Units: Linux, Documentation/hwmon/sysfs-interface.rst.
    """

    counts = False
    period_s = FILE_PERIOD_S

    def __init__(self, chip: str, label: str, files: tuple[Path, ...]) -> None:
        self.name = f"{chip} {label}"
        self.scope = f"what flows through {label} of the sensor {chip}; its driver knows the shunt"
        self._files = files

    def read(self) -> float | None:
        """Return watts."""
        values = [sensors.whole(path) for path in self._files]
        if any(value is None for value in values):
            return None
        # One file has microwatts; milliamperes times millivolts are microwatts too.
        return math.prod(value for value in values if value is not None) / _MICRO


class Rails:
    """The rails behind the power chip of a Raspberry Pi 5, as its firmware reads them: ``vcgencmd pmic_read_adc``.

    The chip has no current of the 5 V input: what USB, the 5 V pins and the chip's own losses take is not seen.
    """

    counts = False
    period_s = PROGRAM_PERIOD_S
    name = "vcgencmd pmic_read_adc"

    def __init__(self, firmware: Firmware) -> None:
        self._firmware = firmware
        text = self._ask()
        watts = rail_watts(text)
        self.known = frozenset(watts)
        # Firmware that does not know the question is that of a board without such a chip: nothing is wrong there.
        self.complaint = "" if watts or "not registered" in text else " ".join(text.split())[:100]
        self.scope = f"{len(watts)} rails behind the power chip, without its losses, USB and what the 5 V pins feed"

    def read(self) -> float | None:
        """Return the watts of all rails; None where one of them is missing, as the sum would be of fewer."""
        watts = rail_watts(self._ask())
        return sum(watts.values()) if watts.keys() == self.known else None

    def _ask(self) -> str:
        return self._firmware.ask("pmic_read_adc") or ""


class Package:
    """RAPL's counters of all processor packages together (Intel and AMD), in joules.

    Each counts microjoules up to ``max_energy_range_uj`` and begins again (Linux, Documentation/power/powercap/powercap.rst); a
    full turn takes minutes at the least, so between two looks there is at most one.
    """

    counts = True
    period_s = FILE_PERIOD_S
    name = "RAPL"

    def __init__(self, zones: tuple[Path, ...]) -> None:
        packages = "the processor package" if len(zones) == 1 else f"{len(zones)} processor packages"
        self.scope = f"{packages} only, as the processor counts; no memory, disk, fan or power supply"
        self._zones = zones
        self._last = [sensors.whole(zone / "energy_uj") for zone in zones]
        self._ranges = [sensors.whole(zone / "max_energy_range_uj") for zone in zones]
        self._total_uj = 0

    def read(self) -> float | None:
        """Return joules since it was opened."""
        now = [sensors.whole(zone / "energy_uj") for zone in self._zones]
        steps = [
            None if before is None or value is None else _step(before, value, most)
            for before, value, most in zip(self._last, now, self._ranges, strict=True)
        ]
        if any(step is None for step in steps):
            return None
        self._last = now
        self._total_uj += sum(step for step in steps if step is not None)
        return self._total_uj / _MICRO


def rail_watts(text: str) -> Mapping[str, float]:
    """Return the watts of each rail whose voltage and current are both in the output of ``vcgencmd pmic_read_adc``.

    A line is such as ``VDD_CORE_A current(7)=1.69670000A`` or ``VDD_CORE_V volt(15)=0.72124470V``. ``EXT5V_V`` and ``BATT_V`` have no
    current. Lines of other forms, values that are no number (``nanV``) and negative ones count as missing.
    """
    found: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for line in text.splitlines():
        match = _RAIL.fullmatch(line.strip())
        if match is None or (match["what"], match["unit"]) != _KINDS[match["kind"]]:
            continue
        try:
            value = float(match["value"])
        except ValueError:
            continue
        if 0.0 <= value < math.inf:
            found[match["kind"]][match["rail"]] = value
    return {rail: amperes * found["V"][rail] for rail, amperes in found["A"].items() if rail in found["V"]}


def _hwmon(folder: Path) -> Iterator[Channel]:
    for chip in sorted(folder.glob("hwmon*")):
        name = sensors.text(chip / "name") or chip.name
        if name in _NOT_OURS or _is_battery(chip):
            continue
        numbers = {
            kind: {
                int(digits) for path in chip.glob(f"{kind}*_input") if (digits := path.name[len(kind) : -len("_input")]).isdigit()
            }
            for kind in ("power", "curr", "in")
        }
        for number in sorted(numbers["power"]):
            yield Channel(name, _label(chip, number, "power"), (chip / f"power{number}_input",))
        for number in sorted((numbers["curr"] & numbers["in"]) - numbers["power"]):
            yield Channel(name, _label(chip, number, "curr"), (chip / f"curr{number}_input", chip / f"in{number}_input"))


def _label(chip: Path, number: int, kind: str) -> str:
    labels = (sensors.text(chip / f"{each}{number}_label") for each in dict.fromkeys((kind, "in")))
    return next(filter(None, labels), f"channel {number}")


def _is_battery(chip: Path) -> bool:
    """Whether it repeats a battery or charger: what is agreed with a charger, or flows into a battery, is not what the machine takes."""
    return (chip / "device/subsystem").resolve().name == "power_supply"


def _rapl(folder: Path) -> tuple[Package | None, str | None]:
    """Return all packages as one meter, or why they cannot be read."""
    # intel-rapl:0 is a package and intel-rapl:0:0 a part of it; intel-rapl-mmio:0 is the same package a second time.
    zones = tuple(
        zone
        for zone in sorted(folder.glob("intel-rapl:*"))
        if zone.name.count(":") == 1 and (sensors.text(zone / "name") or "").startswith("package")
    )
    shut = [zone for zone in zones if sensors.whole(zone / "energy_uj") is None]
    if shut:
        return None, f"{shut[0] / 'energy_uj'} cannot be read: Linux lets root only (since CVE-2020-8694)"
    return (Package(zones), None) if zones else (None, None)


def _step(before: int, now: int, most: int | None) -> int | None:
    """Return by how much a counter rose that begins again after ``most``."""
    if now >= before:
        return now - before
    return None if most is None or before > most else most - before + now
