"""Where drawn frames go: a video, a folder of JPEGs, or one picture. Complete under its name, or not there at all."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import OutputError, UsageError
from ..files import atomic_write
from .frame import Frame, FrameSource
from .frames import ImageFiles
from .video import WRITES, VideoWriter, codec, require

DEFAULT_FPS = 10.0  # for sources that have no rate: a folder

_LONGEST_GAP_S = 10.0  # a live source that is silent for longer leaves no longer still picture in the video
_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".webp": "WEBP"}
_QUALITY = 90


class Output(Protocol):
    """Takes drawn frames, one after the other. `close` completes what was written, also when that ended early."""

    def write(self, frame: Frame, drawn: NDArray[np.uint8]) -> None: ...
    def close(self) -> None: ...


def open_output(path: str | os.PathLike[str], source: FrameSource) -> Output:
    """Return where frames of ``source`` go: a ``.mp4``, ``.mkv`` or ``.avi``, an image file (for one image), or any other name a folder.

    Raises UsageError where the name's suffix does not fit, MissingExtraError where a video needs OpenCV and it is not installed.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if not source.live and target.exists() and target.resolve() == Path(source.name).resolve():
        raise UsageError(f"{target}: is the source itself, and drawn frames are no photos; choose another place")
    if target.is_dir() or not suffix:
        return FolderOutput(target)
    if suffix in WRITES:
        return VideoOutput(target, source.fps or DEFAULT_FPS, live=source.live)
    if suffix not in _FORMATS:
        raise UsageError(
            f"{target}: {suffix} is none of {', '.join((*WRITES, *sorted(_FORMATS)))}; a folder's name has no suffix"
        )
    if not (isinstance(source, ImageFiles) and len(source) == 1):
        raise UsageError(f"{target}: {source.name} has more than one frame; name a video ({', '.join(WRITES)}) or a folder")
    return ImageOutput(target)


class ImageOutput:
    """One picture."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, frame: Frame, drawn: NDArray[np.uint8]) -> None:
        data = io.BytesIO()
        Image.fromarray(drawn).save(data, _FORMATS[self.path.suffix.lower()], quality=_QUALITY)
        atomic_write(self.path, data.getvalue())

    def close(self) -> None:
        """Nothing is left open."""


class FolderOutput:
    """A JPEG per frame, named by the frame's number in the source and, where it has one, its file's name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, frame: Frame, drawn: NDArray[np.uint8]) -> None:
        name = f"{frame.index:06d}{'-' + Path(frame.name).stem if frame.name else ''}.jpg"
        ImageOutput(self.folder / name).write(frame, drawn)

    def close(self) -> None:
        """Nothing is left open."""


class VideoOutput:
    """A video of one size, that of the first frame; frames of other sizes are fitted into it.

    A live source's frames stay on screen as long as they did: one that was dropped is replaced by the one before it.
    """

    def __init__(self, path: Path, fps: float, *, live: bool) -> None:
        codec(path.suffix)
        require()
        self.path = path
        self._fps = fps
        self._live = live
        # Not hidden: of a process that was killed, this is what is left, and a player opens it.
        self._beside = path.with_name(f"{path.stem}.{os.getpid()}.part{path.suffix}")
        self._writer: VideoWriter | None = None
        self._size = (0, 0)
        self._began = 0.0
        self._due = 0
        self._pending: NDArray[np.uint8] | None = None

    def write(self, frame: Frame, drawn: NDArray[np.uint8]) -> None:
        if self._writer is None:
            self._open(drawn, frame.captured_at)
        assert self._writer is not None
        drawn = self._fitted(drawn)
        if not self._live:
            self._writer.write(drawn)
            return
        due = round((frame.captured_at - self._began) * self._fps)
        if self._pending is not None:
            for _ in range(min(due - self._due, int(_LONGEST_GAP_S * self._fps) + 1)):
                self._writer.write(self._pending)
        self._due, self._pending = max(due, self._due), drawn

    def close(self) -> None:
        """Complete the file and give it its name. Without a single frame there is no file.

        Raises OutputError if a frame is missing in it, which a full disk does; where it can be played all the same, it stays.
        """
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        try:
            self._complete(writer)
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"{self.path}: cannot be written ({error.strerror or error}); choose another place") from error
        finally:
            with contextlib.suppress(OSError):
                self._beside.unlink(missing_ok=True)

    def _complete(self, writer: VideoWriter) -> None:
        try:
            if self._pending is not None:
                writer.write(self._pending)
        finally:
            writer.close()
            if writer.frames:
                os.replace(self._beside, self.path)

    def _open(self, drawn: NDArray[np.uint8], began: float) -> None:
        # Codecs store colour for two by two pixels, so sides are even.
        self._size = (drawn.shape[1] & ~1, drawn.shape[0] & ~1)
        self._began = began
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror or error}); choose another place") from error
        self._writer = VideoWriter(self._beside, self._size, self._fps, self.path.suffix, name=str(self.path))

    def _fitted(self, drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
        width, height = self._size
        if drawn.shape[:2] == (height, width):
            return drawn
        if drawn.shape[0] - height in (0, 1) and drawn.shape[1] - width in (0, 1):
            return np.ascontiguousarray(drawn[:height, :width])
        canvas, picture = Image.new("RGB", self._size), Image.fromarray(drawn)
        if picture.width > width or picture.height > height:
            picture.thumbnail(self._size)
        canvas.paste(picture, ((width - picture.width) // 2, (height - picture.height) // 2))
        fitted: NDArray[np.uint8] = np.asarray(canvas)
        return fitted
