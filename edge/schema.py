"""Schemas of plain data (JSON): made of a few functions, checked here, and JSON Schema as they are.

    POINT = record(x=number(), y=number(), name=optional(text()))
    problem({"x": 1, "y": "2"}, POINT)        # "y is '2', expected a number"

A schema is a dict of the subset of JSON Schema (2020-12) that these functions make, so that one definition is read by this module
and published for others; other keywords in it are for those others, and are not looked at here. `problem` also refuses, anywhere,
what is valid JSON and no value that a program can go on with: numbers that are not finite or take more than 64 bits, text that
cannot be encoded, and nesting without end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"

_DEEPEST = 64
_MOST_BITS = 63
_SHOWN = 40  # characters of a wrong value in a message
_WORDS = {
    "object": "an object",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


def number(
    low: float | None = None, high: float | None = None, *, above: float | None = None, below: float | None = None
) -> Schema:
    """A finite number, from ``low`` to ``high``, more than ``above`` and less than ``below``."""
    bounds = {"minimum": low, "exclusiveMinimum": above, "maximum": high, "exclusiveMaximum": below}
    return {"type": "number", **{key: bound for key, bound in bounds.items() if bound is not None}}


def whole(low: int | None = None, high: int | None = None) -> Schema:
    """A whole number, from ``low`` to ``high``."""
    return {**number(low, high), "type": "integer"}


def text(longest: int | None = None) -> Schema:
    """Text, of at most ``longest`` characters."""
    return {"type": "string"} if longest is None else {"type": "string", "maxLength": longest}


def flag() -> Schema:
    """True or false."""
    return {"type": "boolean"}


def choice(*values: str) -> Schema:
    """One of these texts."""
    return {"enum": list(values)}


def optional(schema: Schema) -> Schema:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def either(*schemas: Schema) -> Schema:
    """What one of the schemas takes."""
    return {"anyOf": list(schemas)}


def items(schema: Schema, least: int = 0) -> Schema:
    """A list of ``least`` such values or more."""
    return {"type": "array", "items": schema, **({"minItems": least} if least else {})}


def row(*schemas: Schema) -> Schema:
    """A list of exactly these values."""
    return {"type": "array", "prefixItems": list(schemas), "items": False, "minItems": len(schemas)}


def mapping(schema: Schema) -> Schema:
    """An object with any keys."""
    return {"type": "object", "additionalProperties": schema}


def anything() -> Schema:
    """Any plain data."""
    return {}


def record(may: Mapping[str, Schema] | None = None, /, **must: Schema) -> Schema:
    """An object with the keys ``must``, and perhaps those of ``may``; others are not looked at."""
    return {"type": "object", "properties": {**must, **(may or {})}, "required": list(must)}


def only(schema: Schema) -> Schema:
    """The same record with no other keys."""
    return {**schema, "additionalProperties": False}


def described(schema: Schema, words: str) -> Schema:
    """The same, with a description for those who read the JSON Schema."""
    return {**schema, "description": words}


def problem(value: Any, schema: Schema, where: str = "") -> str | None:
    """Return what is wrong with ``value`` in words, with the place, or None. ``where``: what it is called itself."""
    return _unusable(value, where, 0) or differs(value, schema, where)


def differs(value: Any, schema: Schema, where: str) -> str | None:
    """Return the same as `problem` for a value of `devices.jsontext.loads`, which refuses what no schema can allow."""
    if "anyOf" in schema:
        found = [differs(value, alternative, where) for alternative in schema["anyOf"]]
        return None if None in found else found[0]
    if "enum" in schema:
        fits = isinstance(value, str) and value in schema["enum"]
        return None if fits else _expected(value, where, f"one of {', '.join(schema['enum'])}")
    kind = schema.get("type")
    if kind is None:
        return None
    if not _is_a(value, kind):
        return _expected(value, where, _WORDS[kind])
    if kind in ("number", "integer"):
        return _out_of_bounds(value, schema, where)
    if kind == "string":
        longest = schema.get("maxLength")
        return None if longest is None or len(value) <= longest else f"{_name(where)} has more than {longest} characters"
    if kind == "array":
        return _list_differs(value, schema, where)
    if kind == "object":
        return _object_differs(value, schema, where)
    return None


def plain(value: Any) -> Any:
    """Return ``value`` so that `problem` finds nothing unusable in it, and JSON can hold it.

    Numbers that are not finite become null, half characters (of file names that are no text) their escape sequence.
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _unusable(value: Any, where: str, depth: int) -> str | None:
    """Return what no schema can allow."""
    if isinstance(value, str):
        return None if value.isascii() or _can_be_encoded(value) else f"{_name(where)} holds half a character (a lone surrogate)"
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if value.bit_length() <= _MOST_BITS else f"{_name(where)} is a number of {value.bit_length()} bits"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{_name(where)} is {value}, expected a finite number"
    if depth >= _DEEPEST:
        return f"{_name(where)} is nested more than {_DEEPEST} deep"
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str) or not _can_be_encoded(key):
                return f"{_name(where)} has a key that is no text"
            if (found := _unusable(item, _inside(where, key), depth + 1)) is not None:
                return found
        return None
    if isinstance(value, list | tuple):
        return _first(_unusable(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value))
    return f"{_name(where)} is {type(value).__name__}, expected plain data"


