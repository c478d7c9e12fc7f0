from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge.artefact.contract import InputSpec
from edge.artefact.tensors import QuantParams, TensorSpec
from edge.errors import ContractError, ImageError, ShapeError
from edge.runtime import images
from edge.runtime.golden import pattern
from edge.runtime.preprocess import load_pixels, lookup_table, preprocess, to_tensor

Pixels = NDArray[np.uint8]


@pytest.fixture
def picture() -> Pixels:
    """A picture without symmetry, 40 high and 60 wide."""
    return pattern("gradient", 40, 60)


def _encoded(pixels: Pixels | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, kind, **options)
    return stream.getvalue()


def _spec(width: int = 60, height: int = 40, **fields: Any) -> InputSpec:
    return InputSpec(width=width, height=height, **fields)


def _quantized(scale: float, zero_point: int, dtype: Any = np.int8) -> TensorSpec:
    quant = QuantParams(scale=np.array([scale], np.float32), zero_point=np.array([zero_point], np.int32))
    return TensorSpec(name="input", index=0, shape=(1, 40, 60, 3), dtype=np.dtype(dtype), quant=quant)


# Sources


def test_every_kind_of_source_gives_the_same_pixels(picture: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(_encoded(picture))
    spec = _spec()
    with open(path, "rb") as stream:
        sources: list[Any] = [picture, path, str(path), path.read_bytes(), stream, Image.fromarray(picture)]
        found = [load_pixels(source, spec) for source in sources]
    for pixels in found:
        np.testing.assert_array_equal(pixels, picture)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_are_decoded_exactly(kind: str, options: dict[str, Any], picture: Pixels) -> None:
    np.testing.assert_array_equal(load_pixels(_encoded(picture, kind, **options), _spec()), picture)


def test_jpeg_is_what_pillow_decodes(picture: Pixels) -> None:
    data = _encoded(picture, "JPEG", quality=90)
    np.testing.assert_array_equal(load_pixels(data, _spec()), np.asarray(Image.open(io.BytesIO(data))))


def test_an_open_file_may_stand_anywhere(picture: Pixels) -> None:
    stream = io.BytesIO(b"header" + _encoded(picture))
    stream.seek(6)
    np.testing.assert_array_equal(load_pixels(stream, _spec()), picture)


def test_sources_are_left_as_they_were(picture: Pixels) -> None:
    before = picture.copy()
    image = Image.open(io.BytesIO(_encoded(picture, "JPEG")))
    size = image.size
    load_pixels(image, _spec(8, 8))
    tensor = preprocess(picture, _spec())
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
        load_pixels(array, _spec())


# Modes


def test_grey_becomes_three_equal_channels(picture: Pixels) -> None:
    grey = picture[:, :, 0]
    expected = np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    for source in (grey, grey[:, :, np.newaxis], _encoded(grey)):
        np.testing.assert_array_equal(load_pixels(source, _spec()), expected)


def test_transparency_is_dropped_and_the_stored_colour_kept(picture: Pixels) -> None:
    alpha = np.where(picture[:, :, :1] > 128, 0, 90).astype(np.uint8)
    with_alpha = np.concatenate([picture, alpha], axis=2)
    for source in (with_alpha, _encoded(with_alpha), _encoded(with_alpha, "WEBP", lossless=True, exact=True)):
        np.testing.assert_array_equal(load_pixels(source, _spec()), picture)


def test_palettes_are_resolved(picture: Pixels) -> None:
    palette = Image.fromarray(picture).quantize(16)
    np.testing.assert_array_equal(load_pixels(_encoded(palette), _spec()), np.asarray(palette.convert("RGB")))


def test_a_transparent_palette_entry_keeps_its_colour(picture: Pixels) -> None:
    palette = Image.fromarray(picture).quantize(16)
    np.testing.assert_array_equal(load_pixels(_encoded(palette, transparency=3), _spec()), np.asarray(palette.convert("RGB")))


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    wide = (np.arange(40 * 60, dtype=np.uint32) * 27).astype(np.uint16).reshape(40, 60)
    data = _encoded(Image.fromarray(wide))
    assert Image.open(io.BytesIO(data)).mode == "I;16"
    found = load_pixels(data, _spec())
    np.testing.assert_array_equal(found, np.repeat((wide >> 8).astype(np.uint8)[:, :, np.newaxis], 3, axis=2))


def test_sixteen_bit_colour_keeps_its_high_byte(picture: Pixels) -> None:
    found = load_pixels(_png_16_bit(picture.astype(np.uint16) * 257), _spec())
    np.testing.assert_array_equal(found, picture)


def _png_16_bit(pixels: NDArray[np.uint16]) -> bytes:
    """A 16-bit RGB PNG (Pillow does not write them)."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    )


def test_cmyk_is_converted(picture: Pixels) -> None:
    """An inverted CMYK JPEG would come out as its negative."""
    data = _encoded(Image.fromarray(picture).convert("CMYK"), "JPEG", quality=95)
    found = load_pixels(data, _spec()).astype(int)
    assert np.abs(found - picture).mean() < 8


def test_one_bit_pictures_are_black_and_white() -> None:
    bits = Image.fromarray((np.indices((40, 60)).sum(0) % 2 * 255).astype(np.uint8)).convert("1")
    assert set(np.unique(load_pixels(_encoded(bits), _spec()))) == {0, 255}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_what_pillow_makes_of_it(orientation: int, kind: str, picture: Pixels) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[0x0112] = orientation
    data = _encoded(picture, kind, exif=exif, lossless=kind == "WEBP")
    with Image.open(io.BytesIO(data)) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    height, width = expected.shape[:2]
    np.testing.assert_array_equal(load_pixels(data, _spec(width, height)), expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's own, for one more field that it reads
@pytest.mark.parametrize("tiff", [b"II*\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", b"nonsense"])
def test_broken_exif_does_no_harm(tiff: bytes, picture: Pixels) -> None:
    data = _encoded(picture, "JPEG", exif=b"Exif\0\0" + tiff)
    assert load_pixels(data, _spec()).shape == (40, 60, 3)


# Damage


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
def test_truncated_files_are_errors(kind: str, picture: Pixels, tmp_path: Path) -> None:
    noise = pattern("noise-3", 40, 60)
    data = _encoded(noise, kind)
    for share in (0.1, 0.5, 0.9):
        path = tmp_path / "cut.img"
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ImageError, match=r"cut\.img: (is damaged|cannot be decoded)"):
            load_pixels(path, _spec())


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "is empty"), (b"8BPS\0\1" + bytes(50), "no JPEG, PNG, BMP, WebP, GIF, TIFF"), (b"RIFF0000WAVE", "no JPEG")],
)
def test_what_is_no_image_is_named(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=message):
        load_pixels(path, _spec())


def test_missing_files_folders_and_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.jpg: cannot be opened"):
        load_pixels(tmp_path / "none.jpg", _spec())
    with pytest.raises(ImageError, match="cannot be opened"):
        load_pixels(tmp_path, _spec())
    with pytest.raises(ImageError, match="expected a path"):
        load_pixels(3, _spec())  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="open as text"):
        load_pixels(io.StringIO("text"), _spec())  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_decompression_bombs_are_refused_before_decoding(kind: str) -> None:
    """20,000 x 20,000 white pixels: some kilobytes as a file, 1.2 GB decoded."""
    data = bytearray(_encoded(Image.new("1", (64, 64)), kind))
    if kind == "PNG":
        header = (20000).to_bytes(4, "big") * 2 + data[24:29]
        data[16:33] = header + zlib.crc32(b"IHDR" + header).to_bytes(4, "big")
    else:
        data[18:26] = (20000).to_bytes(4, "little") * 2
    with pytest.raises(ImageError, match="20000 x 20000 pixels, more than 100 million"):
        load_pixels(bytes(data), _spec())


def test_pillows_own_limit_is_left_alone() -> None:
    before = Image.MAX_IMAGE_PIXELS
    load_pixels(_encoded(np.zeros((4, 4, 3), np.uint8)), _spec())
    assert before == Image.MAX_IMAGE_PIXELS


# Geometry


def test_stretch_is_pillows_resize(picture: Pixels) -> None:
    expected = np.asarray(Image.fromarray(picture).resize((17, 23), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(load_pixels(picture, _spec(17, 23)), expected)


def test_crop_takes_the_largest_centred_window(picture: Pixels) -> None:
    np.testing.assert_array_equal(load_pixels(picture, _spec(40, 40, fit="crop")), picture[:, 10:50])
    np.testing.assert_array_equal(load_pixels(picture, _spec(60, 20, fit="crop")), picture[10:30])


def test_crop_fraction_keeps_the_centre(picture: Pixels) -> None:
    np.testing.assert_array_equal(load_pixels(picture, _spec(30, 20, crop_fraction=0.5)), picture[10:30, 15:45])
    np.testing.assert_array_equal(load_pixels(picture, _spec(20, 20, fit="crop", crop_fraction=0.5)), picture[10:30, 20:40])


def test_letterbox_keeps_the_whole_picture(picture: Pixels) -> None:
    found = load_pixels(picture, _spec(60, 60, fit="letterbox", letterbox_fill=7))
    np.testing.assert_array_equal(found[10:50], picture)
    assert (found[:10] == 7).all()
    assert (found[50:] == 7).all()


def test_letterbox_of_an_extreme_picture_keeps_a_line() -> None:
    found = load_pixels(np.full((1, 500, 3), 9, np.uint8), _spec(10, 10, fit="letterbox"))
    assert (found == 9).any(axis=(1, 2)).sum() == 1


def test_colour_orders(picture: Pixels) -> None:
    np.testing.assert_array_equal(load_pixels(picture, _spec(color="bgr")), picture[:, :, ::-1])
    grey = load_pixels(picture, _spec(color="gray", mean=(0.0,), scale=(1.0,)))
    assert grey.shape == (40, 60, 1)
    np.testing.assert_array_equal(grey[:, :, 0], np.asarray(Image.fromarray(picture).convert("L")))


def test_without_antialias_it_samples_as_tensorflow_does() -> None:
    tf = pytest.importorskip("tensorflow")
    source = pattern("noise-9", 97, 131)
    expected = tf.image.resize(source, (24, 31), method="bilinear", antialias=False).numpy()
    found = load_pixels(source, _spec(31, 24, antialias=False)).astype(np.float32)
    assert np.abs(found - expected).max() <= 0.501  # rounded, and not cut off
    assert abs((found - expected).mean()) < 0.02
    nearest = tf.image.resize(source, (24, 31), method="nearest").numpy()
    np.testing.assert_array_equal(load_pixels(source, _spec(31, 24, resample="nearest")), nearest)


def test_contradictions_in_the_recipe_are_refused() -> None:
    with pytest.raises(ContractError, match="antialias"):
        _spec(resample="bicubic", antialias=False)
    with pytest.raises(ContractError, match="letterbox"):
        _spec(fit="letterbox", crop_fraction=0.875)


# Reduced decoding


def _large_jpeg() -> bytes:
    """640 x 480, smooth, so that what matters is geometry."""
    return _encoded(pattern("gradient", 480, 640), "JPEG", quality=95)


def test_a_much_larger_jpeg_is_decoded_at_reduced_size() -> None:
    data = _large_jpeg()
    reduced = images.open_rgb(data, needed=(70, 50))
    assert reduced.size == (160, 120)
    assert images.open_rgb(data, needed=(200, 200)).size == (640, 480)
    assert images.open_rgb(data).size == (640, 480)


def test_reduced_decoding_hardly_changes_the_picture() -> None:
    data = _large_jpeg()
    reduced = load_pixels(data, _spec(64, 48)).astype(int)
    full = load_pixels(np.asarray(Image.open(io.BytesIO(data))), _spec(64, 48)).astype(int)
    assert np.abs(reduced - full).max() <= 2


def test_the_same_bytes_give_the_same_tensor_however_they_come(tmp_path: Path) -> None:
    data = _large_jpeg()
    path = tmp_path / "large.jpg"
    path.write_bytes(data)
    spec = _spec(64, 48)
    from_path, from_bytes, from_file = preprocess(path, spec), preprocess(data, spec), preprocess(io.BytesIO(data), spec)
    np.testing.assert_array_equal(from_path, from_bytes)
    np.testing.assert_array_equal(from_path, from_file)


def test_a_sideways_jpeg_keeps_enough_pixels_on_both_sides() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = _encoded(pattern("gradient", 480, 640), "JPEG", exif=exif)
    upright = images.open_rgb(data, needed=(50, 150))
    assert upright.size == (240, 320)


def test_sampling_without_filter_sees_every_pixel() -> None:
    data = _encoded(pattern("noise-1", 480, 640), "JPEG", quality=95)
    full = np.asarray(Image.open(io.BytesIO(data)))
    spec = _spec(64, 48, resample="nearest")
    np.testing.assert_array_equal(load_pixels(data, spec), full[5::10, 5::10])


def test_an_animated_png_without_its_frames_is_one_unreadable_image(tmp_path: Path) -> None:
    """Pillow raises SyntaxError while it decodes."""
    data = _encoded(pattern("gradient", 8, 8))
    header = data[:33]
    control = struct.pack(">I4sII", 8, b"acTL", 1, 0)
    control += struct.pack(">I", zlib.crc32(control[4:]))
    frame = struct.pack(">I4sI", 4, b"fdAT", 0)
    frame += struct.pack(">I", zlib.crc32(frame[4:]))
    with pytest.raises(ImageError, match="frame sequence"):
        load_pixels(header + control + data[33:-12] + frame + data[-12:], _spec())


def test_a_webp_of_absurd_size_is_one_unreadable_image() -> None:
    # VP8X: width and height less one in 24 bits each.
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\xff\x03" + b"\xff\xff\x03"
    lossy = _encoded(pattern("gradient", 8, 8), "WEBP")[12:]
    data = b"RIFF" + struct.pack("<I", 4 + len(chunk) + len(lossy)) + b"WEBP" + chunk + lossy
    with pytest.raises(ImageError):
        load_pixels(data, _spec())


# Values


def test_the_float_table_is_the_formula() -> None:
    spec = _spec(mean=(1.5, 2.5, 3.5), scale=(2.0, 3.0, -4.0))
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
    spec = _spec()
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
        lookup_table(_spec(), tensor)


@pytest.mark.parametrize("mean", [(127.5, 127.5, 127.5), (10.0, 100.0, 200.0)])
@pytest.mark.parametrize(
    "tensor", [None, _quantized(0.0078, -1), _quantized(0.0078, 127, np.uint8), _quantized(3e-5, 0, np.int16)]
)
def test_each_pixel_is_looked_up_in_the_table_of_its_channel(
    mean: tuple[float, float, float], tensor: TensorSpec | None, picture: Pixels
) -> None:
    spec = _spec(mean=mean)
    table = lookup_table(spec, tensor)
    found = to_tensor(picture, table)
    assert found.shape == (1, 40, 60, 3)
    assert found.dtype == table.dtype
    for channel in range(3):
        np.testing.assert_array_equal(found[0, :, :, channel], table[channel][picture[:, :, channel]])


def test_pixels_of_another_shape_are_refused(picture: Pixels) -> None:
    table = lookup_table(_spec())
    with pytest.raises(ShapeError, match=r"pixels are uint8 \(H, W, 3\)"):
        to_tensor(picture[:, :, :2], table)
    with pytest.raises(ShapeError, match="pixels are uint8"):
        to_tensor(picture.astype(np.float32), table)
