"""The same work on several boards at once: each has its own result or its own error, and one that fails stops no other."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from . import target
from .errors import DeviceError, TargetError
from .shell import Shell

_AT_ONCE = 8
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[Result]):
    """What became of one board: ``result``, or the ``error`` that stopped it."""

    target: str
    result: Result | None
    error: DeviceError | None


def on_each(
    targets: Sequence[str], work: Callable[[Shell], Result], *, config: Path | None = None
) -> tuple[Outcome[Result], ...]:
    """Do ``work`` with the shell of every target, up to eight at a time; outcomes in the order of ``targets``."""

    def one(text: str) -> Outcome[Result]:
        try:
            shell = target.open_shell(text, config=config)
            try:
                return Outcome(target=text, result=work(shell), error=None)
            finally:
                shell.close()
        except DeviceError as error:
            return Outcome(target=text, result=None, error=error)

    if len(targets) == 1:
        return (one(targets[0]),)
    with ThreadPoolExecutor(min(_AT_ONCE, len(targets))) as pool:
        return tuple(pool.map(one, targets))


def expand(words: Sequence[str]) -> tuple[str, ...]:
    """Return the targets that ``words`` name: targets, or TOML inventories (``@FILE``) with a list ``targets``. Raises TargetError."""
    found: list[str] = []
    for word in words:
        found += _inventory(Path(word[1:])) if word.startswith("@") else [word]
    for text in found:
        target.parse(text)  # all mistakes come before any work
    doubles = sorted({text for text in found if found.count(text) > 1})
    if doubles:
        raise TargetError(f"{', '.join(doubles)}: named twice; a board is worked on once")
    return tuple(found)


def _inventory(path: Path) -> list[str]:
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TargetError(
            f'{path}: no inventory that can be read ({error}); expected TOML with targets = ["pi@kitchen", ...]'
        ) from error
    targets = data.get("targets")
    if not isinstance(targets, list) or not targets or not all(isinstance(item, str) for item in targets):
        raise TargetError(f'{path}: expected a list of texts called targets, such as targets = ["pi@kitchen", "pi@garden"]')
    return [str(item) for item in targets]
