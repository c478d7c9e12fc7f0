"""The one recipe from a picture to the input tensor. Training, calibration, validation and the board all call it.

Three steps: geometry on 8-bit pixels (`load_pixels`), a table with one entry per pixel value and channel (`lookup_table`), and
looking each pixel up (`to_tensor`). With a quantized input the table holds quantized values: no float image is ever made.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..artefact import tensors
from ..artefact.contract import InputSpec
from ..artefact.tensors import TensorSpec
from ..errors import ShapeError
from .images import Source, opened

__all__ = ["Source", "Sources", "load_pixels", "lookup_table", "preprocess", "to_tensor"]

_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
Box = tuple[float, float, float, float]
Sources = Source | Sequence[Source]  # the second for models that take several frames, the oldest first


def load_pixels(source: Sources, spec: InputSpec) -> NDArray[np.uint8]:
    """Return the picture as uint8 ``(height, width, channels)`` with the channels in the order of ``spec.color``.

    source: see `edge.runtime.images.open_rgb`, which also names the errors. A JPEG given as path, bytes or file is decoded at reduced
    size where it is much larger than the input, unless ``spec`` samples without a low-pass filter (then every pixel counts).
    Stacked frames: a sequence of as many pictures, the oldest first. Raises ShapeError for another number.
    """
    if spec.frames != 1:
        return _stack(source, spec)
    if isinstance(source, list | tuple):
        raise ShapeError(f"the model takes one picture, got a sequence of {len(source)}")
    with opened(cast("Source", source), needed=_needed(spec)) as whole:
        picture = _fit(whole, spec)
        del whole  # before others may have its memory
    if spec.color == "gray":
        return np.asarray(picture.convert("L"))[:, :, np.newaxis]
    pixels: NDArray[np.uint8] = np.asarray(picture)
    return np.ascontiguousarray(pixels[:, :, ::-1]) if spec.color == "bgr" else pixels


def lookup_table(spec: InputSpec, tensor: TensorSpec | None = None) -> NDArray[Any]:
    """Return ``(pixel - mean) / scale`` for each channel and pixel value: shape ``(channels, 256)``.

    Calculated in float32. With ``tensor`` of an integer type the values are quantized by its scale and zero point, rounded half
    away from zero and saturated; without, or for a float tensor, they stay float32 (float16 for a float16 tensor). An integer
    tensor without quantization (the model begins with a CAST) takes the values themselves, where all are whole numbers that it
    holds; raises ShapeError where they are not.
    """
    pixels = np.arange(256, dtype=np.float32)[np.newaxis]
    mean, scale = np.array(spec.mean, np.float32)[:, np.newaxis], np.array(spec.scale, np.float32)[:, np.newaxis]
    real = (pixels - mean) / scale
    if tensor is None or np.issubdtype(tensor.dtype, np.floating):
        return real if tensor is None else real.astype(tensor.dtype)
    if tensor.quant is None:
        limits = np.iinfo(tensor.dtype)
        if (real == np.rint(real)).all() and real.min() >= limits.min and real.max() <= limits.max:
            return real.astype(tensor.dtype)
        raise ShapeError(
            f"input {tensor.name!r} is {tensor.dtype} without scale and zero point, and takes whole numbers from {limits.min} to"
            f" {limits.max}; pixels would become {real.min():g} to {real.max():g}; {as_whole_numbers(tensor.dtype)}"
        )
    return tensors.quantize(real, tensor.quant, tensor.dtype)


def as_whole_numbers(dtype: np.dtype[Any]) -> str:
    """Return which flags give each of the 256 pixel values a whole number of ``dtype``, in words."""
    if np.iinfo(dtype).max >= 255:
        return "--preprocess raw (mean 0, scale 1) writes them as they are"
    return "--mean 128 --scale 1 writes them less 128, as -128 to 127"


def to_tensor(pixels: NDArray[np.uint8], table: NDArray[Any]) -> NDArray[Any]:
    """Return ``table[channel, pixel]`` for each pixel, with a batch axis: ``(1, H, W, C)`` of the table's dtype.

    pixels: uint8 ``(H, W, C)``, C as in the table, or a multiple of it for stacked frames. Raises ShapeError otherwise.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] % len(table) or not pixels.shape[2]:
        raise ShapeError(f"pixels are uint8 (H, W, {len(table)}), got {pixels.dtype} {pixels.shape}")
    if (table == table[0]).all():
        return _look_up(np.ascontiguousarray(pixels), table[0])[np.newaxis]
    looked_up = np.empty((1, *pixels.shape), table.dtype)
    for channel in range(pixels.shape[2]):
        looked_up[0, :, :, channel] = table[channel % len(table)][pixels[:, :, channel]]
    return looked_up


