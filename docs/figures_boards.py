"""The figures of measured latency and memory: every number, date and count is read from ``benchmarks/results/``."""

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
    entries,
    name,
    number,
    shades,
    source,
    title,
    values,
)

MIB = 1024 * 1024


def figures() -> list[Figure]:
    """Return them all."""
    return [make() for make in (latency_cpu, latency_edgetpu, private_memory, second_process, small_memory, runtimes)]


def _latency(figure_name: str, alt: str, words: str, prefix: str) -> Figure:
    entry = entries("latency_model")[-1]
    groups = {group: found["rows"] for group, found in entry["figures"].items() if group.startswith(prefix)}
    rows = [
        {"group": group.removeprefix("Edge TPU "), "ms": row["ms"], "predicted": row["predicted_ms"]}
        for group in groups
        for row in groups[group]
    ]
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
    colours = dict(
        zip(dict.fromkeys(row["group"] for row in rows), (TEAL, "#6fb7ac", BLUE, "#93b1de", RED, ORANGE), strict=False)
    )
    return Figure(
        name=figure_name,
        alt=alt,
        spec={
            "title": title(words, *source("latency_model", [entry], said)),
            "width": WIDTH - 60,
            "height": 300,
            "layer": [
                {"data": values(ends), "mark": {"type": "line", "color": GREY, "strokeDash": [4, 3]}, "encoding": axes},
                {
                    "data": values(rows),
                    "mark": {"type": "point", "filled": True, "size": 45, "opacity": 0.85},
                    "encoding": {
                        **axes,
                        "color": shades("group", colours),
                        "shape": {"field": "group", "type": "nominal", "title": None, "scale": {"domain": list(colours)}},
                    },
                },
            ],
        },
    )


def latency_cpu() -> Figure:
    """Predicted against published, on processors."""
    return _latency(
        "latency-cpu",
        "Predicted against published latency on Cortex-A53, A72 and A76, in float32 and int8: most points lie near the diagonal.",
        "Latency on processors, predicted and published",
        "Cortex",
    )


def latency_edgetpu() -> Figure:
    """Predicted against published, on the Edge TPU."""
    return _latency(
        "latency-edgetpu",
        "Predicted against published latency on an Edge TPU, by how it is connected: most points lie near the diagonal.",
        "Latency on an Edge TPU, predicted and published",
        "Edge TPU",
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
        alt="Private memory of a process with InceptionResNetV2: with packed weights in a file it is a fraction of that"
        " of the plain"
        " interpreter, most of all in float32.",
        spec={
            "title": title(
                "Memory that a process has of its own",
                *source("board_overhead", found, "InceptionResNetV2, two threads, x86, a warm cache"),
            ),
            "data": values(rows),
            "width": WIDTH - 60,
            "height": {"step": 18},
            "mark": "bar",
            "encoding": {
                "y": name("file"),
                "yOffset": name("way"),
                "x": number("mib", "private memory, MiB"),
                "color": shades("way", _WAYS),
            },
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
            rows += [
                {"file": label, "part": "the first process", "mib": one},
                {"file": label, "part": "a second one adds", "mib": two - one},
            ]
    return Figure(
        name="second-process",
        alt="Memory of one process and what a second with the same model adds: little where both share packed weights in a file.",
        spec={
            "title": title(
                "A second process with the same model",
                *source("board_overhead", found, "InceptionResNetV2, proportional set size (shared pages counted once)"),
            ),
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
    ways = {
        "interpreter": "plain interpreter",
        "cache, made there": "edgekit, cache made there",
        "cache, warm": "edgekit, warm cache",
    }
    rows = [
        {"limit": f"{row['limit_mib']} MiB", "way": ways[row["way"]], "answered": "answered" if row["answered"] else "killed"}
        for row in entry["figures"]["tries"]
    ]
    said = f"InceptionResNetV2 in float32, a file of {entry['figures']['bytes'] / MIB:.0f} MiB, in a memory cgroup"
    return Figure(
        name="small-memory",
        alt="A float32 file under three limits of memory: with a cache of packed weights it answers under all, the plain"
        " interpreter only under the largest.",
        spec={
            "title": title("A large file in little memory", *source("small_memory", [entry], said)),
            "data": values(rows),
            "width": 260,
            "height": {"step": 38},
            "encoding": {"y": name("way"), "x": name("limit", axis={"orient": "top", "labelAngle": 0})},
            "layer": [
                {
                    "mark": {"type": "rect", "stroke": "#fff", "strokeWidth": 3},
                    "encoding": {"color": {**shades("answered", {"answered": TEAL, "killed": RED}), "legend": None}},
                },
                {"mark": {"type": "text", "color": "#fff"}, "encoding": {"text": {"field": "answered"}}},
            ],
        },
    )


def runtimes() -> Figure:
    """Releases of the interpreter against the pinned one."""
    found = entries("runtimes")
    seen = [
        row for entry in found for row in entry["figures"]["rows"] if row["way"] == "Interpreter" and row["ms_ratio"] is not None
    ]
    pinned = found[0]["figures"]["pinned"]
    rows = [
        {
            "release": row["version"],
            "file": row["file"].split(".")[-2],
            "drop": row["ms_ratio"],
            "low": row["ms_ratio_ci95"][0],
            "high": row["ms_ratio_ci95"][1],
        }
        for row in seen
    ]
    network = seen[0]["file"].split(".")[0]
    said = (
        f"{network}, one thread, {found[0]['figures']['pairs']} pairs of runs, with the 95 % interval; 1 is as fast as {pinned}"
    )
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
                    {
                        "mark": {"type": "rule", "strokeWidth": 3, "color": TEAL},
                        "encoding": {
                            "x": number("low", "time relative to the pinned release", scale={"zero": False}),
                            "x2": {"field": "high"},
                        },
                    },
                    {
                        "mark": {"type": "point", "filled": True, "size": 60, "color": TEAL, "opacity": 1},
                        "encoding": {"x": number("drop", None, scale={"zero": False})},
                    },
                ],
            },
        },
    )
