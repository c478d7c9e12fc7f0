from __future__ import annotations

from pathlib import Path

import pytest

from devices.edgetpu import compilation
from devices.edgetpu import log as edgetpu_log
from devices.edgetpu.ops import MAPPED, ONE_SUBGRAPH, STATUSES

LOGS = Path(__file__).resolve().parents[4] / "shared" / "edgetpu" / "logs"

# Written as the compiler writes, with figures of our own.
PARTLY_MAPPED = """\
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 1500 ms.

Input model: some/folder/flowers.tflite
Input size: 4.00MiB
Output model: flowers_edgetpu.tflite
Output size: 5.50MiB
On-chip memory used for caching model parameters: 1.50MiB
On-chip memory remaining for caching model parameters: 1.75KiB
Off-chip memory used for streaming uncached model parameters: 2.25MiB
Number of Edge TPU subgraphs: 1
Total number of operations: 12
Operation log: flowers_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU.
Number of operations that will run on Edge TPU: 9
Number of operations that will run on CPU: 3

Operator                       Count      Status

CONV_2D                        9          Mapped to Edge TPU
CONV_2D                        2          More than one subgraph is not supported
LEAKY_RELU                     1          Operation not supported
Compilation child process completed within timeout period.
Compilation succeeded!
"""


def test_a_log_gives_figures_and_counts() -> None:
    log = edgetpu_log.parse(PARTLY_MAPPED)
    assert (log.compiler, log.compile_ms, log.succeeded, log.errors) == ("16.0.384591198", 1500, True, ())
    (model,) = log.models
    assert model.file == "flowers.tflite"
    assert (model.on_chip_used_bytes, model.on_chip_remaining_bytes, model.off_chip_bytes) == (1572864, 1792, 2359296)
    assert (model.mapped, model.cpu, model.counts["total_ops"], model.counts["subgraphs"]) == (9, 3, 12, 1)
    assert model.by_op()["CONV_2D"] == {MAPPED: 9, ONE_SUBGRAPH: 2}


def test_a_table_alone_gives_the_counts_too() -> None:
    table = PARTLY_MAPPED[PARTLY_MAPPED.index("Operator") : PARTLY_MAPPED.index("Compilation child")]
    log = edgetpu_log.parse(f"Edge TPU Compiler version 1.0.249710469\nInput: flowers.tflite\nOutput: x\n\n{table}")
    assert (log.models[0].mapped, log.models[0].cpu, log.succeeded) == (9, 3, None)


def test_models_compiled_together_stay_apart() -> None:
    second = PARTLY_MAPPED[PARTLY_MAPPED.index("Input model") :].replace("flowers", "digits").replace("1.50MiB", "0.00B")
    log = edgetpu_log.parse(PARTLY_MAPPED.replace("Compilation succeeded!", "") + second)
    assert [(model.file, model.on_chip_used_bytes) for model in log.models] == [("flowers.tflite", 1572864), ("digits.tflite", 0)]


def test_available_becomes_remaining() -> None:
    old = PARTLY_MAPPED.replace(
        "remaining for caching model parameters: 1.75KiB", "available for caching model parameters: 2.00MiB"
    )
    assert edgetpu_log.parse(old).models[0].on_chip_remaining_bytes == 1 << 19


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Invalid model: a.tflite\nModel not quantized\n", "Model not quantized"),
        (
            "ERROR: Didn't find op for builtin opcode 'CONV_2D' version '6'\n",
            "Didn't find op for builtin opcode 'CONV_2D' version '6'",
        ),
        ("Internal compiler error. Aborting! \n", "Internal compiler error. Aborting!"),
        ("Compilation failed: too large.\nCompilation failed!\n", "too large."),
    ],
)
def test_a_refusal_says_why(text: str, error: str) -> None:
    log = edgetpu_log.parse(f"Edge TPU Compiler version 16.0.384591198\n{text}")
    assert log.succeeded is False and error in log.errors and log.models == ()


