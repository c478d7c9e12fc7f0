"""Which board answers: from what its kernel says about itself to a profile, and nothing where no profile fits for certain.

Names are compared whole. "Orange Pi 5" begins the names of five other boards, "mediatek,mt8167" is the processor of many.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .profiles import BOARDS
from .records import BoardProfile

_ARM = 0x41  # the implementer in a main ID register

# At the end of a model: "Raspberry Pi 4 Model B Rev 1.4", "Xunlong Orange Pi 3B v2.1".
_REVISION = re.compile(r"\s+(?:rev|v)\.?\s*\d[\w.]*$", re.IGNORECASE)

# CPU part of implementer 0x41 (Arm). Source: Linux, arch/arm64/include/asm/cputype.h.
_CORES = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
}

# The types in a Raspberry Pi's revision code. Source: raspberrypi/documentation, revision-codes.adoc at 0456a78 (2026-11-30).
_PI_TYPES = {
    0x08: "pi-3b",
    0x0D: "pi-3b-plus",
    0x0E: "pi-3a-plus",
    0x10: "cm3-plus",
    0x11: "pi-4b",
    0x12: "pi-zero-2w",
    0x13: "pi-400",
    0x14: "cm4",
    0x15: "cm4s",
    0x17: "pi-5",
    0x18: "cm5",
    0x19: "pi-500",
    0x1A: "cm5",
}
_PI_NEW_STYLE = 1 << 23
_PI_500_PLUS_MIB = 16384  # the 500 and the 500+ share type and device tree; only their memory differs


@dataclass(frozen=True, slots=True, kw_only=True)
class PiRevision:
    """What a Raspberry Pi's revision code says. ``board`` is a profile's name or None, ``memory_mib`` None for "other"."""

    code: str
    board: str | None
    memory_mib: int | None
    revision: str


def pi_revision(code: str) -> PiRevision | None:
    """Return what ``Revision`` in a Raspberry Pi's ``/proc/cpuinfo`` says (``a04171``); None for an old or another code."""
    if not re.fullmatch(r"[0-9a-fA-F]{6,8}", code):
        return None
    bits = int(code, 16)
    if not bits & _PI_NEW_STYLE:
        return None
    size = bits >> 20 & 0x7
    memory = None if size == 7 else 256 << size
    board = _PI_TYPES.get(bits >> 4 & 0xFF)
    if board == "pi-500" and memory == _PI_500_PLUS_MIB:
        board = "pi-500-plus"
    return PiRevision(code=code.lower(), board=board, memory_mib=memory, revision=f"1.{bits & 0xF}")


def profile_name(model: str, compatible: str, own: Sequence[BoardProfile] = (), *, revision: str = "") -> str | None:
    """Return the profile's name for the device tree's ``model`` and ``compatible`` texts, or None. own: the user's boards.

    The model decides. ``compatible`` does where no profile has that model, unless the model goes on after the profile's own
    ("Radxa ROCK 5B+"): that is a board that was made from this one. revision: a Raspberry Pi's code, which tells apart what has
    one device tree.
    """
    boards = (*own, *BOARDS)
    said = _normal(model)
    for board in boards:
        if said and said in _names(board):
            return _told_apart(board.name, revision)
    for name in compatible.lower().split():
        for board in boards:
            if name in _names(board) and not _extends(said, _names(board)):
                return _told_apart(board.name, revision)
    return None


def is_called(board: BoardProfile, model: str) -> bool:
    """Whether ``model`` is a name of the board, but for a revision at its end."""
    return _normal(model) in _names(board)


def _told_apart(name: str, revision: str) -> str:
    found = pi_revision(revision)
    return "pi-500-plus" if name == "pi-500" and found is not None and found.board == "pi-500-plus" else name


def _normal(model: str) -> str:
    return _REVISION.sub("", " ".join(model.strip("\0 \n").split())).lower()


def _names(board: BoardProfile) -> tuple[str, ...]:
    return tuple(_normal(name) for name in board.device_tree.value) if board.device_tree is not None else ()


def _extends(model: str, names: Iterable[str]) -> bool:
    return any(model != name and model.startswith(name) for name in names)


def core(midr: str) -> str | None:
    """Return ``Cortex-A76`` for the main ID register of one of Arm's cores (``0x00000000414fd0b1``), or None."""
    if not re.fullmatch(r"0x[0-9a-fA-F]{1,16}", midr) or int(midr, 16) >> 24 & 0xFF != _ARM:
        return None
    return _CORES.get(f"0x{int(midr, 16) >> 4 & 0xFFF:03x}")


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
