"""Cameras: their names, and a real stream over the loopback that ends, stalls or never answers."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from edge.errors import DatasetError, UsageError
from edge.live.frames import is_camera, open_source
from tests.edge.live.frame_files import grey, levels, needs_opencv, save


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


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on the loopback until the block ends; the address of the video."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/video.mjpg"
    server.shutdown()
    thread.join()
    server.server_close()


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

    with serving(Handler) as url:
        yield url


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

    with serving(Handler) as url:
        yield url
        done.set()


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
