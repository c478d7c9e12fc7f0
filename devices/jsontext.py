"""Reads JSON that anybody may have written: what Python's reader lets through and nothing here can use is a ValueError."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

_MOST_DIGITS = 19  # of a whole number in 64 bits
_LONE = re.compile("[\ud800-\udfff]")  # once Python has read it, two halves that belong together are one character
_HALF = re.compile(rf"\\u[dD][89a-fA-F]|{_LONE.pattern}")  # as JSON may write them: both halves of a character, or one alone


def loads(text: str | bytes, *, mend: bool = False) -> Any:
    """Return the JSON in ``text`` (bytes: as UTF-8) as plain data.

    mend: put U+FFFD in the place of halves of characters, which is what names of files become that are no UTF-8.

    Raises ValueError for what is no JSON, and for NaN and infinity, whole numbers beyond 64 bits, fractions beyond float64, nesting
    without end, and halves of characters (lone surrogates), which no file can hold.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        data = json.loads(text, parse_int=_whole, parse_float=_fraction, parse_constant=_refuse)
        if _HALF.search(text) is not None:
            data = _each_text(data, _mended if mend else _checked)
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


def _each_text(data: Any, change: Callable[[str], str]) -> Any:
    if isinstance(data, str):
        return change(data)
    if isinstance(data, list):
        return [_each_text(item, change) for item in data]
    if isinstance(data, dict):
        return {change(key): _each_text(item, change) for key, item in data.items()}
    return data


def _mended(text: str) -> str:
    return _LONE.sub("\ufffd", text)


def _checked(text: str) -> str:
    if _LONE.search(text) is not None:
        raise ValueError(f"the text {text[:40]!r} has half a character (a lone surrogate)")
    return text
