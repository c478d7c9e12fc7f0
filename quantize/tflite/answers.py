"""What a network answers to one image: its outputs by name. Nothing in this package finds an output by its position.

The converter orders a file's outputs by name, quantizers keep that order, finished artefacts have the contract's: between two files of
one network only names agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edge.artefact.contract import Contract
from edge.artefact.graph import Graph

from ..errors import ConversionError


class Answer(Mapping[str, NDArray[np.float32]]):
    """Outputs by name, real values without batch axis; it cannot be changed.

    Answer({"zoom": a, "kind": b}).in_order(["kind", "zoom"])    # (b, a)
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, NDArray[np.float32]]) -> None:
        self._values = MappingProxyType(dict(values))

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Answer({', '.join(f'{name}: {value.shape}' for name, value in self._values.items())})"

    def in_order(self, names: Iterable[str]) -> tuple[NDArray[np.float32], ...]:
        """Return the outputs in the order of ``names``, for example a contract's."""
        return tuple(self._values[name] for name in names)


def output_names(model: Graph) -> tuple[str, ...]:
    """Return the names of the file's outputs in the file's order: the signature's, or without one those of the tensors.

    Raises ConversionError where a signature names other tensors than the file's outputs: what they are would be a guess.
    """
    if not model.signatures:
        return tuple(model.tensors[index].name for index in model.main.outputs)
    names = {index: name for name, index in model.signatures[0].outputs.items()}
    if set(names) != set(model.main.outputs) or len(names) != len(model.signatures[0].outputs):
        raise ConversionError(
            f"the file's signature names the outputs {sorted(model.signatures[0].outputs)}, which are not the {len(model.main.outputs)}"
            " outputs that it has; convert the network anew"
        )
    return tuple(names[index] for index in model.main.outputs)


def check_names(model: Graph, contract: Contract, where: str) -> None:
    """Raise ConversionError unless the file's outputs have the names that its contract gives them."""
    found, said = sorted(output_names(model)), sorted(output.name for output in contract.outputs)
    if found != said:
        raise ConversionError(
            f"{where}: its outputs are called {found}, its contract says {said}; make it again with edgekit quantize"
        )
