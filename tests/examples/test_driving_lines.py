"""The model lines of examples/driving: their parameter counts, what they share, and two of them all the way to int8."""

from __future__ import annotations

import csv
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edge
import quantize
from edge.artefact import graph_facts
from edge.errors import DatasetError
from edge.predict import check as checking
from edge.runtime import golden
from quantize.ptq import PtqConfig

DRIVING = Path(__file__).resolve().parents[2] / "examples" / "driving"
SIZE = (75, 75)


@pytest.fixture(scope="module")
def driving() -> Iterator[tuple[ModuleType, ModuleType]]:
    """The modules ``lines`` and ``recording``, imported as the scripts beside them do."""
    sys.path.insert(0, str(DRIVING))
    try:
        yield importlib.import_module("lines"), importlib.import_module("recording")
    finally:
        sys.path.remove(str(DRIVING))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of 70 made-up frames each (train and test) with a gap in the second, in the form of the public data."""
    folder = tmp_path_factory.mktemp("recorded")
    rng = np.random.default_rng(0)
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["part", "file", "key", "steering", "throttle", "brake", "speed"])
        for part, minute in (("train", 10), ("test", 20)):
            (folder / part / "W").mkdir(parents=True)
            for number in range(70):
                second, tenth = divmod(number if part == "train" or number < 35 else number + 50, 10)
                file = f"center_2020_07_17_13_{minute}_{second:02d}_{tenth}00.jpg"
                pixels = rng.integers(0, 256, (16, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / "W" / file)
                writer.writerow([part, file, "W", f"{rng.uniform(-1, 1):.3f}", f"{number / 100:.2f}", "0.5", f"{number}.5"])
    return folder


@pytest.mark.slow
def test_the_published_parameter_counts(driving: tuple[ModuleType, ModuleType]) -> None:
    lines, _ = driving
    found = {name: build(SIZE).count_params() for name, build in lines.LINES.items()}
    assert found == {name: count for name, count in lines.PUBLISHED.items() if name in found}
    assert set(lines.PUBLISHED) - set(found) == {"0005"}  # wants weights; it is 0004
    assert lines.PUBLISHED["0005"] == lines.PUBLISHED["0004"]


@pytest.mark.slow
def test_line_0009_takes_over_the_trained_parts(driving: tuple[ModuleType, ModuleType]) -> None:
    lines, _ = driving
    image_model, history_model = lines.line_0004(SIZE), lines.line_0008(SIZE)
    combined = lines.line_0009(SIZE, image_model=image_model, history_model=history_model)
    for name, donor in (("backbone", image_model), ("history_branch", history_model)):
        taken, given = combined.get_layer(name).get_weights(), donor.get_layer(name).get_weights()
        assert all(np.array_equal(one, other) for one, other in zip(taken, given, strict=True))
    assert combined.count_params() == lines.PUBLISHED["0008"]


@pytest.mark.slow
def test_a_stacked_backbone_sees_a_still_scene_as_one_frame(driving: tuple[ModuleType, ModuleType]) -> None:
    lines, _ = driving
    trained = lines.backbone(SIZE)
    wide = lines.stacked(trained, 3)
    frame = np.random.default_rng(0).uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32)
    found = wide.predict_on_batch(np.concatenate([frame] * 3, axis=3))
    assert np.allclose(found, trained.predict_on_batch(frame), rtol=1e-3, atol=1e-5)


def test_the_history_is_the_past_and_stops_at_gaps(
    driving: tuple[ModuleType, ModuleType], recorded: Path, tmp_path: Path
) -> None:
    lines, recording = driving
    assert [len(run) for run in recording.read(recorded, "test")] == [35, 35]
    file = recording.manifest(recorded, "train", tmp_path / "a.csv", frames=3, inputs={"past_speed": (60,), "history": (60, 9)})
    with open(file, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 70 - lines.STEPS
    speeds = [float(value) for value in rows[0]["past_speed"].split()]
    assert speeds == [number + 0.5 for number in range(60)]  # the frame's own speed is not known when it comes
    history = np.array(rows[1]["history"].split(), float).reshape(60, 9)
    assert history[-1, :3].tolist() == pytest.approx([0.6 - 0.5, history[-1, 1], 60.5])
    frames = rows[0]["path"].split(";")
    assert [Path(frame).name[-8:] for frame in frames] == ["_800.jpg", "_900.jpg", "_000.jpg"]
    assert (
        recording.manifest(recorded, "test", tmp_path / "b.csv", frames=7).read_text(encoding="utf-8").count("\n") == 1 + 2 * 29
    )


def test_what_is_no_recording_is_named(driving: tuple[ModuleType, ModuleType], recorded: Path, tmp_path: Path) -> None:
    _, recording = driving
    with pytest.raises(DatasetError, match=r"labels.csv: .*No such file.*expected a recording"):
        recording.read(tmp_path, "train")
    with pytest.raises(DatasetError, match=r"no row of part 'validation'"):
        recording.read(recorded, "validation")
    (tmp_path / "labels.csv").write_text("part,file,steering\ntrain,a.jpg,0\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"no column throttle, brake, speed; expected part, "):
        recording.read(tmp_path, "train")


def test_the_target_is_what_the_driver_answered_later(
    driving: tuple[ModuleType, ModuleType], recorded: Path, tmp_path: Path
) -> None:
    _, recording = driving
    runs = recording.read(recorded, "test", reaction=3)
    for run in runs:
        steering = [float(row["steering"]) for row in run]
        assert [float(row["target_steering"]) for row in run[:-3]] == steering[3:]
        assert [row["target_acceleration"] for row in run[-3:]] == [""] * 3  # nobody knows what the driver did afterwards
    shapes = {"past_speed": (60,)}
    file = recording.manifest(recorded, "test", tmp_path / "d.csv", frames=2, inputs=shapes, whole=False, reaction=3, smooth=2.0)
    with open(file, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 70 - 2 * 3
    # No target and no past reaches across the gap: the last frame of the first run has none, the first of the second is its own past.
    assert [Path(path).name for path in rows[32]["path"].split(";")] == [Path(runs[1][0]["path"]).name] * 2
    weights = np.exp(-0.5 * (np.arange(-8, 9) / 2.0) ** 2)
    around = [float(row["steering"]) for row in runs[0][5:22]]
    assert float(rows[10]["steering"]) == pytest.approx(np.average(around, weights=weights), abs=1e-6)
    assert [float(value) for value in rows[1]["past_speed"].split()] == [0.0] * 59 + [0.5]  # histories are as they were


@pytest.mark.converts
def test_the_history_only_line_all_the_way(driving: tuple[ModuleType, ModuleType], recorded: Path, tmp_path: Path) -> None:
    lines, recording = driving
    files = _made(lines.history_only(), recording, recorded, tmp_path, frames=0)
    model = edge.load(files["int8"])
    assert model.contract.source.parameters == lines.PUBLISHED["0008 (history only)"]
    assert not graph_facts.float_ops(model.container.graph)
    assert golden.replay(model).passed
    assert checking.check(files["int8"], "pi-4b").fits
    report = edge.validate(files["int8"], tmp_path / "train.csv", reference=files["float32"], resume=False)
    assert set(report.outputs) == set(lines.OUTPUTS)
    assert report.outputs["steering"]["difference"]["mean_absolute"] < 0.1


def test_a_past_that_is_not_whole_is_filled_as_in_a_loop_that_has_just_begun(
    driving: tuple[ModuleType, ModuleType], recorded: Path, tmp_path: Path
) -> None:
    _, recording = driving
    file = recording.manifest(recorded, "test", tmp_path / "c.csv", frames=3, inputs={"past_speed": (60,)}, whole=False)
    with open(file, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 70
    # Row 35 is the first behind the gap.
    assert [len(set(rows[number]["path"].split(";"))) for number in (0, 1, 2, 34, 35, 36, 37)] == [1, 2, 3, 3, 1, 2, 3]
    assert [float(value) for value in rows[36]["past_speed"].split()] == [0.0] * 59 + [35.5]


@pytest.mark.slow
def test_image_and_history_all_the_way(driving: tuple[ModuleType, ModuleType], recorded: Path, tmp_path: Path) -> None:
    """Line 0008 with a small backbone in the place of InceptionResNetV2, which benchmarks/driving_lines.py runs."""
    import keras

    lines, recording = driving
    image = keras.Input((32, 32, 3))
    seen = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image)
    small = keras.Model(image, keras.layers.GlobalAveragePooling2D()(seen), name="backbone")
    files = _made(lines.line_0008((32, 32), backbone=small, auxiliary=True), recording, recorded, tmp_path, frames=1)
    model = edge.load(files["int8"])
    assert len(model.contract.outputs) == 6
    assert [extra.name for extra in model.contract.extra_inputs] == ["history"]
    assert model.contract.extra_inputs[0].scale[:3] == (1.0, 1.0, 30.0)
    assert golden.replay(model).passed
    report = edge.validate(files["int8"], tmp_path / "train.csv", reference=files["float32"], resume=False, unlabelled=True)
    assert report.outputs["steering_by_history"]["difference"]["mean_absolute"] < 0.1


def _made(model: Any, recording: ModuleType, recorded: Path, folder: Path, *, frames: int) -> dict[str, Path]:
    source = quantize.load(
        model,
        name="line",
        preprocess="inception" if frames else None,
        outputs="regression",
        inputs=recording.inputs_of(model),
    )
    shapes = recording.shapes_of(model)
    manifest = recording.manifest(recorded, "train", folder / "train.csv", frames=frames, inputs=shapes)
    photos = quantize.RepresentativeDataset.open(manifest, source=source, strict=False)
    config = PtqConfig(ranges="converter")
    made = quantize.post_training_variants(source, photos, ("float32", "int8"), config=config)
    return {artefact.variant: artefact.save(folder) for artefact in made}
