from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.artefact import container
from edge.artefact.contract import InputSpec
from edge.cli import main
from edge.commands import preprocess_flags
from edge.errors import ContractError
from edge.runtime.golden import pattern


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(pattern("gradient", 30, 40)).save(path)
    return path


def _json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


# classify


def test_classify_prints_the_best(tiny_int8_artefact: Path, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", str(tiny_int8_artefact), str(picture), "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(picture)
    assert len(lines) == 3
    assert lines[1].split()[0].endswith("%")
    assert lines[1].split()[1] in ("cat", "dog", "bird", "fish")


def test_classify_answers_programs(tiny_int8_artefact: Path, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", str(tiny_int8_artefact), str(picture), str(picture), "--json", "-", "--threads", "1"]) == 0
    report = _json(capsys)
    assert [image["image"] for image in report["images"]] == [str(picture)] * 2
    scores = [item["score"] for item in report["images"][0]["classes"]]
    assert scores == sorted(scores, reverse=True)
    assert report["runtime"]["threads"] == 1
    assert report["model_sha256"] == container.read(tiny_int8_artefact).model_sha256


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["classify", "{model}", "{picture}", "--top", "0"], "0 is not 1 or more"),
        (["classify", "{model}", "{picture}", "--threads", "100000"], "threads is 100000, expected 1 to 1024"),
        (["validate", "{model}", "--images", "{folder}", "--workers", "100000"], "workers is 100000, expected 1 to 1024"),
        (["throughput", "{model}", "{folder}", "--streams", "100000"], "100000 is more than 256"),
        (["benchmark", "{model}", "--seconds", "inf"], "100 runs in inf s is nothing to measure"),
        (["watch", "{model}", "{folder}", "--headless", "--output", "{folder}"], "is the source itself"),
        (["watch", "{model}", "{picture}", "--headless", "--output", "{picture}"], "is the source itself"),
        (["validate", "{model}", "--images", "{folder}", "--sequential"], "--sequential: of use on a board only"),
        (["validate", "{model}", "--images", "{folder}", "--certify", "5"], "--certify: of use on a board only"),
        (["benchmark", "{model}", "--folder", "x"], "--folder: of use on a board only; name it with --on TARGET"),
    ],
)
def test_what_cannot_be_done_is_refused_and_not_left_undone(
    words: list[str], says: str, tiny_int8_artefact: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a limit so many threads took the process down; flags of a board were passed over."""
    names = {"model": tiny_int8_artefact, "picture": picture, "folder": picture.parent}
    try:
        code = main([word.format(**names) for word in words])
    except SystemExit as ended:  # as argparse does
        code = int(str(ended.code))
    assert code == 2
    assert says in capsys.readouterr().err


def test_a_plan_beyond_all_images_does_not_speak_of_the_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--plan", "--max-drop", "0.000001"]) == 0
    assert capsys.readouterr().out.startswith("More than 100,000,000 images: the limit of 1e-06")
    assert main(["validate", "--plan", "--max-drop", "0.01", "--drop", "0.01"]) == 0
    assert capsys.readouterr().out.startswith("No number of images would do: the true drop is at the limit")


def test_one_bad_picture_does_not_keep_the_others_from_their_answer(
    tiny_int8_artefact: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    assert main(["classify", str(tiny_int8_artefact), str(bad), str(picture)]) == 2
    captured = capsys.readouterr()
    assert captured.out.startswith(str(picture))
    assert (
        captured.err
        == f"edgekit: error: {bad}: is no JPEG, PNG, BMP, WebP, GIF, TIFF, HEIC or AVIF; convert it or leave it out\n"
    )


def test_classify_says_what_takes_folders_and_videos(
    tiny_int8_artefact: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "drive.mp4"
    video.write_bytes(b"no picture")
    assert main(["classify", str(tiny_int8_artefact), str(tmp_path), str(video)]) == 2
    folder, film = capsys.readouterr().err.splitlines()
    assert folder.startswith(f"edgekit: error: {tmp_path}: is a folder, classify takes single pictures")
    assert film.endswith(f"edgekit watch {tiny_int8_artefact} {video} --output ANSWERED")


def test_classify_runs_a_foreign_model_that_it_is_told_about(
    tiny_logits_flatbuffer: bytes, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, labels = tmp_path / "foreign.tflite", tmp_path / "labels.txt"
    model.write_bytes(tiny_logits_flatbuffer)
    labels.write_text("nothing\na\nb\nc\n\n", encoding="utf-8")
    assert main(["classify", str(model), str(picture)]) == 2
    assert "--preprocess inception, raw or unit" in capsys.readouterr().err
    flags = ["--preprocess", "inception", "--kind", "logits", "--labels", str(labels), "--background", "0"]
    assert main(["classify", str(model), str(picture), *flags, "--json", "-"]) == 0
    assert {item["label"] for item in _json(capsys)["images"][0]["classes"]} == {"a", "b", "c"}


def test_labels_that_cannot_be_read_are_named(
    tiny_logits_flatbuffer: bytes, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "foreign.tflite"
    model.write_bytes(tiny_logits_flatbuffer)
    assert main(["classify", str(model), str(picture), "--preprocess", "raw", "--labels", str(tmp_path / "none.txt")]) == 2
    assert "none.txt: the labels cannot be read" in capsys.readouterr().err


# inspect


def test_inspect_tells_what_is_inside(tiny_int8_artefact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tiny_int8_artefact), "--json", "-"]) == 0
    report = _json(capsys)
    assert report["arithmetic"] == "integer"
    assert report["float_ops"] == []
    assert report["ops"]["CONV_2D"] == 2
    assert report["inputs"][0]["dtype"] == "int8"
    assert report["inputs"][0]["quantization"]["zero_point"] == [-1]
    assert report["contract"]["outputs"][0]["labels"] == ["cat", "dog", "bird", "fish"]
    assert report["bytes"] == tiny_int8_artefact.stat().st_size
    assert 0 < report["weights_bytes"] < report["flatbuffer_bytes"] < report["bytes"]
    assert set(report["packed_files"]) == {"labels.txt", "contract.json"}
    assert main(["inspect", str(tiny_int8_artefact)]) == 0
    assert "float   none between input and output" in capsys.readouterr().out


def test_inspect_shows_a_foreign_model(
    tiny_dynamic_flatbuffer: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(tiny_dynamic_flatbuffer)
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "dynamic arithmetic" in out
    assert "contract none" in out


def test_inspect_names_a_damaged_file(tiny_int8_artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes(tiny_int8_artefact.read_bytes()[:-100])
    assert main(["inspect", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"edgekit: error: {path}: ")
    assert error.count("\n") == 1


# selftest


def test_selftest_passes_where_the_artefact_was_made(tiny_int8_artefact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", str(tiny_int8_artefact)]) == 0
    assert capsys.readouterr().out.endswith("selftest: exact\n")
    assert main(["selftest", str(tiny_int8_artefact), "--kernels", "reference", "--json", "-"]) == 0
    report = _json(capsys)
    assert (report["passed"], report["exact"]) == (True, True)
    assert report["runtime"]["kernels"] == "reference"
    assert len(report["results"]) == 3


def test_selftest_fails_with_exit_code_1(tiny_float_artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import dataclasses

    from edge.runtime.golden import encode

    source = container.read(tiny_float_artefact)
    assert source.contract is not None
    wrong = {"probabilities": encode(np.full(4, 0.25, np.float32))}
    samples = tuple(
        dataclasses.replace(sample, outputs=tuple(dataclasses.replace(o, values=wrong) for o in sample.outputs))
        for sample in source.contract.golden
    )
    path = tmp_path / "wrong.tflite"
    path.write_bytes(container.pack(source.flatbuffer(), source.contract.replace(golden=samples)))
    assert main(["selftest", str(path)]) == 1
    out = capsys.readouterr().out
    assert "NOT as promised" in out
    assert out.endswith("this machine does not compute what was promised\n")


# --preprocess


def _spec(*flags: str) -> InputSpec | None:
    parser = argparse.ArgumentParser()
    preprocess_flags.add_preprocess(parser)
    return preprocess_flags.input_spec(parser.parse_args(flags), height=20, width=30)


def test_no_flag_says_nothing() -> None:
    assert _spec() is None


@pytest.mark.parametrize(("recipe", "low", "high"), [("inception", -1.0, 1.0), ("raw", 0.0, 255.0), ("unit", 0.0, 1.0)])
def test_recipes_have_their_range(recipe: str, low: float, high: float) -> None:
    spec = _spec("--preprocess", recipe)
    assert spec is not None
    assert ((0 - spec.mean[0]) / spec.scale[0], (255 - spec.mean[0]) / spec.scale[0]) == (low, high)
    assert (spec.width, spec.height, spec.color, spec.fit, spec.antialias) == (30, 20, "rgb", "stretch", True)


def test_details_change_the_recipe() -> None:
    assert _spec("--preprocess", "unit", "--fit", "crop", "--crop-fraction", "0.875", "--no-antialias") == InputSpec(
        width=30, height=20, fit="crop", crop_fraction=0.875, antialias=False, mean=(0.0,) * 3, scale=(255.0,) * 3
    )
    assert _spec("--mean", "1,2,3", "--scale", "4", "--color", "bgr") == InputSpec(
        width=30, height=20, color="bgr", mean=(1.0, 2.0, 3.0), scale=(4.0, 4.0, 4.0)
    )
    assert _spec("--preprocess", "inception", "--color", "gray") == InputSpec(
        width=30, height=20, color="gray", mean=(127.5,), scale=(127.5,)
    )
    zero = _spec("--preprocess", "inception", "--mean", "0")
    assert zero is not None
    assert zero.mean == (0.0, 0.0, 0.0)


def test_recipes_fit_grey_models_without_a_word() -> None:
    parser = argparse.ArgumentParser()
    preprocess_flags.add_preprocess(parser)
    for flags, mean, scale in ((["--preprocess", "unit"], 0.0, 255.0), (["--mean", "1", "--scale", "2"], 1.0, 2.0)):
        spec = preprocess_flags.input_spec(parser.parse_args(flags), height=20, width=30, channels=1)
        assert spec == InputSpec(width=30, height=20, color="gray", mean=(mean,), scale=(scale,))


def test_half_a_recipe_is_refused() -> None:
    for flags in (["--fit", "letterbox"], ["--mean", "127.5"], ["--no-antialias"]):
        with pytest.raises(ContractError, match="only half said"):
            _spec(*flags)
    with pytest.raises(ContractError, match=r"input\.mean"):
        _spec("--preprocess", "raw", "--mean", "1,2")


def test_numbers_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _spec("--mean", "1;2")
    assert "'1;2' is not a number" in capsys.readouterr().err
