"""Class names: the files that hold them, and the background class: 1001 answers, 1000 names, and which belongs to which.

Label files number their classes or not: ``cat``, ``0 cat``, ``0  person``, ``1: dog``. A number in front is the class that the name
belongs to, whatever the order of the lines, and no part of the name.

Networks of TF-slim answer 1001 classes, of which class 0 means "background", where most lists of ImageNet's classes have 1000.
One line off, and every answer has the name of its neighbour. So the offset is never guessed: it follows from the number of lines
and from what the first of them says, or it is an error.
"""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from ..errors import ContractError

_MOST_BYTES = 4 << 20  # a hundred thousand names of forty letters

BACKGROUND = "background"

_MEANS_NOTHING = re.compile(r"\b(background|dummy|unused|unnamed|none|nothing|unknown|other)\b|^[-_?]+$|^$", re.IGNORECASE)
_UNNAMED = "unnamed class "  # what a class is called that a numbered file leaves out
_NUMBERED = re.compile(r"(\d{1,6})(?:\s*[:,;=)]\s*|\.\s+|\s+-\s+|\s+)(\S.*)")
_NUMBER_LAST = re.compile(r".*\S(?:\s*[:,;=]\s*|\s+)(\d{1,6})")
_BYTE_ORDER = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read(path: Path) -> tuple[str, ...]:
    """Return the class names of a label file, in the order of the classes. Raises ContractError (see `parse`)."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ContractError(f"{path}: the labels cannot be read ({error}); expected UTF-8 text, one class name a line") from error
    return parse(data, where=str(path))


def parse(data: bytes, *, where: str) -> tuple[str, ...]:
    """Return the class names in the bytes of a label file, in the order of the classes, in Unicode's composed form (NFC).

    One name a line, with any line ends and with or without a byte order mark. Where every line begins with a number, and these are
    class numbers (distinct, from 0 or 1, at least half of them there), the names are put at their numbers, and classes without a
    line are called unnamed. Empty lines at the end, and among numbered lines, are none. JSON is read as the lines that say the same.

    Raises ContractError for what is no text, and where the order is in doubt: a number twice, lines with and without a number,
    numbers behind the names in another order than the lines.
    """
    try:
        text = data.decode(next((name for mark, name in _BYTE_ORDER.items() if data.startswith(mark)), "utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ContractError(
            f"{where}: the labels cannot be read ({error}); expected UTF-8 text, one class name a line"
        ) from error
    if len(data) > _MOST_BYTES:
        raise ContractError(
            f"{where}: the labels have {len(data)} bytes, expected one class name a line, {_MOST_BYTES >> 20} MiB at most"
        )
    text = _listed(text, where=where)
    lines = [unicodedata.normalize("NFC", line.strip()) for line in re.split(r"\r\n|\r|\n", text.rstrip())]
    written = [(i, line) for i, line in enumerate(lines, 1) if line]
    numbered = [(i, int(found[1]), found[2]) for i, line in written if (found := _NUMBERED.fullmatch(line))]
    if not _are_classes([number for _, number, _ in numbered], len(written)):
        _check_order_behind(lines, where=where)
        return tuple(lines)
    if len(numbered) < len(written):
        bare = next(i for i, line in written if not _NUMBERED.fullmatch(line))
        raise ContractError(
            f"{where}: line {bare} ({lines[bare - 1]!r}) has no class number in front, and {len(numbered)} other lines have one;"
            " number all lines from 0, or none (a name that begins with a number needs one, such as '0 1 euro')"
        )
    names: dict[int, str] = {}
    for i, number, name in numbered:
        if number in names:
            raise ContractError(
                f"{where}: line {i} ({lines[i - 1]!r}) has the number of class {names[number]!r}; number each once"
            )
        names[number] = name
    return tuple(names.get(number, f"{_UNNAMED}{number}") for number in range(max(names) + 1))


def _listed(text: str, *, where: str) -> str:
    """Return JSON as the lines that say the same: names, ``{"0": name}`` or ``{name: 0}``; other text as it is.

    A list in the place of a name (``["n01440764", "tench"]``, as Keras' imagenet_class_index.json has it) is called as its last item.
    Raises ContractError for text that is written as data and holds no such names.
    """
    if not re.match(r"\s*(?:\{|\[\s*[\"\[]|item\s*\{)", text):
        return text
    try:
        held = json.loads(text)
        pairs = held.items() if isinstance(held, dict) else [("", item) for item in held]
        lines = [f"{name} {_plain(key)}" if type(name) is int else f"{key} {_plain(name)}".strip() for key, name in pairs]
    except (ValueError, TypeError, RecursionError) as error:
        raise ContractError(
            f"{where}: is written as data (it begins with {text.strip()[:12]!r}) and holds no names that can be read from it; expected"
            " one class name a line, a JSON list of names, or a JSON object of names and their class numbers"
        ) from error
    return "\n".join(lines)


def _plain(name: object) -> str:
    """Return a name in one line. Raises TypeError for what is none."""
    last = name[-1] if isinstance(name, list) and name else name
    if not isinstance(last, str):
        raise TypeError(f"{last!r} is no name")
    return " ".join(last.split())


def has_gaps(labels: Sequence[str]) -> bool:
    """Whether these names come from a numbered file that leaves classes out."""
    return any(label.startswith(_UNNAMED) for label in labels)


def _are_classes(numbers: Sequence[int], lines: int) -> bool:
    """Whether the numbers in front of most of so many lines count classes, rather than belonging to the names ("5 euro")."""
    different = set(numbers)
    return bool(different) and min(different) <= 1 and 2 * len(numbers) >= lines and 2 * len(different) > max(different)


def _check_order_behind(lines: Sequence[str], *, where: str) -> None:
    """Raise ContractError where every line ends in a number, these count the lines, and in another order."""
    found = [_NUMBER_LAST.fullmatch(line) for line in lines]
    numbers = [int(match[1]) for match in found if match]
    if len(numbers) == len(lines) and numbers != sorted(numbers) and sorted(numbers) == list(range(len(lines))):
        raise ContractError(
            f"{where}: its lines end in the numbers 0 to {len(lines) - 1} in another order than they stand in; write the class"
            " number in front ('0 cat'), or the lines in the order of the classes without numbers"
        )


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
        unnamed = [label for label in labels if label.startswith(_UNNAMED)]
        if unnamed == [f"{_UNNAMED}0"] and count == classes + 1:
            hint = "; its lines are numbered from 1: number them from 0"
        elif unnamed:
            hint = (
                f"; its lines begin with class numbers, of which {len(unnamed)} are missing (a name that begins with a number needs a"
                " class number in front of it, such as '0 1 euro')"
            )
        elif count == classes - 1:
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
