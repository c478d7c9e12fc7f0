"""What objects look like where they are the last line of a cell: short as text, a table as HTML, and nobody's text is markup."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import edge
from edge.artefact.contract import OutputSpec
from edge.numbers import markup
from edge.runtime.classify import rank
from tests.edge.conftest import LABELS


def parsed(text: str) -> ElementTree.Element:
    """Return it as a browser would find it: one well-formed element."""
    return ElementTree.fromstring(text)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for label in LABELS:
        (folder / label).mkdir()
        for number in range(3):
            Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(folder / label / f"{number}.png")
    return folder


def test_a_model_is_a_line(tiny_int8_artefact: Path) -> None:
    assert repr(edge.load(tiny_int8_artefact)).startswith("<Model tiny.int8.tflite: ")
    assert repr(edge.load(tiny_int8_artefact)).count("\n") == 0


def test_reports_are_short_and_tables(tiny_int8_artefact: Path, tiny_float_artefact: Path, photos: Path) -> None:
    model = edge.load(tiny_int8_artefact)
    report = edge.validate(model, photos, reference=edge.load(tiny_float_artefact), max_drop=0.9)
    assert repr(report).startswith("<ValidationReport tiny: images 12, top-1 ") and len(repr(report)) < 200
    table = parsed(report._repr_html_())
    assert table.find(".//svg") is not None
    assert {row[0].text for row in table.iter("tr")} >= {"images", "top-1", "drop", "agreement", "verdict"}
    times = edge.benchmark(model, min_runs=3, min_seconds=0.0)
    assert "p99" in repr(times) and len(repr(times)) < 300
    assert parsed(times._repr_html_()).find("caption") is not None


def test_answers_are_a_table_with_bars_and_labels_are_text() -> None:
    spec = OutputSpec(name="p", kind="probabilities", labels=("<script>alert(1)</script>", "b & c", "d"))
    answers = rank(np.array([0.7, 0.2, 0.1], np.float32), spec)
    table = parsed(answers._repr_html_())
    assert table.find(".//script") is None
    assert [row[0].text for row in table.find("tbody") or ()] == ["<script>alert(1)</script>", "b & c", "d"]
    widths = [float(bar.get("style", "").rpartition("width:")[2][:-2]) for bar in table.iter("span")]
    assert widths == sorted(widths, reverse=True) and widths[0] == pytest.approx(8.4)


@pytest.mark.parametrize(
    ("low", "value", "high", "limit"), [(0.0, 0.0, 0.0, None), (-0.02, 0.01, 0.05, 0.01), (0.3, 0.4, 0.5, 0.0)]
)
def test_an_interval_is_drawn_in_its_place(low: float, value: float, high: float, limit: float | None) -> None:
    drawing = parsed(markup.interval(low, value, high, limit=limit))
    zero, line, *limits = drawing.findall("line")
    circle = drawing.find("circle")
    assert circle is not None and len(limits) == (limit is not None)
    places = [float(line.get("x1", "")), float(circle.get("cx", "")), float(line.get("x2", "")), float(zero.get("x1", ""))]
    assert places[0] <= places[1] <= places[2] and all(0 <= place <= 200 for place in places)
