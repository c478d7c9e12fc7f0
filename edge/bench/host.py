"""The machine that a measurement was made on, in words."""

from __future__ import annotations

import contextlib
import platform
from typing import Any

from ..runtime.pool import cores


def describe() -> dict[str, Any]:
    """Return system, machine, processor, usable cores and Python version. No host name: reports are shared."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": cores(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    # A board says what it is in its device tree; a PC names its processor in cpuinfo.
    with contextlib.suppress(OSError), open("/proc/device-tree/model", encoding="utf-8", errors="replace") as stream:
        return stream.read().strip("\0 \n")
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
