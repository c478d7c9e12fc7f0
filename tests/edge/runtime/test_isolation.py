from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import edge
from edge.artefact import graph
from edge.artefact.flatbuffer import Flatbuffer
from edge.artefact.opcodes import BUILTIN_OPS
from edge.errors import ArtefactError, InterpreterError
from edge.runtime import trust
from edge.runtime.isolation import Prober

INCEPTION = {"mean": (127.5,) * 3, "scale": (127.5,) * 3}


@pytest.fixture
def crashing(tiny_float_flatbuffer: bytes, tmp_path: Path) -> Path:
    """A model whose depthwise convolution has no weights: mostly the end of ai-edge-litert 2.3.

    (`edge.artefact.graph` would refuse it. Mostly: it follows a null pointer only where XNNPACK takes the op.)
    """
    model = graph.read(tiny_float_flatbuffer)
    index = next(op.index for op in model.ops if op.name == "DEPTHWISE_CONV_2D")
    subgraph = next(Flatbuffer(tiny_float_flatbuffer).root().tables(2))
    op = list(subgraph.tables(3))[index]
    file = Flatbuffer(tiny_float_flatbuffer)
    start, _ = file.vector(file.follow(op.field(1, 4)), 4)
    damaged = bytearray(tiny_float_flatbuffer)
    damaged[start + 4 : start + 8] = b"\xff" * 4
    path = tmp_path / "crashing.tflite"
    path.write_bytes(damaged)
    return path


@pytest.fixture
def refused(tiny_float_flatbuffer: bytes, tmp_path: Path) -> Path:
    """A model whose softmax has become an op that no runtime has: consistent as a file."""
    damaged = bytearray(tiny_float_flatbuffer)
    softmax, unknown = BUILTIN_OPS.index("SOFTMAX"), BUILTIN_OPS.index("CALL")
    code = next(c for c in Flatbuffer(tiny_float_flatbuffer).root().tables(1) if c.integer(0, "b") == softmax)
    damaged[code.field(0, 1)] = unknown
    if code.field(3, 4):
        damaged[code.field(3, 4)] = unknown
    path = tmp_path / "refused.tflite"
    path.write_bytes(damaged)
    graph.read(path.read_bytes())
    return path


def test_a_sound_model_is_passed(tiny_float_flatbuffer: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sound.tflite"
    path.write_bytes(tiny_float_flatbuffer)
    with Prober() as prober:
        assert prober.try_file(path) is None
        assert prober.try_file(path) is None
        assert prober.starts == 1


def test_a_crash_stays_in_the_other_process(crashing: Path, tiny_float_flatbuffer: bytes, tmp_path: Path) -> None:
    sound = tmp_path / "sound.tflite"
    sound.write_bytes(tiny_float_flatbuffer)
    with Prober() as prober:
        assert prober.try_file(crashing) is not None
        assert prober.try_file(sound) is None


class Struck(Prober):
    """The other process is stopped while it gets its request, and goes on with a signal that ends it."""

    how = signal.SIGSEGV

    def _read_line(self, process: subprocess.Popen[bytes]) -> bytes:
        process.send_signal(self.how)
        process.send_signal(signal.SIGCONT)
        return super()._read_line(process)


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_crash_is_told_by_its_signal(tiny_float_flatbuffer: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sound.tflite"
    path.write_bytes(tiny_float_flatbuffer)
    with Struck() as prober:
        prober._running().send_signal(signal.SIGSTOP)
        assert prober.try_file(path) == "it takes the interpreter down (SIGSEGV)"
        assert prober.starts == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_run_that_the_system_ended_says_nothing_about_the_file(
    tiny_float_flatbuffer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    """SIGKILL is what a board without memory left sends: the file is not called damaged."""
    path = tmp_path / "sound.tflite"
    path.write_bytes(tiny_float_flatbuffer)
    monkeypatch.setattr(Struck, "how", signal.SIGKILL)
    monkeypatch.setattr(trust, "Prober", Struck)
    with pytest.raises(InterpreterError, match="memory runs out") as error:
        edge.load(path, input=INCEPTION)
    assert "damaged" not in str(error.value)
    monkeypatch.setattr(trust, "Prober", Prober)
    edge.load(path, input=INCEPTION)


def test_load_tries_out_and_turns_a_refusal_into_an_error(refused: Path) -> None:
    with pytest.raises(ArtefactError, match=r"refused\.tflite: tried out in another process"):
        edge.load(refused, input=INCEPTION, kind="logits")


def test_a_hang_is_given_up_on(tiny_float_flatbuffer: bytes, tmp_path: Path) -> None:
    """Opening a pipe that nobody writes to lasts for ever."""
    pipe, sound = tmp_path / "pipe.tflite", tmp_path / "sound.tflite"
    os.mkfifo(pipe)
    sound.write_bytes(tiny_float_flatbuffer)
    with Prober(timeout_s=3.0) as prober:
        assert prober.try_file(pipe) == "it does not finish its first run within 3 s"
        assert prober.try_file(sound) is None
        assert prober.starts == 2


def test_a_refusal_is_told_in_a_few_words(tmp_path: Path) -> None:
    path = tmp_path / "zeros.tflite"
    path.write_bytes(bytes(200))
    with Prober() as prober:
        problem = prober.try_file(path)
    assert problem is not None
    assert "refuses the model" in problem
    assert str(path) not in problem


def test_without_a_process_there_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with Prober() as prober, pytest.raises(InterpreterError, match="cannot start"):
        prober.try_file(tmp_path / "model.tflite")


def test_the_other_process_imports_this_edge_wherever_it_is_started(tiny_float_flatbuffer: bytes, tmp_path: Path) -> None:
    """A folder "edge" in the working directory is not taken for ours."""
    model = tmp_path / "model.tflite"
    model.write_bytes(tiny_float_flatbuffer)
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "__init__.py").write_text("raise SystemExit('the wrong edge')")
    root = Path(edge.__file__).parents[1]
    imports = f"import sys; sys.path.insert(0, {str(root)!r}); from edge.runtime.isolation import Prober"
    program = f"{imports}; print(Prober().try_file({str(model)!r}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
