"""Which board answers: from what its kernel says about itself to a profile, and nothing where no profile fits for certain."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .profiles import BOARDS
from .records import BoardProfile

# Raspberry Pi's firmware puts the name into the device tree's model. The longer names first: "Raspberry Pi 5" begins two of them.
_RASPBERRY_PI = (
    (r"Raspberry Pi Zero 2 W", "pi-zero-2w"),
    (r"Raspberry Pi 3 Model B Plus", "pi-3b-plus"),
    (r"Raspberry Pi 4 Model B", "pi-4b"),
    (r"Raspberry Pi 400\b", "pi-400"),
    (r"Raspberry Pi Compute Module 4\b(?!S)", "cm4"),
    (r"Raspberry Pi 500\b", "pi-500"),
    (r"Raspberry Pi 5 Model B", "pi-5"),
    (r"Raspberry Pi Compute Module 5\b", "cm5"),
)

_CORES = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
}


def profile_name(model: str, compatible: str, own: Sequence[BoardProfile] = ()) -> str | None:
    """Return the profile's name for the device tree's ``model`` and ``compatible`` texts, or None. own: the user's boards."""
    for pattern, name in _RASPBERRY_PI:
        if re.match(pattern, model):
            return name
    for board in (*own, *BOARDS):
        if board.device_tree is not None and board.device_tree.value.lower() in f"{model} {compatible}".lower():
            return board.name
    return None


def cores(parts: str) -> str | None:
    """Return ``4 x Cortex-A72`` for what ``uniq -c`` makes of the ``CPU part`` lines, or None where a part is unknown."""
    counted = re.findall(r"(\d+) (0x[0-9a-f]{3})", parts)
    if not counted or any(part not in _CORES for _, part in counted):
        return None
    return " + ".join(f"{count} x {_CORES[part]}" for count, part in counted)


def arch(machine: str, userland_bits: str | None) -> str:
    """Return the architecture of the programs there: a 64-bit kernel may carry a 32-bit userland (Raspberry Pi OS does that)."""
    if machine in ("aarch64", "armv8l") and userland_bits == "32":
        return "armv7l"
    return machine
