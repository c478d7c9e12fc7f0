"""Every kind of picture that people have: read, or named with its reason."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin, features

from edge.data.dataset import LabelledImages
from edge.data.picture_kinds import advice
from edge.errors import ImageError
from edge.runtime.images import open_rgb

PICTURE = Image.fromarray(np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3) * 3)


def _saved(kind: str, image: Image.Image = PICTURE, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _same(image: Image.Image, other: Image.Image) -> bool:
    return image.size == other.size and image.tobytes() == other.tobytes()


@pytest.mark.parametrize("name", ["1.gif", "1.tif", "1.TIFF", "1.jfif"])
def test_these_are_read_like_any_picture(name: str, tmp_path: Path) -> None:
    kind = {"g": "GIF", "t": "TIFF", "j": "JPEG"}[name[2].lower()]
    (tmp_path / name).write_bytes(_saved(kind))
    (item,) = LabelledImages.open(tmp_path)
    with Image.open(item.path) as expected:
        assert _same(open_rgb(item.path), expected.convert("RGB"))


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_of_several_pictures_the_first_is_taken(kind: str) -> None:
    black, white = Image.new("RGB", (5, 4)), Image.new("RGB", (5, 4), "white")
    data = _saved(kind, black, save_all=True, append_images=[white])
    assert open_rgb(data).getextrema() == ((0, 0),) * 3


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_once(orientation: int, compression: str | None) -> None:
    data = _saved("TIFF", exif=_exif(orientation), compression=compression)
    with Image.open(io.BytesIO(_saved("PNG", exif=_exif(orientation)))) as opened:
        assert _same(open_rgb(data), ImageOps.exif_transpose(opened))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about damaged TIFF files
def test_a_tiff_of_floating_point_numbers_and_a_damaged_gif_are_one_unreadable_picture() -> None:
    with pytest.raises(ImageError, match="floating-point numbers"):
        open_rgb(_saved("TIFF", Image.new("F", (4, 4), 0.5)))
    for kind in ("GIF", "TIFF"):
        whole = _saved(kind)
        for end in range(4, len(whole) - 1, 3):
            try:
                assert open_rgb(whole[:end]).size == PICTURE.size
            except ImageError as error:
                assert str(error).startswith("image: ")  # noqa: PT017


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("where", ["text", "xmp", "end"])
def test_a_png_is_turned_by_its_text_by_its_xmp_and_by_what_comes_after_its_pixels(where: str, orientation: int) -> None:
    notes = PngImagePlugin.PngInfo()
    exif = _exif(orientation).tobytes()
    if where == "text":  # as ImageMagick writes it
        notes.add_text("Raw profile type exif", f"\nexif\n{len(exif):8d}\n{exif.hex()}\n", zip=True)
    elif where == "xmp":
        notes.add_itxt("XML:com.adobe.xmp", f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>')
    data = _saved("PNG", pnginfo=notes)
    if where == "end":
        body = b"eXIf" + exif.removeprefix(b"Exif\0\0")
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        end = data.rindex(b"IEND") - 4
        data = data[:end] + chunk + data[end:]
    with Image.open(io.BytesIO(_saved("PNG", exif=_exif(orientation)))) as opened:
        assert _same(open_rgb(data), ImageOps.exif_transpose(opened))


@pytest.mark.parametrize("text", ["", "\nexif\n 4\nzz\n", "\n\n\n4578696600004d4d", "\n\n\n4578696600004d4d002a00000008"])
def test_broken_text_turns_nothing(text: str) -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Raw profile type exif", text)
    assert _same(open_rgb(_saved("PNG", pnginfo=notes)), PICTURE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_pillow_image_is_turned_once_and_never_twice(kind: str) -> None:
    data = _saved(kind, exif=_exif(6))
    upright = open_rgb(data)
    assert upright.size == (6, 4)
    with Image.open(io.BytesIO(data)) as opened:
        assert _same(open_rgb(opened), upright)
    with Image.open(io.BytesIO(data)) as opened:
        assert _same(open_rgb(ImageOps.exif_transpose(opened)), upright)


def test_a_pillow_image_of_which_nobody_knows_whether_it_was_turned_is_refused() -> None:
    data = _saved("PNG", exif=_exif(6))
    with Image.open(io.BytesIO(data)) as opened:
        turned, only_converted = opened.rotate(-90, expand=True), opened.convert("RGB")
    for image in (turned, only_converted):
        with pytest.raises(ImageError, match=r"orientation 6.*exif_transpose.*info\.clear"):
            open_rgb(image)
    turned.info.clear()
    assert _same(open_rgb(turned), open_rgb(data))
    assert _same(open_rgb(ImageOps.exif_transpose(only_converted)), open_rgb(data))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
@pytest.mark.parametrize("orientation", [1, 6])
def test_avif_is_read(orientation: int, tmp_path: Path) -> None:
    (tmp_path / "1.avif").write_bytes(_saved("AVIF", exif=_exif(orientation)))
    (item,) = LabelledImages.open(tmp_path)
    with Image.open(item.path) as opened:
        assert _same(open_rgb(item.path), ImageOps.exif_transpose(opened).convert("RGB"))


@pytest.mark.parametrize("orientation", [1, 6])
def test_heic_is_read_with_the_extra(orientation: int, tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra heif is not installed")
    large = Image.new("RGB", (64, 48), "red")
    large.paste("blue", (0, 0, 64, 8))
    with (tmp_path / "1.heic").open("wb") as file:
        heif.from_pillow(large).save(file, exif=_exif(orientation).tobytes())
    (item,) = LabelledImages.open(tmp_path)
    found = open_rgb(item.path)
    assert found.size == ((64, 48) if orientation == 1 else (48, 64))
    red, _, blue = found.getpixel((32, 2) if orientation == 1 else (46, 32))  # type: ignore[misc]
    assert red < 60 and blue > 190


def test_heic_without_the_extra_is_named_with_what_reads_it() -> None:
    assert advice(["a.heic"]) == ".heic are read after pip install 'edgekit[heif]'"
    assert advice(["a.HEIC", "b.psd"]) == ".heic are read after pip install 'edgekit[heif]'; convert them to JPEG or PNG"


def test_a_video_and_a_raw_file_are_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is no JPEG"):
        open_rgb(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom")
    (tmp_path / "1.nef").write_bytes(_saved("TIFF"))
    with pytest.raises(ImageError, match="is no JPEG"):
        open_rgb(tmp_path / "1.nef")
