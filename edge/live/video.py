"""Video files through OpenCV: the only module that imports it, and only when one is opened (extra ``[video]``)."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError, MissingExtraError, OutputError, UsageError
from .frame import Frame

# File name suffix -> the codec that OpenCV's own builds can always write. mp4v is MPEG-4 Part 2, MJPG is one JPEG a frame.
# Whatever ends the process, all that was written can be played, up to the last quarter of a MiB that FFmpeg still held.
WRITES = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}

# A plain .mp4 has its index at the end, and is lost without. Under this name FFmpeg writes the same in fragments, each with its own
# index; OpenCV has no other way to ask for that. Only the brand in the first bytes differs.
_FRAGMENTED = ".ismv"
_BRAND_AT, _BRAND, _ISO_BRAND = 4, b"ftypisml\x00\x00\x02\x00ismlpiff", b"ftypiso5\x00\x00\x02\x00iso5mp41"

# What stays free for what the encoder still holds back and for the index, which grows with the frames.
_SPARE_BYTES = 1 << 20
_INDEX_BYTES = 64

# A damaged place is skipped if a whole frame follows within so many.
_MAX_BROKEN_RUN = 25


class VideoFile:
    """The frames of a video file, all of them. Opened once to see that it can be; ``fps`` and ``count`` are what the file says."""

    live = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.name = str(path)
        self._stopped = threading.Event()
        capture = self._open()
        cv2 = opencv()
        fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        self.fps: float | None = float(fps) if 0.0 < fps < 1000.0 else None
        self.count: int | None = int(count) if 0.0 < count < 1e9 else None

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame. A damaged place is one or more broken frames; a file that was cut off ends with one that says so."""
        capture = self._open()
        index = 0
        try:
            while not self._stopped.is_set():
                captured_at = time.monotonic()
                pixels, skipped = self._next(capture)
                if pixels is None:
                    break
                for _ in range(skipped):
                    error = f"{self.name}: frame {index} is damaged"
                    yield Frame(index=index, captured_at=captured_at, error=error)
                    index += 1
                yield Frame(index=index, captured_at=captured_at, pixels=pixels)
                index += 1
            else:
                return
        finally:
            capture.release()
        # Containers without an index estimate their count, so a frame or two is no sign of anything.
        if self.count is not None and self.count - index > max(2, self.count // 100):
            error = f"{self.name}: ends after {index} of {self.count} frames; it is cut off or damaged, copy or record it again"
            yield Frame(index=index, captured_at=time.monotonic(), error=error)

    def stop(self) -> None:
        self._stopped.set()

    def _open(self) -> Any:
        capture = opencv().VideoCapture(str(self.path))
        if not capture.isOpened():
            raise DatasetError(
                f"{self.path}: OpenCV cannot open it as a video (cut off, damaged, or a codec that it does not have)"
            )
        return capture

    def _next(self, capture: Any) -> tuple[NDArray[np.uint8] | None, int]:
        """Return the next whole frame and how many damaged ones were before it; None at the end."""
        for skipped in range(_MAX_BROKEN_RUN):
            read, picture = capture.read()
            if read:
                return rgb(picture), skipped
            if self._stopped.is_set():
                break
        return None, 0


class VideoWriter:
    """Writes frames of one size to a video file at a fixed rate. `close` completes the file and checks that all frames are in it.

    OpenCV does not tell when a disk is full: the space is looked at before each frame, and the file is opened once more at the end.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float, suffix: str, *, name: str = "") -> None:
        """``size`` is (width, height), ``suffix`` chooses the codec (see WRITES), whatever ``path`` is called.

        name: for messages, where ``path`` is not what the user calls it. Raises OutputError.
        """
        cv2 = opencv()
        self.frames = 0
        self._path = path
        self._name = name or str(path)
        self._to_bgr = cv2.COLOR_RGB2BGR
        self._convert = cv2.cvtColor
        self._fragmented = suffix.lower() == ".mp4"
        self._opened = path.with_name(f"{path.name}{_FRAGMENTED}") if self._fragmented else path
        self._writer = cv2.VideoWriter(str(self._opened), cv2.VideoWriter_fourcc(*codec(suffix)), fps, size)
        if not self._writer.isOpened():
            self._writer.release()
            with contextlib.suppress(OSError):
                self._opened.unlink(missing_ok=True)
            raise OutputError(
                f"{self._name}: OpenCV cannot write a video here; check the folder and its free space, or try another of"
                f" {', '.join(WRITES)}"
            )

        if self._fragmented and sys.platform != "win32":  # which renames no open file
            self._name_it()

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Append a frame: uint8 ``(H, W, 3)`` RGB of the size that was given. Raises OutputError before the disk is full."""
        free = shutil.disk_usage(self._path.parent).free
        if free < _SPARE_BYTES + _INDEX_BYTES * self.frames + pixels.nbytes:
            raise OutputError(
                f"{self._name}: the disk is full ({free // 1024} KiB left) after {self.frames} frames; free some space there, or"
                " choose another place"
            )
        self._writer.write(self._convert(pixels, self._to_bgr))
        self.frames += 1

    def close(self) -> None:
        """Complete the file. Raises OutputError if it does not hold what was written."""
        self._writer.release()
        if self._fragmented:
            if self._opened != self._path:
                self._name_it()
            self._set_brand()
        held = _frames_in(self._path)
        if held < self.frames - 1:  # the count is reckoned from the duration, in milliseconds
            raise OutputError(
                f"{self._name}: holds {held} of {self.frames} frames, as its disk was full or failed; free some space there, or"
                " choose another place"
            )

    def _name_it(self) -> None:
        os.replace(self._opened, self._path)
        self._opened = self._path

    def _set_brand(self) -> None:
        with open(self._path, "r+b") as stream:
            stream.seek(_BRAND_AT)
            if stream.read(len(_BRAND)) == _BRAND:
                stream.seek(_BRAND_AT)
                stream.write(_ISO_BRAND)


def _frames_in(path: Path) -> int:
    """Return how many frames a finished video has by its index, 0 if it cannot be opened or its last one is not there."""
    cv2 = opencv()
    capture = cv2.VideoCapture(str(path))
    try:
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        if count <= 0 or count > 1e9:
            return 0
        capture.set(cv2.CAP_PROP_POS_FRAMES, max(0, count - 2))
        return count if capture.grab() else 0
    finally:
        capture.release()


def codec(suffix: str) -> str:
    """Return the four letters of the codec for a file name suffix. Raises UsageError for other kinds of file."""
    if suffix.lower() not in WRITES:
        raise UsageError(f"a video cannot be written as {suffix!r}, expected {' or '.join(WRITES)}")
    return WRITES[suffix.lower()]


def require() -> None:
    """Raise MissingExtraError if OpenCV is not installed."""
    opencv()


def opencv() -> ModuleType:
    """Return the module cv2. Raises MissingExtraError if it is not installed."""
    # FFmpeg reports damaged frames on stderr by itself; here they are counted and reported once. Read by OpenCV when it is loaded.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    try:
        import cv2
    except ImportError as error:
        install = "pip install 'edgekit[video]'"
        if platform.machine() in ("armv7l", "armv8l"):
            install = "sudo apt-get install python3-opencv"  # no wheel for 32-bit ARM; the venv must see system packages
        raise MissingExtraError(f"videos and cameras need OpenCV, which cannot be loaded here ({error}): {install}") from error
    if os.environ["OPENCV_LOG_LEVEL"] == "OFF":
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # for a program that had loaded OpenCV before
    module: ModuleType = cv2
    return module


def rgb(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a picture of OpenCV's (BGR, BGRA or grey) as RGB ``(H, W, 3)``."""
    if picture.ndim == 2:
        picture = picture[:, :, np.newaxis]
    if picture.shape[2] == 1:
        picture = np.repeat(picture, 3, axis=2)
    return np.ascontiguousarray(picture[:, :, 2::-1])
