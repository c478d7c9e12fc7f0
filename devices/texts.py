"""Text that others wrote, made fit for a terminal."""

from __future__ import annotations

import re

# Escape sequences (CSI, OSC and the rest), then every control character but newline and tab: nothing that a file or a board says
# moves the cursor, renames the window or answers in the user's name.
_ESCAPES = re.compile(
    r"\x9b[0-?]*[ -/]*[@-~]|\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")  # halves of a character, or bytes of a file's name: no encoding has them


def clean(text: str) -> str:
    r"""Return ``text`` without terminal escapes, control characters and direction overrides; newlines and tabs stay.

    Lone surrogates become ``\udcff`` and the like, as they can be written nowhere.
    """
    if _CONTROLS.search(text) is not None:
        text = _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))
    return _SURROGATES.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
