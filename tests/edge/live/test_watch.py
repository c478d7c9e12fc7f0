"""`edgekit watch`, drawing and outputs: on real files, and interrupted by real signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import edge
from edge.artefact import container
from edge.artefact.contract import Contract, OutputSpec
from edge.cli import main
from edge.errors import ContractError, DatasetError, OutputError, UsageError
from edge.live import drawing
from edge.live.frame import Frame
from edge.live.frame_output import VideoOutput, open_output
from edge.live.frames import ImageFiles, Paced, open_source
from edge.live.watch import Seen, watch
from edge.runtime.golden import pattern

MakeContract = Callable[..., Contract]
PackArtefact = Callable[..., Path]
REPOSITORY = Path(__file__).resolve().parents[3]
needs_opencv = pytest.mark.skipif(find_spec("cv2") is None, reason="the extra [video] is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four frames, of which the third is broken."""
    path = tmp_path / "frames"
    path.mkdir()
    for number, name in enumerate(("gradient", "rings", "noise-1", "noise-2")):
        Image.fromarray(pattern(name, 48, 64)).save(path / f"{number}.jpg")
    broken = path / "2.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    return path


def captured(seen: list[Seen]) -> Callable[[Seen], bool]:
    def show(one: Seen) -> bool:
        seen.append(one)
        return True

    return show


# drawing


def test_words_are_drawn_in_the_corner_and_the_rest_of_the_frame_is_left_alone() -> None:
    pixels = np.full((480, 640, 3), 90, np.uint8)
    before = pixels.copy()
    drawn = drawing.draw(pixels, ["roses 97.3%", "11.2 ms"])
    np.testing.assert_array_equal(pixels, before)
    assert drawn.shape == pixels.shape
    assert drawn[:60, :200].max() > 200  # white letters
    assert drawn[:60, :200].min() < 60  # on a darkened ground
    np.testing.assert_array_equal(drawn[100:], pixels[100:])
    np.testing.assert_array_equal(drawn[:, 400:], pixels[:, 400:])


def test_small_frames_are_enlarged_by_a_whole_number() -> None:
    pixels = pattern("noise-1", 72, 96)
    drawn = drawing.draw(pixels, [])
    assert drawn.shape == (288, 384, 3)
    np.testing.assert_array_equal(drawn[::4, ::4], pixels)


@pytest.mark.parametrize("line", ["a label " * 40, "Übergröße 12 %", "\N{GREEK SMALL LETTER ALPHA} 1 %", "", "\n"])
def test_any_line_can_be_drawn(line: str) -> None:
    pixels = np.zeros((100, 320, 3), np.uint8)
    assert drawing.draw(pixels, [line] * 30).shape == pixels.shape


def test_a_long_line_ends_inside_the_frame() -> None:
    drawn = drawing.draw(np.zeros((100, 320, 3), np.uint8), ["W" * 500])
    assert drawn[:20, 280:310].max() > 150  # as much of it as fits
    assert drawn[:, 315:].max() == 0


# outputs


def test_the_kind_of_output_follows_from_its_name(tmp_path: Path, folder: Path) -> None:
    source = open_source(folder)
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


# watching


def test_every_frame_is_answered_as_classify_does(tiny_int8_artefact: Path, folder: Path) -> None:
    model = edge.load(tiny_int8_artefact, threads=1)
    seen: list[Seen] = []
    report = watch(model, open_source(folder), captured(seen), top=2)
    assert [one.frame.index for one in seen] == [0, 1, 2, 3]
    assert "error" in seen[2].answer
    assert seen[2].drawn is None
    best = model.classify(folder / "1.jpg").top(2)
    assert [item["label"] for item in seen[1].answer["classes"]] == [item.label for item in best]
    assert seen[1].lines[0] == f"{best[0].label} {best[0].score:.1%}"
    assert seen[1].drawn is not None
    found = report.to_dict()
    assert (found["answered"], found["frames"]["captured"], found["frames"]["broken"]) == (3, 4, 1)
    assert sum(found["best"].values()) == 3
    assert len(found["answers"]) == 4
    assert found["age"] is None


