"""Frames from a folder, a video file or a camera, all in one way: iterate over a source and get one `Frame` after the other.

    for frame in frames.open_source("drive.mp4"):
        if frame.pixels is not None:
            model.predict(frame.pixels)

A folder and a video give every frame, as fast as they are asked for. A camera gives frames at its own time; so does a folder or
video that is played at a rate (``fps``), to rehearse for a camera. What must not fall behind such a source takes the newest frame
through `edge.live.latest`. Folders need Pillow only; videos and cameras (`edge.live.camera`) need OpenCV, which `edge.live.video`
alone imports.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data import picture_kinds
from ..data.dataset import LabelledImages
from ..errors import DatasetError, ImageError, UsageError
from ..runtime.images import open_rgb
from .frame import Frame, FrameSource

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mjpg", ".mjpeg"})
MAX_FPS = 1000.0

_CAMERA_NUMBER = re.compile(r"\d{1,2}")
_DEVICE = re.compile(r"/dev/video\d+|/dev/v4l/.+")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class ImageFiles:
    """Image files as frames, in the given order. A file that cannot be decoded is a broken frame and does not end it."""

    live = False
    fps = None

    def __init__(self, paths: Sequence[str | os.PathLike[str]], name: str = "") -> None:
        self.paths = tuple(Path(path) for path in paths)
        if not self.paths:
            raise DatasetError(f"{name or 'the source'}: no images, expected at least one")
        self.name = name or str(self.paths[0])
        self._stopped = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self.paths):
            if self._stopped.is_set():
                return
            yield _read(index, path)

    def __len__(self) -> int:
        return len(self.paths)

    def stop(self) -> None:
        self._stopped.set()


class Paced:
    """A folder or video played at ``fps`` frames per second, as a camera would give it: a live source for rehearsals.

    When reading cannot keep up, it gives frames later rather than several at once: ``captured_at`` stays true.
    clock, wait: for tests; ``wait(seconds)`` returns True when the source was stopped meanwhile.
    """

    live = True

    def __init__(
        self,
        source: FrameSource,
        fps: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        if not 0.0 < fps <= MAX_FPS:
            raise UsageError(f"{fps} frames per second cannot be played, expected above 0 and at most {MAX_FPS:.0f}")
        self.fps: float | None = fps
        self.name = source.name
        self._source = source
        self._period_s = 1.0 / fps
        self._stopped = threading.Event()
        self._clock = clock
        self._wait = self._stopped.wait if wait is None else wait

    def __iter__(self) -> Iterator[Frame]:
        due = self._clock()
        frames = iter(self._source)
        while not self._wait(max(0.0, due - self._clock())):
            frame = next(frames, None)
            if frame is None:
                return
            yield frame
            due = max(due + self._period_s, self._clock() - self._period_s)

    def stop(self) -> None:
        self._stopped.set()
        self._source.stop()


def open_source(source: str | os.PathLike[str], *, fps: float | None = None, reconnect_s: float | None = None) -> FrameSource:
    """Return the frames of an image, a folder of images (sub-folders too), a video file or a camera.

    source: a path; or a camera: its number (``0``), its device (``/dev/video0``), or the address of a stream (``rtsp://...``,
    ``http://...``). fps: play files at so many frames per second, as a camera would; None gives each frame when it is asked for.
    Cameras have a rate of their own, so ``fps`` is an error there. reconnect_s: so long a camera that has gone is looked for
    (`edge.live.camera.Camera`), None for a minute.

    The images of a folder come in the order of their file names, numbers counted as numbers (2 before 10). Where the same file
    name is in several sub-folders, they come one sub-folder after the other.

    Raises DatasetError if there is no such source, MissingExtraError where it needs OpenCV and that is not installed.
    """
    text = os.fspath(source)
    if is_camera(text):
        if fps is not None:
            raise UsageError(f"{text}: a camera has its own rate; leave --fps out")
        # With the module for videos 12 ms of processor time, median of 10 fresh processes; pictures need neither.
        from .camera import RECONNECT_S, Camera

        return Camera(text, reconnect_s=RECONNECT_S if reconnect_s is None else reconnect_s)
    found = _files(Path(text))
    return found if fps is None else Paced(found, fps)


def is_camera(text: str) -> bool:
    """Whether ``text`` names a camera: a number, a video device, or an address."""
    if _CAMERA_NUMBER.fullmatch(text):
        return not Path(text).exists()  # a folder may be called 0
    return bool(_DEVICE.fullmatch(text) or _URL.match(text))


def _files(path: Path) -> FrameSource:
    if path.is_dir():
        return ImageFiles(_in_order(path), str(path))
    suffix = path.suffix.lower()
    if not path.exists():
        raise DatasetError(
            f"{path}: there is no such file; expected an image, a folder, a video, or a camera (0, /dev/video0, a URL)"
        )
    if suffix in picture_kinds.PICTURES:  # one that cannot be read says why
        return ImageFiles([path])
    if suffix in VIDEO_SUFFIXES:
        from .video import VideoFile

        return VideoFile(path)
    raise DatasetError(
        f"{path}: neither an image ({', '.join(sorted(picture_kinds.readable()))})"
        f" nor a video ({', '.join(sorted(VIDEO_SUFFIXES))}) by its name"
    )


def _in_order(folder: Path) -> list[Path]:
    items = LabelledImages.open(folder, unlabelled=True).items
    names = Counter(item.path.name for item in items)
    unique = max(names.values()) == 1
    return [item.path for item in sorted(items, key=lambda item: _natural(item.path.name if unique else item.id))]


def _natural(text: str) -> list[tuple[int, str]]:
    # Text and numbers alternate, so that numbers are compared with numbers. Equal numbers (1, 01) by their text.
    return [(int(part) if part.isdecimal() else 0, part) for part in re.split(r"([0-9]+)", text)]


def _read(index: int, path: Path) -> Frame:
    captured_at = time.monotonic()
    try:
        pixels: NDArray[np.uint8] = np.asarray(open_rgb(path))
    except ImageError as error:
        return Frame(index=index, captured_at=captured_at, error=str(error), name=str(path))
    return Frame(index=index, captured_at=captured_at, pixels=pixels, name=str(path))
