"""Class names and the background class: 1001 answers, 1000 names, and which belongs to which.

Networks of TF-slim answer 1001 classes, of which class 0 means "background", where most lists of ImageNet's classes have 1000.
One line off, and every answer has the name of its neighbour. So the offset is never guessed: it follows from the number of lines
and from what the first of them says, or it is an error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .errors import ContractError

BACKGROUND = "background"

_MEANS_NOTHING = re.compile(r"\b(background|dummy|unused|none|nothing|unknown|other)\b|^[-_]+$|^$", re.IGNORECASE)


def fit(labels: Sequence[str], classes: int, background: int | None, *, where: str) -> tuple[str, ...]:
    """Return one name for each of ``classes``: ``labels`` as they are, or with a name for the background class put in.

    background: the index of that class in the network's output, None where it has none.
    Raises ContractError where the number of names does not fit, or the background's line has the name of a real class.
    """
    count = len(labels)
    if background is not None and not 0 <= background < classes:
        raise ContractError(f"{where}: background class {background}, expected 0 to {classes - 1} for {classes} classes")
    if background is None:
        if count == classes:
            return tuple(labels)
        extra = count == classes + 1 and _MEANS_NOTHING.search(labels[0]) is not None
        hint = "; its first line is a background class, which this network does not have: remove it" if extra else ""
        if count == classes - 1:
            hint = "; if class 0 of the network is a background class, say so with --background 0"
        raise ContractError(f"{where}: {count} labels for {classes} classes{hint}; expected one for each")
    if count == classes - 1:
        if background < count and _MEANS_NOTHING.search(labels[background]):
            raise ContractError(
                f"{where}: {count} labels, {labels[background]!r} among them, for {classes} classes of which class {background}"
                " is the background: one class has no name; expected one for each"
            )
        return (*labels[:background], BACKGROUND, *labels[background:])
    if count != classes:
        raise ContractError(
            f"{where}: {count} labels for {classes} classes; expected {classes}, or {classes - 1} without the background class"
        )
    if not _MEANS_NOTHING.search(labels[background]):
        raise ContractError(
            f"{where}: class {background} of the network is the background, and line {background + 1} of the labels is"
            f" {labels[background]!r}: the names are shifted, or the line should say {BACKGROUND!r}"
        )
    return tuple(labels)
