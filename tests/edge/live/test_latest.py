"""The newest frame of a live source. The source below gives a frame when the test says so: nothing depends on timing."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from edge.errors import UsageError
from edge.live.frame import Frame
from edge.live.latest import LatestFrames

WAIT_S = 30.0  # what a test waits at most for another thread; never reached where the code is right


class ScriptedSource:
    """Gives the frames that `give` hands it; `give` returns when the reader has dealt with them and asks for the next one."""

    name, live, fps = "scripted", True, 30.0

    def __init__(self) -> None:
        self._frames: queue.SimpleQueue[Frame | BaseException | None] = queue.SimpleQueue()
        self._asked = threading.Semaphore(0)
        self.ended = threading.Event()
        self._index = 0

    def __iter__(self) -> Iterator[Frame]:
        try:
            self._asked.release()
            while (frame := self._frames.get()) is not None:
                if isinstance(frame, BaseException):
                    raise frame
                yield frame
                self._asked.release()
        finally:
            self.ended.set()

    def stop(self) -> None:
        self._frames.put(None)

    def give(self, count: int = 1, *, broken: bool = False) -> None:
        for _ in range(count):
            assert self._asked.acquire(timeout=WAIT_S)
            pixels = None if broken else np.full((2, 2, 3), self._index, np.uint8)
            self._frames.put(Frame(index=self._index, captured_at=float(self._index), pixels=pixels))
            self._index += 1
        assert self._asked.acquire(timeout=WAIT_S)  # it asks for the next one: the last is dealt with
        self._asked.release()

    def fail(self, error: BaseException) -> None:
        self._frames.put(error)


def indices(frames: tuple[Frame, ...] | None) -> list[int] | None:
    return None if frames is None else [frame.index for frame in frames]


def test_only_the_newest_frame_is_kept() -> None:
    source = ScriptedSource()
    with LatestFrames(source) as latest:
        source.give(5)
        assert indices(latest.take(WAIT_S)) == [4]
        source.give(1)
        assert indices(latest.take(WAIT_S)) == [5]
        source.give(3)
        assert indices(latest.take(WAIT_S)) == [8]
        counts = latest.counts
    assert (counts.captured, counts.taken, counts.dropped, counts.broken) == (9, 3, 6, 0)


def test_a_frame_is_taken_once() -> None:
    source = ScriptedSource()
    with LatestFrames(source) as latest:
        source.give(1)
        latest.take(WAIT_S)
        with pytest.raises(TimeoutError, match="scripted: no frame for 0.0 s"):
            latest.take(0.0)


def test_take_waits_for_the_next_frame() -> None:
    source = ScriptedSource()
    with LatestFrames(source) as latest:
        giver = threading.Thread(target=source.give)
        giver.start()
        assert indices(latest.take(WAIT_S)) == [0]
        giver.join(WAIT_S)


def test_a_broken_frame_is_counted_and_does_not_replace_a_whole_one() -> None:
    source = ScriptedSource()
    with LatestFrames(source) as latest:
        source.give(2)
        source.give(3, broken=True)
        assert indices(latest.take(WAIT_S)) == [1]
        with pytest.raises(TimeoutError):
            latest.take(0.0)
        counts = latest.counts
    assert (counts.captured, counts.broken, counts.dropped) == (5, 3, 1)


def test_a_window_holds_frames_in_a_row_as_they_were_captured() -> None:
    source = ScriptedSource()
    with LatestFrames(source, window=3) as latest:
        source.give(1)
        assert indices(latest.take(WAIT_S)) == [0, 0, 0]  # nothing was before the first one
        source.give(1)
        assert indices(latest.take(WAIT_S)) == [0, 0, 1]
        source.give(4)  # 2, 3 and 4 are dropped as newest ones, and still are what happened just before 5
        assert indices(latest.take(WAIT_S)) == [3, 4, 5]


def test_the_last_frame_comes_before_the_end() -> None:
    source = ScriptedSource()
    with LatestFrames(source) as latest:
        source.give(2)
        source.stop()
        assert source.ended.wait(WAIT_S)
        assert indices(latest.take(WAIT_S)) == [1]
        assert latest.take(WAIT_S) is None
        assert latest.take(WAIT_S) is None


def test_what_the_source_raises_is_raised_where_frames_are_taken() -> None:
    source = ScriptedSource()
    with LatestFrames(source) as latest:
        source.give(1)
        source.fail(OSError("unplugged"))
        assert source.ended.wait(WAIT_S)
        assert indices(latest.take(WAIT_S)) == [0]
        with pytest.raises(OSError, match="unplugged"):
            latest.take(WAIT_S)


def test_leaving_stops_the_source_and_its_thread() -> None:
    source = ScriptedSource()
    before = threading.active_count()
    with LatestFrames(source) as latest:
        source.give(1)
    assert source.ended.is_set()
    assert threading.active_count() == before
    assert latest.take(0.0) is None


@pytest.mark.parametrize("window", [0, -1, 257])
def test_a_window_is_bounded(window: int) -> None:
    with pytest.raises(UsageError, match="expected 1 to 256"):
        LatestFrames(ScriptedSource(), window=window)
