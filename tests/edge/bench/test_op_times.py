"""Times per op: what the profiler of the installed runtime tells, and whose op each of XNNPACK's is. No test asserts a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.artefact import container, graph
from edge.bench import op_times
from edge.bench.op_times import BUILT_IN, XNNPACK, OpTimes
from edge.cli import main
from edge.errors import InterpreterError, UsageError
from edge.runtime import interpreter
from edge.runtime.profiler import Event, _Event, _fits

PROFILED_VERSIONS = {"2.3.0"}
"""Releases of ai-edge-litert whose profiler these tests have seen. Another one: run them, look at the output of --per-op, add it."""

installed = interpreter.compiled_library()
needs_profiler = pytest.mark.skipif(installed is None, reason="needs ai-edge-litert with its libLiteRt.so")


@needs_profiler
def test_the_installed_release_is_one_whose_profiler_was_seen() -> None:
    assert installed is not None
    assert installed[1] in PROFILED_VERSIONS


@pytest.fixture(scope="module")
def measured(small_artefacts: dict[str, Path]) -> dict[str, OpTimes]:
    return {name: op_times.measure(small_artefacts[name], runs=3) for name in ("float32", "int8", "dynamic", "int16x8")}


@needs_profiler
@pytest.mark.parametrize("variant", ["float32", "int8", "dynamic", "int16x8"])
def test_every_event_belongs_to_one_op_and_every_op_has_its_kernels(
    measured: dict[str, OpTimes], small_artefacts: dict[str, Path], variant: str
) -> None:
    times, model = measured[variant], container.read(small_artefacts[variant]).graph
    assert [(op.index, op.op) for op in times.ops] == [(op.index, op.name) for op in model.ops]
    assert sum(len(op.kernels) for op in times.ops) == sum(kernel.calls for kernel in times.kernels)
    assert sum(op.ms for op in times.ops) == pytest.approx(times.sum_ms)
    assert sum(block.ms for block in times.blocks) == pytest.approx(times.sum_ms)
    assert [index for block in times.blocks for index in range(block.first, block.last + 1)] == [op.index for op in model.ops]
    for time, op in zip(times.ops, model.ops, strict=True):
        if op.name != "CONV_2D" or time.ran_by == BUILT_IN:
            continue
        # XNNPACK multiplies matrices where a window is one pixel: a match that has slipped by one op would not keep to that.
        one_pixel = model.tensors[op.inputs[1]].shape[1:3] == (1, 1) and op.options.get("stride_w", 1) == 1
        assert any(kernel.startswith("Fully Connected" if one_pixel else "Convolution") for kernel in time.kernels), time


@needs_profiler
def test_what_left_the_fast_path_is_a_finding(measured: dict[str, OpTimes]) -> None:
    assert {op.ran_by for op in measured["float32"].ops} == {XNNPACK}
    assert measured["float32"].findings() == [text for text in measured["float32"].findings() if "sum up" in text]
    assert {op.ran_by for op in measured["int16x8"].ops} == {BUILT_IN}
    assert any(
        text.startswith("left XNNPACK for built-in kernels, 100% of the time: ") for text in measured["int16x8"].findings()
    )


@needs_profiler
def test_the_command_tells_it(small_artefacts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    path = small_artefacts["int8"]
    assert (
        main(["benchmark", str(path), "--runs", "2", "--seconds", "0", "--threads", "1", "--per-op", "--json", str(report)]) == 0
    )
    said = capsys.readouterr().out
    assert "where the time goes: the profiler of libLiteRt.so" in said
    assert "the slowest blocks:" in said
    found = json.loads(report.read_text(encoding="utf-8"))["per_op"]
    assert found["method"] == "the profiler of libLiteRt.so"
    page = tmp_path / "page.html"
    assert main(["report", str(report), "--out", str(page)]) == 0
    shown = page.read_text(encoding="utf-8")
    assert "Where the time of a run goes" in shown
    assert all(f"{at + 1}. {block['name']}" in shown for at, block in enumerate(found["blocks"]))


@needs_profiler
def test_what_cannot_be_profiled_is_refused_in_a_line(tmp_path: Path, tiny_float_flatbuffer: bytes) -> None:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_float_flatbuffer)
    with pytest.raises(UsageError, match="expected at least one of each"):
        op_times.measure(path, runs=0)
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(tiny_float_flatbuffer[:-40])
    with pytest.raises((InterpreterError, ValueError), match=r"^[^\n]*damaged\.tflite[^\n]*$"):
        op_times.measure(damaged, runs=1)


def test_without_the_runtime_the_way_to_it_is_told(
    tmp_path: Path, tiny_float_flatbuffer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_float_flatbuffer)
    monkeypatch.setenv("EDGEKIT_RUNTIME", "tflite-runtime")
    with pytest.raises(InterpreterError, match="times per op need ai-edge-litert"):
        op_times.measure(path)


def test_events_of_another_layout_are_found_out() -> None:
    """A structure that has grown writes beyond what is known, one that has shrunk writes less."""
    size = len(bytes(_Event()))
    assert _fits(bytes(3 * size) + b"\xa5" * size, 3)
    assert not _fits(bytes(3 * size + 8) + b"\xa5" * (size - 8), 3)
    assert not _fits(bytes(2 * size) + b"\xa5" * 2 * size, 3)
    assert not _fits(b"\xa5" * size, 0)


def test_events_that_are_not_the_files_ops_are_given_to_none(tiny_float_flatbuffer: bytes) -> None:
    model = graph.read(tiny_float_flatbuffer)
    assert op_times.matched(model, [Event("Softmax (NC, F32)", False, 0, 1)] * 40) is None
    assert op_times.matched(model, [Event("CONV_2D", True, 10_000, 1)]) is None
    assert op_times.matched(model, []) is None
