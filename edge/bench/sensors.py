"""How sensors are asked: files of the kernel, and the firmware of a Raspberry Pi by ``vcgencmd``."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 5.0


def text(path: Path) -> str | None:
    """Return what a sensor's file says, None where it cannot be read or is empty."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def whole(path: Path) -> int | None:
    """Return the whole number in a sensor's file, None where there is none."""
    said = text(path)
    try:
        return None if said is None else int(said)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Firmware:
    """``vcgencmd`` of a Raspberry Pi."""

    program: str

    def ask(self, question: str) -> str | None:
        """Return what it answers, or what it complains of; None where it cannot be started or hangs."""
        command = [self.program, question]
        try:
            said = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
                errors="replace",
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return said.stdout if said.returncode == 0 and said.stdout.strip() else said.stderr


def firmware(root: Path = Path("/")) -> Firmware | None:
    """Return the firmware of this machine where it can be asked. root: another folder than ``/`` in tests only."""
    program = shutil.which("vcgencmd", path=None if root == Path("/") else str(root / "usr/bin"))
    return None if program is None else Firmware(program)
