"""The version, in one place: the wheel, ``edgekit --version`` and every contract take it from here."""

from __future__ import annotations

__version__ = "0.2.0"
