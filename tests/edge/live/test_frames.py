"""Folders, videos and cameras as frames: real files, damaged ones, and a real stream over the loopback."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge.errors import DatasetError, MissingExtraError, OutputError, UsageError
from edge.live.frame import Frame
from edge.live.frames import ImageFiles, Paced, is_camera, open_source
from edge.runtime.golden import pattern

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


# folders


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


# played at a rate


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


# videos


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


# cameras


@pytest.mark.parametrize("name", ["0", "12", "/dev/video0", "/dev/v4l/by-id/usb-x", "rtsp://10.0.0.2/stream", "http://cam/video"])
def test_names_of_cameras(name: str) -> None:
    assert is_camera(name)


@pytest.mark.parametrize("name", ["drive.mp4", "123", "/dev/null", "frames/0", "C:\\frames"])
def test_names_that_are_no_cameras(name: str) -> None:
    assert not is_camera(name)


def test_a_folder_called_0_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "0" / "a.png", 9)
    monkeypatch.chdir(tmp_path)
    assert levels(list(open_source("0"))) == [9]


@needs_opencv
def test_a_missing_camera_is_named_with_what_to_do(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DatasetError, match="camera 87: no such camera.*ls /dev/video"):
        open_source("87")
    with pytest.raises(DatasetError, match="/dev/video87: no such camera"):
        open_source("/dev/video87")
    assert capfd.readouterr().err == ""


@needs_opencv
def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(DatasetError, match=r"http://\*\*\*@127\.0\.0\.1:1/video: no stream there") as caught:
        open_source("http://me:secret@127.0.0.1:1/video")
    assert "secret" not in str(caught.value)


def test_a_camera_cannot_be_played_at_a_rate() -> None:
    with pytest.raises(UsageError, match="has its own rate"):
        open_source("0", fps=10.0)


@pytest.fixture
def address() -> Iterator[str]:
    """The address of a network camera: an endless stream of JPEGs that get brighter, as such cameras send them."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            level = 0
            while True:
                data = io.BytesIO()
                Image.fromarray(grey(level % 256)).save(data, "JPEG")
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data.getvalue())}\r\n\r\n"
                try:
                    self.wfile.write(head.encode() + data.getvalue() + b"\r\n")
                except OSError:
                    return  # the other side has seen enough
                level += 1

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/video.mjpg"
    server.shutdown()
    thread.join()
    server.server_close()


@needs_opencv
def test_a_network_camera_gives_frames_until_it_is_stopped(address: str) -> None:
    source = open_source(address)
    assert source.live
    seen = []
    for frame in source:
        seen.append(frame)
        if len(seen) == 5:
            source.stop()
    assert [frame.index for frame in seen] == [0, 1, 2, 3, 4]
    brightness = [level for level in levels(seen) if level is not None]
    assert len(brightness) == 5
    assert brightness == sorted(brightness)
    assert all(a.captured_at <= b.captured_at for a, b in zip(seen, seen[1:], strict=False))


@pytest.fixture
def stalling() -> Iterator[str]:
    """A network camera that sends three frames at each connection and then nothing more, without closing it."""
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            data = io.BytesIO()
            Image.fromarray(grey(90)).save(data, "JPEG")
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data.getvalue())}\r\n\r\n"
            # FFmpeg looks at some of them before it gives the first.
            self.wfile.write((head.encode() + data.getvalue() + b"\r\n") * 30)
            done.wait()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/video.mjpg"
    done.set()
    server.shutdown()
    thread.join()
    server.server_close()


@needs_opencv
def test_a_camera_that_stalls_is_connected_again(stalling: str) -> None:
    from edge.live.camera import Camera

    source = Camera(stalling, patience_s=0.3, reconnect_s=60.0)
    whole, gone = 0, []
    for frame in source:
        if frame.pixels is not None:
            whole += 1
        elif "is it still connected" in frame.error:
            gone.append(frame.error)
        if source.reconnects == 2 and frame.pixels is not None:
            source.stop()
    assert len(gone) >= 2
    assert gone[0] == f"{stalling}: no frame for 0.3 s; is it still connected?"
    assert whole >= 3


@needs_opencv
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
def test_a_camera_that_never_answers_is_an_error(tmp_path: Path) -> None:
    """A pipe that nobody writes to: no time limit of OpenCV's or FFmpeg's ends the call, as with a driver that hangs."""
    from edge.live.camera import Camera

    place = Path("/dev/shm") / f"{tmp_path.parent.name}-{os.getpid()}.mjpeg"  # noqa: S108 - a camera's name begins with /dev/
    os.mkfifo(place)
    try:
        with pytest.raises(DatasetError, match=r"\.mjpeg: does not answer within 0\.2 s"):
            Camera(str(place), open_s=0.2)
    finally:
        os.close(os.open(place, os.O_RDWR))  # lets the call return
        place.unlink()
