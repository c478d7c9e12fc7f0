"""Which machine a figure is of: no report puts those of several machines together."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devices.origin import Origin
from edge.cli import main
from edge.report import accuracy_charts, page, pareto, table, text, verdict
from edge.report.facts import Facts
from tests.edge.report.conftest import PI, gathered


def test_a_time_stands_in_no_row_of_another_place(int8: dict[str, Any], timed: dict[str, Any], tmp_path: Path) -> None:
    found = gathered(tmp_path, here=int8, there={**int8, "board": PI}, time=timed)
    processor = found.timings[0].origin.place
    assert {entry.origin.place for entry in found.validations} == {processor, "pi-4b, emulated"}
    measured = f"{found.timings[0].p50_ms:.3g}"
    rows = {row.name: row for row in table.rows(found)}
    assert rows[f"int8, {processor}"].ms == measured and rows["int8, pi-4b, emulated"].ms == "-"
    # Alone with the time of this machine, the board's row has none either.
    (tmp_path / "here.json").unlink()
    rows = {row.name: row for row in table.rows(gathered(tmp_path))}
    assert rows["int8, pi-4b, emulated"].ms == "-"
    assert (rows[f"int8, {processor}"].ms, rows[f"int8, {processor}"].top1) == (measured, "-")
    page_of = page.render(gathered(tmp_path))
    assert "<td>pi-4b, emulated</td>" in page_of and f"<td>{html.escape(processor)}</td>" in page_of


def test_what_was_measured_here_for_a_board_is_told_once_and_named(
    int8: dict[str, Any], timed: dict[str, Any], tmp_path: Path
) -> None:
    certified = {**int8, "board": PI, "measured_on": "this machine", "certificate": {"images": 20}}
    found = gathered(tmp_path, here=int8, there=certified, time=timed)
    (entry,) = found.validations
    assert [(one.origin.place, one.images) for one in entry.holds_on] == [("pi-4b, emulated", 20)]
    said = text.to_text(found)
    assert [line.split()[0] for line in said.splitlines()[2:5]] == ["variant", "float32", "int8"]
    line = f"certified: int8: the same bits on pi-4b, emulated (20 images compared), so the accuracy measured on {entry.origin}"
    assert line in said and line.replace("certified: ", "") in html.unescape(text.to_markdown(found)).replace("\\", "")
    once, twice = page.render(gathered(tmp_path)), page.render(gathered(tmp_path, board={**int8, "board": PI}))
    assert once.count("data:image") == twice.count("data:image") > 0
    assert "same bits on pi-4b, emulated, 20 images" in once
    assert "All answered as above" in twice


def test_times_of_different_origins_are_not_compared(facts: Facts, timed: dict[str, Any], tmp_path: Path) -> None:
    first, second = facts.timings
    assert second.times_as_fast_as(first) == first.p50_ms / second.p50_ms
    elsewhere = replace(first, origin=Origin(machine="pi-4b"))
    with pytest.raises(ValueError, match=r"a time of .* and one of pi-4b are not to be divided"):
        second.times_as_fast_as(elsewhere)
    entry = facts.validations[1]
    assert verdict.gains(facts, entry).faster and verdict.gains(facts, entry).timing is second
    assert verdict.gains(replace(facts, timings=(elsewhere, second)), entry).faster is None
    emulated = gathered(tmp_path, time={**timed, "board": PI})
    assert emulated.timings == () and "a time of pi-4b, emulated, which is no board's speed" in emulated.left_out[0]


def test_what_is_measured_and_what_is_predicted_of_a_board_are_two_panels(facts: Facts) -> None:
    both = replace(facts, timings=tuple(replace(timing, origin=Origin(machine="pi-4b")) for timing in facts.timings))
    panels = {chart.title: chart for chart in pareto.pareto(both) if chart.title.startswith("pi-4b")}
    assert set(panels) == {"pi-4b (time measured)", "pi-4b (time predicted)"}
    assert all("Top-1: measured on " in chart.alt for chart in panels.values())
    assert {row[2].partition(":")[0] for row in panels["pi-4b (time measured)"].rows} == {"measured"}


def test_the_json_has_the_origin_of_every_figure(results: Path, tmp_path: Path) -> None:
    written = tmp_path / "report.json"
    main(["report", str(results), "--json", str(written)])
    figures = json.loads(written.read_text())["figures"]
    assert {entry["origin"]["how"] for entry in figures["predictions"]} == {"predicted"}
    assert all(not entry["origin"]["emulated"] and entry["origin"]["machine"] for entry in figures["timings"])
    assert [entry["variant"] for entry in figures["validations"]] == ["float32", "int8"]
    assert figures["validations"][1]["drop"]["ci95"] and figures["validations"][1]["holds_on"] == []


def test_one_variant_from_two_places_is_told_apart_in_the_classes(int8: dict[str, Any], tmp_path: Path) -> None:
    for row in int8["per_class"]:
        row["candidate"], row["flips_lost"] = 0.0, 1
    chart = accuracy_charts.classes(gathered(tmp_path, here=int8, there={**int8, "board": PI}))
    assert chart is not None
    names = chart.specs[""]["layer"][1]["encoding"]["opacity"]["scale"]["domain"]
    assert len(names) == 2 and "int8, pi-4b, emulated" in names


def test_the_map_shows_the_errors_that_one_machine_found(facts: Facts) -> None:
    from edge.report import network

    (mine,) = facts.explanations
    other = replace(mine, origin=Origin(machine="pi-4b"), ops=tuple(replace(op, sqnr_db=1.0) for op in mine.ops))
    found = network.draw(replace(facts, explanations=(mine, other)), None)
    assert found is not None
    assert all(node.sqnr_db == 12.0 + node.index for node in found.nodes)
