"""Words on a picture: what a model says, drawn onto the frame that it saw. Pillow only."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

MIN_WIDTH = 320  # smaller frames are enlarged by a whole number, so that the words are legible and each pixel stays one block

_LINES_PER_HEIGHT = 20
_MIN_TEXT = 13  # pixels from line to line
_SHADE = 150  # how dark the ground behind the words gets, of 255
_LETTERS = 0.8  # share of a line that the letters take
_SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf")
_BITMAP_HEIGHT = 11  # of the font that Pillow has without FreeType, and before 10.1


def draw(pixels: NDArray[np.uint8], lines: Sequence[str]) -> NDArray[np.uint8]:
    """Return the frame with ``lines`` in its upper left corner, white on a darkened ground; the input is not changed.

    pixels: uint8 ``(H, W, 3)`` RGB. The result is as large, or a whole number of times as large where W is below MIN_WIDTH.
    Lines that are too long are cut off with an ellipsis, lines that do not fit below are left out.
    """
    enlarged = -(-MIN_WIDTH // pixels.shape[1])
    picture = Image.fromarray(pixels)
    if enlarged > 1:
        picture = picture.resize((picture.width * enlarged, picture.height * enlarged), Image.Resampling.NEAREST)
    step = max(_MIN_TEXT, picture.height // _LINES_PER_HEIGHT)
    masks = [_mask(line, step, picture.width - step) for line in lines[: picture.height // step]]
    if masks:
        ground = (0, 0, min(picture.width, max(mask.width for mask in masks) + step), len(masks) * step + step // 3)
        picture.paste((0, 0, 0), ground, Image.new("L", (ground[2], ground[3]), _SHADE))
        for number, mask in enumerate(masks):
            picture.paste((255, 255, 255), (step // 2, step // 6 + number * step), mask)
    drawn: NDArray[np.uint8] = np.asarray(picture)
    return drawn


def _mask(line: str, step: int, width: int) -> Image.Image:
    """Return the words as an ``L`` image of ``step`` pixels of height, at most ``width`` wide."""
    text = _legible(line)
    mask = _rendered(text, step)
    while mask.width > width and text:
        # By the share that is too much, so that a line of any length takes a few rounds.
        text = text[: min(len(text) - 1, int(len(text) * width / mask.width))]
        mask = _rendered(text + "...", step)
    return mask


def _rendered(text: str, step: int) -> Image.Image:
    font = _font(text.isascii(), round(step * _LETTERS))
    if isinstance(font, ImageFont.FreeTypeFont):
        mask = Image.new("L", (max(1, round(font.getlength(text))), step))
        ImageDraw.Draw(mask).text((0, 0), text, 255, font)
        return mask
    # Letters of one size: drawn as they are, then enlarged.
    mask = Image.new("L", (max(1, round(font.getlength(text))), _BITMAP_HEIGHT))
    ImageDraw.Draw(mask).text((0, 0), text, 255, font)
    return mask.resize((max(1, mask.width * step // _BITMAP_HEIGHT), step), Image.Resampling.BILINEAR)


def _legible(line: str) -> str:
    """Return the line in letters that there is a font for: accents are dropped where only Pillow's own font is at hand."""
    if line.isascii() or _system_font(_MIN_TEXT) is not None:
        return line
    decomposed = unicodedata.normalize("NFKD", line)
    bare = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return bare.encode("ascii", "replace").decode("ascii")


@functools.lru_cache(maxsize=16)  # reading a font takes longer than drawing with it
def _font(ascii_only: bool, size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    if not ascii_only and (found := _system_font(size)) is not None:
        return found
    try:
        return ImageFont.load_default(size)
    except (TypeError, ImportError):
        return ImageFont.load_default()  # Pillow before 10.1 takes no size


@functools.lru_cache(maxsize=16)
def _system_font(size: int) -> ImageFont.FreeTypeFont | None:
    # Pillow's own font has the letters of ASCII only.
    for name in _SYSTEM_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except (OSError, ImportError):
            continue
    return None
