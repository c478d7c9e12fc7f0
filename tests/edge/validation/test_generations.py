from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge
from edge.cli import main
from edge.data.dataset import LabelledImages
from edge.errors import ContractError, DatasetError, UsageError

DIGITS = [str(digit) for digit in range(10)]


@pytest.fixture(scope="module")
def generations(small_network: Any, digits_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three float32 generations of the small network: as trained, with weights spoilt a little, and with class 3 forgotten."""
    import quantize

    folder = tmp_path_factory.mktemp("generations")
    weights = small_network.get_weights()
    files = []
    try:
        for number in range(3):
            changed = [array.copy() for array in weights]
            if number == 1:
                rng = np.random.default_rng(0)
                changed = [a + rng.normal(0, 0.05, a.shape).astype(np.float32) if a.ndim > 1 else a for a in changed]
            if number == 2:
                changed[-1][3] = -100.0
            small_network.set_weights(changed)
            source = quantize.load(small_network, name=f"digits-{number}", preprocess="inception", labels=DIGITS)
            files.append(quantize.post_training(source, variant="float32").save(folder))
    finally:
        small_network.set_weights(weights)
    return files


def _right(file: Path, images: list[Path]) -> list[bool]:
    model = edge.load(file)
    return [model.classify(image).top(1)[0].label == image.parent.name for image in images]


def test_it_ranks_and_lists_what_got_worse(generations: list[Path], digits_folder: Path) -> None:
    test = digits_folder / "test"
    report = edge.compare(generations, test, limit=200, latency_seconds=0)
    chosen = LabelledImages.open(test).subset(200)
    right = [_right(file, [item.path for item in chosen]) for file in generations]
    assert [one.metrics["top1"] for one in report.generations] == pytest.approx([np.mean(row) for row in right])
    assert report.generations[report.best].score == max(one.score for one in report.generations)
    assert list(report.ranking("accuracy")) == sorted(range(3), key=lambda i: (-sum(right[i]), i))
    last = report.steps[1]
    assert (last.old, last.new) == (1, 2)
    lost = {item.id for item, old, new in zip(chosen, right[1], right[2], strict=True) if old and not new}
    assert {found.image for found in last.regressions} == lost
    assert len(lost) > 5
    told = report.to_dict()
    assert told["host"]["processor"] and told["runtime"]["package"]
    assert f"all run on {told['host']['processor']}" in report.to_text()
    assert last.better_images == sum(new and not old for old, new in zip(right[1], right[2], strict=True))
    forgotten = [found for found in report.against_best[-1].regressions if found.truth == "3"]
    assert forgotten
    assert all(found.after != "3" for found in forgotten)
    assert all(one.p50_ms is None for one in report.generations)


def test_a_generation_that_is_worse_beyond_doubt_is_called_so(generations: list[Path], digits_folder: Path) -> None:
    report = edge.compare([generations[0], generations[2]], digits_folder / "test", limit=400, latency_seconds=0)
    assert report.steps[0].verdict == "worse"
    assert report.steps[0].ci95[0] > 0
    same = edge.compare([generations[0], generations[0]], digits_folder / "test", limit=50, latency_seconds=0)
    assert same.steps[0].verdict == "undecided"
    assert not same.steps[0].regressions


@pytest.fixture(scope="module")
def measures(small_network: Any, digits_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Path]:
    """Two generations of an output of numbers (half the scores of the small network, the second with an offset), and targets."""
    import keras

    import quantize

    folder = tmp_path_factory.mktemp("measures")
    files = []
    for number, offset in enumerate((0.0, 0.4)):
        scores = keras.layers.Dense(1, name="angle")
        network = keras.Model(small_network.input, scores(small_network.output))
        scores.set_weights([np.array([[1.0], [-1.0], *[[0.0]] * 8], np.float32), np.array([offset], np.float32)])
        source = quantize.load(network, name=f"angle-{number}", preprocess="inception", outputs="regression")
        files.append(quantize.post_training(source, variant="float32").save(folder))
    images = sorted((digits_folder / "test").glob("[012]/*.png"))[::4]
    with open(folder / "angles.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "angle"])
        writer.writerows([image, {"0": 1, "1": -1, "2": 0}[image.parent.name]] for image in images)
    return files, folder / "angles.csv"


def test_numbers_are_compared_by_their_error(measures: tuple[list[Path], Path]) -> None:
    files, manifest = measures
    report = edge.compare(files, manifest, latency_seconds=0)
    first, second = (one.metrics for one in report.generations)
    assert first["mae"] < 0.2 < 0.35 < second["mae"]
    assert set(first) == {"mae", "rmse", "r2", "sign_agreement"}
    assert first["sign_agreement"] > 0.9
    assert report.tolerance == pytest.approx(0.2)
    step = report.steps[0]
    assert step.verdict == "worse"
    assert all(found.growth > 0.2 for found in step.regressions)
    assert list(report.ranking("accuracy")) == [0, 1]
    assert not edge.compare(files, manifest, latency_seconds=0, tolerance=0.5).steps[0].regressions


def test_the_command_prints_and_writes_json(
    generations: list[Path], digits_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(file) for file in generations]
    images = str(digits_folder / "test")
    code = main(["compare", *files, "--images", images, "--limit", "60", "--seconds", "0.01", "--json", str(tmp_path / "a.json")])
    out = capsys.readouterr().out
    assert code == 0
    assert "digits-1.float32.tflite -> digits-2.float32.tflite" in out
    assert "mean_recall" in out
    report = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert report["images"] == 60
    assert sorted(report["ranking"]["p50_ms"]) == [0, 1, 2]
    assert all(one["p50_ms"] > 0 for one in report["artefacts"])
    assert [step["verdict"] for step in report["steps"]]


def test_what_cannot_be_compared_is_said(
    generations: list[Path], measures: tuple[list[Path], Path], digits_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="1 artefact given, expected two or more"):
        edge.compare(generations[:1], digits_folder / "test")
    with pytest.raises(ContractError, match="no output of the same name, kind and labels"):
        edge.compare([generations[0], measures[0][0]], digits_folder / "test")
    with pytest.raises(ContractError, match="no output 'speed' of the same kind"):
        edge.compare(generations, digits_folder / "test", output="speed")
    with pytest.raises(DatasetError, match="does not say what output 'angle' should be"):
        edge.compare(measures[0], digits_folder / "test")


def test_each_variant_gets_a_verdict_against_the_reference(
    generations: list[Path], digits_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As `edgekit validate` gives it, one by one."""
    test, (first, second, third) = digits_folder / "test", map(str, generations)
    words = ["--images", str(test), "--limit", "200", "--no-latency", "--reference", first, "--max-drop", "0.3"]
    assert main(["compare", second, third, *words, "--json", str(tmp_path / "a.json")]) in (0, 1)
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert [Path(one["file"]).name for one in found["artefacts"]] == [path.name for path in generations]
    assert found["verdicts"][0] is None and found["max_drop"] == 0.3
    chosen = LabelledImages.open(test).subset(200)
    right = [_right(file, [item.path for item in chosen]) for file in generations]
    for step, verdict in zip(found["against_reference"], found["verdicts"][1:], strict=True):
        mine = edge.validate(generations[step["new"]], test, reference=edge.load(first), limit=200, max_drop=0.3)
        assert mine.headline is not None and mine.headline.drop is not None
        assert mine.headline.drop.top1 == pytest.approx(step["error_growth"])
        assert mine.headline.drop.ci95 == pytest.approx(tuple(step["ci95"]))
        assert mine.verdict == verdict
        assert step["error_growth"] == pytest.approx(np.mean(right[0]) - np.mean(right[step["new"]]))
        assert f"drop {100 * step['error_growth']:+.2f} points" in said
    # Named among the files, it is not run twice.
    again = edge.compare([second, first], test, limit=20, latency_seconds=0, reference=first, max_drop=-0.9)
    assert len(again.generations) == 2 and again.verdicts == {0: "fail"} and again.exit_code == 1
    with pytest.raises(UsageError, match="needs a reference"):
        edge.compare([second, first], test, max_drop=0.1)
