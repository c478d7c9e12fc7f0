"""The figures of measured quantization: every number, date and count is read from ``benchmarks/results/``."""

from __future__ import annotations

from typing import Any

from figure_card import (
    BLUE,
    GREY,
    ORANGE,
    PALE,
    RED,
    TEAL,
    WIDTH,
    Figure,
    Spec,
    entries,
    name,
    number,
    shades,
    source,
    title,
    values,
)

_TOOLS = {"auto": TEAL, "converter": ORANGE, "litert-quantizer": BLUE, "best single method": GREY}


def figures() -> list[Figure]:
    """Return them all."""
    return [
        make()
        for make in (ranges_shift, ranges_cost, accuracy_drop, conversion_cost, mixed_front, rounding_ladder, qat_drop, qat_step)
    ]


def _networks() -> list[Any]:
    return [
        entry
        for entry in entries("ranges")
        if "litert-quantizer" in entry["figures"].get("rows", {}).get("as it is", {}) and "network" in entry["figures"]
    ]


def _shown(entry: Any) -> str:
    figures = entry["figures"]
    network = figures["network"].removesuffix(", flowers").split(", Inception")[0]
    return f"{network}, {'its training' if figures['calibrated_with'] == 'training photos' else 'unseen'} photos"


def ranges_shift() -> Figure:
    """How far each quantizer moves the answers, network by network."""
    found, rows = _networks(), []
    for entry in found:
        errors = {method: row["error"] for method, row in entry["figures"]["rows"]["as it is"].items()}
        single = min(set(errors) - {"auto", "converter", "litert-quantizer"}, key=errors.__getitem__)
        named = {"best single method": single} | {tool: tool for tool in list(_TOOLS)[:3]}
        rows += [{"network": _shown(entry), "tool": tool, "shift": errors[method]} for tool, method in named.items()]
    images = {entry["figures"]["images"] for entry in found}
    tested = [entry["figures"]["test_images"] for entry in found]
    said = f"calibrated with {max(images)} images, scored on {min(tested)} to {max(tested)} others"
    log = {"type": "log", "domain": [0.009, 0.5], "nice": False}
    x = number("shift", "shift of the answers, less is better (logarithmic)", scale=log, values=[0.01, 0.02, 0.05, 0.1, 0.2, 0.5])
    return Figure(
        name="ranges-shift",
        alt="Shift of the answers of eight int8 files against float, by quantizer: auto lies left of the converter and of"
        " litert-quantizer in every row, close to the best single method.",
        spec={
            "title": title("How far quantization moves the answers", *source("ranges", found, said)),
            "data": values(rows),
            "width": WIDTH - 130,
            "height": {"step": 26},
            "encoding": {"y": name("network"), "x": x},
            "layer": [
                {"mark": {"type": "line", "color": PALE, "strokeWidth": 3}, "encoding": {"detail": {"field": "network"}}},
                {
                    "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                    "encoding": {"color": shades("tool", _TOOLS)},
                },
            ],
        },
    )


def ranges_cost() -> Figure:
    """What the search costs."""
    found = _networks()
    rows = [
        {"network": _shown(entry), "tool": tool, "seconds": entry["figures"]["rows"]["as it is"][tool]["seconds"]}
        for entry in found
        for tool in list(_TOOLS)[:3]
    ]
    return Figure(
        name="ranges-cost",
        alt="Seconds that making each int8 file took, by quantizer: the search of auto takes the longest on every network.",
        spec={
            "title": title(
                "What choosing the ranges costs", *source("ranges", found, "one file each, on a shared machine with two cores")
            ),
            "data": values(rows),
            "width": WIDTH - 130,
            "height": {"step": 11},
            "mark": "bar",
            "encoding": {
                "y": name("network"),
                "yOffset": name("tool"),
                "x": number("seconds", "seconds from the Keras model to the int8 file"),
                "color": shades("tool", dict(list(_TOOLS.items())[:3])),
            },
        },
    )


