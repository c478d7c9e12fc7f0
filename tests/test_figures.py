"""The figures of the pages: drawn from the results and the code as they are, shown where they belong, and asking nobody for anything."""

from __future__ import annotations

import html
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
FOLDER = DOCS / "assets" / "figures"
SVG = "{http://www.w3.org/2000/svg}"
SHOWN = re.compile(r"!\[([^\]]*)\]\((assets/figures/[^)]+)\)")


@pytest.fixture(scope="module")
def drawing() -> Iterator[ModuleType]:
    """docs/draw_figures.py, whose neighbours it imports by their bare names."""
    sys.path.insert(0, str(DOCS))
    try:
        yield importlib.import_module("draw_figures")
    finally:
        sys.path.remove(str(DOCS))


@pytest.fixture(scope="module")
def figures(drawing: ModuleType) -> list[Any]:
    found: list[Any] = drawing.figures()
    return found


def words_of(path: Path) -> str:
    return " ".join("".join(part.itertext()) for part in ElementTree.parse(path).getroot().iter(f"{SVG}text"))


def test_every_figure_is_drawn_of_the_data_as_they_are(figures: list[Any]) -> None:
    assert len(figures) >= 15
    assert {f"{figure.name}.svg" for figure in figures} == {path.name for path in FOLDER.iterdir()}
    stale = [figure.name for figure in figures if figure.digest() not in (FOLDER / f"{figure.name}.svg").read_text("utf-8")]
    assert stale == [], "draw them with: make figures"


def test_the_pages_show_every_figure_in_its_own_words(figures: list[Any]) -> None:
    shown = [found for page in DOCS.glob("*.md") for found in SHOWN.findall(page.read_text(encoding="utf-8"))]
    assert sorted(shown) == sorted((figure.alt, f"assets/figures/{figure.name}.svg") for figure in figures)


def test_a_figure_is_small_and_whole() -> None:
    for path in FOLDER.iterdir():
        said = path.read_text(encoding="utf-8")
        root = ElementTree.fromstring(said)
        assert path.stat().st_size < 60_000, path.name
        assert len(root.findtext(f"{SVG}title", "")) > 40 and root.get("aria-label") == root.findtext(f"{SVG}title")
        assert "<script" not in said and "@import" not in said
        links = re.findall(r"""(?:href|src)="([^"]*)"|url\(["']?([^)"']*)""", said)
        assert all(html.unescape("".join(link)).startswith(("#", "data:image/png;base64,")) for link in links)
        # Its own background: it is seen on light pages and on dark ones.
        background = root.find(f"{SVG}rect")
        assert background is not None and background.get("fill") == "#ffffff" and background.get("width") == root.get("width")


def test_a_figure_of_measurements_says_when_and_whose(drawing: ModuleType) -> None:
    measured = [name for module in ("quantization", "boards", "runs") for name in figures_of(f"figures_{module}")]
    assert len(measured) >= 15
    for name in measured:
        words = words_of(FOLDER / f"{name}.svg")
        result = re.search(r"benchmarks/results/\w+\.json", words)
        day = re.search(r"20\d\d-\d\d-\d\d", words)
        assert result and day, name
        assert f'"{day[0]}"' in (REPOSITORY / result[0]).read_text(encoding="utf-8"), name


def figures_of(module: str) -> list[str]:
    return [figure.name for figure in sys.modules[module].figures()]


def test_another_number_is_another_figure(drawing: ModuleType) -> None:
    before, *_ = sys.modules["figures_runs"].figures()
    rows = before.spec["data"]["values"]
    other = [{**rows[0], "count": rows[0]["count"] + 1}, *rows[1:]]
    changed = type(before)(name=before.name, alt=before.alt, spec={**before.spec, "data": {"values": other}})
    assert changed.digest() != before.digest()
    assert before.digest() in before.svg() and changed.svg() != before.svg()
