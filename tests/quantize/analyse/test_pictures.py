"""Photos of explain and tune: what preprocessing makes of each, in the memory of a stated number of pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.artefact.contract import Contract, InputSpec, OutputSpec
from edge.errors import ImageError
from edge.runtime.preprocess import preprocess
from quantize.analyse import paired
from quantize.analyse.paired import Photos, Pictures

CONTRACT = Contract(
    name="test", input=InputSpec(width=16, height=12), outputs=(OutputSpec(name="y", kind="probabilities", labels=("a", "b")),)
)
ONE = 16 * 12 * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for number in range(10):
        path = root / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (20, 24, 3), np.uint8)).save(path)
    return root


@pytest.mark.parametrize("kept", [0, 3, 100])
def test_pixels_are_kept_up_to_a_stated_size_and_the_others_read_again(
    kept: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired, "KEPT_BYTES", kept * ONE + ONE // 2)
    photos = Photos.open(folder, CONTRACT)
    assert isinstance(photos.tensors, Pictures)
    assert photos.tensors.kept_bytes == min(kept, 10) * ONE
    for _ in range(2):
        for name, tensor in zip(photos.ids, photos.tensors, strict=True):
            np.testing.assert_array_equal(tensor, preprocess(folder / name, CONTRACT.input))


def test_parts_are_the_same_photos(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "KEPT_BYTES", 4 * ONE)
    photos = Photos.open(folder, CONTRACT)
    for part in (*photos.split(0.4), photos.few(3)):
        assert len(part) == len(part.tensors) == len(part.ids)
        for name, tensor in zip(part.ids, part.tensors, strict=True):
            np.testing.assert_array_equal(tensor, preprocess(folder / name, CONTRACT.input))
    assert len(photos.tensors[2:5]) == 3
    np.testing.assert_array_equal(photos.tensors[-1], photos.tensors[9])


def test_a_file_that_is_no_picture_is_refused_when_it_is_added(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ImageError):
        Pictures(CONTRACT.input).append(tmp_path / "a.png")
