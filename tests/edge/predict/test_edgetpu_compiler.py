"""``edgekit check --compile``: the compiler is found, asked, understood, and its file keeps the contract."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices.edgetpu import compilation
from devices.edgetpu import log as edgetpu_log
from devices.edgetpu.ops import COMPILED, MAPPED
from edge.artefact import container, graph, tflite_metadata
from edge.cli import main
from edge.predict import edgetpu_compiler
from edge.predict.edgetpu_compiler import CompilerError
from edge.runtime.loading import load
from tests.edge.predict.conftest import bench, run_json


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
            outcome = compilation.logged(done.log)
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
