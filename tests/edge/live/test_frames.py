"""Folders of pictures as frames: their order, damaged ones, and the rate at which they are played."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from PIL import Image

from edge.errors import DatasetError, UsageError
from edge.live.frames import ImageFiles, Paced, open_source
from edge.runtime.golden import pattern
from tests.edge.live.frame_files import levels, save


def test_a_folder_comes_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1, 33):
        save(tmp_path / f"frame_{number}.png", number)
    source = open_source(tmp_path)
    frames = list(source)
    assert levels(frames) == [1, 2, 10, 33]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert [Path(frame.name).name for frame in frames][0] == "frame_1.png"
    assert (source.live, source.fps) == (False, None)
    assert levels(list(source)) == [1, 2, 10, 33]  # each iteration starts anew


def test_names_that_differ_order_the_frames_across_class_folders(tmp_path: Path) -> None:
    for name, level in (("left/t_03.png", 3), ("left/t_01.png", 1), ("straight/t_02.png", 2)):
        save(tmp_path / name, level)
    assert levels(list(open_source(tmp_path))) == [1, 2, 3]


def test_sequences_with_the_same_names_come_one_after_the_other(tmp_path: Path) -> None:
    for name, level in (("lap10/1.png", 3), ("lap10/2.png", 4), ("lap9/1.png", 1), ("lap9/2.png", 2)):
        save(tmp_path / name, level)
    assert levels(list(open_source(tmp_path))) == [1, 2, 3, 4]


def test_a_truncated_jpeg_is_a_broken_frame_and_the_next_one_comes(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(pattern("rings", 48, 64)).save(tmp_path / f"{number}.jpg")
    cut = tmp_path / "1.jpg"
    cut.write_bytes(cut.read_bytes()[:-400])
    frames = list(open_source(tmp_path))
    assert [frame.pixels is None for frame in frames] == [False, True, False]
    assert frames[1].error.startswith(f"{cut}: cannot be decoded")
    assert frames[0].error == ""


def test_one_image_is_a_source_too(tmp_path: Path) -> None:
    assert levels(list(open_source(save(tmp_path / "a.png", 7)))) == [7]


@pytest.mark.parametrize("name", ["nothing.mp4", "nothing", "folder"])
def test_what_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatasetError, match=name):
        open_source(tmp_path / name)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello", encoding="utf-8")
    with pytest.raises(DatasetError, match="neither an image .* nor a video"):
        open_source(path)


def test_stop_ends_a_folder_after_the_frame_under_way(tmp_path: Path) -> None:
    source = ImageFiles([save(tmp_path / f"{number}.png", number) for number in range(4)])
    frames = iter(source)
    next(frames)
    source.stop()
    assert list(frames) == []


class Clock:
    """Time that passes only while somebody waits, or when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.waits.append(round(seconds, 6))
        self.now += seconds
        return False


def test_a_folder_is_played_at_its_rate(tmp_path: Path) -> None:
    folder = ImageFiles([save(tmp_path / f"{number}.png", number) for number in range(4)])
    clock = Clock()
    source = Paced(folder, 10.0, clock=clock, wait=clock.wait)
    assert (source.live, source.fps) == (True, 10.0)
    times = [clock.now for _ in source]
    assert times == pytest.approx([100.0, 100.1, 100.2, 100.3])


def test_after_a_delay_frames_come_at_the_rate_again_and_not_all_at_once(tmp_path: Path) -> None:
    folder = ImageFiles([save(tmp_path / f"{number}.png", number) for number in range(5)])
    clock = Clock()
    times = []
    for frame in Paced(folder, 10.0, clock=clock, wait=clock.wait):
        times.append(round(clock.now, 3))
        if frame.index == 1:
            clock.now += 5.0  # nobody took the next one for so long
    assert times == [100.0, 100.1, 105.1, 105.1, 105.2]


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), 1e6])
def test_a_rate_that_makes_no_sense_is_refused(tmp_path: Path, fps: float) -> None:
    with pytest.raises(UsageError, match="frames per second"):
        open_source(save(tmp_path / "a.png", 1), fps=fps)


def test_stop_ends_the_waiting_for_the_next_frame(tmp_path: Path) -> None:
    source = open_source(save(tmp_path / "0.png", 1).parent, fps=0.001)
    save(tmp_path / "1.png", 2)
    source = open_source(tmp_path, fps=0.001)  # the second frame would come after 1000 s
    frames = iter(source)
    next(frames)
    threading.Timer(0.01, source.stop).start()
    assert list(frames) == []
