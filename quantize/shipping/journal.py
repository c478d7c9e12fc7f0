"""What is done already: ``ship.json`` in the folder of the results, written anew after each step, beside and renamed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from devices import jsontext
from edge.files import atomic_write_text

from .prints import GONE, Prints
from .steps import Step

FILE = "ship.json"
_DOCUMENT = "edgekit_ship"


class Journal:
    """By the step's name: its key, its line, exit code, seconds, when it ended, and the SHA-256 of each file that it made."""

    def __init__(self, folder: Path, prints: Prints) -> None:
        self._path, self._prints = folder / FILE, prints
        self._steps: dict[str, dict[str, Any]] = self._read()

    def _read(self) -> dict[str, dict[str, Any]]:
        """Return what was written. Anything else there is no memory of ours: then nothing is done yet."""
        try:
            plain = jsontext.loads(self._path.read_bytes(), mend=True)
        except (OSError, ValueError):
            return {}
        steps = plain.get("steps") if isinstance(plain, dict) and plain.get(_DOCUMENT) == 1 else None
        found = steps if isinstance(steps, dict) else {}
        return {str(name): entry for name, entry in found.items() if isinstance(entry, dict)}

    def seconds(self, step: str) -> float | None:
        """Return how long a step took when it was done last."""
        found = self._steps.get(step, {}).get("seconds")
        return float(found) if isinstance(found, int | float) else None

    def holds(self, step: Step, key: str) -> Mapping[str, Any] | None:
        """Return the entry of a step that need not be done again: same key, and all that it made is there as it was made."""
        return None if step.always else self._answered(step, key)

    def was_asked(self, step: Step, key: str) -> bool:
        """Whether a step's last answer is there, also of one that is done each time."""
        return self._answered(step, key) is not None

    def _answered(self, step: Step, key: str) -> Mapping[str, Any] | None:
        entry = self._steps.get(step.name, {})
        outputs = entry.get("outputs")
        if entry.get("key") != key or entry.get("exit_code") not in step.fine or not isinstance(outputs, dict):
            return None
        if step.answer not in outputs or any(self._prints.file(path) != made for path, made in outputs.items()):
            return None
        return entry

    def was_begun(self, step: Step, key: str) -> bool:
        """Whether this very step was begun and did not come to its end."""
        entry = self._steps.get(step.name, {})
        return entry.get("key") == key and "exit_code" not in entry

    def begin(self, step: Step, key: str) -> None:
        """Remember that a step is under way."""
        self._steps[step.name] = {"key": key, "line": step.line, "begun": _now()}
        self._write()

    def end(self, step: Step, key: str, exit_code: int, seconds: float, made: tuple[str, ...]) -> None:
        """Remember what a step came to."""
        self._steps[step.name] = {
            "key": key,
            "line": step.line,
            "exit_code": exit_code,
            "seconds": round(seconds, 1),
            "ended": _now(),
            "outputs": {path: found for path in made if (found := self._prints.file(path)) != GONE},
        }
        self._write()

    def _write(self) -> None:
        atomic_write_text(self._path, json.dumps({_DOCUMENT: 1, "steps": self._steps}, indent=1) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
