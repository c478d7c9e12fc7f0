"""Whether this machine can emulate boards, and what is missing where it cannot."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from pathlib import Path

from ..errors import VirtualBoardError
from .models import Architecture

_APT = "sudo apt-get install --no-install-recommends qemu-user-static debootstrap openssh-client"
_PRIVATE_BINFMT = (6, 7)


def check(*, global_binfmt: bool, building: bool = False) -> None:
    """Raise VirtualBoardError if boards cannot be run here; it says what to do. ``building``: also what making one needs."""
    if sys.platform != "linux":
        raise VirtualBoardError("virtual boards need Linux (their namespaces and qemu's user mode); use a Linux machine or a VM")
    needed = ("qemu-aarch64-static", "ssh-keygen", *(("debootstrap", "dpkg-deb") if building else ()))
    missing = [name for name in needed if not _which(name)]
    if missing:
        raise VirtualBoardError(f"virtual boards need {', '.join(missing)}, not installed here: {_APT}")
    if os.geteuid() != 0:
        raise VirtualBoardError(
            "virtual boards need root, to unpack a system and to mount in private namespaces: run it with sudo"
        )
    release = kernel()
    if release < _PRIVATE_BINFMT and not global_binfmt:
        raise VirtualBoardError(
            f"Linux {release[0]}.{release[1]} has no private binfmt registry (6.7 has); --global-binfmt registers qemu for the whole"
            " machine instead, until its next start"
        )


def kernel() -> tuple[int, int]:
    """Return the kernel's major and minor version."""
    match = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(match[1]), int(match[2])) if match else (0, 0)


def binfmt(architecture: Architecture) -> tuple[str, str]:
    """Return the name and the registration of qemu for programs of an architecture. Raises VirtualBoardError.

    Flags: O and F open the emulator at once, so that it need not be inside the board; P keeps the program's name; C gives sudo its
    rights.
    """
    name = f"qemu-{architecture.qemu}"
    try:
        line = Path(f"/usr/lib/binfmt.d/{name}.conf").read_text("latin-1").strip()
    except OSError as error:
        raise VirtualBoardError(f"{error.filename} is missing: {_APT}") from error
    if line.count(":") < 7:
        raise VirtualBoardError(f"/usr/lib/binfmt.d/{name}.conf is not as qemu-user-static ships it; reinstall that package")
    head, _ = line.rsplit(":", 1)
    return name, f"{head}:OPCF"


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
