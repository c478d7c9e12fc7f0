from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edge
from edge.artefact import container
from edge.cli import main
from edge.errors import DatasetError, UsageError
from edge.live.frames import ImageFiles, Paced, open_source
from edge.live.throughput import measure
from edge.runtime.golden import pattern


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "frames"
    path.mkdir()
    for number in range(3):
        Image.fromarray(pattern(f"noise-{number}", 48, 64)).save(path / f"{number}.jpg")
    (path / "1.jpg").write_bytes(b"\xff\xd8\xff broken")
    return path


def test_streams_of_files_run_over_and_over(tiny_int8_artefact: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["throughput", str(tiny_int8_artefact), str(folder), str(folder / "0.jpg"), "--streams", "3", "--seconds", "0.3"]
    assert main([*argv, "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    streams = report["streams"]
    assert [stream["source"] for stream in streams] == [str(folder), str(folder / "0.jpg"), str(folder)]
    assert all(stream["frames"] > 3 for stream in streams)
    assert streams[0]["broken"] > 0
    assert streams[1]["broken"] == 0
    assert report["frames_per_second"] == pytest.approx(sum(stream["frames"] for stream in streams) / report["seconds"])
    assert streams[0]["latency"]["p50_ms"] <= streams[0]["latency"]["p99_ms"] <= streams[0]["latency"]["max_ms"]
    assert streams[0]["age"] is None
    assert report["runtime"]["threads"] == 1
    assert report["model_sha256"] == container.read(tiny_int8_artefact).model_sha256
    assert report["peak_memory_mib"] > 1


def test_the_table_has_a_line_per_stream(tiny_int8_artefact: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["throughput", str(tiny_int8_artefact), str(folder), "--streams", "2", "--seconds", "0.1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tiny_int8_artefact}: 2 streams on ")
    assert [line.split()[0] for line in lines[2:]] == ["1", "2", "in"]


def test_live_streams_end_with_their_source_and_drop_nothing_in_silence(tiny_int8_artefact: Path, folder: Path) -> None:
    sources = [Paced(open_source(folder), 100.0), Paced(open_source(folder), 100.0)]
    report = measure(tiny_int8_artefact, sources, seconds=60.0, load=lambda: edge.load(tiny_int8_artefact, threads=1))
    assert report.seconds < 60.0
    for stream in report.streams:
        assert stream.frames + stream.dropped == 2
        assert stream.broken == 1
        assert stream.age.count == stream.frames


def test_a_model_that_sees_several_frames_is_fed_them(tiny_frames_artefact: Path, folder: Path) -> None:
    report = measure(tiny_frames_artefact, [open_source(folder)], seconds=0.1, load=lambda: edge.load(tiny_frames_artefact))
    assert report.streams[0].frames > 0


def test_a_stream_without_a_whole_frame_is_an_error(tiny_int8_artefact: Path, folder: Path) -> None:
    sources = [open_source(folder), ImageFiles([folder / "1.jpg"])]
    with pytest.raises(DatasetError, match=r"1\.jpg: none of its frames can be read"):
        measure(tiny_int8_artefact, sources, seconds=60.0, load=lambda: edge.load(tiny_int8_artefact))


def test_each_stream_answers_what_the_model_answers(tiny_int8_artefact: Path, folder: Path) -> None:
    """Interpreters side by side do not disturb each other."""
    models: list[edge.Model] = []

    def load() -> edge.Model:
        models.append(edge.load(tiny_int8_artefact, threads=1))
        return models[-1]

    measure(tiny_int8_artefact, [open_source(folder)] * 3, seconds=0.2, load=load)
    answers = [model.predict(folder / "0.jpg")["probabilities"] for model in models]
    assert len(answers) == 3
    for answer in answers:
        np.testing.assert_array_equal(answer, answers[0])


@pytest.mark.parametrize(
    ("sources", "flags", "words"),
    [
        (["a.mp4", "b.mp4"], ["--streams", "1"], "1 streams for 2 sources"),
        (["0"], ["--streams", "2"], "a camera gives one stream, not 2"),
        (["a.mp4"], ["--streams", "65"], "expected 1 to 64"),
    ],
)
def test_streams_that_cannot_be_are_refused(
    tiny_int8_artefact: Path, sources: list[str], flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["throughput", str(tiny_int8_artefact), *sources, *flags]) == 2
    assert words in capsys.readouterr().err


def test_no_stream_is_refused(tiny_int8_artefact: Path) -> None:
    with pytest.raises(UsageError, match="0 streams"):
        measure(tiny_int8_artefact, [], load=lambda: edge.load(tiny_int8_artefact))
