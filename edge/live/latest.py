"""The newest frame of a live source, and never a queue: what comes while the model is busy replaces what waits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from types import TracebackType

from ..errors import UsageError
from .frame import Frame, FrameSource

MAX_WINDOW = 256  # frames held for models that see several at once

_CLOSE_S = 5.0  # a camera may be inside a read that takes its time to give up


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureCounts:
    """What became of the frames: ``captured`` is all of them, ``dropped`` are whole ones that a newer one replaced untaken."""

    captured: int
    broken: int
    dropped: int
    taken: int

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


class LatestFrames:
    """Reads a source in a thread of its own and keeps the newest frames.

        with LatestFrames(camera) as latest:
            while (frames := latest.take()) is not None:
                model.predict(frames[-1].pixels)

    window: how many frames `take` returns: the newest ones in a row as they were captured, also where the frames between two
    takes were dropped. Broken frames are counted and left out; they never replace a whole one. The source belongs to the thread,
    which ends, and frees the camera, when the source ends or `close` is called.
    """

    def __init__(self, source: FrameSource, *, window: int = 1) -> None:
        if not 1 <= window <= MAX_WINDOW:
            raise UsageError(f"a window of {window} frames, expected 1 to {MAX_WINDOW}")
        self._source = source
        self._frames: deque[Frame] = deque(maxlen=window)
        self._changed = threading.Condition()
        self._fresh = self._ended = self._closing = False
        self._error: BaseException | None = None
        self._captured = self._broken = self._dropped = self._taken = 0
        self._thread = threading.Thread(target=self._capture, name=f"capture {source.name}", daemon=True)

    def __enter__(self) -> LatestFrames:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def take(self, timeout_s: float | None = None) -> tuple[Frame, ...] | None:
        """Wait for a frame that was not taken yet; return the newest ``window`` frames, the oldest first.

        As long as fewer have come, the first one stands for those before it. None: the source has ended. Raises TimeoutError
        after ``timeout_s`` seconds without a new frame (None: waits for ever), and what the source raised, if it failed.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._fresh or self._ended, timeout_s):
                raise TimeoutError(f"{self._source.name}: no frame for {timeout_s} s")
            if self._fresh:
                self._fresh = False
                self._taken += 1
                return _filled(self._frames)
            if self._error is not None:
                raise self._error
            return None

    @property
    def counts(self) -> CaptureCounts:
        with self._changed:
            return CaptureCounts(captured=self._captured, broken=self._broken, dropped=self._dropped, taken=self._taken)

    def close(self) -> None:
        """Stop the source and wait for its thread, at most some seconds. `take` then returns None."""
        with self._changed:
            self._closing = True
            self._fresh = False
        self._source.stop()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_S)

    def _capture(self) -> None:
        try:
            for frame in self._source:
                if not self._keep(frame):
                    return
        except Exception as error:  # noqa: BLE001 - raised again where the frames are taken
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _keep(self, frame: Frame) -> bool:
        with self._changed:
            if self._closing:
                return False
            self._captured += 1
            if frame.pixels is None:
                self._broken += 1
                return True
            self._dropped += self._fresh
            self._frames.append(frame)
            self._fresh = True
            self._changed.notify_all()
            return True


def every(source: FrameSource, *, window: int = 1) -> Iterator[tuple[Frame, ...]]:
    """Yield every frame of a source that is not live, with those before it as `LatestFrames.take` gives them.

    A broken frame comes alone, and is left out of the windows of those after it.
    """
    whole: deque[Frame] = deque(maxlen=window)
    for frame in source:
        if frame.pixels is None:
            yield (frame,)
        else:
            whole.append(frame)
            yield _filled(whole)


def _filled(frames: deque[Frame]) -> tuple[Frame, ...]:
    missing = (frames.maxlen or 0) - len(frames)
    return (frames[0],) * missing + tuple(frames)
