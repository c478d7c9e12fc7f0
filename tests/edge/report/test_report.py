"""The report: what it says, in every format, and how the page behaves in a real browser."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import edge
from devices.origin import Origin
from edge.artefact import container
from edge.artefact.contract import Contract, Quantization
from edge.cli import main
from edge.history import record as run_record
from edge.history.store import RunStore
from edge.predict import check_report
from edge.report import accuracy_charts, chart, gathering, page, pareto, sections, sources, speed_charts, table, text, verdict
from edge.report.facts import Facts

EVIL = ("<script>", "<img src=x onerror=alert(1)>", "a|b*c", "plain")
BOARDS = ("pi-4b", "pi-5", "coral-dev-board")
CHROMIUM = shutil.which("chromium")
SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def evil_images(tmp_path_factory: pytest.TempPathFactory, tiny_images: Path) -> Path:
    """The tiny images under class names that would do harm in a page that does not escape them."""
    folder = tmp_path_factory.mktemp("evil")
    for source, label in zip(sorted(tiny_images.iterdir()), EVIL, strict=True):
        (folder / label).mkdir()
        for image in source.iterdir():
            shutil.copy(image, folder / label / f'"><b onclick=x>{image.name}')
    return folder


@pytest.fixture(scope="module")
def results(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_int8_flatbuffer: bytes,
    tiny_float_flatbuffer: bytes,
    tiny_contract: Callable[..., Contract],
    evil_images: Path,
) -> Path:
    """A folder of real answers: two variants validated, measured, and predicted for three boards; one explained, one trained."""
    folder = tmp_path_factory.mktemp("results")
    output = replace(tiny_contract().outputs[0], labels=EVIL)
    files = {}
    for name, flatbuffer in (("float32", tiny_float_flatbuffer), ("int8", tiny_int8_flatbuffer)):
        made = Quantization() if name == "float32" else tiny_contract().quantization
        files[name] = folder / f"tiny.{name}.tflite"
        files[name].write_bytes(container.pack(flatbuffer, tiny_contract(outputs=(output,), quantization=made)))

    def keep(name: str, report: Any) -> None:
        (folder / f"{name}.json").write_text(json.dumps(report), encoding="utf-8")

    for name, file in files.items():
        found = edge.validate(file, evil_images, reference=files["float32"], max_drop=0.5, diagnose="never")
        keep(f"validate.{name}", found.to_dict())
        keep(f"benchmark.{name}", edge.benchmark(file, threads=1, min_runs=200, min_seconds=0.0).to_dict())
        for board in BOARDS:
            keep(f"check.{board}.{name}", check_report.to_dict(edge.check(file, board)))
    source = container.read(files["int8"])
    ops = [
        {"position": op.index, "op": op.name, "tensor": source.graph.tensors[op.outputs[0]].name, "sqnr_db": 12.0 + op.index}
        for op in source.graph.ops
    ]
    step = {"images": 40, "agreement": 0.9, "error": 0.1, "top1": 0.3, "drop": 0.05, "ci95": [-0.02, 0.12], "lost": 3, "won": 1}
    ladder = [{"name": "float32", "step": None, "total": step}, {"name": "int8 weights only", "step": step, "total": step}]
    explained = {"images": 40, "ladder": ladder, "worst_step": "int8 weights only", "ops": ops, "blocks": [], "refined": []}
    keep("explain", {"file": str(files["int8"]), "model_sha256": source.model_sha256, **explained})
    epochs = [
        {"epoch": i, "loss": None if i == 0 else 1.0 / i, "float": 0.9, "fake_quantized": 0.8 + 0.01 * i, "int8": 0.8}
        for i in range(4)
    ]
    trained = {"trained": "tiny.int8-qat.tflite", "ptq": "tiny.int8.tflite", "recommended": "tiny.int8-qat.tflite"}
    comparison = {"ptq": {"candidate": {"top1": 0.79}}}
    keep("qat", {**trained, "reason": "training paid", "best_epoch": 3, "epochs": epochs, "comparison": comparison})
    return folder


@pytest.fixture(scope="module")
def facts(results: Path) -> Facts:
    return gathering.gather(*sources.collect([str(results)], RunStore(results / "none.sqlite")))


@pytest.fixture(scope="module")
def written(facts: Facts) -> str:
    return page.render(facts)


def changed(facts: Facts, **changes: Any) -> Facts:
    """The same facts with the validation of int8 changed."""
    entries = tuple(replace(e, **changes) if e.variant != e.reference else e for e in facts.validations)
    return replace(facts, validations=entries)


def test_everything_in_the_folder_is_understood(facts: Facts) -> None:
    assert facts.left_out == ()
    assert [variant.name for variant in facts.variants] == ["float32", "int8"]
    assert (len(facts.validations), len(facts.timings), len(facts.predictions)) == (2, 2, 6)
    assert len(facts.timings[0].percentiles_ms) == 101
    assert len(facts.explanations) == len(facts.trainings) == 1


def test_the_verdict_is_one_sentence_about_the_proof(facts: Facts) -> None:
    drop = facts.validations[1].drop
    assert drop is not None
    passed = verdict.judge(changed(facts, verdict="pass"))
    assert passed.status == "pass"
    assert passed.sentence.startswith("Deploy tiny.int8.tflite: ")
    assert f"at most {100 * drop.high:.2f} points of top-1 (50.00 are allowed)" in passed.sentence
    failed = verdict.judge(changed(facts, verdict="fail"))
    assert failed.status == "fail" and failed.sentence.startswith("int8 fails: it loses ")
    open_ = verdict.judge(changed(facts, verdict="undecided", images_to_decide=1234))
    assert open_.status == "undecided" and "about 1,234 images like these" in open_.sentence
    assert "earlier looks are not taken into account" in open_.sentence
    silent = verdict.judge(changed(facts, verdict=None, max_drop=None))
    assert silent.status == "none" and "this is no verdict" in silent.sentence


def test_only_what_was_asked_to_pass_passes(facts: Facts) -> None:
    """Several variants: one that passes does not answer for another, and one that nobody asked about gets no verdict."""
    (int8,) = (entry for entry in facts.validations if entry.variant != entry.reference)
    spare = replace(facts.variants[1], key="spare", name="float16", file="tiny.float16.tflite")
    both = replace(facts, variants=(*facts.variants, spare))

    def judged(**verdicts: str | None) -> verdict.Verdict:
        entries = [
            replace(int8, variant=key, verdict=found, max_drop=None if found is None else 0.5)
            for key, found in (("spare", verdicts["float16"]), (int8.variant, verdicts["int8"]))
        ]
        found = replace(both, validations=tuple(entries))
        answer = verdict.judge(found)
        assert text.exit_code(found) == int(answer.status not in ("pass", "none"))
        return answer

    failed = judged(float16="pass", int8="fail")
    assert failed.status == "fail" and failed.candidate == int8.variant
    assert failed.sentence.startswith("1 of 2 validations pass: int8 fails") and "What passes: tiny.float16" in failed.sentence
    undecided = judged(float16="undecided", int8="pass")
    assert undecided.status == "undecided" and "float16 is undecided" in undecided.sentence
    assert "What passes: tiny.int8" in undecided.sentence
    assert judged(float16="undecided", int8="fail").status == "fail"
    silent = judged(float16=None, int8="pass")
    assert silent.status == "pass" and silent.sentence.endswith("without a verdict: float16.")
    assert "All 2 validations" in judged(float16="pass", int8="pass").sentence
    # The same variant at two places: what fails at one is not to be deployed.
    twice = replace(facts, validations=(replace(int8, verdict="pass", max_drop=0.5), replace(int8, verdict="fail", max_drop=0.5)))
    assert verdict.judge(twice).status == "fail" and "What passes" not in verdict.judge(twice).sentence


def test_without_a_validation_it_says_what_was_measured(facts: Facts) -> None:
    timed = verdict.judge(replace(facts, validations=()))
    assert timed.status == "none" and "no accuracy was measured" in timed.sentence
    assert "2 of 2" not in verdict.judge(replace(facts, validations=(), timings=())).sentence


def test_the_exit_code_is_the_verdict(facts: Facts) -> None:
    assert text.exit_code(changed(facts, verdict="pass")) == 0
    assert text.exit_code(changed(facts, verdict=None)) == 0
    assert text.exit_code(changed(facts, verdict="undecided")) == 1


PI = {"profile": "pi-4b", "model": "a virtual board", "virtual": True}


def gathered(folder: Path, **reports: Any) -> Facts:
    """The facts of these answers, written as files."""
    for name, report in reports.items():
        (folder / f"{name}.json").write_text(json.dumps(report), encoding="utf-8")
    return gathering.gather(*sources.collect([str(folder)], RunStore(folder / "none.sqlite")))


@pytest.fixture
def int8(results: Path) -> dict[str, Any]:
    """The validation of int8, and the ways in which an emulated board answers the same."""
    report: dict[str, Any] = json.loads((results / "validate.int8.json").read_text())
    return report


@pytest.fixture
def timed(results: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((results / "benchmark.int8.json").read_text())
    return {**report, "quotable": True}


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


def test_a_limit_is_not_forgotten_by_a_run_that_has_none(int8: dict[str, Any], tmp_path: Path) -> None:
    failed = {**int8, "verdict": "fail", "max_drop": 0.0}
    certified = {
        **int8,
        "board": PI,
        "measured_on": "this machine",
        "certificate": {"images": 20},
        "verdict": None,
        "max_drop": None,
    }
    runs = [run_record.from_report(report, time=str(i)) for i, report in enumerate((failed, certified))]
    assert text.exit_code(gathering.gather([run for run in runs if run is not None])) == 1


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


def test_the_json_has_the_origin_of_every_figure(results: Path, tmp_path: Path) -> None:
    written = tmp_path / "report.json"
    main(["report", str(results), "--json", str(written)])
    figures = json.loads(written.read_text())["figures"]
    assert {entry["origin"]["how"] for entry in figures["predictions"]} == {"predicted"}
    assert all(not entry["origin"]["emulated"] and entry["origin"]["machine"] for entry in figures["timings"])
    assert [entry["variant"] for entry in figures["validations"]] == ["float32", "int8"]
    assert figures["validations"][1]["drop"]["ci95"] and figures["validations"][1]["holds_on"] == []


def test_the_bar_shows_interval_zero_and_limit(facts: Facts) -> None:
    lines = text.to_text(changed(facts, verdict="pass")).splitlines()
    (line,) = [line for line in lines if line.startswith("int8")]
    bar = line[line.index("[") :]
    assert bar.count("o") == 1 and bar.count("!") == 1
    assert lines[-1].startswith("PASS: Deploy")


def test_junit_has_a_failure_where_the_verdict_is_no(facts: Facts) -> None:
    suite = ElementTree.fromstring(text.to_junit(changed(facts, verdict="fail"))).find("testsuite")
    assert suite is not None and suite.get("failures") == "1"
    failure = suite.find("testcase/failure")
    assert failure is not None and failure.get("type") == "fail"
    passed = ElementTree.fromstring(text.to_junit(changed(facts, verdict="pass")))
    assert passed.find("testsuite/testcase/failure") is None


def test_junit_survives_what_xml_cannot_hold(facts: Facts) -> None:
    flips = tuple(replace(flip, image="\x00\x1b[31m" + flip.image) for flip in facts.validations[1].lost) or ()
    assert ElementTree.fromstring(text.to_junit(changed(facts, verdict="fail", lost=flips))) is not None


def test_markdown_keeps_text_as_text(facts: Facts) -> None:
    noted = changed(facts, findings=(("warning", "class <script> and a|b are `odd`"),))
    assert "class \\<script\\> and a\\|b are \\`odd\\`" in text.to_markdown(noted)


def test_a_job_gets_its_summary(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    main(["report", str(results / "validate.int8.json"), "--out", str(tmp_path / "accuracy.xml")])
    assert (tmp_path / "summary.md").read_text(encoding="utf-8").startswith("### tiny")
    assert ElementTree.parse(tmp_path / "accuracy.xml").getroot().tag == "testsuites"


def test_validate_speaks_the_same_formats(results: Path, evil_images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(results / f"tiny.{name}.tflite") for name in ("int8", "float32")]
    command = [
        "validate",
        files[0],
        "--reference",
        files[1],
        "--images",
        str(evil_images),
        "--diagnose",
        "never",
        "--max-drop",
        "0.5",
    ]
    code = main([*command, "--format", "junit"])
    suite = ElementTree.fromstring(capsys.readouterr().out.strip()).find("testsuite")
    assert suite is not None and (suite.get("failures") == "0") == (code == 0)
    assert main([*command, "--format", "md"]) == code
    assert capsys.readouterr().out.startswith("### tiny: 2 variants")


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


def test_one_variant_from_two_places_is_told_apart_in_the_classes(int8: dict[str, Any], tmp_path: Path) -> None:
    for row in int8["per_class"]:
        row["candidate"], row["flips_lost"] = 0.0, 1
    chart = accuracy_charts.classes(gathered(tmp_path, here=int8, there={**int8, "board": PI}))
    assert chart is not None
    names = chart.specs[""]["layer"][1]["encoding"]["opacity"]["scale"]["domain"]
    assert len(names) == 2 and "int8, pi-4b, emulated" in names


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


def test_the_redacted_facts_keep_their_numbers(facts: Facts) -> None:
    hidden = sections.redacted(facts)
    assert [entry.drop for entry in hidden.validations] == [entry.drop for entry in facts.validations]
    assert all(variant.file == "" for variant in hidden.variants)
    assert verdict.judge(hidden).status == verdict.judge(facts).status


@pytest.mark.parametrize(
    ("high", "said"),
    [
        (-0.001, "it loses no top-1: the whole interval lies where it is as good as the reference or better (50.00 are allowed)"),
        (0.00004, "it loses less than 0.01 points of top-1 (50.00 are allowed)"),
        (0.0012, "it loses at most 0.12 points of top-1 (50.00 are allowed)"),
    ],
)
def test_the_most_that_is_lost_is_said_so_that_it_means_something(facts: Facts, high: float, said: str) -> None:
    drop = facts.validations[1].drop
    assert drop is not None
    sentence = verdict.judge(changed(facts, verdict="pass", drop=replace(drop, low=-0.01, high=high))).sentence
    assert said in sentence and "at most 0.00" not in sentence


def test_the_map_shows_the_errors_that_one_machine_found(facts: Facts) -> None:
    from edge.report import network

    (mine,) = facts.explanations
    other = replace(mine, origin=Origin(machine="pi-4b"), ops=tuple(replace(op, sqnr_db=1.0) for op in mine.ops))
    found = network.draw(replace(facts, explanations=(mine, other)), None)
    assert found is not None
    assert all(node.sqnr_db == 12.0 + node.index for node in found.nodes)


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
