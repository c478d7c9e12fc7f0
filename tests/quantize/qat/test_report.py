"""Which of a run's files is recommended, and what is said about it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quantize.qat import report as qat_report
from quantize.qat.report import differs, recommend


def worse_by(report: dict[str, Any], points: float) -> dict[str, Any]:
    changed = json.loads(json.dumps(report))
    for output in changed["outputs"].values():
        output["candidate"]["top1"] -= points / 100
    return dict(changed)


SAME = {"holds": True, "agreement": 1.0, "diverges": None}


def test_the_better_file_is_recommended_and_what_is_not_known_is_said(finished: Any) -> None:
    good = finished.reports["ptq"]
    assert qat_report.merit(good) > qat_report.merit(worse_by(good, 1))
    further, better = worse_by(good, 0), worse_by(good, -100 / good["images"])
    for report in (further, better):  # fine-tuning moves away from float; that only tells equal ones apart
        for output in report["outputs"].values():
            output["agreement"] -= 0.1
    assert qat_report.merit(better) > qat_report.merit(good) > qat_report.merit(further)
    name, reason = recommend({"ptq": good, "qat": worse_by(good, 10)}, SAME, 2)
    assert name == "ptq" and "did NOT make a better file" in reason
    name, reason = recommend({"ptq": worse_by(good, 10), "qat": good}, SAME, 2)
    assert name == "qat" and "training paid" in reason and "only a float control tells (--float-control)" in reason
    name, reason = recommend({"ptq": worse_by(good, 10), "qat": good}, SAME, 0)
    assert name == "qat" and "no epoch of training made a better file" in reason
    broken = {"holds": False, "agreement": 0.9, "diverges": "conv2d_5 (ReLU)"}
    name, reason = recommend({"ptq": worse_by(good, 10), "qat": good}, broken, 2)
    assert name == "ptq" and "conv2d_5" in reason


def test_a_lead_by_chance_is_no_reason_to_move_further_from_float(finished: Any) -> None:
    plain = worse_by(finished.reports["ptq"], 0)
    plain["drop"] |= {"flips_lost": 2, "flips_won": 2}
    trained = worse_by(plain, -100 / plain["images"])  # one image more
    trained["probability_shift"] = plain["probability_shift"] + 0.01
    name, reason = recommend({"ptq": plain, "qat": trained}, SAME, 2)
    assert name == "ptq" and reason.startswith("QAT is ahead by no more than chance")
    far = worse_by(trained, -4 * 100 / plain["images"])  # five images of at most eight that can differ
    assert recommend({"ptq": plain, "qat": far}, SAME, 2)[0] == "qat"
    closer = trained | {"probability_shift": plain["probability_shift"] - 0.001}
    assert recommend({"ptq": plain, "qat": closer}, SAME, 2)[0] == "qat"


def test_a_float_control_that_does_as_well_is_recommended_instead(finished: Any) -> None:
    good = finished.reports["ptq"]
    name, reason = recommend({"ptq": worse_by(good, 10), "qat": good, "control": good}, SAME, 2)
    assert name == "control" and reason.startswith("fine-tuning alone made the better file")
    name, reason = recommend({"ptq": worse_by(good, 10), "qat": good, "control": worse_by(good, 5)}, SAME, 2)
    assert name == "qat" and "the float network after as many epochs, quantized afterwards: top-1" in reason
    name, _ = recommend({"ptq": good, "qat": good, "control": good}, SAME, 2)
    assert name == "ptq"  # of equal ones the simplest


def test_a_lead_of_numbers_by_chance_is_none() -> None:
    def report(mae: float, moved: float) -> dict[str, Any]:
        output = {
            "kind": "regression",
            "candidate": {"mae": mae},
            "reference": {"mae": 0.1},
            "difference": {"mean_absolute": moved},
            "mae_increase": {"mean": mae - 0.1, "ci95": [mae - 0.1 - 0.001, mae - 0.1 + 0.001]},
        }
        plain = {"images": 100, "drop": None, "agreement": None, "probability_shift": None, "candidate": {"top1": None}}
        return plain | {"outputs": {"steering": output}}

    ptq, close = report(0.1, 0.01), {"agreement": None, "steps": 0.5, "holds": True, "diverges": None}
    assert recommend({"ptq": ptq, "qat": report(0.0995, 0.02)}, close, 2)[0] == "ptq"
    name, reason = recommend({"ptq": ptq, "qat": report(0.0995, 0.009)}, close, 2)
    assert name == "qat" and "steering mean absolute error 0.0995 (float 0.1)" in reason
    assert recommend({"ptq": ptq, "qat": report(0.09, 0.02)}, close, 2)[0] == "qat"
    name, reason = recommend({"ptq": ptq, "qat": report(0.09, 0.02)}, close | {"steps": 9.0, "holds": False}, 2)
    assert name == "ptq" and "9.0 steps on average, first at no single layer" in reason


def test_several_labels_at_once_count_by_the_truth_where_it_is_known() -> None:
    def report(right: float | None, agreement: float) -> dict[str, Any]:
        known = {} if right is None else {"candidate": {"exact_match": right}}
        return {"outputs": {"labels": {"kind": "multilabel", "agreement": agreement, "score_shift": 0.01, **known}}}

    better, follower = report(0.9, 0.95), report(0.8, 0.99)  # one is right more often, the other nearer to float
    assert qat_report.merit(better) > qat_report.merit(follower)
    assert qat_report.merit(report(0.8, 0.99)) > qat_report.merit(report(0.8, 0.95))  # among equal ones
    assert qat_report.merit(report(None, 0.99)) > qat_report.merit(report(None, 0.95))


@pytest.mark.parametrize(("moves", "said"), [(60.0, True), (3.0, False)])
def test_a_network_that_makes_much_of_little_is_said_to(moves: float, said: bool) -> None:
    parity = {"agreement": 0.67, "steps": 89.0, "diverges": "block6c (Conv2D), by 2.1 steps on average", "moves": moves}
    text = differs(parity)
    assert "agreement 67.0%, first at block6c" in text and f"itself moves by {moves:.1f} steps" in text
    assert ("rounding may be all that parts them" in text) == said
    assert "itself" not in differs({**parity, "moves": None})
