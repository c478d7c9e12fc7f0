"""Operating systems of the boards: Python, glibc, and the interpreter wheels that fit them."""

from __future__ import annotations

from .records import SystemProfile, Wheel, derived, verified

_PIP = "pip index versions and pip download --platform against PyPI, 2026-11-20"
_DEBIAN = "Debian's package list (packages.debian.org); Raspberry Pi OS is built from that release"

MENDEL = SystemProfile(
    name="mendel",
    title="Mendel Linux 4 and 5 (Coral boards)",
    python=verified("3.7.3", "NobuoTsukamoto/benchmarks, devboard.md"),
    glibc=derived("2.28", "Debian Buster's glibc, on which Mendel is based; LiteRT's docs call Mendel 4.0 compatible with 2.28"),
    wheels=verified(
        (
            Wheel(package="tflite-runtime", arch="aarch64", first="2.7.0", last="2.11.0"),
            Wheel(package="tflite-runtime", arch="armv7l", first="2.7.0", last="2.11.0"),
        ),
        _PIP,
    ),
)

BULLSEYE = SystemProfile(
    name="bullseye",
    title="Raspberry Pi OS Bullseye (Debian 11)",
    python=derived("3.9.2", _DEBIAN),
    glibc=derived("2.31", _DEBIAN),
    wheels=verified(
        (
            Wheel(package="tflite-runtime", arch="aarch64", first="2.7.0", last="2.13.0"),
            Wheel(package="tflite-runtime", arch="armv7l", first="2.7.0", last="2.13.0"),
            Wheel(package="ai-edge-litert", arch="aarch64", first="1.1.0", last="2.1.0"),
        ),
        _PIP,
    ),
)

BOOKWORM = SystemProfile(
    name="bookworm",
    title="Raspberry Pi OS Bookworm (Debian 12)",
    python=verified("3.11.2", "apt-cache policy python3 on Debian 12"),
    glibc=verified("2.36", "apt-cache policy libc6 on Debian 12"),
    wheels=verified(
        (
            Wheel(package="ai-edge-litert", arch="aarch64", first="2.0.2", last="2.3.0"),
            Wheel(package="tflite-runtime", arch="aarch64", first="2.14.0", last="2.14.0"),
            Wheel(package="tflite-runtime", arch="armv7l", first="2.14.0", last="2.14.0"),
        ),
        _PIP,
    ),
)

TRIXIE = SystemProfile(
    name="trixie",
    title="Raspberry Pi OS Trixie (Debian 13)",
    python=derived("3.13", _DEBIAN),
    glibc=derived("2.41", _DEBIAN),
    # Nothing at all for its 32-bit edition.
    wheels=verified((Wheel(package="ai-edge-litert", arch="aarch64", first="2.1.0", last="2.3.0"),), _PIP),
)

SYSTEMS = (MENDEL, BULLSEYE, BOOKWORM, TRIXIE)
