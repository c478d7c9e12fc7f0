"""TF-slim's network from its files: the same answers as the graph, in every form of file and of input."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantize
from benchmarks import slim_graph
from benchmarks.slim_graph import Recipe
from edge.artefact import graph, graph_facts
from edge.runtime.preprocess import preprocess
from quantize.errors import LoadError
from quantize.loading.slim import network as slim_network
from quantize.loading.slim import source as slim_source
from quantize.loading.slim.source import SlimOptions
from quantize.tflite import conversion
from tests.quantize.loading.conftest import SMALL, altered, predictions

pytestmark = pytest.mark.converts

RELU = 1  # ActivationFunctionType in TFLite's schema


def test_a_frozen_graph_answers_as_before_on_photos(imported: slim_source.Imported, photographs: list[np.ndarray]) -> None:
    agreement = imported.compare(photographs)
    assert agreement.pictures == 2
    assert agreement.relative < 1e-5
    assert agreement.same_first == 1.0
    contract = imported.source.contract
    assert (contract.input.height, contract.input.width) == (155, 139)
    assert contract.input.crop_fraction == 0.875
    assert contract.input.mean == contract.input.scale == (127.5,) * 3
    assert contract.outputs[0].kind == "logits"
    assert contract.outputs[0].background_index == 0
    assert contract.source.format == "frozen_graph"


@pytest.mark.parametrize("batch_norm", [slim_graph.PLAIN, slim_graph.FOLDED])
def test_batch_normalisation_in_other_forms(
    batch_norm: str, slim_folder: Path, imported: slim_source.Imported, photographs: list[np.ndarray]
) -> None:
    path = slim_folder / f"{batch_norm}.pb"
    slim_graph.write_frozen(dataclasses.replace(SMALL, batch_norm=batch_norm), path)
    other = slim_source.load(path)
    spec = imported.source.contract.input
    expected = predictions(imported.source.model, spec, photographs[0])
    found = predictions(other.source.model, spec, photographs[0])
    assert np.max(np.abs(found - expected)) < 1e-4 * np.max(np.abs(expected))
    if batch_norm == slim_graph.PLAIN:  # the statistics are still known, and kept
        for ours, theirs in zip(imported.source.model.get_weights(), other.source.model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_an_epsilon_and_a_gamma_of_its_own(slim_folder: Path, frozen: Path, photographs: list[np.ndarray]) -> None:
    def change(node: Any, graph: Any) -> None:
        if node.op.startswith("FusedBatchNorm"):
            node.attr["epsilon"].f = 0.01
        if node.name.endswith("BatchNorm/Const"):
            filters = node.attr["value"].tensor.tensor_shape.dim[0].size
            node.attr["value"].tensor.ClearField("float_val")
            node.attr["value"].tensor.tensor_content = np.linspace(0.8, 1.2, filters).astype(np.float32).tobytes()

    path = slim_folder / "gamma.pb"
    path.write_bytes(altered(frozen, change))
    assert slim_source.load(path).compare(photographs).relative < 1e-5


def test_checkpoint_and_meta_graph_hold_the_same_weights(
    checkpoint: Path, imported: slim_source.Imported, photographs: list[np.ndarray]
) -> None:
    weights = imported.source.model.get_weights()
    for path in (checkpoint, checkpoint.with_name("both.ckpt.index"), checkpoint.with_name("both.ckpt.meta")):
        other = slim_source.load(path)
        assert other.compare(photographs[:1]).relative < 1e-5
        for ours, theirs in zip(weights, other.source.model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_checkpoint_of_the_first_version_alone(slim_folder: Path, imported: slim_source.Imported) -> None:
    """As in the published archive: one file, and no graph."""
    prefix = slim_folder / "version1.ckpt"
    slim_graph.write_checkpoint(SMALL, prefix, version=1)
    prefix.with_name("version1.ckpt.meta").unlink()
    assert prefix.is_file()
    other = slim_source.load(prefix, input_shape=(155, 139, 3))
    assert other.agreement is None
    assert "nothing to compare" in other.source.notes[0]
    for ours, theirs in zip(imported.source.model.get_weights(), other.source.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(LoadError, match="nothing to compare"):
        other.compare([])
    with pytest.raises(LoadError, match=r"is 2 x 1, the map there is 5 x 5; give the input size"):
        slim_source.load(prefix)


def test_a_training_graph_is_not_compared_with(slim_folder: Path, checkpoint: Path, imported: slim_source.Imported) -> None:
    from tensorflow.core.protobuf import meta_graph_pb2

    for path in checkpoint.parent.glob("both.ckpt.*"):
        (slim_folder / path.name.replace("both", "training")).write_bytes(path.read_bytes())
    meta = slim_folder / "training.ckpt.meta"
    graph = meta_graph_pb2.MetaGraphDef.FromString(meta.read_bytes())
    for node in graph.graph_def.node:
        if node.op.startswith("FusedBatchNorm"):
            node.attr["is_training"].b = True
    meta.write_bytes(graph.SerializeToString())
    with pytest.raises(LoadError, match="a training graph.* give the checkpoint instead"):
        slim_source.load(meta)
    found = slim_source.load(slim_folder / "training.ckpt", input_shape=(155, 139, 3))
    assert found.agreement is None
    assert "is a training graph" in found.source.notes[0]
    for ours, theirs in zip(imported.source.model.get_weights(), found.source.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("output", "kind"), [(slim_network.PREDICTIONS, "probabilities"), (slim_network.LOGITS, "logits")])
def test_the_whole_network(output: str, kind: str, checkpoint: Path, photographs: list[np.ndarray]) -> None:
    whole = slim_source.load(checkpoint, SlimOptions(output=output))
    assert whole.compare(photographs).relative < 1e-5
    assert whole.source.contract.outputs[0].kind == kind
    assert whole.source.model.count_params() > slim_source.load(checkpoint).source.model.count_params()


@pytest.mark.parametrize(("order", "fold"), [("bgr", False), ("rgb", True), ("bgr", True)])
def test_another_input_and_the_same_answers(
    order: str, fold: bool, frozen: Path, imported: slim_source.Imported, photographs: list[np.ndarray]
) -> None:
    other = slim_source.load(
        frozen,
        SlimOptions(input_order=order, fold_preprocessing=fold),
        preprocess={"mean": (120.0, 125.5, 130.0), "scale": (127.5, 64.0, 100.0)},
    )
    spec = other.source.contract.input
    assert spec.color == order
    if fold:
        assert (spec.mean, spec.scale) == ((0.0,) * 3, (1.0,) * 3)
    elif order == "bgr":
        assert (spec.mean, spec.scale) == ((130.0, 125.5, 120.0), (100.0, 64.0, 127.5))
    assert other.compare(photographs).relative < 1e-5
    # The colours matter: fed the other way round, the network says something else.
    wrong = dataclasses.replace(spec, color={"rgb": "bgr", "bgr": "rgb"}[order])
    right = predictions(other.source.model, spec, photographs[0])
    assert np.max(np.abs(predictions(other.source.model, wrong, photographs[0]) - right)) > 1e-2 * np.max(np.abs(right))


def test_a_keras_network_that_keeps_its_answers(
    imported: slim_source.Imported, tmp_path: Path, photographs: list[np.ndarray]
) -> None:
    """Saved and loaded as any other, and taken by the bridge for quantization-aware training."""
    from quantize.qat import bridge

    path = tmp_path / "slim.keras"
    imported.source.model.save(path)
    spec = imported.source.contract.input
    fed = {"mean": spec.mean, "scale": spec.scale, "crop_fraction": spec.crop_fraction}
    again = quantize.load(path, preprocess=fed, outputs="logits", background=0)
    assert again.contract.outputs[0].background_index == 0
    tensor = preprocess(photographs[0], spec)
    np.testing.assert_array_equal(again.predict(tensor)["AuxLogits_Logits"], imported.source.predict(tensor)["AuxLogits_Logits"])
    bridged = bridge.bridge(again.model)
    assert len(bridged.folded) == sum(SMALL.blocks[:2])
    assert bridge.check(bridged, tensor) < 1e-5


@pytest.mark.slow
def test_the_published_size(tmp_path: Path, photographs: list[np.ndarray]) -> None:
    """Open Model Zoo's table: 30.223 million parameters, 22.227 GFLOPs, input 1 x 299 x 299 x 3, output 1 x 1001."""
    path = tmp_path / "inception_resnet_v2.pb"
    slim_graph.write_frozen(Recipe(), path)
    whole = slim_source.load(path)
    assert whole.compare(photographs).relative < 1e-5
    conversion.export_saved_model(whole.source, tmp_path / "saved")
    model = graph.read(conversion.convert_float(tmp_path / "saved", "float32"))
    # Batch normalisation is folded there, as in OpenVINO's files: kernels and biases.
    weights = sum(int(np.prod(tensor.shape)) for tensor in model.tensors if tensor.is_constant and tensor.is_float)
    assert weights == 30_222_793
    assert graph_facts.macs(model) == 11_070_834_528
    assert round(gflops_of_open_model_zoo(model), 3) == 22.227


def gflops_of_open_model_zoo(model: graph.Graph) -> float:
    """Count as OpenVINO's Model Analyzer does: 2 for each multiply-accumulate, for each element of a ReLU, and for each of the
    residual scales and the input's mean and scale (multiply, add); 1 for each element of a sum and each value that is pooled.
    """
    total = 2 * graph_facts.macs(model)
    for op in model.ops:
        size = int(np.prod(model.tensors[op.outputs[0]].shape))
        if op.name in ("CONV_2D", "ADD") and op.options["activation"] == RELU:
            total += 2 * size
        if op.name == "ADD":
            total += size + 2 * size  # the sum, and the scale that TFLite has in the convolution before it
        if op.name in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
            total += size * op.options["filter_h"] * op.options["filter_w"]
    return float(total + 2 * np.prod(model.tensors[model.main.inputs[0]].shape)) / 1e9
