"""A frame, and what any source of frames is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One picture of a source.

    index: counts from 0 in the source, with those that are broken. captured_at: seconds of ``time.monotonic()`` when the camera
    handed it over, or when the reading from disk began. pixels: uint8 ``(H, W, 3)`` RGB, or None if the frame is broken; ``error``
    then says why. name: the file's path, empty for videos and cameras.
    """

    index: int
    captured_at: float
    pixels: NDArray[np.uint8] | None = None
    error: str = ""
    name: str = ""


class FrameSource(Protocol):
    """Where frames come from. Each iteration starts anew and frees what it holds when it ends.

    name: for messages. live: frames come at their own time, whether somebody takes them or not. fps: frames per second, None if
    the source has none. stop: ends the iteration after the frame under way; any thread may call it.
    """

    @property
    def name(self) -> str: ...
    @property
    def live(self) -> bool: ...
    @property
    def fps(self) -> float | None: ...
    def __iter__(self) -> Iterator[Frame]: ...
    def stop(self) -> None: ...
