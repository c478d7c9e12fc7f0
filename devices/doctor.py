"""``edgekit doctor``: what a board is, what is wrong with it, and the command that mends it. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from . import detect, throttling, wheels
from .errors import BoardRefusedError
from .probe import BoardFacts

OLDEST_PYTHON = (3, 11)
_DISK_MIB = 400  # an environment (about 130 MiB), a model and room to move
_MEMORY_MIB = 200  # the 56 MB int8 network takes about 130 MiB when it runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something to know. ``severity`` is error (deploy will not work), warning or note; ``fix`` is a command, or empty."""

    check: str
    severity: str
    message: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The facts about a board and what follows from them."""

    target: str
    facts: BoardFacts
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        facts = asdict(self.facts)
        facts["answers"] = {key: list(values) for key, values in facts["answers"].items()}
        return {
            "target": self.target,
            "healthy": self.healthy,
            "board": facts,
            "findings": [asdict(finding) for finding in self.findings],
        }

    def to_text(self) -> str:
        facts = self.facts
        cores = detect.cores(facts.first("cpu_parts") or "")
        temperature = _temperature(facts)
        rows = {
            "board": f"{facts.model or 'unknown'}{f' ({facts.profile})' if facts.profile else ', no profile'}",
            "processor": f"{cores or 'unknown cores'}, {facts.arch}{', int8 dot product' if _has(facts, 'asimddp') else ''}",
            "system": f"{facts.os_name or 'unknown'}, kernel {facts.first('kernel') or 'unknown'}",
            "python": f"{facts.first('python') or 'none'}, glibc {_dotted(facts.glibc)}",
            "memory": f"{_mib(facts.memory_available_mib)} free of {_mib(facts.memory_total_mib)}",
            "disk": f"{_mib(facts.disk_free_mib)} free on {facts.first('disk_device') or 'unknown'}",
            "clock": _clock(facts),
            "temperature": f"{temperature:.0f} °C" if temperature is not None else "unknown",
            "deployed": facts.first("deployed") or "nothing",
        }
        lines = [f"{self.target}"] + [f"  {name + ':':13}{value}" for name, value in rows.items()]
        marks = {"error": "PROBLEM", "warning": "warning", "note": "note"}
        for finding in self.findings:
            lines.append(f"{marks[finding.severity]}: {finding.message}")
            if finding.fix:
                lines.append(f"  {finding.fix}")
        lines.append("ready to deploy to" if self.healthy else "not ready to deploy to: mend the problems above first")
        return "\n".join(lines)


def examine(target: str, facts: BoardFacts) -> Diagnosis:
    """Return the diagnosis of a board from its facts."""
    checks = (*_software(facts), *_space(facts), *_health(facts), *_edgetpu(facts))
    return Diagnosis(target=target, facts=facts, findings=checks)


def _software(facts: BoardFacts) -> Iterator[Finding]:
    if facts.python is None:
        yield _error("python", "there is no python3", "sudo apt-get install python3")
    elif facts.python < OLDEST_PYTHON:
        yield _error(
            "python",
            f"Python {_dotted(facts.python)} is too old, edgekit needs {_dotted(OLDEST_PYTHON)} or later:"
            f" install Raspberry Pi OS Bookworm or later ({facts.os_name or 'this system'} has nothing newer)",
        )
    else:
        if facts.first("python_venv") is None:
            yield _error("python", "Python's venv module is missing", "sudo apt-get install python3-venv")
        try:
            selected = wheels.select(python=facts.python, arch=facts.arch, glibc=facts.glibc)
        except BoardRefusedError as error:
            yield _error("interpreter", str(error))
        else:
            missing = [name for name in selected.from_system if facts.first(f"has_{name}") is None]
            if missing:
                packages = {"numpy": "python3-numpy", "PIL": "python3-pil"}
                yield _error(
                    "interpreter",
                    "a 32-bit board takes numpy and Pillow from its own packages, and they are not installed",
                    "sudo apt-get install " + " ".join(packages[name] for name in missing),
                )
    if facts.arch == "armv7l" and facts.first("machine") in ("aarch64", "armv8l"):
        yield _note("system", "a 32-bit system on a 64-bit processor: int8 runs 1.3 to 1.5 times faster on the 64-bit edition")
    if facts.first("home_writable") == "no":
        yield _error("disk", f"the home folder {facts.first('home')} cannot be written to", "mount | grep ' / '")
    if facts.first("clock_synchronized") == "no":
        yield _note("clock", "the board's clock is not synchronized; dates in its reports may be wrong", "timedatectl status")


def _space(facts: BoardFacts) -> Iterator[Finding]:
    if facts.disk_free_mib is not None and facts.disk_free_mib < _DISK_MIB:
        yield _error("disk", f"{facts.disk_free_mib} MiB free, {_DISK_MIB} are needed", "df -h; sudo apt-get clean")
    if facts.memory_available_mib is not None and facts.memory_available_mib < _MEMORY_MIB:
        yield _warning(
            "memory", f"{facts.memory_available_mib} MiB of memory free, the network takes about {_MEMORY_MIB}", "free -m"
        )


def _health(facts: BoardFacts) -> Iterator[Finding]:
    flags = throttling.now_and_since_start(facts.first("throttled") or "")
    if flags is not None:
        now, since = flags
        if "under-voltage" in now or "under-voltage" in since:
            when = "now" if "under-voltage" in now else "at some time since the board started"
            yield _warning(
                "power", f"under-voltage {when}: use the board's own power supply and a short cable", "vcgencmd get_throttled"
            )
        others = [flag for flag in (now or since) if flag != "under-voltage"]
        if others:
            when = "now" if now else "at some time since the board started"
            yield _warning(
                "throttling",
                f"{', '.join(others)} {when}: speeds measured then are not the board's; cool it",
                "vcgencmd measure_temp",
            )
    elif not facts.virtual and (facts.model or "").startswith("Raspberry Pi") and facts.first("vcgencmd") is None:
        yield _note("throttling", "there is no vcgencmd: throttling and under-voltage cannot be seen")
    temperature = _temperature(facts)
    if temperature is not None and temperature >= 80:
        yield _warning("temperature", f"{temperature:.0f} °C: the processor is throttled from 80 °C on; add a heat sink or a fan")
    governor = facts.first("governor")
    if facts.virtual:
        yield _note(
            "virtual", "a virtual board: it proves deployment and accuracy; nothing about speed, memory or temperature is real"
        )
    elif governor not in (None, "performance"):
        yield _note(
            "governor",
            f"the frequency governor is {governor}; for steady measurements use performance (until the next start)",
            "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        )


def _edgetpu(facts: BoardFacts) -> Iterator[Finding]:
    usb, pci, apex = facts.answers.get("edgetpu_usb", ()), facts.answers.get("edgetpu_pci", ()), facts.answers.get("apex", ())
    if not (usb or pci or apex):
        return
    if facts.first("libedgetpu") is None:
        yield _warning(
            "edgetpu",
            "an Edge TPU is there, but not libedgetpu; for a current interpreter take the rebuild from github.com/feranick/libedgetpu",
            "sudo dpkg -i libedgetpu1-std_*.deb",
        )
    for answer in usb:
        if answer.endswith("denied"):
            yield _warning(
                "edgetpu",
                f"the USB accelerator ({answer}) may not be used by {facts.first('user')}",
                "sudo usermod -aG plugdev $USER",
            )
        speed = answer.split()[1:2]
        if speed and speed[0].isdigit() and int(speed[0]) < 5000:
            yield _warning("edgetpu", f"the USB accelerator runs at {speed[0]} Mbit/s: plug it into a USB 3 (blue) socket")
    if pci and not apex:
        yield _warning(
            "edgetpu",
            "an Edge TPU on PCIe is there, but its driver is not loaded",
            "sudo apt-get install gasket-dkms; sudo modprobe apex",
        )
    for answer in apex:
        if answer.endswith("denied"):
            yield _warning(
                "edgetpu", f"{answer.split()[0]} may not be used by {facts.first('user')}", "sudo usermod -aG apex $USER"
            )


def _temperature(facts: BoardFacts) -> float | None:
    values = [answer.rpartition(" ")[2] for answer in facts.answers.get("temperature", ())]
    degrees = [int(value) / 1000 for value in values if value.lstrip("-").isdigit()]
    return max(degrees, default=None)


def _clock(facts: BoardFacts) -> str:
    now, most, governor = facts.first("clock_khz"), facts.first("clock_max_khz"), facts.first("governor")
    if not (now and now.isdigit() and most and most.isdigit()):
        return "unknown"
    return f"{int(now) // 1000} of {int(most) // 1000} MHz, governor {governor or 'unknown'}"


def _has(facts: BoardFacts, feature: str) -> bool:
    return feature in (facts.first("cpu_features") or "").split()


def _mib(value: int | None) -> str:
    return "unknown" if value is None else f"{value} MiB"


def _dotted(version: tuple[int, int] | None) -> str:
    return "unknown" if version is None else f"{version[0]}.{version[1]}"


def _error(check: str, message: str, fix: str = "") -> Finding:
    return Finding(check=check, severity="error", message=message, fix=fix)


def _warning(check: str, message: str, fix: str = "") -> Finding:
    return Finding(check=check, severity="warning", message=message, fix=fix)


def _note(check: str, message: str, fix: str = "") -> Finding:
    return Finding(check=check, severity="note", message=message, fix=fix)
