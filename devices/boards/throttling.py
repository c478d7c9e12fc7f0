"""Raspberry Pi's throttling flags, as ``vcgencmd get_throttled`` prints them."""

from __future__ import annotations

import re

# Bits 0-3 are now, the same 16 higher since the board started. Source: raspberrypi/documentation,
# os/graphics-utilities.adoc at 0cc21c8 (2026-11-30).
FLAGS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
_SINCE_START = 16


def bits(text: str) -> int | None:
    """Return the flags in ``throttled=0x50005`` (vcgencmd) or ``50005`` (the kernel's file); None for another text."""
    match = re.fullmatch(r"(?:throttled=)?(?:0x)?([0-9a-fA-F]{1,8})", text.strip())
    return None if match is None else int(match[1], 16)


def now_and_since_start(text: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return the flags set now and those set at some time since the start, for what `bits` reads; None for another text."""
    found = bits(text)
    return None if found is None else names(found)


def names(flags: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the flags set now and those set at some time since the start."""
    return (
        tuple(name for bit, name in FLAGS.items() if flags >> bit & 1),
        tuple(name for bit, name in FLAGS.items() if flags >> (bit + _SINCE_START) & 1),
    )
