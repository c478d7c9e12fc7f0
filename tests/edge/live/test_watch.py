"""`edgekit watch` on real files, and interrupted by real signals."""

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
from edge.artefact.contract import OutputSpec
from edge.cli import main
from edge.errors import ContractError, DatasetError
from edge.live.frame import Frame
from edge.live.frames import ImageFiles, Paced, open_source
from edge.live.watch import Seen, watch
from edge.runtime.golden import pattern
from tests.conftest import REPOSITORY
from tests.edge.conftest import MakeContract, PackArtefact
from tests.edge.live.frame_files import needs_opencv


def captured(seen: list[Seen]) -> Callable[[Seen], bool]:
    def show(one: Seen) -> bool:
        seen.append(one)
        return True

    return show


def test_every_frame_is_answered_as_classify_does(tiny_int8_artefact: Path, frames_folder: Path) -> None:
    model = edge.load(tiny_int8_artefact, threads=1)
    seen: list[Seen] = []
    report = watch(model, open_source(frames_folder), captured(seen), top=2)
    assert [one.frame.index for one in seen] == [0, 1, 2, 3]
    assert "error" in seen[2].answer
    assert seen[2].drawn is None
    best = model.classify(frames_folder / "1.jpg").top(2)
    assert [item["label"] for item in seen[1].answer["classes"]] == [item.label for item in best]
    assert seen[1].lines[0] == f"{best[0].label} {best[0].score:.1%}"
    assert seen[1].drawn is not None
    found = report.to_dict()
    assert (found["answered"], found["frames"]["captured"], found["frames"]["broken"]) == (3, 4, 1)
    assert sum(found["best"].values()) == 3
    assert len(found["answers"]) == 4
    assert found["age"] is None


def test_a_live_source_is_answered_with_its_age(tiny_int8_artefact: Path, frames_folder: Path) -> None:
    report = watch(edge.load(tiny_int8_artefact), Paced(open_source(frames_folder), 200.0), lambda seen: True)
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


def test_a_camera_that_goes_away_leaves_a_report(tiny_int8_artefact: Path, frames_folder: Path) -> None:
    model = edge.load(tiny_int8_artefact)
    report = watch(model, Unplugged([frames_folder / "1.jpg"]), lambda seen: True)
    assert (report.answered, report.to_dict()["error"]) == (1, "camera 0: no frame for 5 s")
    with pytest.raises(DatasetError, match="no frame for 5 s"):
        watch(model, Unplugged([frames_folder / "2.jpg"]), lambda seen: True)  # it never gave a whole one


def test_watching_ends_when_told_to(tiny_int8_artefact: Path, frames_folder: Path) -> None:
    model = edge.load(tiny_int8_artefact)
    assert watch(model, open_source(frames_folder), lambda seen: True, frames=2).answered == 2
    assert watch(model, open_source(frames_folder), lambda seen: False).answered == 1
    assert watch(model, open_source(frames_folder), lambda seen: True, seconds=1e-9).answered == 0
    assert watch(model, Paced(open_source(frames_folder), 0.001), lambda seen: True, seconds=0.05).counts.captured <= 1


def test_regression_outputs_are_shown_as_numbers(
    tiny_two_outputs_flatbuffer: bytes, tiny_contract: MakeContract, pack: PackArtefact, frames_folder: Path
) -> None:
    from edge.artefact import outline

    outputs = [OutputSpec(name="angle", kind="regression"), OutputSpec(name="species", kind="probabilities")]
    if [shape[-1] for shape in outline.read(tiny_two_outputs_flatbuffer).outputs] == [4, 1]:
        outputs.reverse()
    model = edge.load(pack(tiny_two_outputs_flatbuffer, tiny_contract(outputs=tuple(outputs))))
    seen: list[Seen] = []
    watch(model, ImageFiles([frames_folder / "1.jpg"]), captured(seen))
    angle = float(model.predict(frames_folder / "1.jpg")["angle"][0])
    assert seen[0].answer["values"] == pytest.approx({"angle": angle}, abs=1e-6)
    assert seen[0].lines[-1] == f"angle {angle:+.3f}"
    assert seen[0].lines[0].startswith("class ")


