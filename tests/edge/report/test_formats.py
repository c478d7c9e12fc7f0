"""The report as text, Markdown and JUnit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edge.cli import main
from edge.report import text
from edge.report.facts import Facts
from tests.edge.report.conftest import changed


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
