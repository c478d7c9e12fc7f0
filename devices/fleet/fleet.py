"""The same work on several boards at once: each has its own result or its own error, and one that fails stops no other."""

from __future__ import annotations

import contextlib
import queue
import threading
import tomllib
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from ..errors import DeviceError, TargetError, UnforeseenError
from ..transport.shell import Shell, one_line
from . import targets as target

_AT_ONCE = 8
_LOOK_S = 0.2
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardResult(Generic[Result]):
    """What became of one board: ``result``, or the ``error`` that stopped it."""

    target: str
    result: Result | None
    error: DeviceError | None


def on_each(
    targets: Sequence[str], work: Callable[[Shell], Result], *, config: Path | None = None
) -> tuple[BoardResult[Result], ...]:
    """Do ``work`` with the shell of every target, up to eight at a time; outcomes in the order of ``targets``.

    What nobody foresaw about one of several boards is its error (UnforeseenError), printed with its traceback. An interruption closes
    all connections and is passed on at once.
    """
    open_ones: list[Shell] = []

    def one(text: str) -> BoardResult[Result]:
        try:
            shell = target.open_shell(text, config=config)
            open_ones.append(shell)
            try:
                return BoardResult(target=text, result=work(shell), error=None)
            finally:
                open_ones.remove(shell)
                shell.close()
        except DeviceError as error:
            return BoardResult(target=text, result=None, error=error)

    if len(targets) == 1:
        return (one(targets[0]),)
    return _in_threads(targets, one, open_ones)


def _in_threads(
    targets: Sequence[str], one: Callable[[str], BoardResult[Result]], open_ones: list[Shell]
) -> tuple[BoardResult[Result], ...]:
    found: dict[str, BoardResult[Result]] = {}
    waiting = queue.SimpleQueue[str]()
    for text in targets:
        waiting.put(text)

    def work() -> None:
        for text in _taken(waiting):
            try:
                found[text] = one(text)
            except Exception as error:
                traceback.print_exc()
                said = UnforeseenError(f"{text}: a fault of edgekit ({type(error).__name__}: {one_line(str(error), 120)})")
                found[text] = BoardResult(target=text, result=None, error=said)

    # Threads of our own: those of concurrent.futures are waited for when the program ends, whatever was interrupted.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(_AT_ONCE, len(targets)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            # Not without end: Python hears of an interruption between two steps of this thread, and none would come.
            while thread.is_alive():
                thread.join(_LOOK_S)
    except BaseException:
        for _ in _taken(waiting):
            pass  # no thread begins with another board
        for shell in list(open_ones):
            shell.close()
        raise
    return tuple(found[text] for text in targets)


def _taken(waiting: queue.SimpleQueue[str]) -> Iterator[str]:
    """Take one after the other until nothing waits any more."""
    with contextlib.suppress(queue.Empty):
        while True:
            yield waiting.get_nowait()


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
