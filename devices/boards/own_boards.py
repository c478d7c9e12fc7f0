"""The user's own boards: TOML text becomes profiles like those that edgekit brings. No I/O.

[nanopi-m4]                       # its name
title = "FriendlyElec NanoPi M4"
source = "https://wiki.friendlyelec.com/wiki/index.php/NanoPi_M4"     # of every fact that names none of its own
arch = "aarch64"
cpu = [{core = "Cortex-A72", count = 2, clock_mhz = 1800}, {core = "Cortex-A53", count = 4, clock_mhz = 1400}]
dot_product = {value = false, source = "Armv8.0-A", basis = "derived"}
memory_mib = [2048, 4096]
pcie = "none"                     # it has no such thing; left out: nobody knows
device_tree = ["friendlyelec,nanopi-m4", "FriendlyElec NanoPi M4"]    # its names, whole
checked = 2026-11-30              # when the sources were looked at
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args

from ..errors import BoardFileError
from .other_accelerators import OTHER_ACCELERATORS
from .profiles import PROFILES
from .records import Basis, BoardProfile, CpuCluster, Fact, ThermalLimit
from .systems import SYSTEMS

FILE_NAME = "boards.toml"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_ABSENT = "none"
_Record = TypeVar("_Record")


def parse(text: str, *, where: str) -> tuple[BoardProfile, ...]:
    """Return the boards of a file. where: its name, for messages. Raises BoardFileError: one line that says what and where."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BoardFileError(f"{where}: no TOML that can be read ({error})") from error
    return tuple(_board(name, table, where) for name, table in data.items())


def _board(name: str, table: object, where: str) -> BoardProfile:
    where = f"{where}: [{name}]"
    if not isinstance(table, dict):
        raise BoardFileError(
            f"{where}: expected a table for each board, such as [my-board] with title, source and facts below it"
        )
    if not _NAME.fullmatch(name):
        raise BoardFileError(f"{where}: no name for a board; expected small letters, digits and hyphens, such as nanopi-m4")
    if name in {profile.name for profile in PROFILES} | {profile.name for profile in OTHER_ACCELERATORS}:
        raise BoardFileError(f"{where}: edgekit has a profile of that name; choose another")
    known = {field.name for field in dataclasses.fields(BoardProfile)} - {"name"} | {"source", "checked"}
    unknown = sorted(set(table) - known)
    if unknown:
        raise BoardFileError(f"{where}: {unknown[0]!r} is no fact of a board; known: {', '.join(sorted(known))}")
    title, source, unreachable = (_optional(table, key, where) for key in ("title", "source", "unreachable"))
    if title is None:
        raise BoardFileError(f'{where}: a board needs a title, such as title = "FriendlyElec NanoPi M4"')
    day = _day(table, where)
    facts = {key: _fact(key, convert, table.get(key), source, day, where) for key, convert in _FACTS.items()}
    return BoardProfile(name=name, title=title, unreachable=unreachable, **facts)


def _fact(
    key: str, convert: Callable[[Any], Any], given: object, source: str | None, day: str | None, where: str
) -> Fact[Any] | None:
    if given is None:
        return None
    own: Mapping[str, Any] = given if isinstance(given, dict) and "value" in given else {"value": given}
    extra = sorted(set(own) - {"value", "source", "basis", "checked"})
    source, basis = own.get("source", source), own.get("basis", "verified")
    if extra or basis not in get_args(Basis):
        raise BoardFileError(
            f'{where}: {key}: expected value, source and basis = "verified", "derived" or "unopened", got {extra or basis!r}'
        )
    if not isinstance(source, str) or not source.strip():
        raise BoardFileError(f"{where}: {key} has no source: say where it is from, for the board (source = …) or for this fact")
    try:
        return Fact(value=convert(own["value"]), basis=basis, source=source, checked=_day(own, f"{where}: {key}") or day)
    except (TypeError, ValueError) as error:
        raise BoardFileError(f"{where}: {key}: {error}, got {own['value']!r}") from error


def _day(table: Mapping[str, Any], where: str) -> str | None:
    """Return the day in ``checked``: a date of TOML, or a text like one."""
    given = table.get("checked")
    if given is None:
        return None
    try:
        return dt.date.fromisoformat(str(given)).isoformat()
    except ValueError:
        raise BoardFileError(f"{where}: checked: expected a day such as 2026-11-30, got {given!r}") from None


def _optional(table: Mapping[str, Any], key: str, where: str) -> str | None:
    value = table.get(key)
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise BoardFileError(f"{where}: {key}: expected a text, got {value!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TypeError("expected a text")
    return value


def _text_or_none(value: Any) -> str | None:
    text = _text(value)
    return None if text == _ABSENT else text


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("expected true or false")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise TypeError("expected a whole number above 0")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(item) for item in _list(value))


def _names(value: Any) -> tuple[str, ...]:
    return (_text(value),) if isinstance(value, str) else _texts(value)


def _sizes(value: Any) -> tuple[int, ...]:
    found = tuple(_whole(item) for item in _list(value))
    if list(found) != sorted(set(found)):
        raise ValueError("expected the sizes from the smallest to the largest")
    return found


def _clusters(value: Any) -> tuple[CpuCluster, ...]:
    kinds = {"core": _text, "count": _whole, "clock_mhz": _whole, "boost_mhz": _whole}
    return tuple(_record(CpuCluster, item, kinds, ("core", "count")) for item in _list(value))


def _limits(value: Any) -> tuple[ThermalLimit, ...]:
    return tuple(
        _record(ThermalLimit, item, {"celsius": _degrees, "effect": _text}, ("celsius", "effect")) for item in _list(value)
    )


def _degrees(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError("expected degrees Celsius")
    return float(value)


def _systems(value: Any) -> tuple[str, ...]:
    found, known = _texts(value), [system.name for system in SYSTEMS]
    if set(found) - set(known):
        raise ValueError(f"expected some of {', '.join(known)}")
    return found


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise TypeError("expected a list with something in it")
    return value


def _record(
    kind: Callable[..., _Record], value: Any, kinds: Mapping[str, Callable[[Any], Any]], needed: tuple[str, ...]
) -> _Record:
    if not isinstance(value, dict) or set(value) - set(kinds) or set(needed) - set(value):
        raise TypeError(f"expected tables of {', '.join(kinds)} (needed: {', '.join(needed)})")
    return kind(**{name: convert(value[name]) if name in value else None for name, convert in kinds.items()})


_FACTS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("soc", "arch", "caches", "memory_type", "usb", "end_of_life"), _text),
    **dict.fromkeys(("pcie", "edgetpu"), _text_or_none),
    **dict.fromkeys(("dot_product", "fp16_arithmetic"), _flag),
    **dict.fromkeys(("memcpy_mb_s", "memset_mb_s"), _whole),
    "cpu": _clusters,
    "memory_mib": _sizes,
    "thermal": _limits,
    "health": _texts,
    "device_tree": _names,
    "systems": _systems,
}
