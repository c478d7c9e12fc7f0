"""Where fake quantization stands, what it computes, and that the converted file has exactly those tensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import quantize
from edge.artefact import graph, graph_facts
from quantize import ptq
from quantize.errors import ConversionError
from quantize.qat import bridge
from quantize.qat import tensors as qat_tensors
from quantize.quiet import import_tf_keras
from quantize.tflite import conversion
from tests.quantize.qat.conftest import LABELS, Prepared


def groups(places: qat_tensors.Places) -> Iterator[set[str]]:
    for number in range(places.groups):
        yield {place.kind for place in places.places.values() if place.group == number}


def test_pooling_and_concatenation_share_a_range_and_fused_layers_have_none(prepared: Prepared) -> None:
    places = prepared.places
    assert {"ReLU", "MaxPooling2D", "Concatenate", "AveragePooling2D"} in list(groups(places))
    for place in places.places.values():
        if place.kind in ("FreezableBatchNormalization", "Add"):
            assert place.group is None and not place.rounds  # fused with the ReLU behind it
    softmax = [place for place in places.places.values() if place.fixed is not None]
    assert [place.fixed for place in softmax] == [(0.0, 255 / 256)]
    assert not any(place.observed for place in places.places.values() if place.kind.endswith("Pooling2D"))


def test_every_place_is_a_tensor_of_the_converted_network(prepared: Prepared) -> None:
    wanted = {place.layer for place in prepared.places.tensors()}
    assert set(prepared.exporter.tensor_of) <= wanted | {bridge.QUANTIZED_INPUT}
    assert {place.layer for place in prepared.places.observed} <= set(prepared.exporter.tensor_of)
    assert prepared.exporter.grafts


@pytest.mark.parametrize("io", ["int8", "uint8", "float32"])
def test_the_converted_file_has_the_ops_of_ptq_and_no_float_island(prepared: Prepared, io: str) -> None:
    ours = graph.read(ptq.assemble(prepared.exporter.int8(prepared.table.read(), io=io), prepared.source.contract))
    ptq.check(ours, variant="int8", io=io, runtime=None)
    plain = conversion.quantize_int8(conversion.calibrate(prepared.exporter.float32(), prepared.images), io=io)
    assert graph_facts.op_counts(ours) == graph_facts.op_counts(graph.read(plain))
    boundary = {"int8": [], "uint8": ["QUANTIZE", "QUANTIZE"], "float32": ["QUANTIZE", "DEQUANTIZE"]}[io]
    assert [op.name for op in ours.ops if op.name in ("QUANTIZE", "DEQUANTIZE")] == boundary
    assert not boundary or [op.name for op in (ours.ops[0], ours.ops[-1])] == boundary
    assert not graph_facts.float_ops(ours)


def test_learned_ranges_arrive_in_the_file(prepared: Prepared) -> None:
    ranges = prepared.table.read()
    model = graph.read(prepared.exporter.int8(ranges))
    by_name = {tensor.name: tensor for tensor in model.tensors}
    for layer, (low, high) in ranges.items():
        quant = by_name[prepared.exporter.tensor_of[layer]].quant
        assert quant is not None
        assert float(quant.scale[0]) == pytest.approx((high - low) / 255, rel=1e-4)


def test_a_layer_without_its_tensor_in_the_file_is_refused(prepared: Prepared) -> None:
    layer = next(layer for layer in prepared.network.layers if type(layer).__name__ == "Conv2D")
    before, names = layer.get_weights(), dict(prepared.exporter.tensor_of)
    flatbuffer = prepared.exporter.float32()
    try:
        layer.set_weights([before[0] * 3.0, *before[1:]])
        with pytest.raises(
            ConversionError, match="no tensor that holds what layer .* computes .*; its learned range has no place"
        ):
            prepared.exporter._find_tensors(flatbuffer)
    finally:
        layer.set_weights(before)
        prepared.exporter.tensor_of = names


def test_changed_weights_arrive_in_the_file(prepared: Prepared) -> None:
    from quantize.qat.export import run_all

    layer = next(layer for layer in prepared.network.layers if type(layer).__name__ == "Conv2D")
    before = layer.get_weights()
    try:
        layer.set_weights([before[0] * 0.5, *before[1:]])
        theirs = run_all(prepared.exporter.float32(), prepared.images[0])
        ours = np.asarray(prepared.network(prepared.images[0]))
    finally:
        layer.set_weights(before)
    output = theirs[prepared.exporter.tensor_of[prepared.network.layers[-1].name]]
    np.testing.assert_allclose(output, ours, atol=1e-5)


def test_a_bias_of_zeros_that_the_converter_left_out_comes_back_once_it_is_trained(
    prepared: Prepared, digits_folder: Path
) -> None:
    import keras

    from quantize.qat import export as qat_export
    from quantize.qat.start import StartingPoint

    image = keras.Input((24, 24, 3))
    found = keras.layers.Conv2D(8, 3, strides=2, use_bias=False, activation="relu")(image)
    found = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(found))
    found = keras.layers.Dense(16, activation="relu")(found)  # whose tensor is named after the layer, not after its ReLU
    model = keras.Model(image, keras.layers.Dense(10, activation="softmax", name="digit")(found))
    source = quantize.load(model, name="plain", preprocess="inception", labels=LABELS)
    photos = quantize.RepresentativeDataset.from_folder(digits_folder / "train", count=10, contract=source.contract)
    images = [tensor for tensor in photos.tensors() if isinstance(tensor, np.ndarray)]
    network = bridge.bridge(source.model).network
    exporter = qat_export.Exporter(source, network, qat_tensors.find(network), lambda: iter(images))
    without = [op for op in graph.read(exporter.float32()).ops if op.name == "FULLY_CONNECTED" and -1 in op.inputs]
    assert exporter.grafts and len(without) == 2  # else this test would test nothing

    hidden, dense = (layer for layer in network.layers if type(layer).__name__ == "Dense")
    hidden.set_weights([hidden.get_weights()[0], np.full(16, 0.1, np.float32)])
    dense.set_weights([dense.get_weights()[0], np.linspace(-1, 1, 10, dtype=np.float32)])
    trained = exporter.float32()
    assert all(-1 not in op.inputs for op in graph.read(trained).ops if op.name == "FULLY_CONNECTED")
    output = qat_export.run_all(trained, images[0])[exporter.tensor_of[network.layers[-1].name]]
    np.testing.assert_allclose(output, np.asarray(network(images[0])), atol=1e-5)
    file = conversion.quantize_int8(conversion.calibrate(trained, images))
    assert not graph_facts.float_ops(graph.read(file))
    start = StartingPoint(file, prepared.exporter)  # of another network
    assert not start.matches and start.ranges() == {} and start.adopt() == ()


def test_a_mean_of_one_pixel_has_the_range_of_its_input() -> None:
    layers = import_tf_keras().layers
    image = import_tf_keras().Input((8, 8, 3))
    one = layers.GlobalAveragePooling2D(keepdims=True, name="one")(layers.Conv2D(4, 8, name="seen")(image))
    many = layers.GlobalAveragePooling2D(keepdims=True, name="many")(image)
    network = bridge.bridge(import_tf_keras().Model(image, [layers.Conv2D(2, 1)(one), layers.Conv2D(2, 1)(many)])).network
    places = qat_tensors.find(network).places
    assert places["one"].group == places["seen"].group and not places["one"].observed
    assert places["many"].group != places[bridge.QUANTIZED_INPUT].group and places["many"].observed


def test_a_batch_norm_without_a_relu_scales_the_kernel_before_it() -> None:
    from quantize.qat import scheme as qat_scheme
    from quantize.qat.ranges import RangeTable

    layers = import_tf_keras().layers
    image = import_tf_keras().Input((8, 8, 3))
    answer = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, name="seen")(image))
    network = bridge.bridge(import_tf_keras().Model(image, answer)).network
    places = qat_tensors.find(network)
    quantized = qat_scheme.quantize_network(network, places, RangeTable(places), per_channel=False)
    seen = quantized.get_layer("quant_seen").quantize_config.weight
    assert seen.batch_norm is quantized.get_layer("quant_norm").layer
