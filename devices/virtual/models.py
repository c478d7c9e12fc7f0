"""The boards that can be emulated: which processor qemu plays, and what the fakes for ``/proc`` and ``/sys`` say to match it.

They must match: the runtime picks its kernels by what ``/proc/cpuinfo`` lists, and an instruction that is listed but not emulated
ends the process with SIGILL. qemu's own ``max`` processor is never used: version 7.2 computes wrong int8 results with it (its SME
is faulty). Without a ``/sys`` the runtime falls back from XNNPACK to other kernels without an error.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import VirtualBoardError

_A53 = "fp asimd evtstrm crc32 cpuid"  # no crypto on Raspberry Pi's A53 and A72
_A76 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
_32_BIT = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32"


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualModel:
    """What distinguishes one emulated board. ``memory_kib`` is what ``/proc/meminfo`` shows; it limits nothing."""

    board: str
    title: str
    compatible: str
    cpu: str
    part: str
    variant: str
    revision: str
    features: str
    code: str
    memory_kib: int
    clock_khz: int


MODELS = (
    VirtualModel(
        board="pi-3b-plus",
        title="Raspberry Pi 3 Model B Plus Rev 1.3",
        compatible="raspberrypi,3-model-b-plus brcm,bcm2837",
        cpu="cortex-a53",
        part="0xd03",
        variant="0x0",
        revision="4",
        features=_A53,
        code="a020d3",
        memory_kib=949448,
        clock_khz=1400000,
    ),
    VirtualModel(
        board="pi-4b",
        title="Raspberry Pi 4 Model B Rev 1.4",
        compatible="raspberrypi,4-model-b brcm,bcm2711",
        cpu="cortex-a72",
        part="0xd08",
        variant="0x0",
        revision="3",
        features=_A53,
        code="c03114",
        memory_kib=3885396,
        clock_khz=1800000,
    ),
    VirtualModel(
        board="pi-5",
        title="Raspberry Pi 5 Model B Rev 1.0",
        compatible="raspberrypi,5-model-b brcm,bcm2712",
        cpu="cortex-a76",
        part="0xd0b",
        variant="0x4",
        revision="1",
        features=_A76,
        code="d04170",
        memory_kib=8245376,
        clock_khz=2400000,
    ),
)


def model(board: str) -> VirtualModel:
    """Return the model of a board. Raises VirtualBoardError, which lists those that can be emulated."""
    for found in MODELS:
        if found.board == board:
            return found
    raise VirtualBoardError(f"{board!r} cannot be emulated; expected one of {', '.join(found.board for found in MODELS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A Debian architecture, and qemu's part in it. ``cpu`` replaces the model's where qemu has no such processor in 32 bits."""

    debian: str
    qemu: str
    machine: str
    cpu: str | None
    packages: tuple[str, ...]
    features: str | None
    libraries: str


ARCHITECTURES = (
    Architecture(
        debian="arm64", qemu="aarch64", machine="aarch64", cpu=None, packages=(), features=None, libraries="aarch64-linux-gnu"
    ),
    Architecture(
        debian="armhf",
        qemu="arm",
        machine="armv7l",
        cpu="cortex-a15",
        packages=("python3-numpy", "python3-pil"),  # no wheels of these for 32-bit ARM
        features=_32_BIT,
        libraries="arm-linux-gnueabihf",
    ),
)


def architecture(debian: str) -> Architecture:
    """Return an architecture. Raises VirtualBoardError."""
    for found in ARCHITECTURES:
        if found.debian == debian:
            return found
    raise VirtualBoardError(f"{debian!r} is no architecture that can be emulated; expected arm64 or armhf")
