"""What a watched frame is written into: pictures and videos, also of a process that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.errors import OutputError, UsageError
from edge.live.frame import Frame
from edge.live.frame_output import VideoOutput, open_output
from edge.live.frames import open_source
from edge.runtime.golden import pattern
from tests.conftest import REPOSITORY
from tests.edge.live.frame_files import needs_opencv


def test_the_kind_of_output_follows_from_its_name(tmp_path: Path, frames_folder: Path) -> None:
    source = open_source(frames_folder)
    with pytest.raises(UsageError, match=r"\.gif is none of \.mp4, \.mkv, \.avi"):
        open_output(tmp_path / "a.gif", source)
    with pytest.raises(UsageError, match="has more than one frame"):
        open_output(tmp_path / "a.jpg", source)
    open_output(tmp_path / "answers", source).write(Frame(index=3, captured_at=0.0, name="x/bee.png"), pattern("rings", 8, 8))
    assert [path.name for path in (tmp_path / "answers").iterdir()] == ["000003-bee.jpg"]


@needs_opencv
def test_a_video_is_there_when_it_is_complete_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.mp4"
    output = VideoOutput(path, 10.0, live=False)
    for index in range(6):
        output.write(Frame(index=index, captured_at=0.0), pattern("rings", 49, 65))
    assert not path.exists()
    output.close()
    output.close()
    assert [found.name for found in path.parent.iterdir()] == ["out.mp4"]
    frames = list(open_source(path))
    assert len(frames) == 6
    assert frames[0].pixels is not None
    assert frames[0].pixels.shape == (48, 64, 3)  # sides are even in a video


@needs_opencv
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_of_a_process_that_is_killed_a_video_is_left_that_can_be_played(tmp_path: Path, suffix: str) -> None:
    script = """
import os, signal, sys
from pathlib import Path
import numpy as np
from edge.live.frame_output import VideoOutput
from edge.live.frames import Frame
output = VideoOutput(Path(sys.argv[1]), 10.0, live=False)
for index in range(100):
    noise = np.random.default_rng(index).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    output.write(Frame(index=index, captured_at=0.0), noise)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", script, str(tmp_path / f"out{suffix}")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert (left.name.startswith("out."), left.suffix) == (True, suffix)
    frames = [frame.pixels for frame in open_source(left)]
    whole = [pixels for pixels in frames if pixels is not None]
    assert len(whole) >= 85  # the rest was in a buffer of FFmpeg's
    first = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    assert np.corrcoef(whole[0].ravel(), first.ravel())[0, 1] > 0.5


@needs_opencv
def test_a_finished_mp4_is_one_for_any_player(tmp_path: Path) -> None:
    output = VideoOutput(tmp_path / "out.mp4", 10.0, live=False)
    for index in range(3):
        output.write(Frame(index=index, captured_at=0.0), pattern("rings", 48, 64))
    output.close()
    assert (tmp_path / "out.mp4").read_bytes()[4:24] == b"ftypiso5\x00\x00\x02\x00iso5mp41"


@needs_opencv
def test_a_video_without_a_frame_is_no_file(tmp_path: Path) -> None:
    VideoOutput(tmp_path / "out.mp4", 10.0, live=False).close()
    assert list(tmp_path.iterdir()) == []


@needs_opencv
def test_frames_of_other_sizes_are_fitted_into_the_video(tmp_path: Path) -> None:
    path = tmp_path / "out.avi"
    output = VideoOutput(path, 10.0, live=False)
    for height, width in ((48, 64), (200, 100), (10, 12)):
        output.write(Frame(index=0, captured_at=0.0), np.full((height, width, 3), 200, np.uint8))
    output.close()
    shapes = {frame.pixels.shape for frame in open_source(path) if frame.pixels is not None}
    assert shapes == {(48, 64, 3)}
    tall = [frame.pixels for frame in open_source(path)][1]
    assert tall is not None
    assert tall[:, 22:42].mean() > 190  # 24 x 48 in the middle
    assert tall[:, :16].mean() < 10


@needs_opencv
def test_a_live_video_lasts_as_long_as_the_source_did(tmp_path: Path) -> None:
    path = tmp_path / "out.avi"
    output = VideoOutput(path, 10.0, live=True)
    for level, captured_at in ((40, 7.0), (80, 7.1), (120, 7.5), (160, 7.52), (200, 7.6)):
        output.write(Frame(index=0, captured_at=captured_at), np.full((48, 64, 3), level, np.uint8))
    output.close()
    levels = [round(float(frame.pixels.mean()), -1) for frame in open_source(path) if frame.pixels is not None]
    assert levels == [40, 80, 80, 80, 80, 160, 200]


@needs_opencv
def test_a_video_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    output = VideoOutput(tmp_path / "file" / "out.mp4", 10.0, live=False)
    with pytest.raises(OutputError, match="choose another place"):
        output.write(Frame(index=0, captured_at=0.0), pattern("rings", 48, 64))
