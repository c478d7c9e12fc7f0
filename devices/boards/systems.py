"""Operating systems of the boards: Python, glibc, and the interpreter wheels that fit them."""

from __future__ import annotations

from .records import CheckedOn, SystemProfile, Wheel

_FIRST = CheckedOn(date="2026-11-20")
verified, derived = _FIRST.verified, _FIRST.derived
_NOW = CheckedOn(date="2026-11-30")

_PIP = "pip index versions and pip download --platform against PyPI, 2026-11-20"
_PIP_NOW = "pip index versions ai-edge-litert --python-version … --platform manylinux_2_17_aarch64 and manylinux_2_27_aarch64"
_RASPBERRY_PI_OS = "Raspberry Pi OS is built from that release"
_DEBIAN_LIBC = f"packages.debian.org/libc6-udeb; {_RASPBERRY_PI_OS}"

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
    python=_NOW.derived("3.9.2", f"packages.debian.org/source/bullseye/python3.9; {_RASPBERRY_PI_OS}"),
    glibc=_NOW.derived("2.31", _DEBIAN_LIBC),
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
    wheels=_NOW.verified(
        (
            # 1.1.0 to 1.4.0 (manylinux_2_17, among them 1.1.2 and 1.4.0) and 2.0.2 to 2.3.0 (manylinux_2_27).
            Wheel(package="ai-edge-litert", arch="aarch64", first="1.1.0", last="2.3.0"),
            Wheel(package="tflite-runtime", arch="aarch64", first="2.14.0", last="2.14.0"),
            Wheel(package="tflite-runtime", arch="armv7l", first="2.14.0", last="2.14.0"),
        ),
        f"{_PIP_NOW}; tflite-runtime: {_PIP}",
    ),
)

TRIXIE = SystemProfile(
    name="trixie",
    title="Raspberry Pi OS Trixie (Debian 13)",
    python=_NOW.derived("3.13", f"packages.debian.org/src:python3.13; {_RASPBERRY_PI_OS}"),
    glibc=_NOW.derived("2.41", _DEBIAN_LIBC),
    # Nothing at all for its 32-bit edition.
    wheels=_NOW.verified((Wheel(package="ai-edge-litert", arch="aarch64", first="2.1.0", last="2.3.0"),), _PIP_NOW),
)

NOBLE = SystemProfile(
    name="noble",
    title="Ubuntu 24.04",
    python=_NOW.verified("3.12", "packages.ubuntu.com/noble/python3.12: 3.12.3 (arm64)"),
    glibc=_NOW.verified("2.39", "packages.ubuntu.com/noble/libc6, libc6-dbg: 2.39-0ubuntu8 (arm64)"),
    wheels=_NOW.verified((Wheel(package="ai-edge-litert", arch="aarch64", first="1.1.0", last="2.3.0"),), _PIP_NOW),
)

RESOLUTE = SystemProfile(
    name="resolute",
    title="Ubuntu 26.04",
    python=_NOW.verified("3.14", "packages.ubuntu.com/resolute/arm64/python3: 3.14.3"),
    glibc=_NOW.verified("2.43", "packages.ubuntu.com/resolute-updates/libc6: 2.43-2ubuntu2.3 (arm64)"),
    # tflite-runtime ended with Python 3.11.
    wheels=_NOW.verified((Wheel(package="ai-edge-litert", arch="aarch64", first="2.1.5", last="2.3.0"),), _PIP_NOW),
)

SYSTEMS = (MENDEL, BULLSEYE, BOOKWORM, TRIXIE, NOBLE, RESOLUTE)
