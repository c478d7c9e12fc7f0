"""The figures that explain the statistics: each calls `edge.numbers.statistics`."""

from __future__ import annotations

import itertools

from figure_card import GREY, ORANGE, RED, TEAL, WIDTH, Figure, name, number, shades, title, values

from edge.numbers.statistics import FAIL, PASS, UNDECIDED, independent_interval, paired_interval, plan, verdict

_BUDGET = 0.01
_VERDICTS = {PASS: TEAL, UNDECIDED: ORANGE, FAIL: RED}


def figures() -> list[Figure]:
    """Return them all."""
    return [make() for make in (interval_narrows, verdict_regions, paired_or_not, images_needed)]


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
        alt="The 95 percent interval of the drop for more and more images, in three cases: it narrows, and the verdict"
        " goes from undecided"
        " to pass, or to fail.",
        spec={
            "title": title(
                "More images narrow the interval",
                "edge.numbers.statistics.paired_interval; the line is a budget of one point (0.01)",
            ),
            "data": values(rows),
            "facet": {"column": {"field": "case", "type": "nominal", "title": None, "sort": list(cases)}},
            "spec": {
                "width": 145,
                "height": 200,
                "encoding": {"x": x},
                "layer": [
                    {
                        "mark": {"type": "rule", "color": GREY, "strokeDash": [4, 3]},
                        "encoding": {"y": {"datum": _BUDGET}, "x": None},
                    },
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
        alt="Verdict by measured drop and number of images: pass below, fail above, and between them a wedge of"
        " undecided that narrows"
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
        alt="The 95 percent interval of one and the same drop: narrow where the images are compared in pairs, several"
        " times as wide where they"
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
                {
                    "mark": {"type": "point", "filled": True, "size": 90, "color": TEAL, "opacity": 1},
                    "encoding": {"x": number("drop", None)},
                },
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
        alt="Images that a verdict takes by budget: fewer for a larger budget and where fewer images are right in only"
        " one of the two.",
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
