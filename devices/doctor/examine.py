"""``edgekit doctor``: what a board is, what is wrong with it, and the command that mends it. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ..boards import detect, wheels
from ..errors import BoardRefusedError
from . import accelerators, health, interpreters
from .probe import BoardFacts
from .symptoms import Symptom, error, note, warning

OLDEST_PYTHON = (3, 11)
_DISK_MIB = 400  # an environment (about 130 MiB), a model and room to move
_MEMORY_MIB = 200  # the 56 MB int8 network takes about 130 MiB when it runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The facts about a board and what follows from them."""

    target: str
    facts: BoardFacts
    findings: tuple[Symptom, ...]

    @property
    def healthy(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        facts = asdict(self.facts)
        facts["answers"] = {key: list(values) for key, values in facts["answers"].items()}
        return {
            "target": self.target,
            "healthy": self.healthy,
            "board": {**facts, "clusters": [asdict(cluster) for cluster in self.facts.clusters]},
            "findings": [asdict(finding) for finding in self.findings],
        }

    def to_text(self) -> str:
        facts = self.facts
        cores = detect.cores(facts.first("cpu_parts") or "")
        temperature = health.temperature(facts)
        rows = {
            "board": _board(facts),
            "processor": f"{cores or 'unknown cores'}, {facts.arch}{', int8 dot product' if facts.has('asimddp') else ''}",
            "system": f"{facts.os_name or 'unknown'}, kernel {facts.first('kernel') or 'unknown'}",
            "python": f"{facts.first('python') or 'none'}, glibc {_dotted(facts.glibc)}",
            "memory": f"{_mib(facts.memory_available_mib)} free of {_mib(facts.memory_total_mib)}",
            "disk": f"{_mib(facts.disk_free_mib)} free on {facts.first('disk_device') or 'unknown'}",
            "clock": health.clock_row(facts),
            "throttling": health.throttling_row(facts),
            "temperature": f"{temperature:.0f} °C" if temperature is not None else "unknown",
            "deployed": facts.first("deployed") or "nothing",
            "interpreter": interpreters.row(facts),
        }
        kept_kib = facts.first("weight_cache_kib") or ""
        if kept_kib.isascii() and kept_kib.isdigit():
            rows["packed"] = f"{int(kept_kib) >> 10} MiB of weights kept on the disk, which saves memory"
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
    checks = (
        *_software(facts),
        *_space(facts),
        *interpreters.findings(facts),
        *health.findings(facts),
        *accelerators.findings(facts),
    )
    return Diagnosis(target=target, facts=facts, findings=checks)


def _software(facts: BoardFacts) -> Iterator[Symptom]:
    if facts.python is None:
        yield error("python", "there is no python3", "sudo apt-get install python3")
    elif facts.python < OLDEST_PYTHON:
        yield error(
            "python",
            f"Python {_dotted(facts.python)} is too old, edgekit needs {_dotted(OLDEST_PYTHON)} or later:"
            f" install Raspberry Pi OS Bookworm or later ({facts.os_name or 'this system'} has nothing newer)",
        )
    else:
        if facts.first("python_venv") is None:
            yield error("python", "Python's venv module is missing", "sudo apt-get install python3-venv")
        try:
            selected = wheels.select(python=facts.python, arch=facts.arch, glibc=facts.glibc)
        except BoardRefusedError as refused:
            yield error("interpreter", str(refused))
        else:
            missing = [name for name in selected.from_system if facts.first(f"has_{name}") is None]
            if missing:
                packages = {"numpy": "python3-numpy", "PIL": "python3-pil"}
                yield error(
                    "interpreter",
                    "a 32-bit board takes numpy and Pillow from its own packages, and they are not installed",
                    "sudo apt-get install " + " ".join(packages[name] for name in missing),
                )
    if facts.arch == "armv7l" and facts.first("machine") in ("aarch64", "armv8l"):
        yield note("system", "a 32-bit system on a 64-bit processor: int8 runs 1.3 to 1.5 times faster on the 64-bit edition")
    if facts.first("home_writable") == "no":
        yield error("disk", f"the home folder {facts.first('home')} cannot be written to", "mount | grep ' / '")
    if facts.first("clock_synchronized") == "no":
        yield note("clock", "the board's clock is not synchronized; dates in its reports may be wrong", "timedatectl status")


def _space(facts: BoardFacts) -> Iterator[Symptom]:
    if facts.disk_free_mib is not None and facts.disk_free_mib < _DISK_MIB:
        yield error("disk", f"{facts.disk_free_mib} MiB free, {_DISK_MIB} are needed", "df -h; sudo apt-get clean")
    if facts.memory_available_mib is not None and facts.memory_available_mib < _MEMORY_MIB:
        yield warning(
            "memory", f"{facts.memory_available_mib} MiB of memory free, the network takes about {_MEMORY_MIB}", "free -m"
        )


def _board(facts: BoardFacts) -> str:
    profile = f" ({facts.profile})" if facts.profile else ", no profile"
    revision = detect.pi_revision(facts.first("revision") or "")
    sold = f", sold with {revision.memory_mib} MiB (revision {revision.code})" if revision and revision.memory_mib else ""
    return f"{facts.model or 'unknown'}{profile}{sold}"


def _mib(value: int | None) -> str:
    return "unknown" if value is None else f"{value} MiB"


def _dotted(version: tuple[int, int] | None) -> str:
    return "unknown" if version is None else f"{version[0]}.{version[1]}"
