"""Which steps come next, from what those before have found: words and plain data only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantize.shipping import advice, candidates, plan, telling
from quantize.shipping.candidates import Answers
from quantize.shipping.plan import Plan
from quantize.shipping.prints import Prints
from quantize.shipping.request import Request

HERE = Request(model="net.keras", train="train", test="test", out="out", name="net")
BOARD = replace(HERE, board="pi@kitchen")
PI = {"healthy": True, "board": {"profile": "pi-4b", "answers": {}}}
MADE = {"name": "net", "variants": []}


def proven(verdict: str = "pass", **more: Any) -> dict[str, Any]:
    drop = {"top1": 0.0, "ci95": [-0.001, 0.004 if verdict == "pass" else 0.04]}
    return {"verdict": verdict, "drop": drop, "images": 800, "images_to_decide": None, **more}


def predicted(ms: float, fits: bool | None = True) -> dict[str, Any]:
    return {"fits": fits, "latency_ms": {"expected": ms}}


def names(found: Plan) -> list[str]:
    return [step.name for step in found.steps]


def test_without_a_board_it_ends_with_files_and_the_report() -> None:
    assert names(plan.make(HERE, {})) == ["quantize", "validate int8", "report"]


def test_with_a_board_that_is_known_it_predicts_measures_certifies_and_then_deploys() -> None:
    found = plan.make(BOARD, {"doctor": PI})
    assert names(found) == [
        *(
            "doctor",
            "quantize",
            "check int8",
            "validate int8",
            "benchmark int8",
            "certify int8",
            "status",
            "deploy int8",
            "report",
        )
    ]
    assert found.profile == "pi-4b" and not found.emulated


def test_another_board_under_the_same_name_is_measured_and_certified_anew() -> None:
    prints = Prints()
    keys = []
    for model in ("Raspberry Pi 4 Model B Rev 1.4", "Raspberry Pi 5 Model B Rev 1.0"):
        found = plan.make(BOARD, {"doctor": {"healthy": True, "board": {"profile": None, "model": model, "answers": {}}}})
        on_board = (step for step in found.steps if step.name in ("benchmark int8", "certify int8"))
        keys.append([prints.key(replace(step, photos=())) for step in on_board])
    assert len(set(keys[0] + keys[1])) == 4


def test_an_emulated_board_has_no_speed_to_measure() -> None:
    for request, answers in (
        (replace(BOARD, board="virtual:desk"), {"doctor": PI}),
        (
            BOARD,
            {"doctor": {"healthy": True, "board": {"profile": None, "answers": {"compatible": ["x edgekit,virtual-board"]}}}},
        ),
    ):
        assert "benchmark int8" not in names(plan.make(request, answers))


def test_the_mark_of_an_emulated_board_is_that_of_the_probe() -> None:
    probe = Path(plan.__file__).parents[2] / "devices/doctor/probe.py"
    assert f'VIRTUAL_MARK = "{plan.VIRTUAL_MARK}"' in probe.read_text()


def test_nothing_goes_to_the_board_that_does_not_pass() -> None:
    answers: Answers = {"doctor": PI, "quantize": MADE, "check int8": predicted(50), "validate int8": proven("fail")}
    found = plan.make(BOARD, answers)
    assert names(found)[-2:] == ["validate int8", "report"]
    assert found.chosen is None and found.best is None


def test_a_board_whose_answers_do_not_pass_gets_no_release() -> None:
    answers: Answers = {
        "doctor": PI,
        "quantize": MADE,
        "validate int8": proven(),
        "certify int8": proven("fail", certificate={"images": 5}),
    }
    found = plan.make(BOARD, answers)
    assert "deploy int8" not in names(found) and "status" not in names(found)
    verdict = telling.judge(BOARD, found, answers)
    assert verdict.exit_code == 1
    assert "all photos were run on pi@kitchen" in verdict.sentence and "not deployed" in verdict.sentence


def test_rescues_are_tried_one_after_the_other_where_they_are_allowed() -> None:
    request = replace(HERE, allow=("qat", "tune"))
    failed: dict[str, Any] = {"quantize": MADE, "validate int8": proven("fail")}
    assert names(plan.make(request, failed)) == ["quantize", "validate int8", "tune", "validate tune", "report"]
    nothing = failed | {"tune": {"chosen": None}}
    assert names(plan.make(request, nothing))[2:] == ["tune", "qat", "validate qat", "report"]
    found = plan.make(request, nothing | {"qat": {"trained": "out/qat/net.int8-qat.tflite"}, "validate qat": proven()})
    assert found.chosen is not None and found.chosen.file == "out/qat/net.int8-qat.tflite"
    told = found.steps[-1].words
    assert "out/runs/validate.qat.json" in told and "out/runs/qat.json" in told and "out/runs/validate.int8.json" not in told


def test_what_shrink_itself_does_not_prove_is_no_candidate() -> None:
    request = replace(HERE, profile="pi-4b", max_ms=100.0, allow=("shrink",))
    answers: dict[str, Any] = {"quantize": MADE, "check int8": predicted(180), "validate int8": proven()}
    answers["shrink"] = {"int8": "out/shrink/net.shrunk.int8.tflite", "verdict": "undecided"}
    found = plan.make(request, answers)
    assert "validate shrink" not in names(found) and found.chosen is None


def test_the_photos_that_judge_choose_no_epoch() -> None:
    request = replace(HERE, allow=("qat",))
    (qat,) = (
        step for step in plan.make(request, {"quantize": MADE, "validate int8": proven("fail")}).steps if step.name == "qat"
    )
    assert "test" not in qat.words and qat.photos == ("train",)


def test_a_rescue_that_this_network_cannot_have_is_passed_over() -> None:
    request = replace(HERE, allow=("tune", "qat"))
    answers: Answers = {"quantize": MADE, "validate int8": proven("fail"), "tune": {"refused": 2}, "qat": {"refused": 2}}
    found = plan.make(request, answers)
    assert names(found) == ["quantize", "validate int8", "tune", "qat", "report"]
    assert "out/runs/tune.json" not in found.steps[-1].words
    assert advice.advise(request, found, answers, lambda step: None, 10) == []


def test_a_rescue_is_left_alone_where_it_is_not_needed() -> None:
    request = replace(HERE, allow=("qat", "tune", "shrink"))
    assert names(plan.make(request, {"quantize": MADE, "validate int8": proven()})) == ["quantize", "validate int8", "report"]


def test_what_is_measured_as_too_slow_is_shrunk_by_what_the_measurement_lacks() -> None:
    request = replace(BOARD, max_ms=100.0, allow=("shrink",))
    answers: dict[str, Any] = {"doctor": PI, "quantize": MADE, "check int8": predicted(50), "validate int8": proven()}
    slow = answers | {"benchmark int8": {"p50_ms": 180.0}}
    found = plan.make(request, slow)
    assert names(found)[5:] == [
        *("shrink", "check shrink", "validate shrink", "benchmark shrink", "certify shrink", "status", "deploy shrink", "report")
    ]
    (shrink,) = (step for step in found.steps if step.name == "shrink")
    assert shrink.words[shrink.words.index("--speedup") + 1] == "1.9"
    still = slow | {"shrink": {"int8": "out/shrink/net.shrunk.int8.tflite", "verdict": "pass"}, "validate shrink": proven()}
    still |= {"check shrink": predicted(20), "benchmark shrink": {"p50_ms": 101.0}}
    assert "certify shrink" not in names(plan.make(request, still))
    assert plan.make(request, still).chosen is None
    found = plan.make(request, still | {"benchmark shrink": {"p50_ms": 99.0}})
    assert found.chosen is not None and found.chosen.name == "shrink"


def test_what_is_predicted_to_be_too_slow_is_shrunk_to_the_limit() -> None:
    request = replace(HERE, profile="pi-4b", max_ms=100.0, allow=("shrink",))
    answers: Answers = {"quantize": MADE, "check int8": predicted(180), "validate int8": proven()}
    (shrink,) = (step for step in plan.make(request, answers).steps if step.name == "shrink")
    at = shrink.words.index("--max-ms")
    assert shrink.words[at : at + 4] == ("--max-ms", "100", "--board", "pi-4b")


def test_the_fastest_that_passes_is_chosen_where_all_are_predicted() -> None:
    request = replace(HERE, variants=("float32", "int8", "float16"), profile="pi-4b")
    answers: dict[str, Any] = {"quantize": MADE, "check int8": predicted(50), "check float16": predicted(90)}
    passing = answers | {"validate int8": proven(), "validate float16": proven()}
    chosen = plan.make(request, passing).chosen
    assert chosen is not None and chosen.name == "int8"
    chosen = plan.make(request, passing | {"validate int8": proven("undecided")}).chosen
    assert chosen is not None and chosen.name == "float16"


def test_the_smallest_that_passes_is_chosen_where_nobody_predicts(tmp_path: Path) -> None:
    request = replace(HERE, variants=("float32", "float16", "int8"), out=str(tmp_path))
    for name, size in (("float16", 200), ("int8", 100)):
        Path(request.made(name)).write_bytes(bytes(size))
    chosen, _ = candidates.choose(candidates.quantized(request), request, {}, measure=False)
    assert chosen is not None and chosen.name == "int8"


@pytest.mark.parametrize(
    ("answers", "kinds"),
    [
        ({"validate int8": proven("fail")}, ["tune", "qat"]),
        ({"validate int8": proven("undecided", images_to_decide=2000)}, ["photos", "tune", "qat"]),
        ({"validate int8": proven("undecided", images=60)}, ["photos"]),
    ],
)
def test_what_may_help_the_accuracy(answers: dict[str, Any], kinds: list[str]) -> None:
    found = plan.make(HERE, {"quantize": MADE, **answers})
    helps = advice.advise(HERE, found, {"quantize": MADE, **answers}, lambda step: 60.0, 1000)
    assert [each.kind for each in helps] == kinds
    for each in helps:
        images = {"tune": "train --validation test", "qat": "out/split/learn.csv --validation out/split/choose.csv"}
        assert each.kind == "photos" or each.line.startswith(f"edgekit {each.kind} net.keras --images {images[each.kind]} ")
        assert each.kind == "photos" or " min): edgekit " in each.to_text()


def test_what_may_help_the_speed() -> None:
    request = replace(BOARD, max_ms=100.0)
    answers: Answers = {"doctor": PI, "quantize": MADE, "validate int8": proven(), "benchmark int8": {"p50_ms": 180.0}}
    found = plan.make(request, answers)
    (help_,) = advice.advise(request, found, answers, lambda step: None, 1000)
    assert "(about 30 min): edgekit shrink net.keras" in help_.to_text()
    verdict = telling.judge(request, found, answers)
    assert verdict.exit_code == 1
    assert verdict.sentence.endswith("and is too slow: 180 ms on pi@kitchen (100 allowed)")


def test_a_file_that_is_not_to_fit_is_no_pass_without_a_board_that_says_otherwise() -> None:
    request = replace(HERE, profile="pi-zero-2w")
    answers: Answers = {"quantize": MADE, "check int8": predicted(50, fits=False), "validate int8": proven()}
    assert telling.judge(request, plan.make(request, answers), answers).exit_code == 1


def test_a_limit_of_time_that_nobody_can_judge_is_no_pass() -> None:
    virtual = replace(BOARD, board="virtual:desk", max_ms=100.0, allow=("shrink",))
    local = replace(HERE, profile="pi-4b", max_ms=100.0)
    cases: list[tuple[Request, Answers]] = [
        (virtual, {"doctor": {"board": {}}, "quantize": MADE, "validate int8": proven()}),
        (local, {"quantize": MADE, "check int8": {"fits": True, "latency_ms": None}, "validate int8": proven()}),
    ]
    for request, answers in cases:
        found = plan.make(request, answers)
        assert names(found)[-2:] == ["validate int8", "report"]
        verdict = telling.judge(request, found, answers)
        assert (verdict.status, verdict.exit_code, verdict.file) == ("undecided", 1, None)
        assert "nobody knows how fast out/net.int8.tflite is" in verdict.sentence
        assert advice.advise(request, found, answers, lambda step: None, 10) == []


def test_files_are_called_as_quantize_says() -> None:
    found = plan.make(HERE, {"quantize": {"name": "inception", "variants": []}})
    assert [each.file for each in found.candidates] == ["out/inception.int8.tflite"]
