"""The figures of what was measured: every number, date and count is read from ``benchmarks/results/``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from figure_card import BLUE, GREY, ORANGE, PALE, RED, TEAL, WIDTH, Figure, Spec, name, number, shades, title, values

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
MIB = 1024 * 1024
_TOOLS = {"auto": TEAL, "converter": ORANGE, "litert-quantizer": BLUE, "best single method": GREY}


def entries(result: str) -> list[Any]:
    """Return the runs of a benchmark, oldest first."""
    return list(json.loads((RESULTS / f"{result}.json").read_text(encoding="utf-8")))


def source(result: str, found: list[Any], words: str) -> list[str]:
    """Return the lines that say what was measured, on which days, and where the numbers are."""
    days = sorted({entry["date"] for entry in found})
    day = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return [words, f"{day}, benchmarks/results/{result}.json"]


def figures() -> list[Figure]:
    """Return them all."""
    made = (
        *(ranges_shift, ranges_cost, accuracy_drop, conversion_cost, latency_cpu, latency_edgetpu, private_memory, second_process),
        *(small_memory, runtimes, deploy_faults, validation_scale, validation_throughput, drive_loop, mixed_front, rounding_ladder),
        *(qat_drop, qat_step),
    )
    return [make() for make in made]


def _networks() -> list[Any]:
    return [entry for entry in entries("ranges") if "litert-quantizer" in entry["figures"].get("rows", {}).get("as it is", {})
            and "network" in entry["figures"]]


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
                {"mark": {"type": "point", "filled": True, "size": 90, "opacity": 1}, "encoding": {"color": shades("tool", _TOOLS)}},
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
            "title": title("What choosing the ranges costs", *source("ranges", found, "one file each, on a shared machine with two cores")),
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
        *({"data": values([{"at": rule}]), "mark": {"type": "rule", "color": GREY, "strokeDash": [4, 3]},
           "encoding": {"x": {"field": "at", "type": "quantitative"}}} for rule in rules),
        {"data": values(rows), "mark": {"type": "rule", "strokeWidth": 3},
         "encoding": {"y": name("name"), "x": number("low", x_title, format=".1%"), "x2": {"field": "high"}, "color": shade}},
        {"data": values(rows), "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
         "encoding": {"y": name("name"), "x": x, "color": shade}},
    ]


def _drop(label: str, drop: float, interval: list[float], **more: Any) -> Spec:
    return {"name": label, "drop": drop, "low": interval[0], "high": interval[1], **more}


def accuracy_drop() -> Figure:
    """The drop of each tool's int8 file, with its interval and verdict."""
    entry = entries("accuracy")[-1]
    measured = {tool: row for tool, row in entry["figures"]["rows"].items() if tool != "float32"}
    rows = [_drop(tool, row["drop"]["top1"], row["drop"]["ci95"], verdict=row["verdict"]) for tool, row in measured.items()]
    tested = next(iter(measured.values()))["images"]
    said = f"int8 InceptionResNetV2 of flowers, {entry['figures']['images']} photos to calibrate, {tested} to score; the budget is one point"
    shade = shades("verdict", {"pass": TEAL, "undecided": ORANGE, "fail": RED})
    return Figure(
        name="accuracy-drop",
        alt="Drop of top-1 of three int8 files against float, each with its 95 percent interval: two lie below the budget and pass,"
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
        alt="Seconds and peak memory for all variants: edgekit, which converts and calibrates once, needs less of both than a converter for each variant.",
        spec={
            "title": title(f"All {variants} variants of one network", *source("conversion", [entry], "InceptionResNetV2 of flowers, 96 px, two x86 cores")),
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


def _latency(figure_name: str, alt: str, words: str, prefix: tuple[str, ...], within: str) -> Figure:
    entry = entries("latency_model")[-1]
    groups = {group: found["rows"] for group, found in entry["figures"].items() if group.startswith(prefix)}
    rows = [{"group": group.removeprefix("Edge TPU "), "ms": row["ms"], "predicted": row["predicted_ms"]} for group in groups for row in groups[group]]
    low, high = min(row["ms"] for row in rows) * 0.7, max(row["ms"] for row in rows) * 1.4
    log = {"type": "log", "domain": [low, high], "nice": False}
    marks = [mark for mark in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if low <= mark <= high]
    inside = [entry["figures"][group]["left_out_inside_interval"].split(" of ") for group in groups]
    count, total = (sum(int(pair[place]) for pair in inside) for place in (0, 1))
    said = f"{total} published rows, each predicted from the other networks only; {count} lie inside their interval"
    ends = [{"ms": low, "predicted": low}, {"ms": high, "predicted": high}]
    axes = {
        "x": number("ms", "published, ms", scale=log, values=marks, format="~g"),
        "y": number("predicted", "predicted, ms", scale=log, values=marks, format="~g"),
    }
    colours = dict(zip(dict.fromkeys(row["group"] for row in rows), (TEAL, "#6fb7ac", BLUE, "#93b1de", RED, ORANGE), strict=False))
    return Figure(
        name=figure_name,
        alt=alt,
        spec={
            "title": title(words, *source("latency_model", [entry], said)),
            "width": WIDTH - 60,
            "height": 300,
            "layer": [
                {"data": values(ends), "mark": {"type": "line", "color": GREY, "strokeDash": [4, 3]}, "encoding": axes},
                {"data": values(rows), "mark": {"type": "point", "filled": True, "size": 45, "opacity": 0.85},
                 "encoding": {**axes, "color": shades("group", colours), "shape": {"field": "group", "type": "nominal", "title": None, "scale": {"domain": list(colours)}}}},
            ],
        },
    )  # fmt: skip


def latency_cpu() -> Figure:
    """Predicted against published, on processors."""
    return _latency(
        "latency-cpu",
        "Predicted against published latency on Cortex-A53, A72 and A76, in float32 and int8: the points lie along the diagonal.",
        "Latency on processors, predicted and published",
        ("Cortex",),
        "core",
    )


def latency_edgetpu() -> Figure:
    """Predicted against published, on the Edge TPU."""
    return _latency(
        "latency-edgetpu",
        "Predicted against published latency on an Edge TPU, by how it is connected: the points lie along the diagonal, slow links farthest off.",
        "Latency on an Edge TPU, predicted and published",
        ("Edge TPU",),
        "link",
    )


def _overheads() -> list[Any]:
    return [entry for entry in entries("board_overhead") if "bare_private_dirty_mib" in entry["figures"]]


_NETWORKS = {"irv2": "96 px", "big": "299 px"}
_WAYS = {"plain interpreter": ORANGE, "edgekit, packed weights in a file": TEAL}


def _artefact(entry: Any) -> str:
    stem, variant, _ = entry["figures"]["artefact"].split(".")
    return f"{variant}, {_NETWORKS[stem]}"


def private_memory() -> Figure:
    """Memory of a process's own."""
    found = _overheads()
    rows = [
        {"file": _artefact(entry), "way": way, "mib": entry["figures"][f"{key}_private_dirty_mib"]}
        for entry in found
        for way, key in zip(_WAYS, ("bare", "edge"), strict=True)
    ]
    return Figure(
        name="private-memory",
        alt="Private memory of a process with InceptionResNetV2: with packed weights in a file it is a fraction of that of the plain"
        " interpreter, most of all in float32.",
        spec={
            "title": title("Memory that a process has of its own", *source("board_overhead", found, "InceptionResNetV2, two threads, x86, a warm cache")),
            "data": values(rows),
            "width": WIDTH - 60,
            "height": {"step": 18},
            "mark": "bar",
            "encoding": {"y": name("file"), "yOffset": name("way"), "x": number("mib", "private memory, MiB"), "color": shades("way", _WAYS)},
        },
    )


def second_process() -> Figure:
    """What a second process takes."""
    found = [entry for entry in _overheads() if "bare_pss_two_mib" in entry["figures"]]
    rows = []
    for entry in found:
        for way, key in zip(_WAYS, ("bare", "edge"), strict=True):
            one, two = entry["figures"][f"{key}_pss_one_mib"], entry["figures"][f"{key}_pss_two_mib"]
            label = f"{_artefact(entry)}: {way.split(',')[0]}"
            rows += [{"file": label, "part": "the first process", "mib": one}, {"file": label, "part": "a second one adds", "mib": two - one}]
    return Figure(
        name="second-process",
        alt="Memory of one process and what a second with the same model adds: little where both share packed weights in a file.",
        spec={
            "title": title("A second process with the same model", *source("board_overhead", found, "InceptionResNetV2, proportional set size (shared pages counted once)")),
            "data": values(rows),
            "width": WIDTH - 130,
            "height": {"step": 24},
            "mark": "bar",
            "encoding": {
                "y": name("file"),
                "x": number("mib", "MiB"),
                "order": {"field": "part", "sort": "descending"},
                "color": shades("part", {"the first process": PALE, "a second one adds": TEAL}),
            },
        },
    )


def small_memory() -> Figure:
    """Where a float32 file still answers."""
    entry = entries("small_memory")[-1]
    ways = {"interpreter": "plain interpreter", "cache, made there": "edgekit, cache made there", "cache, warm": "edgekit, warm cache"}
    rows = [
        {"limit": f"{row['limit_mib']} MiB", "way": ways[row["way"]], "answered": "answered" if row["answered"] else "killed"}
        for row in entry["figures"]["tries"]
    ]
    said = f"InceptionResNetV2 in float32, a file of {entry['figures']['bytes'] / MIB:.0f} MiB, in a memory cgroup"
    return Figure(
        name="small-memory",
        alt="A float32 file under three limits of memory: with a cache of packed weights it answers under all, the plain interpreter only under the largest.",
        spec={
            "title": title("A large file in little memory", *source("small_memory", [entry], said)),
            "data": values(rows),
            "width": 260,
            "height": {"step": 38},
            "encoding": {"y": name("way"), "x": name("limit", axis={"orient": "top", "labelAngle": 0})},
            "layer": [
                {"mark": {"type": "rect", "stroke": "#fff", "strokeWidth": 3},
                 "encoding": {"color": {**shades("answered", {"answered": TEAL, "killed": RED}), "legend": None}}},
                {"mark": {"type": "text", "color": "#fff"}, "encoding": {"text": {"field": "answered"}}},
            ],
        },
    )  # fmt: skip


def runtimes() -> Figure:
    """Releases of the interpreter against the pinned one."""
    found = entries("runtimes")
    seen = [row for entry in found for row in entry["figures"]["rows"] if row["way"] == "Interpreter" and row["ms_ratio"] is not None]
    pinned = found[0]["figures"]["pinned"]
    rows = [
        {"release": row["version"], "file": row["file"].split(".")[-2], "drop": row["ms_ratio"], "low": row["ms_ratio_ci95"][0], "high": row["ms_ratio_ci95"][1]}
        for row in seen
    ]
    network = seen[0]["file"].split(".")[0]
    said = f"{network}, one thread, {found[0]['figures']['pairs']} pairs of runs, with the 95 % interval; 1 is as fast as {pinned}"
    return Figure(
        name="runtimes",
        alt="Time of a run with each release of ai-edge-litert relative to the pinned one, with intervals: all lie near one.",
        spec={
            "title": title(f"Releases of ai-edge-litert against {pinned}", *source("runtimes", found, said)),
            "data": values(rows),
            "facet": {"column": {"field": "file", "type": "nominal", "title": None, "sort": None}},
            "spec": {
                "width": 190,
                "height": {"step": 20},
                "encoding": {"y": name("release")},
                "layer": [
                    {"mark": {"type": "rule", "color": GREY, "strokeDash": [4, 3]}, "encoding": {"x": {"datum": 1}, "y": None}},
                    {"mark": {"type": "rule", "strokeWidth": 3, "color": TEAL},
                     "encoding": {"x": number("low", "time relative to the pinned release", scale={"zero": False}), "x2": {"field": "high"}}},
                    {"mark": {"type": "point", "filled": True, "size": 60, "color": TEAL, "opacity": 1}, "encoding": {"x": number("drop", None, scale={"zero": False})}},
                ],
            },
        },
    )  # fmt: skip


_FAULTS = {"kill": "killed on the board", "ENOSPC": "disk full (ENOSPC)", "EACCES": "not allowed (EACCES)", "EIO": "read or write error (EIO)"}


def deploy_faults() -> Figure:
    """Faults that deployments survived."""
    found = entries("deploy_faults")
    rows, problems = [], 0
    for entry in found:
        problems += len(entry["figures"]["problems"])
        where = "over SSH" if entry["figures"].get("target") == "ssh" else "in a folder"
        for fault, count in entry["figures"]["counts"].items():
            if "current" not in fault:
                plain, new = fault.removesuffix(" with a new environment"), fault.endswith("environment")
                rows.append({"fault": _FAULTS.get(plain, plain) + (", new environment" if new else ""), "where": where, "count": count})
    total = sum(entry["figures"]["faults"] for entry in found)
    return Figure(
        name="deploy-faults",
        alt="Faults that were put into deployments, by kind, in a folder and over SSH; none left a half state or lost a release.",
        spec={
            "title": title(f"{total} faults in deployments, {problems} problems", *source("deploy_faults", found, "after each: is a whole release current, and does the next deployment heal it?")),
            "data": values(rows),
            "width": WIDTH - 150,
            "height": {"step": 22},
            "mark": "bar",
            "encoding": {
                "y": name("fault"),
                "x": number("count", "faults put in"),
                "color": shades("where", {"in a folder": TEAL, "over SSH": BLUE}),
            },
        },
    )


def validation_scale() -> Figure:
    """Peak memory by the number of images."""
    entry = entries("validation_scale")[-1]
    facts = entry["figures"]
    rows = [{"images": run["images"] + run["unreadable"], "mib": run["peak_mib"], "kind": f"{run['answers']} answers"} for run in facts["runs"]]
    x = number("images", "images (logarithmic)", scale={"type": "log", "domain": [10000, 2000000], "nice": False}, values=[10000, 100000, 1000000], format="~s")
    limit = facts["limits"]["peak_mib"]
    return Figure(
        name="validation-scale",
        alt="Peak memory of validations of growing size: it grows slowly and stays below the limit for a million images.",
        spec={
            "title": title("Memory of a long validation", *source("validation_scale", [entry], f"{facts['classes']:,} classes; the line is the limit that the benchmark enforces")),
            "width": WIDTH - 60,
            "height": 200,
            "layer": [
                {"data": values([{"at": limit}]), "mark": {"type": "rule", "color": RED, "strokeDash": [4, 3]}, "encoding": {"y": number("at", "peak memory, MiB", scale={"domain": [0, limit * 1.1]})}},
                {"data": values(rows), "mark": {"type": "line", "color": PALE, "strokeWidth": 2}, "encoding": {"x": x, "y": number("mib", "peak memory, MiB")}},
                {"data": values(rows), "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                 "encoding": {"x": x, "y": number("mib", None), "color": shades("kind", {"real answers": BLUE, "synthetic answers": TEAL})}},
            ],
        },
    )  # fmt: skip


def validation_throughput() -> Figure:
    """Images a second of validate, beside a bare interpreter."""
    latest = {entry["figures"]["model"]: entry for entry in entries("validation_throughput")}
    named = {"flowers.int8.tflite": "int8, 96 px", "flowers.float32.tflite": "float32, 96 px", "big.int8.tflite": "int8, 299 px"}
    ways = {"one interpreter": PALE, "processes": GREY, "threads": BLUE, "validate": TEAL}
    rows = [
        {"model": named[model], "way": way, "rate": entry["figures"]["images_per_second"][way]}
        for model, entry in latest.items()
        for way in ways
    ]
    cores = {entry["figures"]["cores"] for entry in latest.values()}
    return Figure(
        name="validation-throughput",
        alt="Images a second of edgekit validate beside loops of bare interpreters: close to the fastest of them on each model.",
        spec={
            "title": title("How fast a validation runs", *source("validation_throughput", list(latest.values()), f"InceptionResNetV2, {max(cores)} x86 cores; validate beside bare interpreters")),
            "data": values(rows),
            "width": WIDTH - 60,
            "height": {"step": 15},
            "mark": "bar",
            "encoding": {"y": name("model"), "yOffset": name("way"), "x": number("rate", "images a second"), "color": shades("way", ways)},
        },
    )


def drive_loop() -> Figure:
    """How old the frames are that commands answer."""
    entry = entries("drive_loop")[-1]
    facts = entry["figures"]
    runs = {f"{run['fps']:.0f} frames a second": run for run in facts["runs"]} | {f"{facts['stalling']['fps']:.0f}, a model that stalls": facts["stalling"]}
    marks = {"p50_ms": "median", "p90_ms": "p90", "p99_ms": "p99", "max_ms": "largest"}
    rows = [{"run": label, "mark": word, "ms": run["age"][key]} for label, run in runs.items() for key, word in marks.items()]
    return Figure(
        name="drive-loop",
        alt="Age of the frame that each command answers, in three runs of the drive loop: all lie far below the deadline.",
        spec={
            "title": title("How old a frame is when its command leaves", *source("drive_loop", [entry], "a workstation under load, frames from a folder: no board, no camera")),
            "width": WIDTH - 110,
            "height": {"step": 34},
            "layer": [
                {"data": values([{"at": facts["deadline_ms"]}]), "mark": {"type": "rule", "color": RED, "strokeDash": [4, 3]}, "encoding": {"x": {"field": "at", "type": "quantitative"}}},
                {"data": values(rows), "mark": {"type": "line", "color": PALE, "strokeWidth": 3}, "encoding": {"y": name("run"), "x": number("ms", None), "detail": {"field": "run"}}},
                {"data": values(rows), "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
                 "encoding": {"y": name("run"), "x": number("ms", "ms; the line is the deadline of the watchdog"),
                              "color": shades("mark", dict(zip(marks.values(), (TEAL, BLUE, ORANGE, RED), strict=True)))}},
            ],
        },
    )  # fmt: skip


def mixed_front() -> Figure:
    """Time against error, as tune finds them."""
    entry = entries("tune")[-1]
    rows = [
        {"name": row["name"].replace(", ", "\n", 1).replace(" in float", ""), "ms": row["ms"], "error": row["gate"]["error"]}
        for row in entry["figures"]["candidates"]
    ]
    axes = {"x": number("ms", "predicted ms on a Pi 4B", scale={"zero": False}), "y": number("error", "shift against float")}
    labels = [row | {"name": row["name"].split("\n")[-1]} for row in rows if row["ms"] > 41.2 or row["name"] == "int8"]
    photos = entry["figures"]["photos"]
    return Figure(
        name="mixed-front",
        alt="Files with more and more blocks in float: the shift falls to nothing while the predicted time rises; int16x8 is slower and worse than the mixed files.",
        spec={
            "title": title("Blocks in float: what they cost and gain", *source("tune", [entry], f"edgekit tune on the flower network, shift on {photos['gate']} photos that the search did not see")),
            "width": WIDTH - 60,
            "height": 240,
            "layer": [
                {"data": values(rows), "mark": {"type": "point", "filled": True, "size": 70, "color": TEAL, "opacity": 1}, "encoding": axes},
                {"data": values(labels), "mark": {"type": "text", "align": "left", "dx": 7, "dy": -7}, "encoding": {**axes, "text": {"field": "name"}}},
            ],
        },
    )  # fmt: skip


def rounding_ladder() -> Figure:
    """Which step of quantization moves the answers."""
    entry = next(entry for entry in entries("explain") if "ladder" in entry["figures"])
    facts = entry["figures"]
    rows = [{"step": rung["name"], "shift": rung["error"]} for rung in facts["ladder"]]
    return Figure(
        name="rounding-ladder",
        alt="Shift against the Keras model after each step of quantization: float steps and weights in int8 move next to nothing, the activations nearly all.",
        spec={
            "title": title("Where the shift comes from", *source("explain", [entry], f"edgekit explain, {facts['input']}, {facts['images']} images")),
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
    rows = [_drop(row, measured[row]["drop"], measured[row]["ci95"], kind="trained" if row.startswith("QAT") else "not trained") for row in sorted(shown, key=str.lower)]
    facts = entry["figures"]
    said = f"{facts['epochs']} epochs on {facts['photos']} photos, scored on {measured[shown[0]]['images']} others"
    return Figure(
        name="qat-drop",
        alt="Drop against float of files with and without quantization-aware training, with intervals: all intervals hold zero and overlap.",
        spec={
            "title": title("Quantization-aware training and post-training", *source("qat", [entry], said)),
            "width": WIDTH - 130,
            "height": {"step": 24},
            "layer": _intervals(rows, "drop of top-1 against float (negative: a gain)", shades("kind", {"trained": TEAL, "not trained": ORANGE})),
        },
    )


def qat_step() -> Figure:
    """Seconds of a training step."""
    entry = next(entry for entry in reversed(entries("qat_cost")) if entry["figures"]["what"] == "steps")
    facts = entry["figures"]
    named = {"float_s": "float", "ours_s": "edgekit qat", "tfmot_s": "tensorflow-model-optimization"}
    said = f"InceptionResNetV2 at {facts['shape'][0]} px, batches of {facts['batch']}, {facts['rounds']} rounds"
    return Figure(
        name="qat-step",
        alt="Seconds of one training step: edgekit qat takes a little longer than float, tensorflow-model-optimization more than twice as long.",
        spec={
            "title": title("One step of training", *source("qat_cost", [entry], said)),
            "data": values([{"tool": word, "seconds": facts[key]} for key, word in named.items()]),
            "width": WIDTH - 150,
            "height": {"step": 30},
            "mark": {"type": "bar", "color": TEAL},
            "encoding": {"y": name("tool"), "x": number("seconds", "seconds a step")},
        },
    )
