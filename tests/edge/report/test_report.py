"""What is in a report, what is left out of it, and what its page holds."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edge.cli import main
from edge.history.store import RunStore
from edge.report import chart, gathering, page, sections, sources, speed_charts, table, text, verdict
from edge.report.facts import Facts
from tests.edge.report.conftest import PI, gathered


def test_everything_in_the_folder_is_understood(facts: Facts) -> None:
    assert facts.left_out == ()
    assert [variant.name for variant in facts.variants] == ["float32", "int8"]
    assert (len(facts.validations), len(facts.timings), len(facts.predictions)) == (2, 2, 6)
    assert len(facts.timings[0].percentiles_ms) == 101
    assert len(facts.explanations) == len(facts.trainings) == 1


def test_a_sequential_validation_is_in_the_report(tmp_path: Path) -> None:
    report = {
        "verdict": "undecided",
        "images": 425,
        "drop": {"top1": 4 / 425, "flips_lost": 5, "flips_won": 1},
        "sequential": {"limit": 0.01},
        "model": {"file": "tiny.int8.tflite", "sha256": "ab" * 32, "bytes": 1 << 20},
        "model_sha256": "ab" * 32,
        "board": PI,
    }
    found = gathered(tmp_path, sequential=report)
    assert found.left_out == () and text.exit_code(found) == 1
    said = text.to_text(found)
    assert "5/1" in said and "undecided, sequential" in said
    assert (
        "int8 is undecided: it lost 5 and won 1 of 425 images in a sequential test (at most 1.00 are allowed) on pi-4b, emulated"
        in said
    )
    assert "5 lost, 1 won of 425 images in a sequential test" in text.to_junit(found)
    passed = gathered(tmp_path, sequential={**report, "verdict": "pass"})
    assert "by a sequential test it loses less than 1.00 points of top-1, measured on pi-4b, emulated" in text.to_text(passed)
    assert "undecided, sequential" not in page.render(passed)


def test_what_is_malformed_is_left_out_and_said(results: Path, tmp_path: Path) -> None:
    report = json.loads((results / "validate.int8.json").read_text(encoding="utf-8"))
    report["drop"] = {"top1": "much"}
    (tmp_path / "bad.json").write_text(json.dumps(report), encoding="utf-8")
    shutil.copy(results / "benchmark.int8.json", tmp_path)
    found = gathering.gather(*sources.collect([str(tmp_path)], RunStore(tmp_path / "none.sqlite")))
    assert found.validations == () and len(found.timings) == 1
    assert len(found.left_out) == 1 and "bad.json" in found.left_out[0]


def test_words_that_name_no_run_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert main(["report", "nothing.json"]) == 2
    assert main(["report", "4", "--store", str(tmp_path / "none.sqlite")]) == 2
    assert main(["report", str(tmp_path), "--format", "html"]) == 2
    assert all(line.startswith("edgekit: error: ") for line in capsys.readouterr().err.splitlines())


def test_the_page_is_one_file_and_small(written: str) -> None:
    assert len(written.encode()) < 6_000_000
    # No element loads anything from anywhere.
    outside = re.findall(r"""(?:src|href|action|data)\s*=\s*["'](?!data:|#)([^"']+)""", written[: written.index("<script>")])
    assert outside == []


def test_the_policy_allows_exactly_the_scripts_that_are_there(written: str) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", written, flags=re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in html.unescape(written)
    assert "unsafe-eval" not in written


def test_sections_without_data_are_absent(facts: Facts, results: Path) -> None:
    only = gathering.gather(*sources.collect([str(results / "check.pi-4b.int8.json")], RunStore(results / "none.sqlite")))
    made = page.render(only)
    assert re.findall(r'<section id="(\w+)"', made) == ["variants", "boards", "network", "provenance"]
    everything = re.findall(r'<section id="(\w+)"', page.render(facts))
    assert set(everything) >= {"tradeoff", "drop", "classes", "latency", "boards", "layers", "network", "training", "provenance"}
    assert "findings" not in re.findall(r'<section id="(\w+)"', made)


def test_redacted_there_are_no_pictures_and_no_names(facts: Facts, evil_images: Path, results: Path) -> None:
    made = page.render(facts, redact=True)
    body = made[made.index("<body>") : made.index("<script>")]
    assert "data:image" not in body and ".png" not in body and ".tflite" not in body
    for name in (str(evil_images), str(results)):
        assert name not in made
    assert "data:image" in page.render(facts)


def test_without_the_extra_one_sentence_names_it(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    assert main(["report", str(results), "--out", str(tmp_path / "report.html")]) == 2
    line = capsys.readouterr().err.strip()
    assert "pip install 'edgekit[report]'" in line and len(line.splitlines()) == 1
    assert not (tmp_path / "report.html").exists()
    assert main(["report", str(results), "--out", str(tmp_path / "report.md")]) in (0, 1)


def test_the_demo_writes_its_page(results: Path, tmp_path: Path) -> None:
    from quantize import demo

    shutil.copytree(results, tmp_path / "runs")
    assert demo.write_page(tmp_path).read_text(encoding="utf-8").startswith("<!doctype html>")


def test_pictures_come_from_inside_the_folder_only(tmp_path: Path, tiny_images: Path) -> None:
    from edge.report.pictures import Pictures

    inside = tmp_path / "inside"
    inside.mkdir()
    image = next(tiny_images.rglob("*.png"))
    shutil.copy(image, inside / "a.png")
    shutil.copy(image, tmp_path / "secret.png")
    known = hashlib.sha256(image.read_bytes()).hexdigest()
    for pictures in (Pictures(), Pictures(str(inside))):
        made = pictures.get(str(inside), "a.png", known)
        assert made is not None and made.startswith("data:image/png;base64,")
        assert pictures.get(str(inside), "../secret.png", known) is None
        assert pictures.get(str(inside), str(tmp_path / "secret.png"), known) is None
        assert pictures.get(str(inside), "missing.png", known) is None
        assert pictures.get(str(inside), "a\0.png", known) is None


def test_a_report_shows_no_picture_that_it_does_not_know(tmp_path: Path, results: Path, tiny_images: Path) -> None:
    """One that somebody sent: its data set is ``/``, and it names pictures of whoever opens it."""
    secret = tmp_path / "secret.png"
    shutil.copy(next(tiny_images.rglob("*.png")), secret)
    report = json.loads((results / "validate.int8.json").read_text(encoding="utf-8"))
    report["dataset"]["path"] = "/"
    flip = {"image": str(secret)[1:], "label": "a", "reference": "a", "candidate": "b", "margin": 0.5}
    for sha256, shown in ((None, False), ("0" * 64, False), (hashlib.sha256(secret.read_bytes()).hexdigest(), True)):
        report["lost"], report["won"] = [flip if sha256 is None else {**flip, "sha256": sha256}], []
        (tmp_path / "sent.json").write_text(json.dumps(report), encoding="utf-8")
        made = page.render(gathering.gather(*sources.collect([str(tmp_path / "sent.json")], RunStore(tmp_path / "none.sqlite"))))
        assert ("data:image" in made[made.index("<body>") : made.index("<script>")]) == shown


def test_heat_is_shown_where_a_board_tells_it(facts: Facts) -> None:
    assert [chart.id for chart in speed_charts.traces(facts)][:1] == ["trace"]
    trace = ((1.0, 4.0, 50.0), (2.0, 4.1, 61.5), (3.0, 6.0, 80.0))
    hot = replace(facts, timings=(replace(facts.timings[0], trace=trace),))
    _, heat = speed_charts.traces(hot)
    assert heat.rows[0][1:] == ("50", "80", "80")
    assert len(heat.specs[""]["data"]["values"]) == 3
    cold = replace(hot, timings=(replace(facts.timings[0], trace=((1.0, 4.0, None), (2.0, 4.1, None))),))
    assert [chart.id for chart in speed_charts.traces(cold)] == ["trace"]


def test_a_slowest_run_far_out_does_not_shrink_the_chart(facts: Facts) -> None:
    timing = replace(facts.timings[0], percentiles_ms=(*facts.timings[0].percentiles_ms[:-1], 1e6))
    chart = speed_charts.latencies(replace(facts, timings=(timing,), predictions=()))
    assert chart is not None
    dots, strokes = chart.specs[""]["layer"][2], chart.specs[""]["layer"][1]["data"]["values"]
    assert all(row["ms"] <= dots["encoding"]["x"]["scale"]["domain"][1] for row in strokes) and len(strokes) > 90


def test_the_cells_of_very_many_classes_are_no_matrix(results: Path, tmp_path: Path) -> None:
    report = json.loads((results / "validate.int8.json").read_text(encoding="utf-8"))
    report["confusion"] = {"reference": [[0, 0, 9], [1, 1, 9], [2, 7, 1]], "candidate": [[0, 0, 9], [1, 1, 9], [2, 2, 1]]}
    (tmp_path / "many.json").write_text(json.dumps(report), encoding="utf-8")
    found = gathering.gather(*sources.collect([str(tmp_path)], RunStore(tmp_path / "none.sqlite")))
    assert found.validations[0].confusion is None and found.left_out == ()


def test_the_map_places_every_op_once(facts: Facts) -> None:
    from edge.report import network

    found = network.draw(facts, None)
    assert found is not None
    places = [(node.column, node.row) for node in found.nodes]
    assert len(set(places)) == len(places) > 5
    assert {node.precision for node in found.nodes} == {"int8"}
    assert all(node.sqnr_db == 12.0 + node.index for node in found.nodes)
    assert all(node.mapped is not None for node in found.nodes)
    assert all(edge_.column < edge_.to_column for edge_ in found.edges)


def test_the_redacted_facts_keep_their_numbers(facts: Facts) -> None:
    hidden = sections.redacted(facts)
    assert [entry.drop for entry in hidden.validations] == [entry.drop for entry in facts.validations]
    assert all(variant.file == "" for variant in hidden.variants)
    assert verdict.judge(hidden).status == verdict.judge(facts).status


def test_rows_and_findings_go_by_the_same_names(facts: Facts) -> None:
    entry = facts.validations[1]
    several = replace(facts, validations=(*facts.validations, replace(entry, images=3)))
    names = chart.distinct(several, several.validations)
    assert [row.name for row in table.rows(several) if row.validation is not None] == names == ["float32", "int8, 1", "int8, 2"]


@pytest.mark.parametrize(
    "text", ['{"variants": 3, "notes": 1}', '{"agreement": 1, "keras": 2}', '{"release": {}, "changed": []}', "[1]"]
)
def test_answers_of_another_shape_are_left_out(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "odd.json").write_text(text)
    assert main(["report", str(tmp_path / "odd.json"), "--out", str(tmp_path / "odd.md")]) in (0, 2)
    assert main(["runs", "--import", str(tmp_path), "--store", str(tmp_path / "runs.sqlite")]) == 2
    assert main(["report", "9" * 5000]) == 2
    assert "Traceback" not in capsys.readouterr().err
