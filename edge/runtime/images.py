"""Decoding: any still picture becomes 8-bit RGB in the right orientation, or an ImageError says why not.

Pillow's plugins are used directly, chosen by the first bytes. That loads only the one that is needed, and it lets the size be
checked before a pixel is decoded without touching Pillow's global limits.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from devices.manifests import suffix

from ..data import picture_kinds
from ..errors import EdgeError, ImageError, ShapeError
from ..system import memory

Source = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | NDArray[Any]

MAX_PIXELS = 100_000_000
# What a pixel takes at the most while it is decoded (measured): Pillow's own picture, the RGB copy, one that is turned; WebP's decoder
# keeps two more. And what a progressive JPEG keeps for each of its pixels, however small it is decoded.
PIXEL_BYTES = 12
_WEBP_BYTES = 16
_PROGRESSIVE_BYTES = 7
MEMORY_SHARE = 3  # a third of the memory is for pictures: all that are decoded at once, by however many threads

# A JPEG is decoded at 1/2, 1/4 or 1/8 only if that still leaves this many times the pixels per side that the input needs.
DRAFT_MARGIN = 2

# First bytes -> module and class that decode it.
_PLUGINS = {
    b"\xff\xd8\xff": ("PIL.JpegImagePlugin", "JpegImageFile"),
    b"\x89PNG\r\n\x1a\n": ("PIL.PngImagePlugin", "PngImageFile"),
    b"BM": ("PIL.BmpImagePlugin", "BmpImageFile"),
    b"RIFF": ("PIL.WebPImagePlugin", "WebPImageFile"),
    b"GIF8": ("PIL.GifImagePlugin", "GifImageFile"),
    b"II*\0": ("PIL.TiffImagePlugin", "TiffImageFile"),
    b"MM\0*": ("PIL.TiffImagePlugin", "TiffImageFile"),
    b"II+\0": ("PIL.TiffImagePlugin", "TiffImageFile"),  # more than 4 GB
    b"MM\0+": ("PIL.TiffImagePlugin", "TiffImageFile"),
}
_AVIF, _HEIF = ("PIL.AvifImagePlugin", "AvifImageFile"), ("pillow_heif", "HeifImageFile")
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_RAW = frozenset({".dng", ".cr2", ".nef", ".arw"})  # TIFF files whose first picture is a thumbnail
_PROFILES = ("Raw profile type exif", "Raw profile type APP1")  # where ImageMagick keeps the EXIF of a PNG: as text
_XMP_ORIENTATION = re.compile(rb"""tiff:Orientation\s*(?:=\s*["']|>)\s*([1-8])""")
_ORIENTATION_TAG, _SHORT = 0x0112, 3
# EXIF orientation -> what turns the stored picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STRIP_PIXELS = 1 << 20  # converted at a time, where it takes several times the memory
_SIDEWAYS = frozenset({5, 6, 7, 8})
# Pillow's decoders raise anything for damaged files, by version: OSError and ValueError, SyntaxError (PNG, TIFF), DecompressionBombError,
# struct.error, KeyError, RuntimeError (AVIF), warnings where these are errors. All of it means the same.
_BROKEN = Exception


_budget = memory.Budget(MEMORY_SHARE)


def open_rgb(source: Source, *, needed: tuple[int, int] | None = None) -> Image.Image:
    """Return ``source`` as an upright 8-bit RGB picture (see `opened`)."""
    with opened(source, needed=needed) as picture:
        return picture


@contextmanager
def opened(source: Source, *, needed: tuple[int, int] | None = None) -> Iterator[Image.Image]:
    """Yield ``source`` as an upright 8-bit RGB picture, and hold its share of the memory for pictures meanwhile.

    source: path, bytes, open binary file, Pillow image, or uint8 array ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` RGB or
    ``(H, W, 4)`` RGBA. needed: the upright ``(width, height)`` that the input needs: a JPEG of more than twice (DRAFT_MARGIN) as
    much on both sides is reduced while it is decoded. None decodes all.

    Grey becomes three equal channels. Transparency is dropped and the stored colour kept, as Keras' and TensorFlow's loaders do
    with three channels. 16-bit values keep their high byte. CMYK is converted by Pillow without a colour profile. Of several
    pictures (GIF, TIFF) the first is taken.

    A file, and a Pillow image as ``Image.open`` gave it, are turned upright by their EXIF or XMP. A Pillow image that was made from
    another one keeps that note, turned or not: it is refused if the note says that it is not upright.

    Raises ImageError for a missing, truncated, unreadable or too large picture, ShapeError for any other array.
    """
    with ExitStack() as held:
        yield _open_rgb(source, needed, held)


def _open_rgb(source: Source, needed: tuple[int, int] | None, held: ExitStack) -> Image.Image:
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        if not isinstance(source, ImageFile.ImageFile) and (noted := _orientation(source.info)) != 1:
            raise ImageError(
                f"image: made from a picture with EXIF orientation {noted}, and nothing says whether it was turned since;"
                " pass PIL.ImageOps.exif_transpose(image), or do image.info.clear() if it is upright already"
            )
        # Not reduced while decoding: that would alter the caller's object.
        return _decode(source, "image", None, held)
    with ExitStack() as stack:
        where, stream = _open(source, stack)
        return _decode(_identify(stream, where), where, needed, held)


def _from_array(array: NDArray[Any]) -> Image.Image:
    shape = array.shape
    if array.dtype != np.uint8 or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)) or 0 in shape:
        raise ShapeError(f"an image array is uint8 of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {array.dtype} {shape}")
    if array.ndim == 3 and shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 3 and shape[2] == 4:
        array = array[:, :, :3]
    picture = Image.fromarray(np.ascontiguousarray(array))
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _open(source: Any, stack: ExitStack) -> tuple[str, IO[bytes]]:
    if isinstance(source, bytes | bytearray | memoryview):
        return "image", io.BytesIO(source)
    if isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)
        try:
            mode = os.stat(path).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a pipe among the pictures would be waited for without end
                raise ImageError(f"{path}: is no file; expected a picture")
            return path, stack.enter_context(open(path, "rb"))
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            if isinstance(error, ImageError):
                raise
            raise ImageError(f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error}); check the path") from error
    if hasattr(source, "read") and hasattr(source, "seek"):
        return str(getattr(source, "name", "image")), source
    raise ImageError(
        f"{type(source).__name__} is no image; expected a path, bytes, an open binary file, a Pillow image or a uint8 array"
    )


