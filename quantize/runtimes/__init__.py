"""What an interpreter on the board can run: the highest version of each op that it registers, measured, as data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from ..errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge.artefact.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeTarget:
    """An interpreter release. ``highest_version`` maps op name (``CONV_2D``) to the highest op version it has a kernel for."""

    name: str
    runtime: str
    highest_version: Mapping[str, int]

    def refusals(self, graph: Graph) -> tuple[str, ...]:
        """What of ``graph`` this interpreter would refuse to load, one phrase for each op type; empty if nothing."""
        found = {}
        for op in graph.ops:
            highest = self.highest_version.get(op.name)
            if highest is None:
                found[op.name] = f"{op.name} (no kernel)"
            elif op.version > highest:
                found[op.name] = f"{op.name} version {op.version} (it has up to {highest})"
        return tuple(found[name] for name in sorted(found))


def names() -> tuple[str, ...]:
    """The runtimes that can be targeted."""
    files = resources.files(__package__).iterdir()
    return tuple(sorted(file.name.removesuffix(".json") for file in files if file.name.endswith(".json")))


def get(name: str) -> RuntimeTarget:
    """Return the target called ``name``; raises ConversionError listing the known ones."""
    if name not in names():
        raise ConversionError(f"runtime {name!r} is not known, expected one of {', '.join(names())}")
    data = json.loads(resources.files(__package__).joinpath(f"{name}.json").read_text())
    return RuntimeTarget(name=name, runtime=data["runtime"], highest_version=data["highest_version"])
