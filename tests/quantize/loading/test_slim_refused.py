"""TF-slim's files that are damaged, would do harm, or answer otherwise: refused, and nothing is written."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import quantize
from benchmarks import slim_graph
from edge.artefact.contract import InputSpec
from edge.cli import main
from edge.errors import ContractError
from quantize.errors import LoadError, UnsafeModelError
from quantize.loading.slim import network as slim_network
from quantize.loading.slim import source as slim_source
from quantize.loading.slim.source import SlimOptions
from tests.quantize.loading.conftest import SMALL, altered

pytestmark = pytest.mark.converts


def test_other_scales_or_padding_stop_the_import(slim_folder: Path) -> None:
    path = slim_folder / "scales.pb"
    slim_graph.write_frozen(dataclasses.replace(SMALL, scales=(0.17, 0.11, 0.2)), path)
    with pytest.raises(LoadError, match=r"differ from the graph's by .* nothing was written"):
        slim_source.load(path)


@pytest.mark.parametrize("count", [999, 1002])
def test_labels_that_do_not_fit(count: int, frozen: Path) -> None:
    with pytest.raises(ContractError, match=f"{count} labels for 1001 classes; expected 1001, or 1000 without the background"):
        quantize.load(frozen, labels=[f"class {i}" for i in range(count)])


def test_labels_one_line_off(frozen: Path) -> None:
    with pytest.raises(ContractError, match="line 1 of the labels is 'tench': the names are shifted"):
        quantize.load(frozen, labels=["tench", *(f"class {i}" for i in range(1000))])


@pytest.mark.parametrize(
    ("op", "error", "message"),
    [
        ("PyFunc", UnsafeModelError, "runs Python code"),
        ("ReadFile", UnsafeModelError, "can touch files"),
        ("WriteFile", UnsafeModelError, "can touch files"),
        ("NoSuchOp", LoadError, "custom op"),
    ],
)
def test_ops_that_could_do_harm(op: str, error: type[Exception], message: str, slim_folder: Path, frozen: Path) -> None:
    def change(node: Any, graph: Any) -> None:
        if node.name == "input":
            extra = graph.node.add()
            extra.name, extra.op = "extra", op

    path = slim_folder / f"{op}.pb"
    path.write_bytes(altered(frozen, change))
    with pytest.raises(error, match=message):
        slim_source.load(path)


def test_python_code_in_a_meta_graph_is_refused_wherever_it_is(slim_folder: Path, checkpoint: Path) -> None:
    from tensorflow.core.protobuf import meta_graph_pb2

    meta = meta_graph_pb2.MetaGraphDef.FromString(checkpoint.with_name("both.ckpt.meta").read_bytes())
    extra = meta.graph_def.node.add()
    extra.name, extra.op = "extra", "EagerPyFunc"
    path = slim_folder / "code.ckpt.meta"
    path.write_bytes(meta.SerializeToString())
    with pytest.raises(UnsafeModelError, match="runs Python code"):
        slim_source.load(path, SlimOptions(checkpoint=checkpoint))


def test_files_that_are_damaged_or_something_else(slim_folder: Path, frozen: Path, checkpoint: Path) -> None:
    cut = slim_folder / "cut.pb"
    cut.write_bytes(frozen.read_bytes()[: frozen.stat().st_size // 2])
    with pytest.raises(LoadError, match="cut off"):
        slim_source.load(cut)
    with pytest.raises(LoadError, match="has no node 'InceptionResnetV2/Logits/Predictions'; it has InceptionResnetV2/AuxLogits"):
        slim_source.load(frozen, SlimOptions(output=slim_network.PREDICTIONS))
    with pytest.raises(LoadError, match="does not depend on a node 'pixels'; it begins with input; name it with --input"):
        slim_source.load(frozen, SlimOptions(input_node="pixels"))
    with pytest.raises(LoadError, match="is not there; name it with --checkpoint"):
        lonely = slim_folder / "lonely.ckpt.meta"
        lonely.write_bytes(checkpoint.with_name("both.ckpt.meta").read_bytes())
        slim_source.load(lonely)
    with pytest.raises(LoadError, match="cannot be read"):
        damaged = slim_folder / "damaged.ckpt.index"
        damaged.write_bytes(checkpoint.with_name("both.ckpt.index").read_bytes()[:100])
        slim_source.load(damaged)
    with pytest.raises(LoadError, match="trained on RGB; to feed it bgr say --input-order bgr"):
        slim_source.load(frozen, preprocess=InputSpec(width=139, height=155, color="bgr"))
    with pytest.raises(LoadError, match="its input is 155x139x3, 299x299x3 was asked for"):
        slim_source.load(frozen, input_shape=(299, 299, 3))


def test_the_command_writes_nothing_where_the_answers_differ(
    slim_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scales.pb"
    slim_graph.write_frozen(dataclasses.replace(SMALL, scales=(0.16, 0.1, 0.2)), path)
    assert main(["import", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
