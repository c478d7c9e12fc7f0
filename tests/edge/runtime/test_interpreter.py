from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.artefact import graph
from edge.errors import InterpreterError, ShapeError
from edge.runtime import interpreter
from edge.runtime.interpreter import open_interpreter

ROOT = Path(__file__).parents[3]


def _answer(loaded: interpreter.LoadedInterpreter) -> list[float]:
    spec = loaded.inputs[0]
    values = np.random.default_rng(3).integers(-100, 100, spec.shape).astype(spec.dtype)
    loaded.set_input(values)
    loaded.invoke()
    found: list[float] = loaded.output().ravel().tolist()
    return found


def test_a_path_and_its_bytes_are_the_same_model(tiny_int8_artefact: Path) -> None:
    assert _answer(open_interpreter(tiny_int8_artefact)) == _answer(open_interpreter(tiny_int8_artefact.read_bytes()))


def test_tensors_are_described(tiny_int8_flatbuffer: bytes) -> None:
    loaded = open_interpreter(tiny_int8_flatbuffer)
    (spec,) = loaded.inputs
    assert spec.shape == (1, 24, 24, 3)
    assert spec.dtype == np.int8
    assert spec.quant is not None
    assert spec.quant.scale.dtype == np.float32
    assert spec.quant.zero_point.dtype == np.int32
    assert spec.quant.quantized_dimension is None
    assert loaded.outputs[0].shape == (1, 4)


def test_float_tensors_have_no_quantization(tiny_float_flatbuffer: bytes) -> None:
    assert open_interpreter(tiny_float_flatbuffer).inputs[0].quant is None


def test_the_runtime_says_what_runs(tiny_int8_flatbuffer: bytes) -> None:
    optimized = open_interpreter(tiny_int8_flatbuffer, threads=1).runtime
    assert (optimized.kernels, optimized.threads, optimized.delegate) == ("optimized", 1, "xnnpack")
    assert optimized.package in interpreter.available()
    assert optimized.version[0].isdigit()
    reference = open_interpreter(tiny_int8_flatbuffer, kernels="reference").runtime
    assert (reference.kernels, reference.delegate) == ("reference", "none")
    assert reference.threads == interpreter.default_threads()


def test_an_output_is_a_copy(tiny_float_flatbuffer: bytes) -> None:
    loaded = open_interpreter(tiny_float_flatbuffer)
    _answer(loaded)
    first = loaded.output()
    first[:] = -1
    assert (loaded.output() >= 0).all()


def test_preserved_tensors_can_be_read_between_the_ops(tiny_float_flatbuffer: bytes) -> None:
    model = graph.read(tiny_float_flatbuffer)
    loaded = open_interpreter(tiny_float_flatbuffer, preserve=True)
    assert _answer(loaded) == loaded.tensor(loaded.outputs[0].index).ravel().tolist()
    concatenated = next(op for op in model.ops if op.name == "CONCATENATION")
    parts = [loaded.tensor(i) for i in concatenated.inputs]
    np.testing.assert_array_equal(np.concatenate(parts, axis=3), loaded.tensor(concatenated.outputs[0]))
    assert all(part.any() for part in parts)


def test_another_shape_or_dtype_is_refused(tiny_int8_flatbuffer: bytes) -> None:
    loaded = open_interpreter(tiny_int8_flatbuffer)
    with pytest.raises(ShapeError, match=r"is int8 \(1, 24, 24, 3\), got float32"):
        loaded.set_input(np.zeros((1, 24, 24, 3), np.float32))
    with pytest.raises(ShapeError, match=r"got int8 \(24, 24, 3\)"):
        loaded.set_input(np.zeros((24, 24, 3), np.int8))


def test_what_is_no_model_is_refused_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "no.tflite"
    path.write_bytes(bytes(100))
    with pytest.raises(InterpreterError) as caught:
        open_interpreter(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_arguments_are_checked(tiny_float_flatbuffer: bytes) -> None:
    with pytest.raises(InterpreterError, match="threads is 0"):
        open_interpreter(tiny_float_flatbuffer, threads=0)
    with pytest.raises(InterpreterError, match="expected one of optimized, reference"):
        open_interpreter(tiny_float_flatbuffer, kernels="fast")
    with pytest.raises(InterpreterError, match=r"delegate libnothing\.so cannot be loaded"):
        open_interpreter(tiny_float_flatbuffer, delegate="libnothing.so")


def test_the_environment_chooses_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in interpreter.PACKAGES:
        monkeypatch.setenv("EDGEKIT_RUNTIME", name)
        if name in interpreter.available():
            assert interpreter.import_package()[0] == name
        else:
            with pytest.raises(InterpreterError, match=f"pip install {name}"):
                interpreter.import_package()
    monkeypatch.setenv("EDGEKIT_RUNTIME", "tensorflow")
    with pytest.raises(InterpreterError, match="runtime 'tensorflow' is unknown"):
        interpreter.import_package()


def test_nothing_is_chattered_to_the_user(tiny_int8_artefact: Path) -> None:
    program = f"import edge; edge.load({str(tiny_int8_artefact)!r}).preprocess"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_what_is_not_chatter_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with interpreter._quiet_stderr():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nERROR: the roof is on fire\n")
    assert capfd.readouterr().err == "ERROR: the roof is on fire\n"


def test_stderr_is_restored_when_loading_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), interpreter._quiet_stderr():
        raise ZeroDivisionError
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"


def test_importing_edge_imports_nothing_heavy() -> None:
    program = (
        "import sys, edge; print(sorted({'numpy', 'PIL', 'ai_edge_litert', 'tflite_runtime', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_running_a_model_imports_no_tensorflow(tiny_int8_artefact: Path) -> None:
    program = (
        f"import sys, edge; edge.load({str(tiny_int8_artefact)!r});"
        " print(sorted({'tensorflow', 'keras', 'flatbuffers', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_all_public_names_exist() -> None:
    import edge

    for name in edge.__all__:
        assert getattr(edge, name) is not None
    assert dir(edge) == sorted(edge.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        edge.nothing  # noqa: B018
