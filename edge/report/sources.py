"""Where a report's runs come from: numbers in the history, JSON files, folders of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ..errors import UsageError
from ..history.record import Run, parse
from ..history.store import RunStore, StoreError, iso
from ..system import memory

_MOST_BYTES = 256 << 20  # of one JSON file, which takes some twenty times as much when it is read
_MEMORY_SHARE = 32
_NUMBERS = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")


def collect(words: Sequence[str], store: RunStore) -> tuple[list[Run], list[str]]:
    """Return the runs that ``words`` name, the oldest first, and why files were left out.

    A word is a run's number, a range of them (``12-17``), a JSON file, or a folder. Raises UsageError for a word that is nothing of
    it, and StoreError.
    """
    runs: list[Run] = []
    skipped: list[str] = []
    for word in words:
        numbers = _NUMBERS.fullmatch(word)
        if numbers and not _exists(word):
            found, reasons = _numbered(store, int(numbers[1]), int(numbers[2] or numbers[1]))
            runs += found
            skipped += reasons
        else:
            found, reasons = read_place(word)
            runs += found
            skipped += reasons
    if not runs:
        raise UsageError(f"{', '.join(words)}: no run of a command in there; give numbers of edgekit runs, JSON files or folders")
    return sorted(runs, key=lambda run: run.time), skipped


def _numbered(store: RunStore, first: int, last: int) -> tuple[list[Run], list[str]]:
    """Return the runs from ``first`` to ``last``. One that is named alone must be there; in a range some may have been set aside."""
    if first == last:
        return [store.get(first)], []
    runs: list[Run] = []
    skipped: list[str] = []
    for number in store.numbers(first, last):
        try:
            runs.append(store.get(number))
        except StoreError as error:
            skipped.append(str(error))
    return runs, skipped


def read_place(place: str) -> tuple[list[Run], list[str]]:
    """Return the runs in a JSON file, or in a folder's (not in sub-folders), and why files were left out."""
    path = Path(place)
    if not _exists(place):
        raise UsageError(f"{place:.200}: no such file or folder, and no number of a run; edgekit runs lists them")
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    runs: list[Run] = []
    skipped: list[str] = []
    for file in files:
        try:
            found = _read(file)
        except (
            OSError,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            ArithmeticError,
        ) as error:  # of any other type or shape
            skipped.append(f"{file}: {' '.join(str(error).split())}")
            continue
        runs += found
        if not found:
            skipped.append(f"{file}: not the answer of a command that a report shows")
    return runs, skipped


def _exists(place: str) -> bool:
    try:
        return Path(place).exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _read(file: Path) -> tuple[Run, ...]:
    status = file.stat()
    if status.st_size > min(_MOST_BYTES, memory.total_bytes() // _MEMORY_SHARE):
        raise ValueError(f"{status.st_size} bytes are more than any answer has")
    time = iso(datetime.fromtimestamp(status.st_mtime, UTC))
    return parse(file.read_text(encoding="utf-8"), time=time, source=str(file))
