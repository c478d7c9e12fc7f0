"""The figures that explain how numbers become int8: each calls the code of edgekit that does it, on inputs that are made here."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any

import numpy as np
from figure_card import BLUE, GREY, ORANGE, PALE, RED, TEAL, WIDTH, Figure, Spec, name, number, shades, title, values
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edge.artefact.contract import InputSpec
from edge.numbers.statistics import FAIL, PASS, UNDECIDED
from edge.runtime.preprocess import load_pixels
from quantize.calibrate import ranges
from quantize.tflite.int8_file import affine

_BUDGET = 0.01
_VERDICTS = {PASS: TEAL, UNDECIDED: ORANGE, FAIL: RED}


def figures() -> list[Figure]:
    """Return them all."""
    return [make() for make in (affine_map, channel_scales, range_methods, fits)]


def affine_map() -> Figure:
    """The line from a real value to its int8 value, and where it clips."""
    low, high = -1.0, 3.0
    scale, zero = affine(low, high)

    def quantized(real: float) -> int:
        return int(np.clip(round(real / scale) + zero, -128, 127))

    rows = [{"real": real, "int8": quantized(real)} for real in (-2.0, low, 0.0, high, 5.0)]
    marks = [
        {"real": 0.0, "int8": quantized(0.0), "words": f"zero point {zero}: the exact 0", "down": 14},
        {"real": low, "int8": quantized(low), "words": "lowest value: -128", "down": -8},
        {"real": high, "int8": quantized(high), "words": "highest value: 127", "down": 16},
    ]
    axes = {
        "x": number("real", "real value"),
        "y": number("int8", "int8", scale={"domain": [-140, 140], "nice": False}, values=[-128, -64, 0, 64, 127]),
    }
    return Figure(
        name="affine-map",
        alt="The line from real values to int8 for a range from minus one to three: its slope is one over the scale,"
        " zero falls on the zero point,"
        " and what lies outside the range is clipped.",
        spec={
            "title": title(
                "Scale and zero point",
                f"range {low:g} to {high:g}: scale {scale:.5f}, zero point {zero} (quantize.tflite.int8_file.affine)",
                "int8 = round(real / scale) + zero point, from -128 to 127",
            ),
            "width": WIDTH - 60,
            "height": 240,
            "layer": [
                {
                    "data": values([{"from": low, "to": high}]),
                    "mark": {"type": "rect", "color": PALE, "opacity": 0.5},
                    "encoding": {"x": number("from", "real value"), "x2": {"field": "to"}},
                },
                {"data": values(rows), "mark": {"type": "line", "color": TEAL, "strokeWidth": 3}, "encoding": axes},
                {
                    "data": values(marks),
                    "mark": {"type": "point", "filled": True, "size": 80, "color": ORANGE, "opacity": 1},
                    "encoding": axes,
                },
                *(
                    {
                        "data": values([mark]),
                        "mark": {"type": "text", "align": "left", "dx": 9, "dy": mark["down"]},
                        "encoding": {**axes, "text": {"field": "words"}},
                    }
                    for mark in marks
                ),
            ],
        },
    )


def channel_scales() -> Figure:
    """What one scale for all channels costs the small ones."""
    generator = np.random.default_rng(0)
    sizes = [1.0, 0.5, 0.25, 0.12, 0.06, 0.03]
    weights = [size * generator.standard_normal(256) for size in sizes]
    largest = float(max(np.abs(channel).max() for channel in weights))

    def error(channel: NDArray[np.float64], limit: float) -> float:
        step = limit / 127
        return float(np.sqrt(np.mean((np.round(channel / step) * step - channel) ** 2) / np.mean(channel**2)))

    rows: list[Spec] = []
    for size, channel in zip(sizes, weights, strict=True):
        label = f"spread {size:g}"
        rows += [
            {"channel": label, "way": "one scale per tensor", "error": error(channel, largest)},
            {"channel": label, "way": "one scale per channel", "error": error(channel, float(np.abs(channel).max()))},
        ]
    return Figure(
        name="channel-scales",
        alt="Rounding error of generated weights by channel: the same in every channel with a scale for each, and"
        " growing as the channel's weights"
        " get smaller with one scale for all.",
        spec={
            "title": title(
                "One scale per channel, or one for all",
                "generated weights, six channels of different spread; error over the channel's own size",
            ),
            "data": values(rows),
            "width": WIDTH - 60,
            "height": {"step": 14},
            "mark": "bar",
            "encoding": {
                "y": name("channel"),
                "yOffset": name("way"),
                "x": number("error", "relative rounding error", format="%"),
                "color": shades("way", {"one scale per tensor": ORANGE, "one scale per channel": TEAL}),
            },
        },
    )


def _observed() -> ranges.Observed:
    """Return a tensor after a ReLU on 200 images, generated: most of its values small, and few images with large ones."""
    generator = np.random.default_rng(1)
    brightness = generator.lognormal(0.0, 0.35, 200)
    drawn = np.maximum(generator.standard_normal((200, 500)) * brightness[:, np.newaxis], 0.0)
    limit = 2.0 ** int(np.ceil(np.log2(drawn.max())))
    counts, _ = np.histogram(drawn, bins=ranges.BINS, range=(-limit, limit))
    return ranges.Observed(lows=drawn.min(axis=1), highs=drawn.max(axis=1), counts=counts.astype(np.float64), limit=limit)


def range_methods() -> Figure:
    """Where the methods put the end of a range."""
    seen = _observed()
    bins = seen.counts[ranges.BINS // 2 :].reshape(64, -1).sum(axis=1)
    width = seen.limit / len(bins)
    histogram = [{"from": i * width, "to": (i + 1) * width, "share": float(count / bins.sum())} for i, count in enumerate(bins)]
    histogram = [row for row in histogram[1:] if row["share"] > 0]
    methods: dict[str, Any] = {
        "mean of the extremes": lambda: ranges.blend(seen, 0.0),
        "blend-0.2": lambda: ranges.blend(seen, 0.2),
        "blend-0.5": lambda: ranges.blend(seen, 0.5),
        "minmax": lambda: ranges.min_max(seen),
        "percentile": lambda: ranges.percentile(seen),
        "mse": lambda: ranges.mean_squared_error(seen),
        "kl": lambda: ranges.entropy(seen),
    }
    ends = sorted(
        ({"method": method, "end": find()[1], "zero": 0.0} for method, find in methods.items()), key=lambda row: row["end"]
    )
    x_scale = {"domain": [0, max(row["end"] for row in ends) * 1.05], "nice": False}
    return Figure(
        name="range-methods",
        alt="A generated distribution of a tensor's values, and below it the range that each method gives: minmax"
        " reaches to the last value,"
        " the mean of the extremes ends far before it, blends lie between.",
        spec={
            "title": title(
                "Where a range ends",
                "generated: 200 images, a tensor after a ReLU; its values above 0, and the methods of quantize.calibrate.ranges",
            ),
            "vconcat": [
                {
                    "data": values(histogram),
                    "width": WIDTH - 130,
                    "height": 110,
                    "mark": {"type": "rect", "color": GREY},
                    "encoding": {
                        "x": number("from", None, scale=x_scale),
                        "x2": {"field": "to"},
                        "y": number("share", "share of the values", format="%", tickCount=3),
                        "y2": {"datum": 0},
                    },
                },
                {
                    "data": values(ends),
                    "width": WIDTH - 130,
                    "height": {"step": 20},
                    "mark": {"type": "bar", "color": TEAL, "height": 8},
                    "encoding": {"y": name("method"), "x": number("zero", "value", scale=x_scale), "x2": {"field": "end"}},
                },
            ],
        },
    )


def _scene() -> Image.Image:
    """Return the test picture, wider than high: a disc, and stripes to its left and right by which a crop is seen."""
    picture = Image.new("RGB", (240, 135), "#9fc5e8")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 95, 240, 135), fill="#7a9e4b")
    for left, colour in ((4, RED), (24, ORANGE), (204, BLUE), (224, "#5b3a8c")):
        draw.rectangle((left, 30, left + 11, 110), fill=colour)
    draw.ellipse((80, 27, 160, 107), fill="#f4d03f", outline="#7d6608", width=3)
    return picture


def fits() -> Figure:
    """The three ways of a picture into a square input."""
    scene = _scene()
    shown = {"the picture": np.asarray(scene)}
    for fit in ("stretch", "crop", "letterbox"):
        shown[fit] = load_pixels(scene, InputSpec(width=96, height=96, fit=fit))
    digest = hashlib.sha256(b"".join(pixels.tobytes() for pixels in shown.values()))
    rows, left = [], 0
    for label, pixels in shown.items():
        wide = 171 if label == "the picture" else 96
        rows.append({"x": left, "label": label, "url": _as_url(pixels), "wide": wide, "middle": left + wide / 2})
        left += wide + 18
    place = {"scale": {"domain": [0, left - 18], "nice": False, "zero": False}, "axis": None, "type": "quantitative"}
    words = title("What fit makes of a picture", "edge.preprocess, a wide picture into a square input")
    return Figure(
        name="fits",
        alt="A wide test picture with a disc, and what a square input gets of it: stretch squeezes the disc, crop keeps"
        " it round and loses the"
        " sides, letterbox keeps all with black bars above and below.",
        spec={
            "title": words,
            "width": left - 18,
            "height": 120,
            "layer": [
                *(
                    {
                        "data": values([row]),
                        "mark": {
                            "type": "image",
                            "width": row["wide"],
                            "height": 96,
                            "align": "left",
                            "baseline": "top",
                            "aspect": False,
                        },
                        "encoding": {"x": {"field": "x", **place}, "y": {"value": 0}, "url": {"field": "url", "type": "nominal"}},
                    }
                    for row in rows
                ),
                {
                    "data": values([{key: row[key] for key in ("middle", "label")} for row in rows]),
                    "mark": {"type": "text", "baseline": "top"},
                    "encoding": {"x": {"field": "middle", **place}, "y": {"value": 104}, "text": {"field": "label"}},
                },
            ],
        },
        stands_for=f"{words} {digest.hexdigest()}",
    )


def _as_url(pixels: NDArray[np.uint8]) -> str:
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(packed.getvalue()).decode()}"
