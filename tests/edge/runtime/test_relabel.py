from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import edge
from edge.artefact import container
from edge.artefact.contract import OutputSpec
from edge.cli import main
from tests.edge.conftest import LABELS, MakeContract, PackArtefact

NEW = tuple(f"new {i}" for i in range(len(LABELS)))


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("".join(f"{name}\n" for name in NEW))
    return path


def test_the_same_network_with_other_names(tiny_int8_artefact: Path, names: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, read = container.read(tiny_int8_artefact), tiny_int8_artefact.read_bytes()
    out = names.with_name("relabelled.tflite")
    assert main(["relabel", str(tiny_int8_artefact), str(names), "--out", str(out), "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [entry["after"] for entry in report["changes"]] == list(NEW)
    after = container.read(out)
    assert before.contract is not None and after.contract is not None
    assert after.contract.outputs[0].labels == NEW
    assert after.flatbuffer() == before.flatbuffer() and tiny_int8_artefact.read_bytes() == read
    assert (after.contract.golden, after.contract.source) == (before.contract.golden, before.contract.source)
    assert after.members["labels.txt"].decode().splitlines() == list(NEW)
    model = edge.load(out)
    noise = np.zeros((model.contract.input.height, model.contract.input.width, 3), np.uint8)
    assert model.classify(noise).top(1)[0].label in NEW
    assert main(["selftest", str(out)]) == 0


def test_names_for_an_artefact_that_had_none(
    tiny_float_flatbuffer: bytes, tiny_contract: MakeContract, pack: PackArtefact, names: Path
) -> None:
    bare = pack(tiny_float_flatbuffer, tiny_contract(outputs=(OutputSpec(name="scores", kind="probabilities"),)))
    assert main(["relabel", str(bare), str(names)]) == 0
    after = container.read(bare.with_name("model.relabelled.tflite"))
    assert after.contract is not None and after.contract.outputs[0].labels == NEW


def test_where_labels_are_missing_the_advice_can_be_followed(
    tiny_float_flatbuffer: bytes, tiny_contract: MakeContract, pack: PackArtefact, tiny_images: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    bare = pack(tiny_float_flatbuffer, tiny_contract(outputs=(OutputSpec(name="scores", kind="probabilities"),)))
    command = ["validate", str(bare), "--images", str(tiny_images), "--diagnose", "never"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert f"edgekit relabel {bare} LABELS" in said and "--labels" not in said
    names = tmp_path / "labels.txt"
    names.write_text("".join(f"{name}\n" for name in LABELS))
    assert main([*command, "--labels", str(names)]) == 2
    assert f"edgekit relabel {bare} LABELS" in capsys.readouterr().err
    assert main(["relabel", str(bare), str(names)]) == 0
    command[1] = str(bare.with_name("model.relabelled.tflite"))
    assert main(command) == 0


def test_what_cannot_be_relabelled_is_said_and_nothing_written(
    tiny_int8_artefact: Path,
    tiny_two_outputs_flatbuffer: bytes,
    tiny_contract: MakeContract,
    pack: PackArtefact,
    names: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = names.with_name("out.tflite")

    def refused(file: Path, labels: Path, *more: str) -> str:
        assert main(["relabel", str(file), str(labels), "--out", str(out), *more]) == 2
        assert not out.exists()
        return capsys.readouterr().err

    few = names.with_name("few.txt")
    few.write_text("one\ntwo\n")
    assert f"2 labels for {len(LABELS)} classes" in refused(tiny_int8_artefact, few)
    assert "no output 'angle' that names classes; there are:" in refused(tiny_int8_artefact, names, "--output", "angle")
    assert "cannot be read" in refused(tiny_int8_artefact, names.with_name("missing.txt"))
    foreign = names.with_name("foreign.tflite")
    foreign.write_bytes(tiny_two_outputs_flatbuffer)
    assert "no artefact of edgekit" in refused(foreign, names)
    outputs = (OutputSpec(name="classes", kind="features"), OutputSpec(name="angle", kind="regression"))
    numbers = pack(tiny_two_outputs_flatbuffer, tiny_contract(outputs=outputs), "numbers.tflite")
    assert "none of its outputs names classes" in refused(numbers, names)
    assert main(["relabel", str(tiny_int8_artefact), str(names), "--out", str(tiny_int8_artefact)]) == 2
    assert "is there already" in capsys.readouterr().err
