"""The worker of ``benchmarks/runtimes.py``: opens a file in every way, answers as the golden samples say, and times runs on demand."""

from __future__ import annotations

import base64
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge
from edge.runtime import golden

REPOSITORY = Path(__file__).resolve().parents[1]
WORKER = REPOSITORY / "benchmarks/runtimes_worker.py"
COMPILED = REPOSITORY / "edge/runtime/compiled.py"


@pytest.mark.parametrize("way", ["Interpreter", "CompiledModel", "packed weights"])
def test_a_way_answers_as_recorded(way: str, small_artefacts: dict[str, Path], tmp_path: Path) -> None:
    file = small_artefacts["int8"]
    model = edge.load(file, threads=1)
    samples = {one.pattern: golden.inputs(one.pattern, model.contract, model.inputs) for one in model.contract.golden}
    arrays: dict[str, Any] = {f"{name}/{i}": each for name, found in samples.items() for i, each in enumerate(found)}
    np.savez(tmp_path / "inputs.npz", **arrays)
    command = [sys.executable, "-I", str(WORKER), way, str(file), str(tmp_path / "inputs.npz"), "1", str(tmp_path / "cache")]
    done = subprocess.run([*command, str(COMPILED)], input="3\n2\n", capture_output=True, text=True, check=True)
    first, *times = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", "["))]
    for one in model.contract.golden:
        recorded = next(r for r in one.outputs if (r.kernels, r.machine) == ("optimized", platform.machine()))
        out = model.outputs[0]
        expected = golden.decode(recorded.values[model.contract.outputs[0].name], out.dtype, out.shape, str(file))
        assert base64.b64decode(first["answers"][one.pattern][0]) == expected.tobytes()
    assert first["peak_mib"] > first["private_dirty_mib"] > 0
    assert [len(each) for each in times] == [3, 2] and min(map(min, times)) >= 0
    assert (tmp_path / "cache").exists() is (way == "packed weights")


def test_what_cannot_be_opened_is_said_and_not_raised(tmp_path: Path) -> None:
    (tmp_path / "damaged.tflite").write_bytes(b"no model")
    arrays: dict[str, Any] = {"a/0": np.zeros(1)}
    np.savez(tmp_path / "inputs.npz", **arrays)
    command = [sys.executable, "-I", str(WORKER), "Interpreter", str(tmp_path / "damaged.tflite"), str(tmp_path / "inputs.npz")]
    done = subprocess.run([*command, "1", "-", str(COMPILED)], input="", capture_output=True, text=True, check=True)
    assert "ValueError" in json.loads(done.stdout)["error"]