def _intervals(rows: list[Spec], x_title: str, colour: Spec | str = TEAL, rules: tuple[float, ...] = (0.0,)) -> list[Spec]:
    """Return the layers of measured drops with their intervals; a row has name, drop, low, high."""
    shade = {"value": colour} if isinstance(colour, str) else colour
    x = number("drop", x_title, format=".1%")
    return [
        *(
            {
                "data": values([{"at": rule}]),
                "mark": {"type": "rule", "color": GREY, "strokeDash": [4, 3]},
                "encoding": {"x": {"field": "at", "type": "quantitative"}},
            }
            for rule in rules
        ),
        {
            "data": values(rows),
            "mark": {"type": "rule", "strokeWidth": 3},
            "encoding": {"y": name("name"), "x": number("low", x_title, format=".1%"), "x2": {"field": "high"}, "color": shade},
        },
        {
            "data": values(rows),
            "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
            "encoding": {"y": name("name"), "x": x, "color": shade},
        },
    ]


def _drop(label: str, drop: float, interval: list[float], **more: Any) -> Spec:
    return {"name": label, "drop": drop, "low": interval[0], "high": interval[1], **more}


def accuracy_drop() -> Figure:
    """The drop of each tool's int8 file, with its interval and verdict."""
    entry = entries("accuracy")[-1]
    measured = {tool: row for tool, row in entry["figures"]["rows"].items() if tool != "float32"}
    rows = [_drop(tool, row["drop"]["top1"], row["drop"]["ci95"], verdict=row["verdict"]) for tool, row in measured.items()]
    tested = next(iter(measured.values()))["images"]
    photos = f"{entry['figures']['images']} photos to calibrate, {tested} to score"
    said = f"int8 InceptionResNetV2 of flowers, {photos}; the lines are 0 and a budget of one point"
    shade = shades("verdict", {"pass": TEAL, "undecided": ORANGE, "fail": RED})
    return Figure(
        name="accuracy-drop",
        alt="Drop of top-1 of three int8 files against float, each with its 95 percent interval: two lie below the"
        " budget and pass,"
        " one reaches across it and is undecided.",
        spec={
            "title": title("What int8 costs, with its 95 % interval", *source("accuracy", [entry], said)),
            "width": WIDTH - 60,
            "height": {"step": 34},
            "layer": _intervals(rows, "drop of top-1 against float (negative: a gain)", shade, (0.0, 0.01)),
        },
    )


def conversion_cost() -> Figure:
    """Time and memory for all variants, beside the plain converter."""
    entry = entries("conversion")[-1]
    names = {"edgekit": "edgekit", "converter": "TFLiteConverter, once a variant"}
    panels = [("wall_s", "seconds"), ("peak_memory_mib", "peak memory, MiB")]
    variants = len(entry["figures"]["equal_outputs"])
    return Figure(
        name="conversion-cost",
        alt="Seconds and peak memory for all variants: edgekit, which converts and calibrates once, needs less of both"
        " than a converter for each variant.",
        spec={
            "title": title(
                f"All {variants} variants of one network",
                *source("conversion", [entry], "InceptionResNetV2 of flowers, 96 px, two x86 cores"),
            ),
            "hconcat": [
                {
                    "data": values([{"tool": names[tool], "value": entry["figures"][tool][key]} for tool in names]),
                    "width": 170,
                    "height": {"step": 32},
                    "mark": {"type": "bar", "color": TEAL},
                    "encoding": {"y": name("tool", axis=None if place else {}), "x": number("value", words, tickCount=4)},
                }
                for place, (key, words) in enumerate(panels)
            ],
        },
    )


