"""Hashing in the background, while other work (such as importing the interpreter) goes on."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from mmap import mmap

# Hashing slows an import on another core down (they share the memory; measured: two thirds of what it takes alone). In short pieces
# it waits for its turn while the importing thread has Python's lock, and disturbs less. A large file would not be done in time that
# way: then the hashing is what is waited for.
SHORT_BYTES = 64 << 20
PIECE_BYTES = 4 << 20


class BackgroundHash:
    """The SHA-256 of ``data`` up to each of ``ends`` (ascending offsets) and of all of it, in one pass.

    with BackgroundHash(data, (end,)) as hashing:
        ...                     # other work
    hashing.parts, hashing.whole
    """

    def __init__(self, data: bytes | mmap, ends: Sequence[int]) -> None:
        self.parts: tuple[str, ...] = ()
        self.whole = ""
        self._data, self._ends = data, ends
        self._thread = threading.Thread(target=self._run, name="edgekit-hash", daemon=True)

    def __enter__(self) -> BackgroundHash:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _run(self) -> None:
        digest = hashlib.sha256()
        found, begin = [], 0
        with memoryview(self._data) as view:
            step = PIECE_BYTES if len(view) <= SHORT_BYTES else len(view)
            for end in (*self._ends, len(view)):
                for at in range(begin, end, step):
                    with view[at : min(at + step, end)] as piece:
                        digest.update(piece)
                found.append(digest.hexdigest())
                begin = end
        *parts, self.whole = found
        self.parts = tuple(parts)