def test_a_live_source_is_answered_with_its_age(tiny_int8_artefact: Path, folder: Path) -> None:
    report = watch(edge.load(tiny_int8_artefact), Paced(open_source(folder), 200.0), lambda seen: True)
    counts = report.counts
    assert (counts.captured, counts.broken) == (4, 1)
    assert counts.taken + counts.dropped == 3
    assert report.age.count == report.answered == counts.taken
    assert "age" in report.to_text()


class Unplugged(ImageFiles):
    """A camera that gives its frames and then has gone."""

    live = True

    def __iter__(self) -> Iterator[Frame]:
        yield from super().__iter__()
        raise DatasetError("camera 0: no frame for 5 s")


def test_a_camera_that_goes_away_leaves_a_report(tiny_int8_artefact: Path, folder: Path) -> None:
    model = edge.load(tiny_int8_artefact)
    report = watch(model, Unplugged([folder / "1.jpg"]), lambda seen: True)
    assert (report.answered, report.to_dict()["error"]) == (1, "camera 0: no frame for 5 s")
    with pytest.raises(DatasetError, match="no frame for 5 s"):
        watch(model, Unplugged([folder / "2.jpg"]), lambda seen: True)  # it never gave a whole one


def test_watching_ends_when_told_to(tiny_int8_artefact: Path, folder: Path) -> None:
    model = edge.load(tiny_int8_artefact)
    assert watch(model, open_source(folder), lambda seen: True, frames=2).answered == 2
    assert watch(model, open_source(folder), lambda seen: False).answered == 1
    assert watch(model, open_source(folder), lambda seen: True, seconds=1e-9).answered == 0
    assert watch(model, Paced(open_source(folder), 0.001), lambda seen: True, seconds=0.05).counts.captured <= 1


def test_regression_outputs_are_shown_as_numbers(
    tiny_two_outputs_flatbuffer: bytes, tiny_contract: MakeContract, pack: PackArtefact, folder: Path
) -> None:
    from edge.artefact import outline

    outputs = [OutputSpec(name="angle", kind="regression"), OutputSpec(name="species", kind="probabilities")]
    if [shape[-1] for shape in outline.read(tiny_two_outputs_flatbuffer).outputs] == [4, 1]:
        outputs.reverse()
    model = edge.load(pack(tiny_two_outputs_flatbuffer, tiny_contract(outputs=tuple(outputs))))
    seen: list[Seen] = []
    watch(model, ImageFiles([folder / "1.jpg"]), captured(seen))
    angle = float(model.predict(folder / "1.jpg")["angle"][0])
    assert seen[0].answer["values"] == pytest.approx({"angle": angle}, abs=1e-6)
    assert seen[0].lines[-1] == f"angle {angle:+.3f}"
    assert seen[0].lines[0].startswith("class ")


def test_a_model_that_sees_several_frames_gets_the_last_ones(tiny_frames_artefact: Path, folder: Path) -> None:
    model = edge.load(tiny_frames_artefact)
    seen: list[Seen] = []
    watch(model, open_source(folder), captured(seen))
    pixels = [one.frame.pixels for one in seen if one.frame.pixels is not None]
    assert [one.frame.pixels is None for one in seen] == [False, False, True, False]
    expected = model.predict(pixels)  # the broken one is left out
    assert seen[3].answer["values"] == pytest.approx({name: float(value[0]) for name, value in expected.items()})
    first = model.predict([pixels[0]] * 3)  # nothing was before it
    assert seen[0].answer["values"] == pytest.approx({name: float(value[0]) for name, value in first.items()})


def test_a_model_without_an_answer_to_show_is_refused(
    tiny_float_flatbuffer: bytes, tiny_contract: MakeContract, pack: PackArtefact, folder: Path
) -> None:
    model = edge.load(pack(tiny_float_flatbuffer, tiny_contract(outputs=(OutputSpec(name="embedding", kind="features"),))))
    with pytest.raises(ContractError, match="no output with classes"):
        watch(model, open_source(folder), lambda seen: True)


