"""What a model answers as bits, of the whole and of every op."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import edge
from edge.artefact import graph
from edge.commands.fingerprint import main
from edge.data.dataset import LabelledImages
from edge.runtime.golden import decode
from edge.validation import fingerprint


@pytest.fixture(scope="module")
def images(few_digits: Path) -> LabelledImages:
    return LabelledImages.open(few_digits / "test", unlabelled=True).subset(4)


def test_the_answers_are_those_of_the_model(small_artefacts: dict[str, Path], images: LabelledImages) -> None:
    model = edge.load(small_artefacts["int8"])
    found = fingerprint.take(model, images)
    assert [image["id"] for image in found["images"]] == [item.id for item in images] and found["ops"] == []
    (name,) = found["images"][0]["outputs"]
    for item, image in zip(images, found["images"], strict=True):
        expected = model.invoke(model.preprocess(item.path))[name]
        answer = image["outputs"][name]
        assert answer["dtype"] == "int8"
        assert (decode(answer["values"], expected.dtype, expected.shape, "here") == expected).all()


@pytest.mark.parametrize("variant", ["int8", "float32", "dynamic", "uint8"])
@pytest.mark.parametrize("kernels", ["optimized", "reference"])
def test_every_op_is_traced_and_the_last_one_is_the_answer(
    small_artefacts: dict[str, Path], images: LabelledImages, variant: str, kernels: str
) -> None:
    model = edge.load(small_artefacts[variant], kernels=kernels)
    found = fingerprint.take(model, images, ops=True)
    assert [op["index"] for op in found["ops"]] == [op.index for op in model.container.graph.subgraphs[0].ops]
    (answer,) = found["images"][0]["outputs"].values()
    assert found["ops"][-1]["sha256"] == answer["sha256"]
    computed = [op["sha256"] for op in found["ops"] if op["op"] != "RESHAPE"]  # which changes no value
    assert len(set(computed)) == len(computed)


def test_kernels_that_round_differently_are_told_apart_in_the_ops(
    small_artefacts: dict[str, Path], images: LabelledImages
) -> None:
    traces: list[Any] = []
    for kernels in ("optimized", "reference"):
        ops = fingerprint.take(edge.load(small_artefacts["int8"], kernels=kernels), images, ops=True)["ops"]
        traces.append([op["sha256"] for op in ops])
    assert traces[0] != traces[1]


def test_the_copy_with_other_outputs_is_a_sound_file(small_artefacts: dict[str, Path]) -> None:
    model = edge.load(small_artefacts["int8"])
    copy = fingerprint.with_outputs(model.container.flatbuffer(), [5, 7])
    found = graph.read(copy, where="copy").subgraphs[0]
    assert found.outputs == (5, 7)
    assert len(found.ops) == len(model.container.graph.subgraphs[0].ops)


def test_the_module_as_a_command(
    small_artefacts: dict[str, Path], few_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(small_artefacts["int8"]), "--images", str(few_digits / "test"), "--limit", "3"]
    assert main([*command, "--diagnose", "never", "--workers", "2"]) == 0  # flags of validate do no harm
    assert len(json.loads(capsys.readouterr().out)["images"]) == 3
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert main([command[0], "--images", str(tmp_path)]) == 2
    assert "none of the 1 images can be read" in capsys.readouterr().err
