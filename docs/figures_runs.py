"""The figures of measured deployments, validations and drives: every number, date and count is read from ``benchmarks/results/``."""

from __future__ import annotations

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
    return [make() for make in (deploy_faults, validation_scale, validation_throughput, drive_loop)]


_FAULTS = {
    "kill": "killed on the board",
    "ENOSPC": "disk full (ENOSPC)",
    "EACCES": "not allowed (EACCES)",
    "EIO": "read or write error (EIO)",
}


def deploy_faults() -> Figure:
    """Faults that deployments survived."""
    found = entries("deploy_faults")
    rows, problems = [], 0
    for entry in found:
        problems += len(entry["figures"]["problems"])
        where = {"ssh": "over SSH", "virtual": "on an emulated board"}.get(entry["figures"].get("target"), "in a folder")
        for fault, count in entry["figures"]["counts"].items():
            if "current" not in fault:
                plain, new = fault.removesuffix(" with a new environment"), fault.endswith("environment")
                rows.append(
                    {"fault": _FAULTS.get(plain, plain) + (", new environment" if new else ""), "where": where, "count": count}
                )
    total = sum(entry["figures"]["faults"] for entry in found)
    return Figure(
        name="deploy-faults",
        alt="Faults that were put into deployments, by kind, in a folder, over SSH and on an emulated board; none left a"
        " half state or lost a release.",
        spec={
            "title": title(
                f"{total} faults in deployments, {problems} problems",
                *source("deploy_faults", found, "after each: is a whole release current, and does the next deployment heal it?"),
            ),
            "data": values(rows),
            "width": WIDTH - 150,
            "height": {"step": 22},
            "mark": "bar",
            "encoding": {
                "y": name("fault"),
                "x": number("count", "faults put in"),
                "color": shades("where", {"in a folder": TEAL, "over SSH": BLUE, "on an emulated board": ORANGE}),
            },
        },
    )


def validation_scale() -> Figure:
    """Peak memory by the number of images."""
    entry = entries("validation_scale")[-1]
    facts = entry["figures"]
    rows = [
        {"images": run["images"] + run["unreadable"], "mib": run["peak_mib"], "kind": f"{run['answers']} answers"}
        for run in facts["runs"]
    ]
    x = number(
        "images",
        "images (logarithmic)",
        scale={"type": "log", "domain": [10000, 2000000], "nice": False},
        values=[10000, 100000, 1000000],
        format="~s",
    )
    limit = facts["limits"]["peak_mib"]
    return Figure(
        name="validation-scale",
        alt="Peak memory of validations of growing size: it grows slowly and stays below the limit for a million images.",
        spec={
            "title": title(
                "Memory of a long validation",
                *source(
                    "validation_scale",
                    [entry],
                    f"{facts['classes']:,} classes; the line is the limit that the benchmark enforces",
                ),
            ),
            "width": WIDTH - 60,
            "height": 200,
            "layer": [
                {
                    "data": values([{"at": limit}]),
                    "mark": {"type": "rule", "color": RED, "strokeDash": [4, 3]},
                    "encoding": {"y": number("at", "peak memory, MiB", scale={"domain": [0, limit * 1.1]})},
                },
                {
                    "data": values(rows),
                    "mark": {"type": "line", "color": PALE, "strokeWidth": 2},
                    "encoding": {"x": x, "y": number("mib", "peak memory, MiB")},
                },
                {
                    "data": values(rows),
                    "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                    "encoding": {
                        "x": x,
                        "y": number("mib", None),
                        "color": shades("kind", {"real answers": BLUE, "synthetic answers": TEAL}),
                    },
                },
            ],
        },
    )


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
            "title": title(
                "How fast a validation runs",
                *source(
                    "validation_throughput",
                    list(latest.values()),
                    f"InceptionResNetV2, {max(cores)} x86 cores; validate beside bare interpreters",
                ),
            ),
            "data": values(rows),
            "width": WIDTH - 60,
            "height": {"step": 15},
            "mark": "bar",
            "encoding": {
                "y": name("model"),
                "yOffset": name("way"),
                "x": number("rate", "images a second"),
                "color": shades("way", ways),
            },
        },
    )


def drive_loop() -> Figure:
    """How old the frames are that commands answer."""
    entry = entries("drive_loop")[-1]
    facts = entry["figures"]
    runs = {f"{run['fps']:.0f} frames a second": run for run in facts["runs"]} | {
        f"{facts['stalling']['fps']:.0f}, a model that stalls": facts["stalling"]
    }
    marks = {"p50_ms": "median", "p90_ms": "p90", "p99_ms": "p99", "max_ms": "largest"}
    rows = [{"run": label, "mark": word, "ms": run["age"][key]} for label, run in runs.items() for key, word in marks.items()]
    return Figure(
        name="drive-loop",
        alt="Age of the frame that each command answers, in three runs of the drive loop: all lie far below the deadline.",
        spec={
            "title": title(
                "How old a frame is when its command leaves",
                *source("drive_loop", [entry], "a workstation under load, frames from a folder: no board, no camera"),
            ),
            "width": WIDTH - 110,
            "height": {"step": 34},
            "layer": [
                {
                    "data": values([{"at": facts["deadline_ms"]}]),
                    "mark": {"type": "rule", "color": RED, "strokeDash": [4, 3]},
                    "encoding": {"x": {"field": "at", "type": "quantitative"}},
                },
                {
                    "data": values(rows),
                    "mark": {"type": "line", "color": PALE, "strokeWidth": 3},
                    "encoding": {"y": name("run"), "x": number("ms", None), "detail": {"field": "run"}},
                },
                {
                    "data": values(rows),
                    "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
                    "encoding": {
                        "y": name("run"),
                        "x": number("ms", "ms; the line is the deadline of the watchdog"),
                        "color": shades("mark", dict(zip(marks.values(), (TEAL, BLUE, ORANGE, RED), strict=True))),
                    },
                },
            ],
        },
    )