def test_a_source_without_a_whole_frame_is_an_error(tiny_int8_artefact: Path, folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"none of its 1 frames can be read \(.*2\.jpg"):
        watch(edge.load(tiny_int8_artefact), ImageFiles([folder / "2.jpg"]), lambda seen: True)


# the command


@needs_opencv
def test_the_command_draws_a_folder_into_a_video(
    tiny_int8_artefact: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "answered.mp4"
    assert main(["watch", str(tiny_int8_artefact), str(folder), "--output", str(out), "--headless"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith(f"{folder / '0.jpg'}  ")
    assert lines[0].endswith(" ms")
    assert "3 frames in" in printed.out
    assert printed.err.startswith(f"edgekit: {folder / '2.jpg'}: ")
    frames = list(open_source(out))
    assert len(frames) == 3
    assert frames[0].pixels is not None
    assert frames[0].pixels.shape == (240, 320, 3)


def test_the_command_answers_programs_and_draws_an_image(
    tiny_int8_artefact: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "answered.png"
    argv = ["watch", str(tiny_int8_artefact), str(folder / "1.jpg"), "--output", str(out), "--json", "-", "--headless"]
    assert main([*argv, "--top", "2"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model_sha256"] == container.read(tiny_int8_artefact).model_sha256
    assert (report["answered"], len(report["answers"][0]["classes"])) == (1, 2)
    with Image.open(out) as drawn:
        assert drawn.size == (320, 240)


@pytest.mark.parametrize("flags", [["--fps", "0"], ["--fps", "-3"], ["--output", "x.gif"]])
def test_flags_that_make_no_sense_are_one_line(
    tiny_int8_artefact: Path, folder: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", str(tiny_int8_artefact), str(folder), *flags]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@needs_opencv
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 0)])
def test_a_signal_ends_it_with_the_video_complete(
    tiny_int8_artefact: Path, folder: Path, tmp_path: Path, name: str, code: int
) -> None:
    out, report = tmp_path / "out.mp4", tmp_path / "seen.json"
    (folder / "2.jpg").unlink()
    # 3 frames at 0.01 a second: after the first answer it waits, until the signal comes.
    argv = [
        "watch",
        str(tiny_int8_artefact),
        str(folder),
        "--fps",
        "0.01",
        "--output",
        str(out),
        "--headless",
        "--json",
        str(report),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", *argv], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(getattr(signal, name))
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert first.startswith(str(folder / "0.jpg"))
    assert "1 frames in" in rest
    assert errors == ""
    assert [path.name for path in tmp_path.iterdir() if path.is_file() and path != report] == ["out.mp4"]
    seen = json.loads(report.read_text("utf-8"))
    assert (seen["answered"], seen["interrupted"], seen["reconnects"]) == (1, True, 0)
    frames: list[NDArray[np.uint8] | None] = [frame.pixels for frame in open_source(out)]
    assert len(frames) == 1
    assert frames[0] is not None


@pytest.mark.skipif(shutil.which("Xvfb") is None or find_spec("tkinter") is None, reason="needs Xvfb and tkinter")
def test_a_window_shows_the_frame_until_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    from edge.live.window import Window

    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "400x300x24"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        monkeypatch.setenv("DISPLAY", f":{server.stdout.readline().strip()}")  # it says so when it is ready
        window = Window("test")
        assert window.show(pattern("rings", 120, 160))
        assert window._label.winfo_reqwidth() == 160
        window._root.focus_force()  # there is no window manager to do it
        window._root.event_generate("<Escape>", when="tail")  # as if the key were pressed
        assert not window.show(pattern("rings", 120, 160))
        window.close()
        window.close()
    finally:
        server.terminate()
        server.communicate(timeout=30)


def test_without_a_display_there_is_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    from edge.live import window

    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not window.has_display()
    monkeypatch.setenv("DISPLAY", ":73")
    assert window.has_display()
    if find_spec("tkinter") is not None and not os.path.exists("/tmp/.X11-unix/X73"):
        with pytest.raises(RuntimeError, match="no window can be opened here"):
            window.Window("test")
