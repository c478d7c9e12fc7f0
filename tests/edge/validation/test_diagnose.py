from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge.artefact.contract import InputSpec, OutputSpec
from edge.artefact.tensors import QuantParams, TensorSpec
from edge.data.dataset import ImageItem
from edge.validation import diagnose

RIGHT = InputSpec(width=8, height=8)
FLOAT_TENSOR = TensorSpec(name="image", index=0, shape=(1, 8, 8, 3), dtype=np.dtype(np.float32))
INT8_TENSOR = TensorSpec(
    name="image",
    index=0,
    shape=(1, 8, 8, 3),
    dtype=np.dtype(np.int8),
    quant=QuantParams(scale=np.array([1 / 127.5], np.float32), zero_point=np.array([0], np.int32)),
)
SPEC = OutputSpec(name="colour", kind="logits", labels=("red", "green", "blue", "dark"))


def answer(tensor: NDArray[Any]) -> int:
    """A network: the strongest colour of an input in -1..1, or dark where all are below zero."""
    real = tensor.astype(np.float32) / (127.5 if tensor.dtype == np.int8 else 1.0)
    return int(np.argmax([*real.mean((0, 1, 2)), 0.0])) if real.max() < 50 else 0


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[ImageItem], NDArray[np.int32]]:
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    items, labels = [], []
    for i in range(60):
        label = i % 4
        base = np.full(3, 60.0)
        if label < 3:
            base[label] = 200
        pixels = np.clip(base + random.normal(0, 20, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
        items.append(ImageItem(id=f"{i:02}.png", path=folder / f"{i:02}.png"))
        labels.append(label)
    return items, np.array(labels, np.int32)


def fed(**changes: Any) -> InputSpec:
    return InputSpec(**{"width": 8, "height": 8, **changes})


@pytest.mark.parametrize("tensor", [FLOAT_TENSOR, INT8_TENSOR], ids=["float32", "int8"])
@pytest.mark.parametrize(
    ("wrong", "change", "advice"),
    [
        (fed(color="bgr"), "channels in the order rgb", "input.color is bgr, it should probably be rgb"),
        (fed(mean=(0.0,) * 3, scale=(255.0,) * 3), "pixels scaled to -1..1", r"should probably be \(127.5"),
        (fed(mean=(0.0,) * 3, scale=(1.0,) * 3), "pixels scaled to -1..1", r"input.mean is \(0.0, 0.0, 0.0\)"),
    ],
    ids=["swapped", "0..1", "0..255"],
)
def test_the_one_wrong_thing_is_named(
    photos: tuple[list[ImageItem], NDArray[np.int32]], tensor: TensorSpec, wrong: InputSpec, change: str, advice: str
) -> None:
    items, labels = photos
    found = diagnose.finding(diagnose.try_inputs(tensor, wrong, answer, items, labels, threads=2))
    assert found is not None
    assert found.severity == "error"
    assert found.message.startswith(f"with {change} top-1 is 100.0% instead of")
    assert "tried, not applied" in found.message
    assert re.search(advice, found.message)


def test_nothing_is_blamed_where_nothing_is_wrong(photos: tuple[list[ImageItem], NDArray[np.int32]]) -> None:
    items, labels = photos
    trials = diagnose.try_inputs(FLOAT_TENSOR, RIGHT, answer, items, labels, threads=2)
    assert {trial.before for trial in trials} == {1.0}
    assert diagnose.finding(trials) is None


def test_nothing_is_blamed_where_no_single_change_helps(photos: tuple[list[ImageItem], NDArray[np.int32]]) -> None:
    items, labels = photos
    shuffled = np.random.default_rng(1).permutation(labels)
    assert diagnose.finding(diagnose.try_inputs(FLOAT_TENSOR, RIGHT, answer, items, shuffled, threads=2)) is None


def test_a_gain_that_may_be_chance_is_not_reported(photos: tuple[list[ImageItem], NDArray[np.int32]]) -> None:
    items, labels = photos
    trials = diagnose.try_inputs(FLOAT_TENSOR, fed(color="bgr"), answer, items[:4], labels[:4], threads=2)
    assert max(trial.top1 for trial in trials) == 1.0
    assert diagnose.finding(trials) is None


@pytest.mark.parametrize(("step", "direction"), [(1, "down"), (-1, "up")])
def test_labels_off_by_one_are_named(step: int, direction: str) -> None:
    labels = np.arange(200, dtype=np.int32) % 3 + 1
    found = diagnose.finding(diagnose.try_labels(SPEC, labels + step, labels))
    assert found is not None
    assert found.message.startswith(f"with labels counted one {direction} top-1 is 100.0% instead of 0.0% on 200 images")
    assert f"answer {1 + step} seems to mean 'green'" in found.message


def test_class_names_in_another_order_are_named_with_the_order_that_fits() -> None:
    chance = np.random.default_rng(5)
    labels = chance.integers(0, 10, 400).astype(np.int32)
    order = np.array([1, 0, 2, 5, 4, 3, 6, 9, 8, 7], np.int32)
    spec = OutputSpec(name="out", kind="probabilities", labels=tuple("abcdefghij"))
    predicted = np.where(chance.random(400) < 0.8, order[labels], chance.integers(0, 10, 400)).astype(np.int32)
    found = diagnose.finding([*diagnose.try_labels(spec, predicted, labels), *diagnose.try_order(spec, predicted, labels)])
    assert found is not None and found.severity == "error"
    assert "the class names in another order (6 moved)" in found.message
    assert "class 0 is 'b', class 1 is 'a', class 3 is 'f', class 5 is 'd', class 7 is 'j', class 9 is 'h';" in found.message


@pytest.mark.parametrize(("classes", "images"), [(10, 200), (200, 400), (1000, 1000)])
def test_answers_by_chance_show_no_order(classes: int, images: int) -> None:
    chance = np.random.default_rng(9)
    labels, predicted = (chance.integers(0, classes, images).astype(np.int32) for _ in range(2))
    spec = OutputSpec(name="out", kind="probabilities")
    trials = diagnose.try_order(spec, predicted, labels)
    assert trials and not any(trial.helps for trial in trials)
    assert diagnose.finding(trials) is None
    found = diagnose.nothing_fits(trials)
    assert found.severity == "info" and "no usual cause explains it" in found.message and "another order" in found.message


def test_right_names_in_the_right_order_are_not_moved() -> None:
    labels = (np.arange(300) % 10).astype(np.int32)
    assert diagnose.try_order(OutputSpec(name="out", kind="probabilities"), labels, labels) == []


def test_an_image_that_cannot_be_read_counts_as_wrong(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    items = [ImageItem(id="broken.png", path=tmp_path / "broken.png")]
    trials = diagnose.try_inputs(FLOAT_TENSOR, RIGHT, answer, items, np.array([0], np.int32), threads=1)
    assert {trial.top1 for trial in trials} == {0.0}