def preprocess(source: Sources, spec: InputSpec, tensor: TensorSpec | None = None) -> NDArray[Any]:
    """Return the input tensor ``(1, H, W, C)`` for a picture: the three steps in one."""
    return to_tensor(load_pixels(source, spec), lookup_table(spec, tensor))


def _stack(source: Sources, spec: InputSpec) -> NDArray[np.uint8]:
    """Return the frames behind each other in the channels, ``(H, W, frames * channels of one)``."""
    given = len(source) if isinstance(source, list | tuple) else 1
    if given != spec.frames or not isinstance(source, list | tuple):
        raise ShapeError(f"the model takes {spec.frames} pictures, the oldest first, got {given}; give a list of them")
    one = dataclasses.replace(spec, frames=1)
    return np.concatenate([load_pixels(each, one) for each in source], axis=2)


def _look_up(pixels: NDArray[np.uint8], row: NDArray[Any]) -> NDArray[Any]:
    if row.dtype.itemsize > 1:
        return row[pixels]
    # For bytes, bytes.translate does the same several times faster than an indexing.
    translated = pixels.tobytes().translate(row.tobytes())
    return np.frombuffer(translated, row.dtype).reshape(pixels.shape)


def _needed(spec: InputSpec) -> tuple[int, int] | None:
    """Return how many pixels across and down the picture must at least keep while it is decoded."""
    if not spec.antialias or spec.resample == "nearest":
        return None
    return math.ceil(spec.width / spec.crop_fraction), math.ceil(spec.height / spec.crop_fraction)


def _fit(picture: Image.Image, spec: InputSpec) -> Image.Image:
    size = (spec.width, spec.height)
    if spec.fit != "letterbox":
        return _resize(picture, size, _window(picture.size, spec), spec)
    ratio = min(size[0] / picture.width, size[1] / picture.height)
    inner = (max(1, min(size[0], round(picture.width * ratio))), max(1, min(size[1], round(picture.height * ratio))))
    scaled = _resize(picture, inner, (0.0, 0.0, float(picture.width), float(picture.height)), spec)
    canvas = Image.new("RGB", size, (spec.letterbox_fill,) * 3)
    canvas.paste(scaled, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return canvas


def _window(size: tuple[int, int], spec: InputSpec) -> Box:
    """Return the part of the picture that is looked at: left, top, right, bottom in pixels, not rounded."""
    width, height = float(size[0]), float(size[1])
    if spec.fit == "crop":
        ratio = spec.width / spec.height
        width, height = min(width, height * ratio), min(height, width / ratio)
    width, height = width * spec.crop_fraction, height * spec.crop_fraction
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height


def _resize(picture: Image.Image, size: tuple[int, int], box: Box, spec: InputSpec) -> Image.Image:
    whole = (0.0, 0.0, float(picture.width), float(picture.height))
    if picture.size == size and box == whole:
        return picture
    if spec.antialias or spec.resample == "nearest":
        return picture.resize(size, _RESAMPLE[spec.resample], box=box)
    return Image.fromarray(_sample(np.asarray(picture), size, box))


def _sample(pixels: NDArray[np.uint8], size: tuple[int, int], box: Box) -> NDArray[np.uint8]:
    """Interpolate linearly between the four pixels around each centre, rounded: ``tf.image.resize`` without antialias.

    (Pillow's ``transform`` takes the same samples, but cuts the fraction off: half a level too dark on average.)
    """
    left, right, across = _neighbours(size[0], box[0], box[2], pixels.shape[1])
    top, bottom, down = _neighbours(size[1], box[1], box[3], pixels.shape[0])
    down = down[:, np.newaxis, np.newaxis]
    columns = []
    for column in (left, right):
        above, below = (pixels[row[:, np.newaxis], column].astype(np.float32) for row in (top, bottom))
        columns.append(above + (below - above) * down)
    real = columns[0] + (columns[1] - columns[0]) * across[:, np.newaxis]
    return (real + np.float32(0.5)).astype(np.uint8)


def _neighbours(
    count: int, begin: float, end: float, limit: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return the pixels before and after each of ``count`` centres between ``begin`` and ``end``, and the share of the second."""
    centres = (np.arange(count) + 0.5) * ((end - begin) / count) + begin - 0.5
    before = np.floor(centres)
    indices = [np.clip(side, 0, limit - 1).astype(np.intp) for side in (before, before + 1)]
    return indices[0], indices[1], (centres - before).astype(np.float32)
