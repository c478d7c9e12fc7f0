"""Where fake quantization stands, what it computes, and that the converted file has exactly those tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantize
from edge.artefact import graph, graph_facts
from quantize import ptq
from quantize.errors import ConversionError
from quantize.qat import bridge
from quantize.qat import tensors as qat_tensors
from quantize.quiet import import_tf_keras
from quantize.tflite import calibrated, conversion

LABELS = [str(digit) for digit in range(10)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """The small network bridged, its tensors, its exporter, first ranges and representative images."""

    source: Any
    network: Any
    places: qat_tensors.Places
    exporter: Any
    table: Any
    images: list[np.ndarray]


def _prepared(source: Any, images: list[np.ndarray]) -> Prepared:
    from quantize.qat import export as qat_export
    from quantize.qat.ranges import RangeTable

    network = bridge.bridge(source.model).network
    exporter = qat_export.Exporter(source, network, qat_tensors.find(network), lambda: iter(images))
    places = exporter.places
    table = RangeTable(places)
    taps = [qat_export.tap(network, [place.layer for place in places.observed], image) for image in images]
    table.set_observed(
        {name: (min(float(t[name].min()) for t in taps), max(float(t[name].max()) for t in taps)) for name in taps[0]}
    )
    return Prepared(source=source, network=network, places=places, exporter=exporter, table=table, images=images)


@pytest.fixture(scope="module")
def prepared(small_network: Any, digits_folder: Path) -> Prepared:
    source = quantize.load(small_network, name="small", preprocess="inception", labels=LABELS)
    photos = quantize.RepresentativeDataset.from_folder(digits_folder / "train", count=40, contract=source.contract)
    return _prepared(source, [tensor for tensor in photos.tensors() if isinstance(tensor, np.ndarray)])


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


@pytest.mark.parametrize("per_channel", [True, False])
def test_the_fake_quantized_network_answers_as_the_converted_file(prepared: Prepared, per_channel: bool) -> None:
    from quantize.qat import parity as qat_parity
    from quantize.qat import scheme as qat_scheme
    from quantize.qat.train import predictor

    quantized = qat_scheme.quantize_network(prepared.network, prepared.places, prepared.table, per_channel=per_channel)
    raw = prepared.exporter.int8(prepared.table.read(), per_channel=per_channel)
    answers = predictor(quantized, prepared.table)(np.concatenate(prepared.images))
    finished = ptq.assemble(raw, prepared.source.contract)
    names = prepared.source.output_names
    parity = qat_parity.compare(finished, dict(zip(names, answers, strict=True)), prepared.images, headline=names[0])
    assert parity.agreement == 1.0 and parity.steps < 0.5
    arguments = (prepared.exporter.tensor_of, quantized, prepared.table, prepared.places, prepared.images[0])
    assert qat_parity.first_divergence(raw, *arguments) is None
    moves = qat_parity.sensitivity(finished, predictor(quantized, prepared.table), names, prepared.images[0])
    assert moves < 20.0  # and 0 where it is sure of its answer
    ranges = prepared.table.read()
    dense = next(place.layer for place in prepared.places.observed if place.kind == "Dense")
    ranges[dense] = (ranges[dense][0] / 8, ranges[dense][1] / 8)
    wrong = prepared.exporter.int8(ranges, per_channel=per_channel)
    assert str(qat_parity.first_divergence(wrong, *arguments)).startswith(f"{dense} (Dense), by ")


def _resized(keras: Any, x: Any) -> Any:
    """Resizing, and PReLU."""
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(keras.layers.Resizing(24, 24)(x))
    for filters in (8, 12):
        x = keras.layers.BatchNormalization()(keras.layers.Conv2D(filters, 3, strides=2, use_bias=False)(x))
        x = keras.layers.PReLU(shared_axes=[1, 2], alpha_initializer=keras.initializers.Constant(0.25))(x)
    return x


def _gated(keras: Any, x: Any) -> Any:
    """What EfficientNet is made of: Normalization, swish, squeeze and excite."""
    layers = keras.layers
    x = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.05, 0.06, 0.07])(layers.Rescaling(1 / 255)(x))
    x = layers.Activation("swish")(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, use_bias=False)(x)))
    for _ in range(2):
        gate = layers.Conv2D(4, 1, activation="swish")(layers.GlobalAveragePooling2D(keepdims=True)(x))
        gated = layers.Multiply()([x, layers.Conv2D(8, 1, activation="sigmoid")(gate)])
        x = layers.Add()([x, layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(gated))])
    return x


@pytest.mark.parametrize("beginning", [_resized, _gated])
def test_other_peoples_layers_are_simulated_as_they_are_converted(beginning: Any) -> None:
    import keras

    from quantize.qat import parity as qat_parity
    from quantize.qat import scheme as qat_scheme
    from quantize.qat.train import predictor

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (1, 4 + i % 3, 4 + i % 3, 3)) for i in range(8)]
    images = [np.asarray(keras.ops.image.resize(each.astype(np.float32), (32, 32)), np.float32) for each in coarse]
    picture = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(beginning(keras, picture))
    model = keras.Model(picture, keras.layers.Dense(2, activation="softmax", name="answer")(x))
    source = quantize.load(model, name="other", labels=("cat", "dog"))
    made = _prepared(source, images)

    quantized = qat_scheme.quantize_network(made.network, made.places, made.table)
    raw = made.exporter.int8(made.table.read())
    finished = ptq.assemble(raw, source.contract)
    answers = predictor(quantized, made.table)(np.concatenate(images))
    parity = qat_parity.compare(finished, {"answer": answers[0]}, images, headline="answer")

    assert not graph_facts.float_ops(graph.read(finished))
    assert parity.steps < 2.0 and parity.agreement is not None and parity.agreement >= 7 / 8
    arguments = (made.exporter.tensor_of, quantized, made.table, made.places, images[0])
    assert qat_parity.first_divergence(raw, *arguments) is None


def test_a_layer_that_differs_proves_nothing_where_the_network_itself_moves_as_much() -> None:
    from quantize.qat.parity import Parity

    one_of_80 = Parity(
        images=80, agreement=79 / 80, steps=0.8, apart=0, diverges="conv2d_5 (Conv2D), by 3.0 steps on average", moves=2.5
    )
    assert one_of_80.holds
    assert not dataclasses.replace(one_of_80, moves=0.2).holds
    assert not dataclasses.replace(one_of_80, agreement=70 / 80).holds  # beyond chance, whatever moves


@pytest.mark.parametrize(
    ("images", "others", "diverges", "close", "holds"),
    [
        (200, 2, None, True, True),
        (80, 1, None, False, True),  # rounding turns an image that is undecided
        (80, 1, "conv2d_5 (Conv2D), by 3.0 steps on average", False, False),
        (80, 2, None, False, True),
        (80, 3, None, False, False),  # chance gives that many in 4.7 % of cases
        (200, 20, None, False, False),
    ],
)
def test_few_images_break_parity_only_with_a_layer_or_beyond_chance(
    images: int, others: int, diverges: str | None, close: bool, holds: bool
) -> None:
    from quantize.qat.parity import Parity

    parity = Parity(images=images, agreement=1 - others / images, steps=0.1, apart=0, diverges=diverges)
    assert (parity.close, parity.holds) == (close, holds)


def test_the_image_to_look_at_is_the_first_with_another_answer(prepared: Prepared) -> None:
    from quantize.qat import parity as qat_parity
    from quantize.qat import scheme as qat_scheme
    from quantize.qat.train import predictor

    quantized = qat_scheme.quantize_network(prepared.network, prepared.places, prepared.table, per_channel=True)
    answers = [values.copy() for values in predictor(quantized, prepared.table)(np.concatenate(prepared.images))]
    answers[0][2:] = np.roll(answers[0][2:], 1, axis=-1)
    finished = ptq.assemble(prepared.exporter.int8(prepared.table.read()), prepared.source.contract)
    names = prepared.source.output_names
    parity = qat_parity.compare(finished, dict(zip(names, answers, strict=True)), prepared.images, headline=names[0])
    assert parity.apart == 2 and parity.agreement == 2 / len(prepared.images) and not parity.holds


def test_fake_quantization_is_tensorflows_with_the_straight_through_gradient() -> None:
    import tensorflow as tf

    from quantize.qat.scheme import fake_quantize, round_symmetric

    values = tf.constant(np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(values)
        ours = fake_quantize(values, tf.constant(-1.0), tf.constant(0.9))
        theirs = tf.quantization.fake_quant_with_min_max_vars(values, -1.0, 0.9)
        kernel = round_symmetric(values, (0,))
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(tape.gradient(ours, values) != 0, np.abs(values - -0.05) <= 0.95)
    steps = kernel / (np.abs(values).max(axis=0) / 127)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
    assert np.abs(steps).max() == pytest.approx(127)
    np.testing.assert_array_equal(tape.gradient(kernel, values), np.ones(values.shape))


def test_ranges_follow_what_is_observed_and_groups_take_the_union(prepared: Prepared) -> None:
    from quantize.qat.ranges import DECAY, RangeTable

    table = RangeTable(prepared.places)
    observed = prepared.places.observed
    table.set_observed({place.layer: (-1.0, float(i)) for i, place in enumerate(observed)})
    shared = next(g for g in range(prepared.places.groups) if sum(p.group == g for p in observed) > 1)
    members = [i for i, place in enumerate(observed) if place.group == shared]
    assert table.read()[observed[members[0]].layer] == (-1.0, max(members))
    with table.step(observe=True):
        for place in observed:
            table.observe(place, np.array([-3.0, 5.0], np.float32))
    table.update()
    last = members[-1]
    assert float(table.high[last]) == pytest.approx(DECAY * last + (1 - DECAY) * 5.0)
    with table.step(observe=False):
        table.observe(observed[last], np.array([100.0], np.float32))
    table.update()
    assert float(table.high[last]) < 100 * (1 - DECAY) + last


def test_chosen_ranges_cut_off_as_much_while_the_extremes_move(prepared: Prepared) -> None:
    from quantize.qat.ranges import DECAY, RangeTable

    table = RangeTable(prepared.places)
    observed = prepared.places.observed
    table.set_observed({place.layer: (-1.0, 4.0) for place in observed})
    chosen = {place.layer: (-0.5, 3.0) for place in observed[1:]}
    table.set_chosen(chosen)
    ranges = table.read()
    alone = [place for place in observed[1:] if place.group != observed[0].group]
    assert all(ranges[place.layer] == pytest.approx((-0.5, 3.0)) for place in alone)
    with table.step(observe=True):
        for place in observed:
            table.observe(dataclasses.replace(place, from_zero=False), np.array([-2.0, 8.0], np.float32))
    table.update()
    high = 0.75 * (DECAY * 4.0 + (1 - DECAY) * 8.0)
    assert table.read()[alone[-1].layer][1] == pytest.approx(high)
    again = RangeTable(prepared.places)
    for name, variable in again.state().items():
        variable.assign(table.state()[name])
    assert again.read() == table.read()


@pytest.mark.parametrize("per_channel", [True, False])
def test_training_starts_at_the_post_training_file(prepared: Prepared, per_channel: bool) -> None:
    from quantize.qat.ranges import RangeTable
    from quantize.qat.start import StartingPoint
    from quantize.tflite.int8_file import Int8File

    file = Int8File(prepared.exporter.int8(prepared.table.read(), per_channel=per_channel))
    rounded_otherwise, corrected = file.weighted[1], file.weighted[-1]
    kernel = file.weights(rounded_otherwise)
    kernel[..., ::3] = np.clip(kernel[..., ::3].astype(int) + 1, -126, 126)
    file.set_weights(rounded_otherwise, kernel)
    bias = file.bias(corrected)
    assert bias is not None
    file.set_bias(corrected, bias + 40 * file.bias_scale(corrected))
    weights = prepared.network.get_weights()
    try:
        start = StartingPoint(file.pack(), prepared.exporter)
        assert start.matches
        changed = start.adopt()
        table = RangeTable(prepared.places)
        table.set_observed({place.layer: (-2.0, 2.0) for place in prepared.places.observed})
        table.set_chosen(start.ranges())
        made = Int8File(prepared.exporter.int8(table.read(), per_channel=per_channel))
    finally:
        prepared.network.set_weights(weights)
    assert len(changed) == 2
    assert all(made.scale(i) == pytest.approx(file.scale(i)) for op in file.graph.ops for i in op.outputs)
    for ours, theirs in zip(made.weighted, file.weighted, strict=True):
        # Each channel's largest weight goes back to the outermost step, and nothing else moves.
        moved = np.mean(made.weights(ours) != file.weights(theirs))
        assert moved < (0.05 if theirs is rounded_otherwise else 0.002)
        mine, its = made.bias(ours), file.bias(theirs)
        assert mine is not None and its is not None
        assert np.all(np.abs(mine - its) <= 2 * file.bias_scale(theirs))


def test_ranges_of_a_flatbuffer_are_read_and_written(prepared: Prepared) -> None:
    flatbuffer = prepared.exporter.float32()
    names = calibrated.activation_names(flatbuffer)
    assert calibrated.read_ranges(flatbuffer) == {}
    ranges = {name: (-float(i), float(i + 1)) for i, name in enumerate(names)}
    written = calibrated.write_ranges(flatbuffer, ranges)
    assert calibrated.read_ranges(written) == ranges
    again = calibrated.write_ranges(written, {names[0]: (0.5, 2.0)})
    assert calibrated.read_ranges(again) == ranges | {names[0]: (0.0, 2.0)}  # widened to hold zero


@pytest.mark.parametrize(("name", "limits", "message"), [
    ("nothing", (0.0, 1.0), "no tensor has this name"),
    (None, (1.0, 0.0), "the lower one first"),
    (None, (0.0, float("nan")), "two finite numbers"),
])  # fmt: skip
def test_a_wrong_range_is_refused(prepared: Prepared, name: str | None, limits: tuple[float, float], message: str) -> None:
    flatbuffer = prepared.exporter.float32()
    tensor = name or calibrated.activation_names(flatbuffer)[0]
    with pytest.raises(ConversionError, match=message):
        calibrated.write_ranges(flatbuffer, {tensor: limits})


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
