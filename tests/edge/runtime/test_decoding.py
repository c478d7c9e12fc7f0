"""Pictures of every mode as pixels, damaged ones, and large ones that are decoded at a reduced size."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge.errors import ImageError
from edge.runtime import images
from edge.runtime.golden import pattern
from edge.runtime.preprocess import load_pixels, preprocess
from tests.edge.runtime.conftest import Pixels, encoded, input_spec


def test_grey_becomes_three_equal_channels(picture: Pixels) -> None:
    grey = picture[:, :, 0]
    expected = np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    for source in (grey, grey[:, :, np.newaxis], encoded(grey)):
        np.testing.assert_array_equal(load_pixels(source, input_spec()), expected)


def test_transparency_is_dropped_and_the_stored_colour_kept(picture: Pixels) -> None:
    alpha = np.where(picture[:, :, :1] > 128, 0, 90).astype(np.uint8)
    with_alpha = np.concatenate([picture, alpha], axis=2)
    for source in (with_alpha, encoded(with_alpha), encoded(with_alpha, "WEBP", lossless=True, exact=True)):
        np.testing.assert_array_equal(load_pixels(source, input_spec()), picture)


def test_palettes_are_resolved(picture: Pixels) -> None:
    palette = Image.fromarray(picture).quantize(16)
    np.testing.assert_array_equal(load_pixels(encoded(palette), input_spec()), np.asarray(palette.convert("RGB")))


def test_a_transparent_palette_entry_keeps_its_colour(picture: Pixels) -> None:
    palette = Image.fromarray(picture).quantize(16)
    np.testing.assert_array_equal(load_pixels(encoded(palette, transparency=3), input_spec()), np.asarray(palette.convert("RGB")))


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    wide = (np.arange(40 * 60, dtype=np.uint32) * 27).astype(np.uint16).reshape(40, 60)
    data = encoded(Image.fromarray(wide))
    assert Image.open(io.BytesIO(data)).mode == "I;16"
    found = load_pixels(data, input_spec())
    np.testing.assert_array_equal(found, np.repeat((wide >> 8).astype(np.uint8)[:, :, np.newaxis], 3, axis=2))


def test_sixteen_bit_colour_keeps_its_high_byte(picture: Pixels) -> None:
    found = load_pixels(_png_16_bit(picture.astype(np.uint16) * 257), input_spec())
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
    data = encoded(Image.fromarray(picture).convert("CMYK"), "JPEG", quality=95)
    found = load_pixels(data, input_spec()).astype(int)
    assert np.abs(found - picture).mean() < 8


def test_one_bit_pictures_are_black_and_white() -> None:
    bits = Image.fromarray((np.indices((40, 60)).sum(0) % 2 * 255).astype(np.uint8)).convert("1")
    assert set(np.unique(load_pixels(encoded(bits), input_spec()))) == {0, 255}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_what_pillow_makes_of_it(orientation: int, kind: str, picture: Pixels) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[0x0112] = orientation
    data = encoded(picture, kind, exif=exif, lossless=kind == "WEBP")
    with Image.open(io.BytesIO(data)) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    height, width = expected.shape[:2]
    np.testing.assert_array_equal(load_pixels(data, input_spec(width, height)), expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's own, for one more field that it reads
@pytest.mark.parametrize("tiff", [b"II*\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", b"nonsense"])
def test_broken_exif_does_no_harm(tiff: bytes, picture: Pixels) -> None:
    data = encoded(picture, "JPEG", exif=b"Exif\0\0" + tiff)
    assert load_pixels(data, input_spec()).shape == (40, 60, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
def test_truncated_files_are_errors(kind: str, picture: Pixels, tmp_path: Path) -> None:
    noise = pattern("noise-3", 40, 60)
    data = encoded(noise, kind)
    for share in (0.1, 0.5, 0.9):
        path = tmp_path / "cut.img"
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ImageError, match=r"cut\.img: (is damaged|cannot be decoded)"):
            load_pixels(path, input_spec())


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "is empty"), (b"8BPS\0\1" + bytes(50), "no JPEG, PNG, BMP, WebP, GIF, TIFF"), (b"RIFF0000WAVE", "no JPEG")],
)
def test_what_is_no_image_is_named(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=message):
        load_pixels(path, input_spec())


def test_missing_files_folders_and_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.jpg: cannot be opened"):
        load_pixels(tmp_path / "none.jpg", input_spec())
    with pytest.raises(ImageError, match="cannot be opened"):
        load_pixels(tmp_path, input_spec())
    with pytest.raises(ImageError, match="expected a path"):
        load_pixels(3, input_spec())  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="open as text"):
        load_pixels(io.StringIO("text"), input_spec())  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_decompression_bombs_are_refused_before_decoding(kind: str) -> None:
    """20,000 x 20,000 white pixels: some kilobytes as a file, 1.2 GB decoded."""
    data = bytearray(encoded(Image.new("1", (64, 64)), kind))
    if kind == "PNG":
        header = (20000).to_bytes(4, "big") * 2 + data[24:29]
        data[16:33] = header + zlib.crc32(b"IHDR" + header).to_bytes(4, "big")
    else:
        data[18:26] = (20000).to_bytes(4, "little") * 2
    with pytest.raises(ImageError, match="20000 x 20000 pixels, more than 100 million"):
        load_pixels(bytes(data), input_spec())


def test_pillows_own_limit_is_left_alone() -> None:
    before = Image.MAX_IMAGE_PIXELS
    load_pixels(encoded(np.zeros((4, 4, 3), np.uint8)), input_spec())
    assert before == Image.MAX_IMAGE_PIXELS


def _large_jpeg() -> bytes:
    """640 x 480, smooth, so that what matters is geometry."""
    return encoded(pattern("gradient", 480, 640), "JPEG", quality=95)


def test_a_much_larger_jpeg_is_decoded_at_reduced_size() -> None:
    data = _large_jpeg()
    reduced = images.open_rgb(data, needed=(70, 50))
    assert reduced.size == (160, 120)
    assert images.open_rgb(data, needed=(200, 200)).size == (640, 480)
    assert images.open_rgb(data).size == (640, 480)


def test_reduced_decoding_hardly_changes_the_picture() -> None:
    data = _large_jpeg()
    reduced = load_pixels(data, input_spec(64, 48)).astype(int)
    full = load_pixels(np.asarray(Image.open(io.BytesIO(data))), input_spec(64, 48)).astype(int)
    assert np.abs(reduced - full).max() <= 2


def test_the_same_bytes_give_the_same_tensor_however_they_come(tmp_path: Path) -> None:
    data = _large_jpeg()
    path = tmp_path / "large.jpg"
    path.write_bytes(data)
    spec = input_spec(64, 48)
    from_path, from_bytes, from_file = preprocess(path, spec), preprocess(data, spec), preprocess(io.BytesIO(data), spec)
    np.testing.assert_array_equal(from_path, from_bytes)
    np.testing.assert_array_equal(from_path, from_file)


def test_a_sideways_jpeg_keeps_enough_pixels_on_both_sides() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(pattern("gradient", 480, 640), "JPEG", exif=exif)
    upright = images.open_rgb(data, needed=(50, 150))
    assert upright.size == (240, 320)


def test_sampling_without_filter_sees_every_pixel() -> None:
    data = encoded(pattern("noise-1", 480, 640), "JPEG", quality=95)
    full = np.asarray(Image.open(io.BytesIO(data)))
    spec = input_spec(64, 48, resample="nearest")
    np.testing.assert_array_equal(load_pixels(data, spec), full[5::10, 5::10])


def test_an_animated_png_without_its_frames_is_one_unreadable_image(tmp_path: Path) -> None:
    """Pillow raises SyntaxError while it decodes."""
    data = encoded(pattern("gradient", 8, 8))
    header = data[:33]
    control = struct.pack(">I4sII", 8, b"acTL", 1, 0)
    control += struct.pack(">I", zlib.crc32(control[4:]))
    frame = struct.pack(">I4sI", 4, b"fdAT", 0)
    frame += struct.pack(">I", zlib.crc32(frame[4:]))
    with pytest.raises(ImageError, match="frame sequence"):
        load_pixels(header + control + data[33:-12] + frame + data[-12:], input_spec())


def test_a_webp_of_absurd_size_is_one_unreadable_image() -> None:
    # VP8X: width and height less one in 24 bits each.
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\xff\x03" + b"\xff\xff\x03"
    lossy = encoded(pattern("gradient", 8, 8), "WEBP")[12:]
    data = b"RIFF" + struct.pack("<I", 4 + len(chunk) + len(lossy)) + b"WEBP" + chunk + lossy
    with pytest.raises(ImageError):
        load_pixels(data, input_spec())