def _identify(stream: IO[bytes], where: str) -> Image.Image:
    try:
        start = stream.read(64)
        if not isinstance(start, bytes):
            raise ImageError(f"{where}: is open as text; open it with mode 'rb'")
        stream.seek(-len(start), os.SEEK_CUR)
    except OSError as error:
        raise ImageError(f"{where}: cannot be read ({error}); expected a binary file that can be rewound") from error
    plugin = _plugin(start)
    if plugin in (_AVIF, _HEIF) and (".avif" if plugin == _AVIF else ".heic") not in picture_kinds.readable():
        raise ImageError(f"{where}: is {'AVIF' if plugin == _AVIF else 'HEIC'}, which is read after {picture_kinds.EXTRA}")
    if plugin is not None and suffix(where) not in _RAW:
        try:
            module = importlib.import_module(plugin[0])
            picture: Image.Image = getattr(module, plugin[1])(stream, where)
        except EdgeError:
            raise
        except _BROKEN as error:
            raise ImageError(f"{where}: is damaged ({_reason(error)}); replace it or leave it out") from error
        return picture
    what = "is empty" if not start else "is no JPEG, PNG, BMP, WebP, GIF, TIFF, HEIC or AVIF"
    raise ImageError(f"{where}: {what}; convert it or leave it out")


def _plugin(start: bytes) -> tuple[str, str] | None:
    """Return module and class that decode a file which begins like this."""
    if start[4:8] == b"ftyp":
        brands = {start[i : i + 4] for i in range(8, min(len(start), int.from_bytes(start[:4], "big")), 4)}
        return _AVIF if brands & _AVIF_BRANDS else _HEIF if brands & _HEIF_BRANDS else None
    for magic, plugin in _PLUGINS.items():
        if start.startswith(magic) and (magic != b"RIFF" or start[8:12] == b"WEBP"):
            return plugin
    return None


