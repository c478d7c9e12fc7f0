"""Other class names for an artefact: a new file around the same network, byte for byte the same weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..artefact import labels as class_labels
from ..artefact.container import Container, pack
from ..artefact.contract import Contract, OutputSpec
from ..errors import UsageError
from .classify import class_count


def relabel(container: Container, labels: Sequence[str], *, output: str | None = None) -> bytes:
    """Return the artefact in ``container`` with ``labels`` as the names of its classes.

    labels: one per class, in the order of the classes; the name of a background class may be left out. output: which output's
    classes, where there are several. What the contract says of the network's origin, its ranges and golden samples stays, as they
    are the network's.

    Raises UsageError for a file without a contract or an output that is not there or names no classes, ContractError where the
    number of names does not fit.
    """
    contract = container.contract
    where = str(container.path)
    if contract is None:
        raise UsageError(
            f"{where}: no artefact of edgekit; for a file of somebody else's, edgekit classify and validate take --labels"
        )
    spec = _output(contract, output, where=where)
    main = container.graph.main
    classes = class_count(spec, main.tensors[main.outputs[contract.outputs.index(spec)]].elements)
    names = class_labels.fit(labels, classes, spec.background_index, where=where)
    changed = dataclasses.replace(spec, labels=names)
    outputs = tuple(changed if one is spec else one for one in contract.outputs)
    return pack(container.flatbuffer(), contract.replace(outputs=outputs))


def _output(contract: Contract, name: str | None, *, where: str) -> OutputSpec:
    named = [spec for spec in contract.outputs if spec.is_classes or spec.kind == "multilabel"]
    known = ", ".join(spec.name for spec in named)
    if not named:
        raise UsageError(f"{where}: none of its outputs names classes, so there is nothing to label")
    if name is None:
        if len(named) > 1:
            raise UsageError(f"{where}: several of its outputs name classes ({known}); say which with --output")
        return named[0]
    found = next((spec for spec in named if spec.name == name), None)
    if found is None:
        raise UsageError(f"{where}: no output {name!r} that names classes; there are: {known}")
    return found
