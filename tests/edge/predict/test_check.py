"""``edgekit check`` on real artefacts: from file to verdict, with and without a compiler, before and after a measurement."""

from __future__ import annotations

import ctypes.util
import json
import os
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices.boards import profiles
from devices.boards.records import verified
from devices.edgetpu import log as edgetpu_log
from devices.edgetpu import outcome as edgetpu_outcome
from devices.edgetpu.ops import COMPILED, MAPPED
from devices.errors import UnknownProfileError
from devices.predict import fit, resize
from edge.artefact import container, graph, tflite_metadata
from edge.cli import main
from edge.errors import ArtefactError, InterpreterError, UsageError
from edge.predict import check as checking
from edge.predict import edgetpu_compiler, refinement
from edge.predict.edgetpu_compiler import CompilerError
from edge.predict.op_list import network_of
from edge.runtime import edgetpu as edgetpu_runtime
from edge.runtime.loading import load


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Calibrations of this machine's user stay out of the tests, and the tests' out of theirs."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, object]]:
    code = main(["check", *argv, "--json", "-"])
    return code, json.loads(capsys.readouterr().out)


def test_the_op_list_is_the_graphs(small_artefacts: dict[str, Path]) -> None:
    source = container.read(small_artefacts["int8"])
    network = network_of(source.graph, source.path, file_bytes=source.file_bytes)
    assert [op.name for op in network.ops] == [op.name for op in source.graph.ops]
    assert network.macs > 0 and network.file_bytes == source.path.stat().st_size
    reshape = next(op for op in network.ops if op.name == "RESHAPE")
    assert reshape.constants[0].values == reshape.outputs[0].shape or -1 in (reshape.constants[0].values or ())


def test_int8_maps_to_the_edge_tpu_whole(small_artefacts: dict[str, Path]) -> None:
    report = checking.check(small_artefacts["int8"], "coral-dev-board")
    (found,) = report.boards
    assert found.tpu and report.fits is True
    assert {op.reason for op in found.tpu.prediction.per_op} == {MAPPED}
    assert found.tpu.memory.streamed_bytes == 0


@pytest.mark.parametrize("variant", ["float32", "float16", "dynamic"])
def test_float_does_not_and_says_what_to_do(small_artefacts: dict[str, Path], variant: str) -> None:
    report = checking.check(small_artefacts[variant], "pi-4b", "coral-usb")
    (found,) = report.boards
    assert found.tpu and found.tpu.prediction.mapped == 0 and report.fits is False
    assert any("int8" in line.change for line in report.advice)
    assert checking.check(small_artefacts[variant], "pi-4b").fits is True


@pytest.mark.slow
def test_the_inception_network_streams(artefacts: dict[str, Path]) -> None:
    (found,) = checking.check(artefacts["int8"], "pi-3b-plus", "coral-usb").boards
    assert found.tpu and found.tpu.prediction.mapped == len(found.tpu.prediction.per_op) > 300
    assert 40 << 20 < found.tpu.memory.streamed_bytes < found.tpu.memory.weight_bytes
    assert checking.check(artefacts["float32"], "pi-zero-2w").fits is False
    source = container.read(artefacts["int8"])
    original = resize.resized(network_of(source.graph, source.path), 299)
    assert original is not None and original.macs == pytest.approx(13.154e9, rel=1e-3)
    assert checking.check(artefacts["int8"], "pi-zero-2w").fits is True


def test_one_table_over_all_boards(small_artefacts: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(small_artefacts["int8"])]) == 0
    first_words = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line]
    assert all(board.name in first_words for board in profiles.BOARDS)


