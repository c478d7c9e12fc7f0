"""Frames of one brightness each, as pictures and as a video."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge.live.frame import Frame

SIZE = (64, 48)
# Not importorskip: OpenCV reads how much it may say when it is loaded, and that is for edge.live.video to decide.
needs_opencv = pytest.mark.skipif(find_spec("cv2") is None, reason="the extra [video] is not installed")


def grey(level: int) -> NDArray[np.uint8]:
    return np.full((SIZE[1], SIZE[0], 3), level, np.uint8)


def save(path: Path, level: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey(level)).save(path)
    return path


def levels(frames: list[Frame]) -> list[int | None]:
    """The brightness of each frame, which tells them apart; None for a broken one."""
    return [None if frame.pixels is None else round(float(frame.pixels.mean())) for frame in frames]


def video(path: Path, count: int = 30, fps: float = 10.0) -> Path:
    from edge.live.video import VideoWriter

    writer = VideoWriter(path, SIZE, fps, path.suffix)
    for level in range(count):
        writer.write(grey(level * 8))
    writer.close()
    return path
