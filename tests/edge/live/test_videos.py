"""Videos as frames, written and read: whole, damaged, and without OpenCV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.errors import DatasetError, MissingExtraError, OutputError, UsageError
from edge.live.frames import open_source
from tests.edge.live.frame_files import SIZE, grey, levels, needs_opencv, save, video


@needs_opencv
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_video_gives_every_frame_as_it_was_written(tmp_path: Path, suffix: str) -> None:
    source = open_source(video(tmp_path / f"drive{suffix}"))
    assert (source.live, source.fps, source.count) == (False, 10.0, 30)  # type: ignore[attr-defined]
    frames = list(source)
    assert [frame.index for frame in frames] == list(range(30))
    np.testing.assert_allclose([level or 0 for level in levels(frames)], [8 * number for number in range(30)], atol=4)
    assert frames[0].pixels is not None
    assert frames[0].pixels.shape == (48, 64, 3)
    assert frames[0].pixels.dtype == np.dtype(np.uint8)


@needs_opencv
def test_colours_of_a_video_are_red_green_blue(tmp_path: Path) -> None:
    from edge.live.video import VideoWriter

    writer = VideoWriter(tmp_path / "red.avi", SIZE, 5.0, ".avi")
    red = grey(0)
    red[:, :, 0] = 250
    writer.write(red)
    writer.close()
    (frame,) = open_source(tmp_path / "red.avi")
    assert frame.pixels is not None
    np.testing.assert_allclose(frame.pixels.reshape(-1, 3).mean(axis=0), (250, 0, 0), atol=8)


@needs_opencv
def test_a_video_that_was_cut_off_says_so_at_its_end(tmp_path: Path) -> None:
    path = video(tmp_path / "cut.avi")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    frames = list(open_source(path))
    whole = [frame for frame in frames if frame.pixels is not None]
    assert 5 < len(whole) < 25
    assert frames[-1].error.startswith(f"{path}: ends after {len(whole)} of 30 frames")
    assert len(frames) == len(whole) + 1


@needs_opencv
def test_a_damaged_place_in_a_video_is_a_broken_frame_and_the_rest_comes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = video(tmp_path / "bad.avi")
    data = bytearray(path.read_bytes())
    at = data.find(b"\xff\xd8\xff", len(data) // 2)
    data[at : at + 200] = bytes(200)
    path.write_bytes(bytes(data))
    frames = list(open_source(path))
    broken = [frame.index for frame in frames if frame.pixels is None]
    assert len(frames) == 30
    assert len(broken) == 1
    assert frames[broken[0]].error == f"{path}: frame {broken[0]} is damaged"
    assert capfd.readouterr().err == ""  # FFmpeg's own words would be a second report


@needs_opencv
@pytest.mark.parametrize("content", [b"", b"no video at all", None])
def test_what_is_no_video_is_refused_in_one_sentence(
    tmp_path: Path, content: bytes | None, capfd: pytest.CaptureFixture[str]
) -> None:
    path = video(tmp_path / "bad.mp4")
    path.write_bytes(path.read_bytes()[:500] if content is None else content)  # an MP4 begins with what is needed to read it
    with pytest.raises(DatasetError, match=r"bad\.mp4: OpenCV cannot open it as a video"):
        open_source(path)
    assert capfd.readouterr().err == ""


@needs_opencv
def test_a_video_cannot_be_written_into_a_missing_folder(tmp_path: Path) -> None:
    from edge.live.video import VideoWriter

    with pytest.raises(OutputError, match="cannot write a video here"):
        VideoWriter(tmp_path / "none" / "a.mp4", SIZE, 10.0, ".mp4")
    with pytest.raises(UsageError, match=r"'\.gif', expected \.mp4 or \.mkv or \.avi"):
        VideoWriter(tmp_path / "a.gif", SIZE, 10.0, ".gif")


def test_without_opencv_one_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"video")
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)  # what an import finds where it is not installed
    with pytest.raises(MissingExtraError, match=r"need OpenCV, .*: pip install 'edgekit\[video\]'"):
        open_source(path)
    with pytest.raises(MissingExtraError):
        open_source("0")
    assert levels(list(open_source(save(tmp_path / "a.png", 5)))) == [5]