def _decode(picture: Image.Image, where: str, needed: tuple[int, int] | None, held: ExitStack) -> Image.Image:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{where}: {width} x {height} pixels, more than {MAX_PIXELS // 1_000_000} million; scale it down first")
    try:
        if needed is not None and picture.format == "JPEG":
            across, down = needed if _orientation(picture.info) not in _SIDEWAYS else needed[::-1]
            picture.draft(None, (across * DRAFT_MARGIN, down * DRAFT_MARGIN))
        held.enter_context(_budget.taken(_cost(picture, width * height, where)))
        picture.load()
        rgb = _to_rgb(picture)
        turn = _UPRIGHT.get(
            _orientation(picture.info)
        )  # only now: a PNG may say it behind the pixels, Pillow turns a TIFF itself
        return rgb if turn is None else rgb.transpose(turn)
    except EdgeError:
        raise
    except _BROKEN as error:
        raise ImageError(f"{where}: cannot be decoded ({_reason(error)}); replace it or leave it out") from error


def _cost(picture: Image.Image, pixels: int, where: str) -> int:
    """Return how many bytes a picture of ``pixels`` takes when it is decoded at the size that it has been set to."""
    progressive = _PROGRESSIVE_BYTES * pixels if picture.info.get("progressive") else 0
    bytes_ = (_WEBP_BYTES if picture.format == "WEBP" else PIXEL_BYTES) * picture.width * picture.height + progressive
    if bytes_ > _budget.bytes:
        raise ImageError(
            f"{where}: {pixels / 1e6:.0f} million pixels take {bytes_ >> 20} MiB to decode, and a third of this machine's memory is"
            f" {_budget.bytes >> 20} MiB; scale it down first"
        )
    return bytes_


def _orientation(info: Mapping[Any, Any]) -> int:
    """Return the orientation by EXIF, else by EXIF as a PNG's text, else by XMP; 1 if none is given."""
    exif = info.get("exif", b"")
    for name in _PROFILES:
        if not exif and isinstance(text := info.get(name), str):
            with suppress(ValueError):  # broken: as if it were not there
                exif = bytes.fromhex("".join(text.split("\n")[3:]))
    found = _exif_orientation(exif) if isinstance(exif, bytes) else None
    if found is not None:
        return found
    xmp = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
    match = _XMP_ORIENTATION.search(xmp.encode("utf-8", "replace") if isinstance(xmp, str) else xmp)
    return int(match[1]) if match else 1


def _exif_orientation(exif: bytes) -> int | None:
    """Return the EXIF orientation if one is given. (Pillow's getexif imports its whole TIFF reader for this one number.)"""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return None
    directory = struct.unpack_from(f"{order}I", tiff, 4)[0]
    if directory + 2 > len(tiff):
        return None
    count = struct.unpack_from(f"{order}H", tiff, directory)[0]
    for at in range(directory + 2, min(directory + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind = struct.unpack_from(f"{order}HH", tiff, at)
        if (tag, kind) == (_ORIENTATION_TAG, _SHORT):
            return int(struct.unpack_from(f"{order}H", tiff, at + 8)[0])
    return None


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers, whose range is not known; save it with 8 bits")
    if picture.mode.startswith("I"):
        picture = _high_bytes(picture)
    return picture.convert("RGB")


def _high_bytes(picture: Image.Image) -> Image.Image:
    """Return 16-bit grey as 8-bit grey. (Pillow would saturate at 255; the high byte is what it keeps of 16-bit colour.)"""
    grey = np.empty((picture.height, picture.width), np.uint8)
    step = max(1, _STRIP_PIXELS // picture.width)
    for top in range(0, picture.height, step):
        rows = np.asarray(picture.crop((0, top, picture.width, min(top + step, picture.height))))
        grey[top : top + step] = rows.clip(0, 65535) >> 8
    return Image.fromarray(grey)


def _reason(error: BaseException) -> str:
    said = " ".join(str(error).split())[:200]
    return said if said and isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {said}".rstrip(": ")