def test_a_search_that_ends_well_has_succeeded() -> None:
    search = "Try to compile segment with 13 ops\nCompilation failed!\nTry to compile segment with 12 ops\n"
    log = edgetpu_log.parse(search + PARTLY_MAPPED)
    assert log.succeeded is True and log.attempts == (13, 12)


@pytest.mark.parametrize("length", range(0, len(PARTLY_MAPPED), 97))
def test_a_log_that_is_cut_off_is_read_as_far_as_it_goes(length: int) -> None:
    log = edgetpu_log.parse(PARTLY_MAPPED[:length])
    whole = edgetpu_log.parse(PARTLY_MAPPED).models[0]
    assert log.succeeded in (True, None)
    for model in log.models:
        assert model.rows[:-1] == whole.rows[: len(model.rows)][:-1]
        assert model.counts.items() <= whole.counts.items()


def test_text_of_others_is_no_log() -> None:
    log = edgetpu_log.parse("hello\n\nOperator of the telephone  3   days\n" * 3)
    assert (log.models, log.compiler, log.succeeded, log.errors) == ((), None, None, ())


def test_figures_of_pipeline_segments_are_summed() -> None:
    second = PARTLY_MAPPED[PARTLY_MAPPED.index("Input model") :].replace("flowers", "flowers_segment_1_of_2")
    log = edgetpu_log.parse(PARTLY_MAPPED.replace("Compilation succeeded!", "") + second)
    outcome = compilation.logged(log)
    assert (outcome.mapped, outcome.cpu, outcome.subgraphs) == (18, 6, 2)
    assert (outcome.cached_bytes, outcome.streamed_bytes) == (2 * 1572864, 2 * 2359296)
    assert (outcome.mapped_of("CONV_2D"), outcome.count_of("CONV_2D")) == (18, 22)
    assert compilation.differing_ops(outcome, compilation.logged(edgetpu_log.parse(PARTLY_MAPPED))) == ("CONV_2D",)


def test_a_log_without_a_table_differs_in_nothing_that_is_known() -> None:
    brief = compilation.logged(edgetpu_log.parse(PARTLY_MAPPED[: PARTLY_MAPPED.index("Operator")]))
    assert brief.mapped == 9 and not brief.by_op
    assert compilation.differing_ops(brief, compilation.logged(edgetpu_log.parse(PARTLY_MAPPED))) == ()
    refused = compilation.logged(edgetpu_log.parse("Invalid model: a.tflite\nModel not quantized\n"))
    assert refused.failure is not None and "Model not quantized" in refused.failure and refused.mapped is None


@pytest.mark.skipif(not LOGS.exists(), reason="the real logs are not here")
def test_every_real_log() -> None:
    files = sorted(LOGS.iterdir())
    assert len(files) > 90
    models: list[edgetpu_log.LoggedModel] = []
    for file in files:
        text = file.read_text(encoding="utf-8")
        log = edgetpu_log.parse(text)
        raw = "summary" not in file.name and "parsed" not in file.name
        assert log.models or log.errors or not raw, file.name
        assert {row.status for model in log.models for row in model.rows} <= set(STATUSES), file.name
        for model in log.models:
            complete = "cut" not in text and "... All other" not in text
            if complete and model.rows and "total_ops" in model.counts:
                assert sum(row.count for row in model.rows) == model.counts["total_ops"], file.name
            if model.mapped is not None and model.cpu is not None and "total_ops" in model.counts:
                assert model.mapped + model.cpu == model.counts["total_ops"], file.name
        models += log.models
    assert sum(model.on_chip_used_bytes is not None for model in models) >= 20
    assert sum(bool(model.rows) for model in models) >= 74
    failed = [file for file in files if file.name.endswith(".fail.log.txt")]
    assert failed and all(edgetpu_log.parse(file.read_text(encoding="utf-8")).succeeded is False for file in failed)
