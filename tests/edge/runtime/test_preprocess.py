"""From pixels to a tensor: sources, geometry, values."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge.artefact.tensors import QuantParams, TensorSpec
from edge.errors import ContractError, ShapeError
from edge.runtime.golden import pattern
from edge.runtime.preprocess import load_pixels, lookup_table, preprocess, to_tensor
from tests.edge.runtime.conftest import Pixels, encoded, input_spec


def _quantized(scale: float, zero_point: int, dtype: Any = np.int8) -> TensorSpec:
    quant = QuantParams(scale=np.array([scale], np.float32), zero_point=np.array([zero_point], np.int32))
    return TensorSpec(name="input", index=0, shape=(1, 40, 60, 3), dtype=np.dtype(dtype), quant=quant)


def test_every_kind_of_source_gives_the_same_pixels(picture: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(picture))
    spec = input_spec()
    with open(path, "rb") as stream:
        sources: list[Any] = [picture, path, str(path), path.read_bytes(), stream, Image.fromarray(picture)]
        found = [load_pixels(source, spec) for source in sources]
    for pixels in found:
        np.testing.assert_array_equal(pixels, picture)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_are_decoded_exactly(kind: str, options: dict[str, Any], picture: Pixels) -> None:
    np.testing.assert_array_equal(load_pixels(encoded(picture, kind, **options), input_spec()), picture)


def test_jpeg_is_what_pillow_decodes(picture: Pixels) -> None:
    data = encoded(picture, "JPEG", quality=90)
    np.testing.assert_array_equal(load_pixels(data, input_spec()), np.asarray(Image.open(io.BytesIO(data))))


def test_an_open_file_may_stand_anywhere(picture: Pixels) -> None:
    stream = io.BytesIO(b"header" + encoded(picture))
    stream.seek(6)
    np.testing.assert_array_equal(load_pixels(stream, input_spec()), picture)


def test_sources_are_left_as_they_were(picture: Pixels) -> None:
    before = picture.copy()
    image = Image.open(io.BytesIO(encoded(picture, "JPEG")))
    size = image.size
    load_pixels(image, input_spec(8, 8))
    tensor = preprocess(picture, input_spec())
    tensor[:] = 0
    assert image.size == size
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_other_arrays_are_refused(array: NDArray[Any]) -> None:
    with pytest.raises(ShapeError, match="an image array is uint8"):
        load_pixels(array, input_spec())


def test_stretch_is_pillows_resize(picture: Pixels) -> None:
    expected = np.asarray(Image.fromarray(picture).resize((17, 23), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(load_pixels(picture, input_spec(17, 23)), expected)


def test_crop_takes_the_largest_centred_window(picture: Pixels) -> None:
    np.testing.assert_array_equal(load_pixels(picture, input_spec(40, 40, fit="crop")), picture[:, 10:50])
    np.testing.assert_array_equal(load_pixels(picture, input_spec(60, 20, fit="crop")), picture[10:30])


def test_crop_fraction_keeps_the_centre(picture: Pixels) -> None:
    np.testing.assert_array_equal(load_pixels(picture, input_spec(30, 20, crop_fraction=0.5)), picture[10:30, 15:45])
    np.testing.assert_array_equal(load_pixels(picture, input_spec(20, 20, fit="crop", crop_fraction=0.5)), picture[10:30, 20:40])


def test_letterbox_keeps_the_whole_picture(picture: Pixels) -> None:
    found = load_pixels(picture, input_spec(60, 60, fit="letterbox", letterbox_fill=7))
    np.testing.assert_array_equal(found[10:50], picture)
    assert (found[:10] == 7).all()
    assert (found[50:] == 7).all()


def test_letterbox_of_an_extreme_picture_keeps_a_line() -> None:
    found = load_pixels(np.full((1, 500, 3), 9, np.uint8), input_spec(10, 10, fit="letterbox"))
    assert (found == 9).any(axis=(1, 2)).sum() == 1


def test_colour_orders(picture: Pixels) -> None:
    np.testing.assert_array_equal(load_pixels(picture, input_spec(color="bgr")), picture[:, :, ::-1])
    grey = load_pixels(picture, input_spec(color="gray", mean=(0.0,), scale=(1.0,)))
    assert grey.shape == (40, 60, 1)
    np.testing.assert_array_equal(grey[:, :, 0], np.asarray(Image.fromarray(picture).convert("L")))


def test_without_antialias_it_samples_as_tensorflow_does() -> None:
    tf = pytest.importorskip("tensorflow")
    source = pattern("noise-9", 97, 131)
    expected = tf.image.resize(source, (24, 31), method="bilinear", antialias=False).numpy()
    found = load_pixels(source, input_spec(31, 24, antialias=False)).astype(np.float32)
    assert np.abs(found - expected).max() <= 0.501  # rounded, and not cut off
    assert abs((found - expected).mean()) < 0.02
    nearest = tf.image.resize(source, (24, 31), method="nearest").numpy()
    np.testing.assert_array_equal(load_pixels(source, input_spec(31, 24, resample="nearest")), nearest)


def test_contradictions_in_the_recipe_are_refused() -> None:
    with pytest.raises(ContractError, match="antialias"):
        input_spec(resample="bicubic", antialias=False)
    with pytest.raises(ContractError, match="letterbox"):
        input_spec(fit="letterbox", crop_fraction=0.875)


def test_the_float_table_is_the_formula() -> None:
    spec = input_spec(mean=(1.5, 2.5, 3.5), scale=(2.0, 3.0, -4.0))
    table = lookup_table(spec)
    assert table.dtype == np.float32
    pixel = np.arange(256, dtype=np.float32)
    for row, mean, scale in zip(table, spec.mean, spec.scale, strict=True):
        np.testing.assert_array_equal(row, (pixel - np.float32(mean)) / np.float32(scale))


@pytest.mark.parametrize(
    ("dtype", "zero_point", "scale"),
    [(np.int8, -1, 0.00784314), (np.uint8, 128, 0.0078125), (np.int16, 0, 3.0518e-05), (np.int8, 0, 0.01)],
)
def test_the_quantized_table_rounds_half_away_and_saturates(dtype: Any, zero_point: int, scale: float) -> None:
    spec = input_spec()
    table = lookup_table(spec, _quantized(scale, zero_point, dtype))
    limits = np.iinfo(dtype)
    exact = np.array([[_round_half_away(float(v / np.float32(scale))) for v in row] for row in lookup_table(spec)]) + zero_point
    np.testing.assert_array_equal(table, exact.clip(limits.min, limits.max))
    assert table.dtype == dtype


def _round_half_away(value: float) -> int:
    return int(value + 0.5) if value >= 0 else -int(-value + 0.5)


def test_an_integer_tensor_without_scale_is_refused() -> None:
    tensor = TensorSpec(name="input", index=0, shape=(1, 4, 4, 3), dtype=np.dtype(np.int8))
    with pytest.raises(ShapeError, match="without scale"):
        lookup_table(input_spec(), tensor)


@pytest.mark.parametrize("mean", [(127.5, 127.5, 127.5), (10.0, 100.0, 200.0)])
@pytest.mark.parametrize(
    "tensor", [None, _quantized(0.0078, -1), _quantized(0.0078, 127, np.uint8), _quantized(3e-5, 0, np.int16)]
)
def test_each_pixel_is_looked_up_in_the_table_of_its_channel(
    mean: tuple[float, float, float], tensor: TensorSpec | None, picture: Pixels
) -> None:
    spec = input_spec(mean=mean)
    table = lookup_table(spec, tensor)
    found = to_tensor(picture, table)
    assert found.shape == (1, 40, 60, 3)
    assert found.dtype == table.dtype
    for channel in range(3):
        np.testing.assert_array_equal(found[0, :, :, channel], table[channel][picture[:, :, channel]])


def test_pixels_of_another_shape_are_refused(picture: Pixels) -> None:
    table = lookup_table(input_spec())
    with pytest.raises(ShapeError, match=r"pixels are uint8 \(H, W, 3\)"):
        to_tensor(picture[:, :, :2], table)
    with pytest.raises(ShapeError, match="pixels are uint8"):
        to_tensor(picture.astype(np.float32), table)
