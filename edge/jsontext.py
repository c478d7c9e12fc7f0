"""Reads JSON that anybody may have written: what Python's reader lets through and nothing here can use is a ValueError."""

from __future__ import annotations

import json
import math
import re
from typing import Any

_MOST_DIGITS = 19  # of a whole number in 64 bits
_HALF = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")  # of a character beyond 16 bits: two of them are one character


def loads(text: str | bytes) -> Any:
    """Return the JSON in ``text`` (bytes: as UTF-8) as plain data.

    Raises ValueError for what is no JSON, and for NaN and infinity, whole numbers beyond 64 bits, fractions beyond float64, halves
    of characters (lone surrogates, which no file can hold), and nesting without end.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        data = json.loads(text, parse_int=_whole, parse_float=_fraction, parse_constant=_refuse)
        if _HALF.search(text) is not None:
            _check_text(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return data


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > _MOST_DIGITS or not -(1 << 63) <= (value := int(digits)) < 1 << 63:
        raise ValueError(f"{digits[:12]}... is a whole number of more than 64 bits")
    return value


def _fraction(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:24]} is beyond what a number can be")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _check_text(data: Any) -> None:
    """Raise ValueError (UnicodeEncodeError is one) for text that no file can hold."""
    if isinstance(data, str):
        data.encode()
    elif isinstance(data, list):
        for item in data:
            _check_text(item)
    elif isinstance(data, dict):
        for key, item in data.items():
            key.encode()
            _check_text(item)
