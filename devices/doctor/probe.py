"""The facts about a board: the probe script is sent over the connection, and its answers become a `BoardFacts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..boards import board_files, detect
from ..boards.records import BoardProfile
from ..errors import RemoteError
from ..transport.shell import Shell

_SCRIPT = Path(__file__).with_name("probe.sh")
VIRTUAL_MARK = "edgekit,virtual-board"  # in the device tree of an emulated board
_TIMEOUT_S = 90.0  # an emulated or swapping board is slow


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Cores that share a clock. ``core`` is their kind; None for what the kernel does not say."""

    cpus: str
    core: str | None
    clock_mhz: float | None
    clock_max_mhz: float | None
    governor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardFacts:
    """What a board says about itself. ``None`` where it says nothing. ``answers`` holds everything, by the probe's keys."""

    profile: str | None
    model: str | None
    arch: str
    os_name: str | None
    python: tuple[int, int] | None
    glibc: tuple[int, int] | None
    memory_total_mib: int | None
    memory_available_mib: int | None
    disk_free_mib: int | None
    answers: Mapping[str, tuple[str, ...]]

    @property
    def virtual(self) -> bool:
        """Whether it is emulated: its times mean nothing."""
        return VIRTUAL_MARK in (self.first("compatible") or "")

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        """All clusters of a big.LITTLE processor; on others one, or one for each core."""
        return tuple(_cluster(answer) for answer in self.answers.get("cluster", ()))

    def has(self, feature: str) -> bool:
        """Whether all cores have an instruction set extension (of ``Features`` in ``/proc/cpuinfo``)."""
        kinds = self.answers.get("cpu_features", ())
        return bool(kinds) and all(feature in kind.split() for kind in kinds)

    def first(self, key: str) -> str | None:
        """Return the first answer to ``key``, or None."""
        found = self.answers.get(key, ())
        return found[0] if found else None


def ask(shell: Shell) -> BoardFacts:
    """Run the probe on a board. Reads only. Raises BoardConnectionError; RemoteError where /bin/sh does not answer sensibly."""
    script = _SCRIPT.read_bytes()
    said = shell.run(["/bin/sh", "-s"], timeout_s=_TIMEOUT_S, stdin=script, check=False).stdout
    return parse(said, where=shell.name, own=board_files.read())


def parse(text: str, *, where: str, own: Sequence[BoardProfile] = ()) -> BoardFacts:
    """Return the facts in the probe's output. own: the user's boards. Raises RemoteError if it is not complete."""
    answers: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        key, found, value = line.partition("\t")
        if found and value.strip():
            answers[key] = (*answers.get(key, ()), value.strip())
    if "probe" not in answers or "done" not in answers:
        raise RemoteError(f"{where}: it did not answer the questions of doctor; is its /bin/sh a POSIX shell?")

    def one(key: str) -> str | None:
        return answers.get(key, (None,))[0]

    model = one("model") or one("cpu_model")
    libc = (one("libc") or "").removeprefix("glibc ")
    available = _mib(one("memory_available_kib"))
    swap = _mib(one("swap_free_kib")) or 0
    return BoardFacts(
        profile=detect.profile_name(model or "", one("compatible") or "", own, revision=one("revision") or ""),
        model=model,
        arch=detect.arch(one("machine") or "unknown", one("userland_bits")),
        os_name=one("os_name"),
        python=_version(one("python")),
        glibc=_version(libc),
        memory_total_mib=_mib(one("memory_total_kib")),
        memory_available_mib=available + swap if available is not None else None,
        disk_free_mib=_mib(one("disk_free_kib")),
        answers=answers,
    )


def _cluster(answer: str) -> Cluster:
    now, most, governor, midr, *cpus = answer.split()
    return Cluster(
        cpus=" ".join(cpus),
        core=detect.core(midr),
        clock_mhz=int(now) / 1e3 if now.isdigit() else None,
        clock_max_mhz=int(most) / 1e3 if most.isdigit() else None,
        governor=None if governor == "-" else governor,
    )


def _version(text: str | None) -> tuple[int, int] | None:
    parts = (text or "").split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return None
    return int(parts[0]), int(parts[1])


def _mib(kib: str | None) -> int | None:
    return int(kib) // 1024 if kib is not None and kib.isdigit() else None