def mixed_front() -> Figure:
    """Time against error, as tune finds them."""
    entry = entries("tune")[-1]
    rows = [
        {"name": row["name"].replace(", ", "\n", 1).replace(" in float", ""), "ms": row["ms"], "error": row["gate"]["error"]}
        for row in entry["figures"]["candidates"]
    ]
    axes = {"x": number("ms", "predicted ms on a Pi 4B", scale={"zero": False}), "y": number("error", "shift against float")}
    labels = [
        row | {"name": row["name"].split("\n")[-1]} for row in rows if row["ms"] > 45 or row["name"] == "int8"
    ]  # the rest lie close together
    photos = entry["figures"]["photos"]
    return Figure(
        name="mixed-front",
        alt="Files with more and more blocks in float: the shift falls to nothing while the predicted time rises;"
        " int16x8 is the slowest, and those with most blocks in float are nearer to float.",
        spec={
            "title": title(
                "Blocks in float: what they cost and gain",
                *source(
                    "tune",
                    [entry],
                    f"edgekit tune on the flower network, shift on {photos['gate']} photos that the search did not see",
                ),
            ),
            "width": WIDTH - 60,
            "height": 240,
            "layer": [
                {
                    "data": values(rows),
                    "mark": {"type": "point", "filled": True, "size": 70, "color": TEAL, "opacity": 1},
                    "encoding": axes,
                },
                {
                    "data": values(labels),
                    "mark": {"type": "text", "align": "left", "dx": 7, "dy": -7},
                    "encoding": {**axes, "text": {"field": "name"}},
                },
            ],
        },
    )


def rounding_ladder() -> Figure:
    """Which step of quantization moves the answers."""
    entry = next(entry for entry in entries("explain") if "ladder" in entry["figures"])
    facts = entry["figures"]
    rows = [{"step": rung["name"], "shift": rung["error"]} for rung in facts["ladder"]]
    return Figure(
        name="rounding-ladder",
        alt="Shift against the Keras model after each step of quantization: float steps and weights in int8 move next to"
        " nothing, the activations nearly all.",
        spec={
            "title": title(
                "Where the shift comes from",
                *source("explain", [entry], f"edgekit explain, {facts['input']}, {facts['images']} images"),
            ),
            "data": values(rows),
            "width": WIDTH - 130,
            "height": {"step": 26},
            "mark": {"type": "bar", "color": TEAL},
            "encoding": {"y": name("step"), "x": number("shift", "shift against the Keras model")},
        },
    )


def qat_drop() -> Figure:
    """Training with quantization in it, beside without."""
    entry = entries("qat")[-1]
    measured = entry["figures"]["rows"]
    shown = [row for row in measured if row.startswith(("PTQ per", "QAT", "converter")) and not row.endswith("of it")]
    rows = [
        _drop(row, measured[row]["drop"], measured[row]["ci95"], kind="trained" if row.startswith("QAT") else "not trained")
        for row in sorted(shown, key=str.lower)
    ]
    facts = entry["figures"]
    said = f"{facts['epochs']} epochs on {facts['photos']} photos, scored on {measured[shown[0]]['images']} others"
    return Figure(
        name="qat-drop",
        alt="Drop against float of files with and without quantization-aware training, with intervals: all intervals"
        " hold zero and overlap.",
        spec={
            "title": title("Quantization-aware training and post-training", *source("qat", [entry], said)),
            "width": WIDTH - 130,
            "height": {"step": 24},
            "layer": _intervals(
                rows, "drop of top-1 against float (negative: a gain)", shades("kind", {"trained": TEAL, "not trained": ORANGE})
            ),
        },
    )


def qat_step() -> Figure:
    """What a training step takes."""
    entry = next(entry for entry in reversed(entries("qat_cost")) if entry["figures"]["what"] == "steps")
    facts = entry["figures"]
    rows = [
        {"tool": "float", "ratio": 1.0},
        {"tool": "edgekit qat", "ratio": facts["ours_over_float"]},
        {"tool": "tensorflow-model-optimization", "ratio": facts["tfmot_over_float"]},
    ]
    said = f"InceptionResNetV2 at {facts['shape'][0]} px, batches of {facts['batch']}, {facts['rounds']} rounds"
    return Figure(
        name="qat-step",
        alt="Time of one training step against a float one: edgekit qat lies between float and tensorflow-model-optimization.",
        spec={
            "title": title("One step of training", *source("qat_cost", [entry], said)),
            "data": values(rows),
            "width": WIDTH - 150,
            "height": {"step": 30},
            "mark": {"type": "bar", "color": TEAL},
            "encoding": {"y": name("tool"), "x": number("ratio", "time of a step, float = 1")},
        },
    )