def test_json_has_what_programs_need(small_artefacts: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, data = run_json(capsys, str(small_artefacts["int8"]), "--board", "coral-dev-board")
    edgetpu, latency = data["edgetpu"], data["latency_ms"]
    assert code == 0 and data["fits"] is True and isinstance(data["findings"], list)
    assert isinstance(edgetpu, dict) and isinstance(latency, dict)
    assert edgetpu["mapped"] == len(edgetpu["per_op"]) and edgetpu["cpu"] == 0 and edgetpu["subgraphs"] == 1
    assert {"op", "index", "mapped", "reason"} <= edgetpu["per_op"][0].keys()
    assert latency["low"] < latency["expected"] < latency["high"] and latency["basis"]
    code, data = run_json(capsys, str(small_artefacts["float32"]), "--board", "pi-4b", "--accelerator", "coral-usb")
    assert code == 1 and data["fits"] is False


def test_every_op_can_be_listed(small_artefacts: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", str(small_artefacts["uint8"]), "--board", "coral-dev-board", "--ops"])
    lines = capsys.readouterr().out.splitlines()
    ops = container.read(small_artefacts["uint8"]).graph.ops
    for op in ops:
        assert any(f"{op.index} {op.name} v{op.version}: " in line for line in lines)


@pytest.mark.slow
def test_models_before_take_the_cache(artefacts: dict[str, Path]) -> None:
    report = checking.check(artefacts["int8"], "coral-dev-board", before=[artefacts["int8"]])
    tpu = report.boards[0].tpu
    assert tpu and tpu.memory.streamed_bytes > 0.99 * tpu.memory.weight_bytes


def test_wrong_usage_is_one_sentence(small_artefacts: dict[str, Path], tmp_path: Path) -> None:
    file = small_artefacts["int8"]
    with pytest.raises(UnknownProfileError, match="did you mean 'pi-4b'"):
        checking.check(file, "pi-4")
    with pytest.raises(ArtefactError):
        checking.check(tmp_path / "missing.tflite", "pi-4b")
    assert main(["check", str(file), "--compiler-version", "17"]) == 2
    assert main(["check", str(file), "-n", "0", "--board", "coral-dev-board"]) == 2
    assert main(["check", str(file), "--board", "pi-4b", "--learn", str(tmp_path / "none.json")]) == 2
    assert main(["check", str(file), "--board", "pi-4b", "--compile", str(tmp_path)]) == 2


def bench(path: Path, model: Path, p50_ms: float, **more: object) -> str:
    """Write what ``edgekit benchmark --json`` writes, as far as it matters."""
    data = {"p50_ms": p50_ms, "model_sha256": container.read(model).model_sha256, **more}
    path.write_text(json.dumps(data))
    return str(path)


def test_a_measurement_refines_what_follows(
    small_artefacts: dict[str, Path], tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = small_artefacts["int8"]
    guess = checking.check(file, "pi-4b").boards[0].latency
    other_guess = checking.check(small_artefacts["uint8"], "pi-4b").boards[0].latency
    assert guess and other_guess
    host = {"processor": "Raspberry Pi 4 Model B Rev 1.4"}
    measured = bench(tmp_path / "bench.json", file, 3 * guess.expected, machine="aarch64", host=host, threads=4)
    _, data = run_json(capsys, str(file), "--board", "pi-4b", "--learn", measured)
    refined = data["latency_ms"]
    assert isinstance(refined, dict)
    assert refined["expected"] == pytest.approx(3 * guess.expected, abs=0.01)
    assert "measured on Raspberry Pi 4 Model B Rev 1.4" in refined["basis"] and "this very model" in refined["basis"]
    assert refined["high"] / refined["expected"] == pytest.approx(1.15, abs=0.03)  # of milliseconds with two decimals
    assert list(state.rglob("calibration.json"))
    # Another model of the same arithmetic: three times slower too, but less sure.
    other = checking.check(small_artefacts["uint8"], "pi-4b").boards[0].latency
    assert other and other.expected == pytest.approx(3 * other_guess.expected) and "1 other model measured" in other.basis
    assert 1.15 < other.high / other.expected < other_guess.high / other_guess.expected
    # Other boards and other ways of running are as unknown as before.
    on_tpu = checking.check(file, "pi-4b", "coral-usb").boards[0]
    assert on_tpu.latency and "measured on" not in on_tpu.latency.basis
    assert on_tpu.cpu and "measured on" in on_tpu.cpu.basis
    other_board = checking.check(file, "pi-400").boards[0].latency
    assert other_board and "measured on" not in other_board.basis
    # Measured again, it replaces the first run instead of being averaged with it.
    again = bench(tmp_path / "again.json", file, 2 * guess.expected, machine="aarch64", host=host, threads=4)
    assert main(["check", str(file), "--board", "pi-4b", "--learn", again, "--json", str(tmp_path / "out.json")]) == 0
    assert json.loads((tmp_path / "out.json").read_text())["latency_ms"]["expected"] == pytest.approx(
        2 * guess.expected, abs=0.01
    )
    refinement.default_path().write_text("{}")
    with pytest.raises(UsageError, match="calibration.json"):
        checking.check(file, "pi-4b")


def test_a_run_with_one_thread_says_nothing_of_four(
    small_artefacts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = small_artefacts["int8"]
    one = checking.check(file, "pi-4b", threads=1).boards[0].latency
    four = checking.check(file, "pi-4b").boards[0].latency
    assert one and four
    measured = bench(tmp_path / "bench.json", file, 3 * one.expected, machine="aarch64", threads=1)
    run_json(capsys, str(file), "--board", "pi-4b", "--threads", "1", "--learn", measured)
    refined, untouched = (checking.check(file, "pi-4b", threads=n).boards[0].latency for n in (1, 4))
    assert refined and refined.expected == pytest.approx(3 * one.expected) and refined.refined
    assert untouched and untouched.expected == pytest.approx(four.expected) and not untouched.refined
    assert "1 thread(s) were measured, which say nothing of 4" in untouched.basis


def test_the_clock_that_was_measured_is_predicted_for(
    small_artefacts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = small_artefacts["int8"]
    before = checking.check(file, "pi-4b").boards[0]
    assert before.cpu and before.boosted and "1500 MHz" in before.cpu.basis and "1800 MHz" in before.boosted.basis
    thermal = {"clock_max_mhz": 1800.0}
    measured = bench(tmp_path / "bench.json", file, before.boosted.expected, machine="aarch64", threads=4, thermal=thermal)
    _, data = run_json(capsys, str(file), "--board", "pi-4b", "--learn", measured)
    found = data["latency_ms"]
    assert isinstance(found, dict) and "at 1800 MHz" in found["basis"] and data["cpu_latency_boosted_ms"] is None
    assert found["expected"] == pytest.approx(before.boosted.expected, abs=0.01)
    (run,) = next(iter(refinement.load().values()))
    assert run.clock_mhz == 1800 and run.ratio == pytest.approx(1.0)
    # What was learnt holds for every model on that board.
    other = checking.check(small_artefacts["float32"], "pi-4b").boards[0]
    assert other.cpu and "at 1800 MHz" in other.cpu.basis and other.boosted is None
    code, given = run_json(capsys, str(file), "--board", "pi-5", "--clock", "3000")
    assert code == 0 and "at 3000 MHz" in given["latency_ms"]["basis"]  # type: ignore[index]
    assert main(["check", str(file), "--clock", "1800"]) == 2 and "--board" in capsys.readouterr().err
    assert main(["check", str(file), "--board", "pi-5", "--clock", "2"]) == 2 and "--clock is 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"machine": "x86_64"}, "from x86_64, and Raspberry Pi 4"),
        ({"host": {"processor": "Raspberry Pi 5 Model B Rev 1.0"}}, "give --board pi-5"),
        ({"host": {"processor": "Raspberry Pi Compute Module 4S Rev 1.0"}}, "give --board cm4s"),
        ({"host": {"processor": "Xunlong Orange Pi 5 Plus"}}, "give --board orange-pi-5-plus"),
        ({"quotable": False, "not_quotable_because": ["it was throttled"]}, "not this board's speed (it was throttled)"),
        ({"board": {"profile": "pi-4b", "virtual": True}}, "is of pi-4b, emulated, which is no board's speed"),
        ({"runtime": {"delegate": "libedgetpu.so.1"}}, "ran on an Edge TPU"),
        ({"p50_ms": "fast"}, "no p50_ms"),
        ({"p50_ms": 10**400}, "is a whole number of more than 64 bits"),
        ({"quotable": False, "not_quotable_because": 5}, "not_quotable_because is 5, expected a list"),
        ({"model_sha256": "0" * 64}, "is no measurement of"),
    ],
)
def test_a_measurement_of_something_else_is_refused(
    small_artefacts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: dict[str, object], words: str
) -> None:
    file = small_artefacts["int8"]
    measured = bench(tmp_path / "bench.json", file, 5.0)
    Path(measured).write_text(json.dumps({**json.loads(Path(measured).read_text()), **more}))
    assert main(["check", str(file), "--board", "pi-4b", "--learn", measured]) == 2
    assert words in capsys.readouterr().err
    assert not refinement.default_path().exists()


def test_a_board_of_the_users_own_learns_too(small_artefacts: dict[str, Path], tmp_path: Path) -> None:
    own = replace(profiles.board("pi-4b"), name="garden", device_tree=verified(("My Board",), "its maker"))
    source = container.read(small_artefacts["int8"])
    network = network_of(source.graph, source.path)
    found = fit.on_board(network, own)
    measured = {"p50_ms": 7.0, "host": {"processor": "My Board rev 2"}}
    run = refinement.learn(network, found, measured, board=own, model_sha256=source.model_sha256)
    assert run.host == "My Board rev 2"
    refined = refinement.apply(refinement.load(), network, found, model_sha256=source.model_sha256)
    assert refined.latency and refined.latency.expected == pytest.approx(7.0)


def test_without_a_compiler_one_sentence_says_where_it_is(
    small_artefacts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CompilerError, match="x86-64.*apt-get install edgetpu-compiler"):
        edgetpu_compiler.compile_model(small_artefacts["int8"], tmp_path)
    with pytest.raises(CompilerError, match="no docker"):
        edgetpu_compiler.compile_model(small_artefacts["int8"], tmp_path, image="some/image")


# The real compiler may not be passed on and is not here. What stands in for it takes its options and answers with the text of
# REPLAY (a real log, where those are at hand), or with a few lines as it writes them; its model is a copy of the given one, or of
# MAKES. So these tests show that edgekit finds a program, gives it what its documentation says, reads its answer and keeps its
# files. That the real one does the same they cannot show.
FAKE = """#!/bin/sh
for word; do case "$previous" in -o) out="$word";; esac; previous="$word"; model="$word"; done
[ -n "$REFUSES" ] && { echo "ERROR: $REFUSES"; echo "Compilation failed!"; exit 1; }
[ -n "$REPLAY" ] && cat "$REPLAY"
[ -n "$MAKES_NOTHING" ] && exit 1
cp "${MAKES:-$model}" "$out/$(basename "$model" .tflite)_edgetpu.tflite"
[ -n "$REPLAY" ] && exit 0
echo "Edge TPU Compiler version 16.0.384591198"
echo "Model compiled successfully in 5 ms."
echo "Input model: $model"
echo "On-chip memory used for caching model parameters: 64.00KiB"
echo "Off-chip memory used for streaming uncached model parameters: 0.00B"
echo "Number of operations that will run on Edge TPU: 3"
echo "Number of operations that will run on CPU: 0"
echo "Compilation succeeded!"
"""


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / edgetpu_compiler.PROGRAM
    program.parent.mkdir()
    program.write_text(FAKE)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


def test_a_compiled_model_keeps_its_contract(small_artefacts: dict[str, Path], tmp_path: Path, compiler: Path) -> None:
    source = container.read(small_artefacts["int8"])
    done = edgetpu_compiler.compile_model(small_artefacts["int8"], tmp_path / "out")
    (file,) = done.files
    compiled = container.read(file)
    assert compiled.contract and source.contract
    assert compiled.contract.outputs == source.contract.outputs
    assert compiled.contract.input == source.contract.input
    assert compiled.contract.golden == ()
    assert compiled.members["labels.txt"] == source.members["labels.txt"]
    assert done.log.models[0].on_chip_used_bytes == 64 << 10


def test_compile_shows_both_side_by_side(
    small_artefacts: dict[str, Path], tmp_path: Path, compiler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["check", str(small_artefacts["int8"]), "--board", "coral-dev-board", "--compile", str(tmp_path / "out")]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert "cached on the chip: predicted" in text and "compiler 0.06 MiB" in text
    assert f"wrote {tmp_path / 'out'}" in text


def test_metadata_that_the_compiler_drops_comes_back(
    small_artefacts: dict[str, Path], tmp_path: Path, compiler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorflow.lite.python import schema_py_generated

    source = container.read(small_artefacts["int8"])
    model = schema_py_generated.ModelT.InitFromPackedBuf(bytes(source.flatbuffer()), 0)
    model.metadata = None
    bare = packed(model, tmp_path / "bare.tflite")
    assert not graph.read(bare.read_bytes()).metadata
    monkeypatch.setenv("MAKES", str(bare))
    (file,) = edgetpu_compiler.compile_model(small_artefacts["int8"], tmp_path / "out").files
    compiled = container.read(file)
    assert tflite_metadata.read(bytes(compiled.flatbuffer()), compiled.graph) == tflite_metadata.read(
        bytes(source.flatbuffer()), source.graph
    )
    assert tflite_metadata.read(bytes(source.flatbuffer()), source.graph) is not None
    pixels = np.full((32, 32, 3), 200, np.uint8)
    answers = [load(path).classify(pixels).top(3) for path in (small_artefacts["int8"], file)]
    assert answers[0] == answers[1]


def test_compiling_gives_prediction_and_compiler_in_one_form(
    small_artefacts: dict[str, Path], tmp_path: Path, compiler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [str(small_artefacts["int8"]), "--board", "coral-dev-board", "--compile", str(tmp_path / "out")]
    code, data = run_json(capsys, *argv)
    comparison = data["comparison"]
    assert code == 0 and isinstance(comparison, dict)
    assert comparison["predicted"].keys() == comparison["compiler"].keys()
    assert comparison["compiler"]["mapped"] == 3 and comparison["compiler"]["cached_bytes"] == 64 << 10
    assert comparison["predicted"]["by_op"]["CONV_2D"] == {MAPPED: comparison["predicted"]["by_op"]["CONV_2D"][MAPPED]}
    main(["check", *argv, "--compiler-version", "15.0"])
    assert "the prediction is for 15.0" in capsys.readouterr().out


def packed(model: Any, path: Path) -> Path:
    """Write a model of the schema's object form."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def test_a_run_on_the_edge_tpu_refines_by_the_compiled_file(
    small_artefacts: dict[str, Path],
    tmp_path: Path,
    compiler: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tensorflow.lite.python import schema_py_generated as schema

    file = small_artefacts["int8"]
    model = schema.ModelT.InitFromPackedBuf(bytes(container.read(file).flatbuffer()), 0)
    code, op = schema.OperatorCodeT(), schema.OperatorT()
    code.deprecatedBuiltinCode = code.builtinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = COMPILED
    op.inputs, op.outputs = model.subgraphs[0].inputs, model.subgraphs[0].outputs
    model.operatorCodes, model.subgraphs[0].operators = [code], [op]
    monkeypatch.setenv("MAKES", str(packed(model, tmp_path / "made.tflite")))
    (compiled,) = edgetpu_compiler.compile_model(file, tmp_path / "out").files
    measured = bench(tmp_path / "bench.json", compiled, 9.0, machine="aarch64", runtime={"delegate": "libedgetpu.so.1"})
    argv = ["check", str(file), "--board", "coral-dev-board", "--learn", measured]
    assert main(argv) == 2
    assert "is no measurement of" in capsys.readouterr().err
    assert main([*argv, "--compiled", str(file)]) == 2
    assert COMPILED in capsys.readouterr().err
    assert main(["check", str(compiled)]) == 2
    assert "is compiled for the Edge TPU already" in capsys.readouterr().err
    code_, data = run_json(capsys, *argv[1:], "--compiled", str(compiled))
    refined = data["latency_ms"]
    assert code_ == 0 and isinstance(refined, dict) and refined["expected"] == 9.0
    assert "for this very model" in refined["basis"]


LOGS = Path(__file__).resolve().parents[4] / "shared" / "edgetpu" / "logs"
RAW_LOGS = [path for path in (sorted(LOGS.iterdir()) if LOGS.exists() else []) if not path.name.startswith(("ext_23", "ext_25"))]


@pytest.mark.skipif(not RAW_LOGS, reason="the real logs are not here")
def test_every_real_log_through_the_compilers_wrapper(
    small_artefacts: dict[str, Path], tmp_path: Path, compiler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = 0
    for log in RAW_LOGS:
        monkeypatch.setenv("REPLAY", str(log))
        expected = edgetpu_log.parse(log.read_text(encoding="utf-8"))
        monkeypatch.setenv("MAKES_NOTHING", "1" if expected.succeeded is False else "")
        try:
            done = edgetpu_compiler.compile_model(small_artefacts["int8"], tmp_path / "out")
        except CompilerError as error:
            refused += 1
            assert expected.errors and expected.errors[0] in str(error), log.name
        else:
            assert (done.log.models, done.log.attempts) == (expected.models, expected.attempts), log.name
            outcome = edgetpu_outcome.logged(done.log)
            counted = [model.mapped for model in expected.models if model.mapped is not None]
            assert outcome.mapped == (sum(counted) if counted else outcome.mapped), log.name
            assert container.read(done.files[0]).contract is not None
    assert refused >= 4 and len(RAW_LOGS) > 90


def test_a_refusal_is_in_the_compilers_words(
    small_artefacts: dict[str, Path], tmp_path: Path, compiler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUSES", "Model is too nice.")
    with pytest.raises(CompilerError, match="Model is too nice"):
        edgetpu_compiler.compile_model(small_artefacts["int8"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_library_that_is_none_is_found_out_in_another_process(small_artefacts: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "libedgetpu.so.1"
    broken.write_bytes(b"no library")
    with pytest.raises(InterpreterError, match="libedgetpu"):
        edgetpu_runtime.try_out(small_artefacts["int8"], str(broken))


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_library_that_takes_the_process_down_is_survived(small_artefacts: dict[str, Path], tmp_path: Path) -> None:
    source, library = tmp_path / "crash.c", tmp_path / "libedgetpu.so.1"
    source.write_text("#include <stdlib.h>\n__attribute__((constructor)) static void crash(void) { abort(); }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    with pytest.raises(InterpreterError, match="takes the interpreter down .SIGABRT.*feranick.*edgekit doctor"):
        edgetpu_runtime.try_out(small_artefacts["int8"], str(library))


DOCKER = """#!/bin/sh
# Stands in for docker: runs what it is asked to run here, with the mounted folder at its real place.
while [ "$1" != "-v" ]; do shift; done
folder="${2%%:*}"; image="$3"; shift 3
[ "$image" = "my/compiler" ] || exit 125
exec $(echo "$@" | sed "s#/model#$folder#g")
"""


def test_the_compiler_in_a_docker_image(small_artefacts: dict[str, Path], tmp_path: Path, compiler: Path) -> None:
    docker = compiler.with_name("docker")
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    done = edgetpu_compiler.compile_model(small_artefacts["int8"], tmp_path / "out", image="my/compiler", min_runtime=13)
    assert {"--network=none", "my/compiler", "-m", "13"} <= set(done.command)
    assert container.read(done.files[0]).contract is not None
    with pytest.raises(CompilerError):
        edgetpu_compiler.compile_model(small_artefacts["int8"], tmp_path / "out", image="another")


@pytest.mark.skipif(ctypes.util.find_library("edgetpu") is not None, reason="libedgetpu is installed here")
def test_without_libedgetpu_one_sentence_says_what_to_install(small_artefacts: dict[str, Path]) -> None:
    with pytest.raises(InterpreterError, match="libedgetpu is not installed.*feranick"):
        load(small_artefacts["int8"], delegate="edgetpu")
