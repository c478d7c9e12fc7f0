"""How the page behaves in a real browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.report.facts import Facts
from tests.edge.report.conftest import EVIL

pytestmark = pytest.mark.thorough

CHROMIUM = shutil.which("chromium")
SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium here")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=list(SWITCHES))
        yield started
        started.close()


class Seen:
    """A page in the browser, with all that it said and asked for."""

    def __init__(self, browser: Any, file: Path, *, width: int = 1280, scheme: str = "light") -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.page = context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append("dialog"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-charts=ready]", state="attached", timeout=120_000)

    def marks(self, chart: str) -> int:
        """How many marks the chart's main layer has."""
        return int(self.page.locator(f"#chart-{chart} .marks_marks path").count())


@pytest.fixture(scope="module")
def file(written: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("page") / "report.html"
    place.write_text(written, encoding="utf-8")
    return place


def test_in_a_browser_all_charts_are_drawn_and_nothing_is_asked_for(browser: Any, file: Path, facts: Facts) -> None:
    seen = Seen(browser, file)
    assert seen.said == []
    assert [url for url in seen.asked if not url.startswith(("file:", "data:"))] == []
    charts = seen.page.locator("[data-chart]").evaluate_all("all => all.map(one => one.dataset.chart)")
    assert {"drops", "latency", "map", "ops-0", "ladder-0", "training-0", "loss-0", "confusion-reference"} <= set(charts)
    assert all(seen.page.locator(f"#chart-{chart} svg").count() == 1 for chart in charts)


def test_in_a_browser_the_charts_have_the_right_number_of_marks(browser: Any, file: Path, facts: Facts) -> None:
    seen = Seen(browser, file)
    ops = len(facts.explanations[0].ops)
    cells = len(EVIL) ** 2
    assert seen.marks("drops") == 1
    assert seen.marks("latency") == len(facts.timings) + sum(bool(p.low_ms) for p in facts.predictions)
    assert seen.marks("ops-0") == ops
    assert seen.marks("map") == ops
    assert seen.marks("confusion-reference") == seen.marks("confusion-candidate") == cells
    assert seen.marks("pareto-0") == 2


def test_in_a_browser_text_from_data_stays_text(browser: Any, file: Path) -> None:
    seen = Seen(browser, file)
    assert "dialog" not in seen.said
    assert seen.page.locator("img[onerror], [onclick], main script").count() == 0
    labels = seen.page.locator("#chart-confusion-candidate svg").inner_html()
    assert "&lt;script&gt;" in labels


def test_in_a_browser_a_tooltip_is_text_too(browser: Any, file: Path) -> None:
    seen = Seen(browser, file)
    cells = seen.page.locator("#chart-confusion-candidate .marks_marks path")
    for number in range(cells.count()):
        cells.nth(number).hover()
        seen.page.wait_for_selector("#vg-tooltip-element.visible")
        if "<img src=x" in seen.page.locator("#vg-tooltip-element").inner_text():
            break
    else:
        raise AssertionError("no tooltip names the class")
    assert seen.page.locator("#vg-tooltip-element img").count() == 0
    assert seen.said == []


def test_in_a_browser_the_map_changes_its_colours_by_keyboard(browser: Any, file: Path) -> None:
    seen = Seen(browser, file)
    choice = seen.page.locator("input[name=choice-map]")
    assert choice.count() == 4
    before = seen.page.locator("#chart-map").inner_html()
    choice.first.focus()
    seen.page.keyboard.press("ArrowDown")
    seen.page.wait_for_function("before => document.getElementById('chart-map').innerHTML !== before", arg=before)
    assert "dB" in seen.page.locator("#chart-map svg").inner_html()
    assert seen.said == []


def test_in_a_browser_dark_is_dark_and_print_is_light(browser: Any, file: Path) -> None:
    def brightness(seen: Seen) -> int:
        colour = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in re.findall(r"\d+", colour)[:3])

    dark = Seen(browser, file, scheme="dark")
    assert brightness(dark) < 150 < 600 < brightness(Seen(browser, file))
    dark.page.emulate_media(media="print", color_scheme="dark")
    assert brightness(dark) > 600


def test_in_a_browser_a_phone_scrolls_in_one_direction(browser: Any, file: Path) -> None:
    seen = Seen(browser, file, width=360)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert (
        seen.page.locator("main svg").evaluate_all("all => Math.max(...all.map(one => one.getBoundingClientRect().right))") <= 360
    )


def test_in_a_browser_every_chart_has_words_and_a_table(browser: Any, file: Path) -> None:
    seen = Seen(browser, file)
    figures = seen.page.locator("figure")
    assert figures.count() > 8
    assert figures.locator("[role=img][aria-label]").count() == figures.count()
    assert figures.locator("details table").count() == figures.count()
    assert seen.page.locator("img:not([alt])").count() == 0
    assert seen.page.locator("h1").count() == 1
