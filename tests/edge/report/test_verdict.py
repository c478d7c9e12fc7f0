"""The sentence at the top of a report, and the exit code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.history import record as run_record
from edge.report import gathering, text, verdict
from edge.report.facts import Facts
from tests.edge.report.conftest import PI, changed


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
