"""Hashing in the background, while other work (such as importing the interpreter) goes on."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from mmap import mmap


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
            # Few long calls: between two of them this thread would wait for the busy main thread to hand over.
            for end in (*self._ends, len(view)):
                with view[begin:end] as piece:
                    digest.update(piece)
                found.append(digest.hexdigest())
                begin = end
        *parts, self.whole = found
        self.parts = tuple(parts)
