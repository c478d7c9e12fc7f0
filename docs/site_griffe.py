"""Griffe extension: what docstrings say of parameters in a paragraph becomes a list on the API pages.

The code says ``threads: default all cores. kernels: optimized or reference.`` in one paragraph; a page has room for lines.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ENTRY = re.compile(r"(?:^|(?<=[.;)] ))(\w+(?:, \w+)*): ")


class ParametersAsList(griffe.Extension):
    """Rewrites the docstrings of functions while they are collected; the code stays as it is."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        if func.docstring is not None:
            names = {parameter.name for parameter in func.parameters}
            paragraphs = func.docstring.value.split("\n\n")
            func.docstring.value = "\n\n".join(as_list(paragraph, names) for paragraph in paragraphs)


def as_list(paragraph: str, names: set[str]) -> str:
    """Return ``paragraph`` as a list if it begins with one of ``names`` and a colon, else as it is."""
    text = " ".join(paragraph.split())
    entries = [found for found in _ENTRY.finditer(text) if set(found[1].split(", ")) <= names]
    if not entries or entries[0].start() != 0:
        return paragraph
    ends = [*(entry.start() for entry in entries[1:]), len(text)]
    lines = []
    for entry, end in zip(entries, ends, strict=True):
        written = ", ".join(f"`{name}`" for name in entry[1].split(", "))
        lines.append(f"- {written}: {text[entry.end() : end].strip()}")
    # What is said after the last parameter (mostly "Raises ...") is no longer about it.
    last, mark, rest = lines[-1].partition(" Raises ")
    return "\n".join([*lines[:-1], last, *(["", f"Raises {rest}"] if mark else [])])
