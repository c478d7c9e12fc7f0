"""The figures that explain a formula: each calls the code of edgekit that calculates by it, on inputs that are made here."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
from typing import Any

import numpy as np
from figure_card import BLUE, GREY, ORANGE, PALE, RED, TEAL, WIDTH, Figure, Spec, name, number, shades, title, values
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edge.artefact.contract import InputSpec
from edge.numbers.statistics import FAIL, PASS, UNDECIDED, independent_interval, paired_interval, plan, verdict
from edge.runtime.preprocess import load_pixels
from quantize.calibrate import ranges
from quantize.tflite.int8_file import affine

_BUDGET = 0.01
_VERDICTS = {PASS: TEAL, UNDECIDED: ORANGE, FAIL: RED}


def figures() -> list[Figure]:
    """Return them all."""
    return [make() for make in (interval_narrows, verdict_regions, paired_or_not, images_needed, affine_map, channel_scales, range_methods, fits)]


def interval_narrows() -> Figure:
    """The interval by the number of images, with the verdict that it gives."""
    cases = {"nothing lost": (0.01, 0.01), "half a point lost": (0.0125, 0.0075), "three points lost": (0.035, 0.005)}
    rows = []
    for case, (lost, won) in cases.items():
        for images in (200, 400, 800, 1600, 3200, 6400, 12800):
            low, high = paired_interval(round(lost * images), round(won * images), images)
            rows.append({"case": case, "images": images, "low": low, "high": high, "verdict": verdict((low, high), _BUDGET)})
    scale = {"type": "log", "domain": [150, 17000], "nice": False}
    x = number("images", "images", scale=scale, values=[200, 800, 3200, 12800], format="~s")
    return Figure(
        name="interval-narrows",
        alt="The 95 percent interval of the drop for more and more images, in three cases: it narrows, and the verdict goes from undecided"
        " to pass, or to fail.",
        spec={
            "title": title("More images narrow the interval", "edge.numbers.statistics.paired_interval; the line is a budget of one point (0.01)"),
            "data": values(rows),
            "facet": {"column": {"field": "case", "type": "nominal", "title": None, "sort": None}},
            "spec": {
                "width": 145,
                "height": 200,
                "encoding": {"x": x},
                "layer": [
                    {"mark": {"type": "rule", "color": GREY, "strokeDash": [4, 3]}, "encoding": {"y": {"datum": _BUDGET}, "x": None}},
                    {
                        "mark": {"type": "rule", "strokeWidth": 5},
                        "encoding": {
                            "y": number("low", "drop, 95 % interval", format="%"),
                            "y2": {"field": "high"},
                            "color": shades("verdict", _VERDICTS),
                        },
                    },
                ],
            },
        },
    )


def verdict_regions() -> Figure:
    """Which verdict a measured drop gets, by the number of images, where three in a hundred differ."""
    share = 0.03
    rows = []
    for images in (300, 450, 700, 1000, 1500, 2200, 3300, 5000, 7500, 11000, 16000):
        discordant = round(share * images)
        found = [(2 * lost - discordant) / images for lost in range(discordant + 1)]
        said = [verdict(paired_interval(lost, discordant - lost, images), _BUDGET) for lost in range(discordant + 1)]
        passes = max((drop for drop, word in zip(found, said, strict=True) if word == PASS), default=-share)
        fails = min((drop for drop, word in zip(found, said, strict=True) if word == FAIL), default=share)
        ends = [-share, passes, fails, share]
        rows += [
            {"images": images, "low": low, "high": high, "verdict": word}
            for word, (low, high) in zip((PASS, UNDECIDED, FAIL), itertools.pairwise(ends), strict=True)
        ]
    scale = {"type": "log", "domain": [300, 16000], "nice": False}
    return Figure(
        name="verdict-regions",
        alt="Verdict by measured drop and number of images: pass below, fail above, and between them a wedge of undecided that narrows"
        " towards the budget.",
        spec={
            "title": title(
                "Which verdict a measured drop gets",
                f"budget of one point (0.01), {share:.0%} of the images right in only one of the two",
                "edge.numbers.statistics.verdict and paired_interval",
            ),
            "data": values(rows),
            "width": WIDTH - 60,
            "height": 240,
            "layer": [
                {
                    "mark": {"type": "area", "opacity": 0.8},
                    "encoding": {
                        "x": number("images", "images (logarithmic)", scale=scale, values=[300, 1000, 3000, 10000], format="~s"),
                        "y": number("low", "measured drop", format=".0%", tickCount=7),
                        "y2": {"field": "high"},
                        "color": shades("verdict", _VERDICTS),
                    },
                },
                {"mark": {"type": "rule", "color": "#fff", "strokeDash": [4, 3]}, "encoding": {"y": {"datum": _BUDGET}}},
            ],
        },
    )


def paired_or_not() -> Figure:
    """The same counts, taken as pairs and taken as two unrelated samples."""
    images, lost, won, right = 600, 9, 6, 480
    pair = paired_interval(lost, won, images)
    apart = independent_interval(right / images, images, (right - lost + won) / images, images)
    rows = [
        {"name": "as pairs (Tango)", "drop": (lost - won) / images, "low": pair[0], "high": pair[1]},
        {"name": "as two samples (Newcombe)", "drop": (lost - won) / images, "low": apart[0], "high": apart[1]},
    ]
    x = number("low", "drop", format=".0%")
    return Figure(
        name="paired-or-not",
        alt="The 95 percent interval of one and the same drop: narrow where the images are compared in pairs, several times as wide where they"
        " are taken as two unrelated samples.",
        spec={
            "title": title(
                "Why the same images go through both",
                f"{images} images, {right} right in float, {lost} lost and {won} won",
                "edge.numbers.statistics.paired_interval and independent_interval",
            ),
            "data": values(rows),
            "width": WIDTH - 130,
            "height": {"step": 36},
            "encoding": {"y": name("name")},
            "layer": [
                {"mark": {"type": "rule", "color": GREY, "strokeDash": [4, 3]}, "encoding": {"x": {"datum": 0}, "y": None}},
                {"mark": {"type": "rule", "strokeWidth": 4, "color": TEAL}, "encoding": {"x": x, "x2": {"field": "high"}}},
                {"mark": {"type": "point", "filled": True, "size": 90, "color": TEAL, "opacity": 1}, "encoding": {"x": number("drop", None)}},
            ],
        },
    )


def images_needed() -> Figure:
    """What `edgekit validate --plan` answers."""
    budgets = (0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03)
    rows = [
        {"budget": budget, "discordant": f"{share:.0%} differ", "images": plan(budget, discordant=share).images}
        for share in (0.05, 0.03, 0.01)
        for budget in budgets
    ]
    scale = {"type": "log", "domain": [80, 30000], "nice": False}
    return Figure(
        name="images-needed",
        alt="Images that a verdict takes by budget: fewer for a larger budget and where fewer images are right in only one of the two.",
        spec={
            "title": title("How many images a budget takes", "edge.numbers.statistics.plan: no true drop, 80 % power"),
            "data": values(rows),
            "width": WIDTH - 60,
            "height": 220,
            "mark": {"type": "line", "point": True},
            "encoding": {
                "x": number("budget", "allowed drop (--max-drop)", format=".1%"),
                "y": number("images", "images (logarithmic)", scale=scale, values=[100, 300, 1000, 3000, 10000], format="~s"),
                "color": shades("discordant", {"5% differ": RED, "3% differ": ORANGE, "1% differ": TEAL}),
            },
        },
    )


def affine_map() -> Figure:
    """The line from a real value to its int8 value, and where it clips."""
    low, high = -1.0, 3.0
    scale, zero = affine(low, high)

    def quantized(real: float) -> int:
        return int(np.clip(round(real / scale) + zero, -128, 127))

    rows = [{"real": real, "int8": quantized(real)} for real in (-1.8, low, 0.0, high, 3.8)]
    marks = [
        {"real": 0.0, "int8": quantized(0.0), "words": f"zero point {zero}: the exact 0"},
        {"real": low, "int8": quantized(low), "words": "lowest value: -128"},
        {"real": high, "int8": quantized(high), "words": "highest value: 127"},
    ]
    axes = {"x": number("real", "real value"), "y": number("int8", "int8", scale={"domain": [-140, 140], "nice": False}, values=[-128, -64, 0, 64, 127])}
    return Figure(
        name="affine-map",
        alt="The line from real values to int8 for a range from minus one to three: its slope is one over the scale, zero falls on the zero point,"
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
                {"data": values([{"from": low, "to": high}]), "mark": {"type": "rect", "color": PALE, "opacity": 0.5}, "encoding": {"x": number("from", "real value"), "x2": {"field": "to"}}},
                {"data": values(rows), "mark": {"type": "line", "color": TEAL, "strokeWidth": 3}, "encoding": axes},
                {"data": values(marks), "mark": {"type": "point", "filled": True, "size": 80, "color": ORANGE, "opacity": 1}, "encoding": axes},
                {"data": values(marks), "mark": {"type": "text", "align": "left", "dx": 9, "dy": 14}, "encoding": {**axes, "text": {"field": "words"}}},
            ],
        },
    )  # fmt: skip


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
        alt="Rounding error of generated weights by channel: the same in every channel with a scale for each, and growing as the channel's weights"
        " get smaller with one scale for all.",
        spec={
            "title": title("One scale per channel, or one for all", "generated weights, six channels of different spread; error over the channel's own size"),
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
    ends = sorted(({"method": method, "end": find()[1], "zero": 0.0} for method, find in methods.items()), key=lambda row: row["end"])
    x_scale = {"domain": [0, max(row["end"] for row in ends) * 1.05], "nice": False}
    return Figure(
        name="range-methods",
        alt="A generated distribution of a tensor's values, and below it the range that each method gives: minmax reaches to the last value,"
        " the mean of the extremes ends far before it, blends lie between.",
        spec={
            "title": title("Where a range ends", "generated: 200 images, a tensor after a ReLU; its values above 0, and the methods of quantize.calibrate.ranges"),
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
    words = title("What `fit` makes of a picture", "edge.preprocess, a wide picture into a square input")
    return Figure(
        name="fits",
        alt="A wide test picture with a disc, and what a square input gets of it: stretch squeezes the disc, crop keeps it round and loses the"
        " sides, letterbox keeps all with black bars above and below.",
        spec={
            "title": words,
            "width": left - 18,
            "height": 120,
            "layer": [
                *(
                    {
                        "data": values([row]),
                        "mark": {"type": "image", "width": row["wide"], "height": 96, "align": "left", "baseline": "top", "aspect": False},
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
