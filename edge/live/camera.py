"""Cameras through OpenCV: whatever they do, a frame comes within a stated time, or an error.

OpenCV's calls block as long as a driver or a stream makes them, and nothing ends them from outside. So they are made in a thread of
their own (`_Reader`), which is waited for with a deadline and left behind when it does not come back.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

from ..errors import DatasetError, UsageError
from .frame import Frame
from .video import opencv, rgb

RECONNECT_S = 60.0
"""So long a camera that has gone is looked for, unless something else is said."""

# A camera that gives no frame for so long has gone.
_PATIENCE_S = 5.0
_RETRY_S = 0.05
_FIRST_PAUSE_S = 0.5  # before the first attempt to connect again; then twice as long each time, up to
_LONGEST_PAUSE_S = 8.0
# FFmpeg itself would wait half a minute for a stream.
_STREAM_OPEN_MS = 10_000
_STREAM_READ_MS = 5_000
_OPEN_S = 15.0  # for what none of these ends
_PASSWORD = re.compile(r"://[^/@]*@")


class Camera:
    """A camera by number, device or address. It is opened at once, so that a missing one is known before anything starts.

    ``captured_at`` is when OpenCV handed the frame over: what exposure, transfer and driver took before is not in it.

    A frame that cannot be read is broken. A camera that gives none for ``patience_s`` has gone, also where OpenCV's call does not
    return: that is a broken frame, and it is connected again after 0.5, 1, 2, 4, 8, 8, ... seconds. When it has given no frame for
    ``reconnect_s`` more, the iteration raises DatasetError. ``reconnects`` counts the connections after the first.
    """

    live = True

    def __init__(
        self, name: str, *, patience_s: float = _PATIENCE_S, reconnect_s: float = RECONNECT_S, open_s: float = _OPEN_S
    ) -> None:
        """Connect within ``open_s`` seconds. Raises DatasetError if there is no such camera, or it does not answer by then."""
        if not patience_s > 0.0 or not reconnect_s >= 0.0:
            raise UsageError(f"a camera is given {patience_s} s for a frame and {reconnect_s} s to come back, expected more")
        self.name = f"camera {name}" if name.isdecimal() else _PASSWORD.sub("://***@", name)
        self.reconnects = 0
        self._address: int | str = int(name) if name.isdecimal() else name
        self._patience_s = patience_s
        self._reconnect_s = reconnect_s
        self._open_s = open_s
        self._stopped = threading.Event()
        self._reader: _Reader | None = self._connect()
        self.fps: float | None = self._reader.fps if 0.0 < self._reader.fps < 1000.0 else None

    def __iter__(self) -> Iterator[Frame]:
        reader: _Reader | None = self._reader or self._connect()
        self._reader = reader
        index, last_good = 0, time.monotonic()
        connected = last_good
        try:
            while not self._stopped.is_set():
                if reader is None:
                    self._reader = reader = self._connect_again(last_good)
                    connected = time.monotonic()
                    continue
                # Its frame, its failure, or nothing at all until the patience is over.
                picture, captured_at = reader.take(max(last_good, connected) + self._patience_s - time.monotonic())
                if self._stopped.is_set():
                    return
                if picture is not None:
                    last_good = captured_at
                    yield Frame(index=index, captured_at=captured_at, pixels=rgb(picture))
                elif captured_at - max(last_good, connected) >= self._patience_s:
                    reader.leave()
                    self._reader = reader = None
                    error = f"{self.name}: no frame for {self._patience_s:g} s; is it still connected?"
                    self._give_up_if_late(last_good, error)
                    yield Frame(index=index, captured_at=captured_at, error=error)
                else:
                    yield Frame(index=index, captured_at=captured_at, error=f"{self.name}: frame {index} could not be read")
                    self._stopped.wait(_RETRY_S)
                index += 1
        finally:
            self._reader = None
            if reader is not None:
                reader.leave()

    def stop(self) -> None:
        self._stopped.set()
        if (reader := self._reader) is not None:
            reader.wake()

    def _connect(self) -> _Reader:
        reader = _Reader(self._address, self.name)
        reader.wait_until_open(self._open_s)
        return reader

    def _connect_again(self, last_good: float) -> _Reader | None:
        """Try until it is there. Returns None when stopped; raises DatasetError when the time is over."""
        pause = _FIRST_PAUSE_S
        while not self._stopped.wait(min(pause, max(0.0, self._left(last_good)))):
            try:
                reader = self._connect()
            except DatasetError as error:
                self._give_up_if_late(last_good, str(error))
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            else:
                self.reconnects += 1
                return reader
        return None

    def _give_up_if_late(self, last_good: float, reason: str) -> None:
        if self._left(last_good) <= 0.0:
            raise DatasetError(reason)

    def _left(self, last_good: float) -> float:
        return last_good + self._patience_s + self._reconnect_s - time.monotonic()


class _Reader:
    """A connection to a camera, and the thread that makes all calls on it."""

    def __init__(self, address: int | str, name: str) -> None:
        self.fps = 0.0
        self._address = address
        self._name = name
        self._opencv = opencv()
        self._hint = ""
        self._wanted: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._found: queue.SimpleQueue[tuple[Any, float]] = queue.SimpleQueue()
        self._asked = False
        threading.Thread(target=self._run, name=f"read {name}", daemon=True).start()

    def wait_until_open(self, seconds: float) -> None:
        """Raise DatasetError unless the camera is open by then."""
        try:
            opened, _ = self._found.get(timeout=seconds)
        except queue.Empty:
            self.leave()
            raise DatasetError(
                f"{self._name}: does not answer within {seconds:g} s; unplug it, or see what else uses it"
            ) from None
        if not opened:
            raise DatasetError(f"{self._name}: {self._hint}")

    def take(self, seconds: float) -> tuple[Any, float]:
        """Return the next picture, or None if it failed or did not come within ``seconds``; and when that was."""
        if not self._asked:
            self._wanted.put(True)
            self._asked = True
        try:
            found = self._found.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None, time.monotonic()
        self._asked = False
        return found

    def wake(self) -> None:
        """End a `take` that waits."""
        self._found.put((None, time.monotonic()))

    def leave(self) -> None:
        """Let the thread free the camera, as soon as the call returns in which it may be."""
        self._wanted.put(False)

    def _run(self) -> None:
        try:
            capture = self._open()
        except Exception as error:  # noqa: BLE001 - whatever OpenCV raises, there is no camera
            self._hint = str(error)
            self._found.put((False, time.monotonic()))
            return
        try:
            if not capture.isOpened():
                self._found.put((False, time.monotonic()))
                return
            self.fps = float(capture.get(self._opencv.CAP_PROP_FPS))
            self._found.put((True, time.monotonic()))
            while self._wanted.get():
                # grab takes the frame, retrieve decodes it: the time between them is the frame's age already.
                grabbed = capture.grab()
                captured_at = time.monotonic()
                _, picture = capture.retrieve() if grabbed else (False, None)
                self._found.put((picture, captured_at))
        finally:
            capture.release()

    def _open(self) -> Any:
        cv2 = self._opencv
        if isinstance(self._address, int) or self._address.startswith("/dev/"):
            capture = cv2.VideoCapture(self._address)
            self._hint = (
                "no such camera, or another program has it; on Linux, ls /dev/video* lists them, and your user must be in the"
                " group video"
            )
        else:
            patience = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _STREAM_OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _STREAM_READ_MS]
            capture = cv2.VideoCapture(self._address, cv2.CAP_FFMPEG, patience)
            self._hint = "no stream there; check address, user and password, and that this machine reaches it"
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # where the driver can: less waits inside it
        return capture