def test_a_model_that_sees_several_frames_gets_the_last_ones(tiny_frames_artefact: Path, frames_folder: Path) -> None:
    model = edge.load(tiny_frames_artefact)
    seen: list[Seen] = []
    watch(model, open_source(frames_folder), captured(seen))
    pixels = [one.frame.pixels for one in seen if one.frame.pixels is not None]
    assert [one.frame.pixels is None for one in seen] == [False, False, True, False]
    expected = model.predict(pixels)  # the broken one is left out
    assert seen[3].answer["values"] == pytest.approx({name: float(value[0]) for name, value in expected.items()})
    first = model.predict([pixels[0]] * 3)  # nothing was before it
    assert seen[0].answer["values"] == pytest.approx({name: float(value[0]) for name, value in first.items()})


def test_a_model_without_an_answer_to_show_is_refused(
    tiny_float_flatbuffer: bytes, tiny_contract: MakeContract, pack: PackArtefact, frames_folder: Path
) -> None:
    model = edge.load(pack(tiny_float_flatbuffer, tiny_contract(outputs=(OutputSpec(name="embedding", kind="features"),))))
    with pytest.raises(ContractError, match="no output with classes"):
        watch(model, open_source(frames_folder), lambda seen: True)


def test_a_source_without_a_whole_frame_is_an_error(tiny_int8_artefact: Path, frames_folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"none of its 1 frames can be read \(.*2\.jpg"):
        watch(edge.load(tiny_int8_artefact), ImageFiles([frames_folder / "2.jpg"]), lambda seen: True)


@needs_opencv
def test_the_command_draws_a_folder_into_a_video(
    tiny_int8_artefact: Path, frames_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "answered.mp4"
    assert main(["watch", str(tiny_int8_artefact), str(frames_folder), "--output", str(out), "--headless"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith(f"{frames_folder / '0.jpg'}  ")
    assert lines[0].endswith(" ms")
    assert "3 frames in" in printed.out
    assert printed.err.startswith(f"edgekit: {frames_folder / '2.jpg'}: ")
    frames = list(open_source(out))
    assert len(frames) == 3
    assert frames[0].pixels is not None
    assert frames[0].pixels.shape == (240, 320, 3)


def test_the_command_answers_programs_and_draws_an_image(
    tiny_int8_artefact: Path, frames_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "answered.png"
    argv = ["watch", str(tiny_int8_artefact), str(frames_folder / "1.jpg"), "--output", str(out), "--json", "-", "--headless"]
    assert main([*argv, "--top", "2"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model_sha256"] == container.read(tiny_int8_artefact).model_sha256
    assert (report["answered"], len(report["answers"][0]["classes"])) == (1, 2)
    with Image.open(out) as drawn:
        assert drawn.size == (320, 240)


@pytest.mark.parametrize("flags", [["--fps", "0"], ["--fps", "-3"], ["--output", "x.gif"]])
def test_flags_that_make_no_sense_are_one_line(
    tiny_int8_artefact: Path, frames_folder: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", str(tiny_int8_artefact), str(frames_folder), *flags]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@needs_opencv
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 0)])
def test_a_signal_ends_it_with_the_video_complete(
    tiny_int8_artefact: Path, frames_folder: Path, tmp_path: Path, name: str, code: int
) -> None:
    out, report = tmp_path / "out.mp4", tmp_path / "seen.json"
    (frames_folder / "2.jpg").unlink()
    # 3 frames at 0.01 a second: after the first answer it waits, until the signal comes.
    argv = [
        "watch",
        str(tiny_int8_artefact),
        str(frames_folder),
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
    assert first.startswith(str(frames_folder / "0.jpg"))
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
