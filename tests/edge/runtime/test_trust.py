"""A file is let into this process once it was tried in another one, whatever hashes it carries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import edge
from edge.artefact import container, graph
from edge.artefact.contract import Quantization
from edge.artefact.flatbuffer import Flatbuffer
from edge.errors import ArtefactError
from edge.runtime import trust
from tests.edge.conftest import MakeContract
from tests.edge.resigning import resigned


@pytest.fixture
def artefact(tiny_float_flatbuffer: bytes, tiny_contract: MakeContract, tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(container.pack(tiny_float_flatbuffer, tiny_contract(quantization=Quantization(), notes=(str(tmp_path),))))
    return path


_LOADS = """
import sys, edge
started = []
sys.addaudithook(lambda event, of: started.append(of) if event == "subprocess.Popen" else None)
edge.load(sys.argv[1])
print(bool(started))
"""


def _tried_apart(path: Path) -> bool:
    """Whether a fresh process that loads the file starts another one."""
    done = subprocess.run([sys.executable, "-c", _LOADS, str(path)], capture_output=True, text=True, check=True)
    return done.stdout == "True\n"


def test_an_artefact_is_tried_apart_once(artefact: Path, own_cache: Path) -> None:
    assert _tried_apart(artefact)
    assert not _tried_apart(artefact)
    (tried,) = (own_cache / "tried").iterdir()
    assert tried.name.startswith(container.read(artefact).sha256)
    artefact.write_bytes(resigned(artefact.read_bytes(), {"written_by": "somebody else"}))
    assert _tried_apart(artefact)


def test_other_kernels_are_another_trial(artefact: Path, own_cache: Path) -> None:
    for kernels in ("optimized", "reference", "optimized"):
        edge.load(artefact, kernels=kernels)
    assert len(list((own_cache / "tried").iterdir())) == 2


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs owners")
def test_what_others_can_write_to_is_not_believed(artefact: Path, own_cache: Path) -> None:
    assert _tried_apart(artefact)
    (own_cache / "tried").chmod(0o777)
    assert _tried_apart(artefact)
    assert _tried_apart(artefact)


def test_a_cache_that_cannot_be_made_costs_a_trial_each_time(
    artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "file"))
    assert _tried_apart(artefact)
    assert _tried_apart(artefact)


def test_what_this_process_made_and_ran_is_not_tried_again(artefact: Path, own_cache: Path) -> None:
    from edge.runtime import interpreter

    trust.vouch(container.read(artefact).sha256, runtime=interpreter.installed(), kernels="optimized")
    edge.load(artefact)
    assert not own_cache.exists()


def test_a_signed_artefact_with_a_damaged_graph_is_refused(artefact: Path, own_cache: Path) -> None:
    """Its depthwise convolution has no weights, and every hash in the file fits."""
    data = artefact.read_bytes()
    size = container.read(artefact).flatbuffer_bytes
    index = next(op.index for op in graph.read(data, size=size).ops if op.name == "DEPTHWISE_CONV_2D")
    file = Flatbuffer(data, size)
    op = list(next(file.root().tables(2)).tables(3))[index]
    start, _ = file.vector(file.follow(op.field(1, 4)), 4)
    damaged = bytearray(data)
    damaged[start + 4 : start + 8] = b"\xff" * 4
    artefact.write_bytes(resigned(bytes(damaged)))
    assert container.read(artefact).contract is not None
    with pytest.raises(ArtefactError, match=rf"op {index} \(DEPTHWISE_CONV_2D\) has no operand 1"):
        edge.load(artefact)
