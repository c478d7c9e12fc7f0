"""``edgekit check`` on real artefacts: from file to verdict, with and without a compiler, before and after a measurement."""

from __future__ import annotations

import ctypes.util
import json
import os
import stat
from pathlib import Path

import pytest

from devices import profiles, resize
from devices.edgetpu_ops import MAPPED
from devices.errors import UnknownProfileError
from edge import calibration, checking, container, edgetpu_compiler, edgetpu_runtime
from edge.cli import main
from edge.edgetpu_compiler import CompilerError
from edge.errors import ArtefactError, InterpreterError, UsageError
from edge.loading import load
from edge.network import network_of


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
    assert main(["check", str(file), "--board", "pi-4b", "--learn", str(tmp_path / "none.json")]) == 2
    assert main(["check", str(file), "--board", "pi-4b", "--compile", str(tmp_path)]) == 2


def test_a_measurement_refines_what_follows(
    small_artefacts: dict[str, Path], tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = small_artefacts["int8"]
    guess = checking.check(file, "pi-4b").boards[0].latency
    assert guess
    measured = tmp_path / "bench.json"
    measured.write_text(json.dumps({"p50_ms": 3 * guess.expected, "model_sha256": container.read(file).model_sha256}))
    _, data = run_json(capsys, str(file), "--board", "pi-4b", "--learn", str(measured))
    refined = data["latency_ms"]
    assert isinstance(refined, dict)
    assert refined["expected"] == pytest.approx(3 * guess.expected, abs=0.01)
    assert "measured on this board" in refined["basis"]
    assert list(state.rglob("calibration.json"))
    # Other boards and other ways of running are as unknown as before.
    on_tpu = checking.check(file, "pi-4b", "coral-usb").boards[0].latency
    assert on_tpu and "measured on" not in on_tpu.basis
    other = checking.check(file, "pi-400").boards[0].latency
    assert other and "measured on" not in other.basis
    # A measurement of another model is refused, and a spoilt file is named.
    assert main(["check", str(small_artefacts["float32"]), "--board", "pi-4b", "--learn", str(measured)]) == 2
    calibration.default_path().write_text("{}")
    with pytest.raises(UsageError, match="calibration.json"):
        checking.check(file, "pi-4b")


def test_without_a_compiler_one_sentence_says_where_it_is(
    small_artefacts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CompilerError, match="x86-64.*apt-get install edgetpu-compiler"):
        edgetpu_compiler.compile_model(small_artefacts["int8"], tmp_path)
    with pytest.raises(CompilerError, match="no docker"):
        edgetpu_compiler.compile_model(small_artefacts["int8"], tmp_path, image="some/image")


FAKE = """#!/bin/sh
# Stands in for the program that may not be passed on: takes its options, answers as it does.
for word; do case "$previous" in -o) out="$word";; esac; previous="$word"; model="$word"; done
[ -n "$REFUSES" ] && { echo "ERROR: $REFUSES"; echo "Compilation failed!"; exit 1; }
cp "$model" "$out/$(basename "$model" .tflite)_edgetpu.tflite"
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
