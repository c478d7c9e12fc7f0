"""The command line that the tests of shipping have in common."""

from __future__ import annotations

from pathlib import Path

SHIP = ("ship", "small.keras", "--train", "photos/train", "--test", "photos/test", "--preprocess", "inception")
OUT = Path("small.shipped")