def _out_of_bounds(value: float, schema: Schema, where: str) -> str | None:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and value < low:
        return _expected(value, where, f"at least {low}")
    if high is not None and value > high:
        return _expected(value, where, f"at most {high}")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if above is not None and value <= above:
        return _expected(value, where, f"more than {above}")
    if below is not None and value >= below:
        return _expected(value, where, f"less than {below}")
    return None


def _list_differs(value: Sequence[Any], schema: Schema, where: str) -> str | None:
    least, fixed = schema.get("minItems", 0), schema.get("prefixItems")
    if fixed is not None and len(value) != len(fixed):
        return f"{_name(where)} has {len(value)} entries, expected {len(fixed)}"
    if len(value) < least:
        return f"{_name(where)} has {len(value)} entries, expected at least {least}"
    kinds = fixed if fixed is not None else [schema["items"]] * len(value)
    return _first(differs(item, kind, f"{where}[{i}]") for i, (item, kind) in enumerate(zip(value, kinds, strict=True)))


def _object_differs(value: Mapping[str, Any], schema: Schema, where: str) -> str | None:
    named, rest = schema.get("properties", {}), schema.get("additionalProperties")
    if rest is False and (unknown := next((key for key in value if key not in named), None)) is not None:
        return f"{_name(where)} has the unknown key {_key(unknown)}, expected only the keys {', '.join(named)}"
    for key in schema.get("required", ()):
        if key not in value:
            return f"{_name(where)} lacks {key}"
    for key, kind in named.items():
        if key in value and (found := differs(value[key], kind, _inside(where, key))) is not None:
            return found
    if not rest:
        return None
    return _first(differs(item, rest, _inside(where, key)) for key, item in value.items())


def _is_a(value: Any, kind: str) -> bool:
    if kind == "null":
        return value is None
    if isinstance(value, bool):
        return kind == "boolean"
    python = {"object": Mapping, "array": list | tuple, "string": str, "integer": int, "number": int | float, "boolean": bool}
    return isinstance(value, python[kind])


def _can_be_encoded(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _expected(value: Any, where: str, expected: str) -> str:
    if isinstance(value, Mapping):
        said = "an object"
    elif isinstance(value, list | tuple):
        said = "a list"
    else:
        said = "null" if value is None else repr(value)
    return f"{_name(where)} is {said if len(said) <= _SHOWN else said[:_SHOWN] + '...'}, expected {expected}"


def _first(found: Any) -> str | None:
    return next((problem for problem in found if problem is not None), None)


def _inside(where: str, key: str) -> str:
    return f"{where}.{_key(key)}" if where else _key(key)


def _key(key: str) -> str:
    return key if key.isidentifier() and len(key) <= _SHOWN else repr(key)[: _SHOWN + 2]


def _name(where: str) -> str:
    return where or "it"
