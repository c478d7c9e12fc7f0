"""Range methods on distributions whose answer is known, same-range groups, and the automatic choice on a real network."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.artefact import graph, graph_facts
from edge.artefact.contract import InputSpec
from edge.numbers import statistics
from edge.runtime.preprocess import preprocess
from quantize.calibrate import activations, auto_ranges, output_error, ranges, same_range, segments, unsaturated
from quantize.calibrate.auto_ranges import Gain
from quantize.calibrate.ranges import BINS, Observed
from quantize.errors import CalibrationError, ConversionError
from quantize.tflite import calibrated, conversion, edit
from quantize.tflite.int8_file import Int8File, affine

pytestmark = pytest.mark.converts


def _observed(values: np.ndarray, limit: float) -> Observed:
    counts, _ = np.histogram(values, bins=BINS, range=(-limit, limit))
    return Observed(
        lows=values.min(axis=1).astype(np.float64),
        highs=values.max(axis=1).astype(np.float64),
        counts=counts.astype(float),
        limit=limit,
    )


@pytest.fixture(scope="module")
def heavy_tailed() -> Observed:
    """Forty images of a thousand values in [0, 1), one of which has a single value of 15."""
    values = np.random.default_rng(0).random((40, 1000))
    values[3, 7] = 15.0
    return _observed(values, 16.0)


def test_min_max_takes_the_odd_value_and_the_others_do_not(heavy_tailed: Observed) -> None:
    assert ranges.min_max(heavy_tailed) == (0.0, 15.0)
    for name in ("mean", "moving-average", "percentile", "kl"):
        low, high = ranges.method(name)(heavy_tailed)
        assert low == 0.0, name
        assert 0.9 < high < 4.0, name


def test_a_blend_lies_between_mean_and_extremes(heavy_tailed: Observed) -> None:
    mean, blend = ranges.method("mean")(heavy_tailed)[1], ranges.method("blend-0.2")(heavy_tailed)[1]
    assert blend == pytest.approx(0.2 * 15.0 + 0.8 * mean)


def test_mse_clips_where_clipping_costs_less_than_rounding() -> None:
    normal = np.random.default_rng(1).laplace(size=(20, 20_000))
    seen = _observed(normal, 16.0)
    low, high = ranges.mean_squared_error(seen)

    def error(low: float, high: float) -> float:
        step = (high - low) / 255
        return float(
            np.mean((np.clip(np.round(normal / step), np.round(low / step), np.round(high / step)) * step - normal) ** 2)
        )

    assert high < ranges.min_max(seen)[1]
    assert error(low, high) < error(*ranges.min_max(seen))
    assert error(low, high) < error(low / 2, high / 2)


@pytest.mark.parametrize("name", [*ranges.METHODS, "blend-0.5"])
def test_every_method_holds_zero_and_survives_a_constant(name: str) -> None:
    for value in (0.0, 2.5, -2.5):
        low, high = ranges.method(name)(_observed(np.full((4, 50), value), 4.0))
        assert low <= 0.0 <= high
        assert np.isfinite([low, high]).all()


def test_an_unknown_method_names_the_known_ones() -> None:
    with pytest.raises(CalibrationError, match="minmax, mean, moving-average, percentile, mse, kl"):
        ranges.method("best")


def test_a_widened_histogram_keeps_its_values_where_they_were() -> None:
    values = np.random.default_rng(2).normal(size=(1, 5000))
    narrow, _ = np.histogram(values, bins=BINS, range=(-8, 8))
    wide, _ = np.histogram(values, bins=BINS, range=(-32, 32))
    np.testing.assert_array_equal(ranges.widen(narrow.astype(float), 2), wide)


def test_groups_are_what_tensorflows_quantizer_gives_one_scale(steps: Any) -> None:
    model = graph.read(steps.reference)
    file = Int8File(steps.int8)
    groups = same_range.groups(model)
    assert sorted(index for group in groups for index in group.tensors) == sorted(same_range.activations(model))
    assert any(len(group.tensors) >= 3 for group in groups)  # a concatenation and its operands
    for group in groups:
        scales = {float(file.scale(file.by_name[model.tensors[index].name])[0]) for index in group.tensors}
        assert len(scales) == 1, [model.tensors[index].name for index in group.tensors]


def test_every_free_group_is_in_one_segment(steps: Any) -> None:
    model = graph.read(steps.reference)
    groups = same_range.groups(model)
    found = [position for segment in segments.segments(model, groups) for position in segment.positions]
    assert sorted(found) == [position for position, group in enumerate(groups) if not group.fixed]


def test_the_numbers_of_an_edited_file_are_those_of_one_packed_anew(steps: Any) -> None:
    """Packed a second time, a file is not put together again: what was edited since is written over."""
    edited = Int8File(steps.int8)
    names = [name for name, index in edited.by_name.items() if edited.graph.tensors[index].dtype == "int8"]
    rng = np.random.default_rng(0)
    for _ in range(3):
        chosen = {name: (-low, high) for name, (low, high) in zip(names, rng.uniform(0.5, 9, (len(names), 2)), strict=True)}
        edited.set_ranges(chosen)
        assert edited.pack() == edit.pack(edit.classes(), edited._model)
    edited.set_weights(edited.weighted[0], 127 - np.abs(edited.weights(edited.weighted[0])))
    assert edited.pack() == edit.pack(edit.classes(), edited._model)
    edited.set_weights(edited.weighted[0], edited.weights(edited.weighted[0]) // 2)
    assert edited.pack() == edit.pack(edit.classes(), edited._model)


@pytest.mark.parametrize("signed", [True, False])
def test_other_outputs_are_written_over_the_files(steps: Any, signed: bool) -> None:
    model = graph.read(steps.int8)
    flatbuffer = steps.int8 if signed else edit.with_outputs(steps.int8, model.main.outputs)
    inner = model.ops[0].outputs[0]
    changed = graph.read(edit.with_outputs(flatbuffer, [inner, *model.main.outputs[1:]]))
    assert changed.main.outputs == (inner, *model.main.outputs[1:])
    assert changed.signatures == ()
    assert repr(changed.ops) == repr(model.ops)  # options are compared by identity
    assert repr(changed.tensors) == repr(model.tensors)
    with pytest.raises(ConversionError, match="expected"):
        edit.with_outputs(flatbuffer, [*model.main.outputs, inner])


def test_edited_ranges_are_what_the_quantizer_makes_of_them(steps: Any) -> None:
    model = graph.read(steps.reference)
    seen = activations.gather(steps.reference, lambda: steps.tensors)
    chosen: dict[str, tuple[float, float]] = {}
    for group in same_range.groups(model):
        if not group.fixed:
            found = ranges.blend(seen.observed(group.tensors, (0,)), 0.3)
            chosen |= {model.tensors[index].name: found for index in group.tensors}
    edited = Int8File(steps.int8)
    edited.set_ranges(chosen)
    quantizer = Int8File(conversion.quantize_int8(calibrated.write_ranges(steps.calibrated, chosen)))
    mine = Int8File(edited.pack())
    for name in chosen:
        a, b = mine.by_name[name], quantizer.by_name[name]
        np.testing.assert_allclose(mine.scale(a), quantizer.scale(b), rtol=1e-5)
        assert mine.zero_point(a) == quantizer.zero_point(b)
    for op, its in zip(mine.weighted, quantizer.weighted, strict=True):
        np.testing.assert_array_equal(mine.weights(op), quantizer.weights(its))
        one, other = mine.bias(op), quantizer.bias(its)
        assert one is not None
        assert other is not None
        assert float(np.max(np.abs(one - other) / mine.bias_scale(op))) <= 1.001


def test_affine_holds_zero_exactly() -> None:
    for low, high in ((-1.0, 1.0), (0.0, 6.0), (0.5, 2.0), (-3.0, -1.0), (0.0, 0.0)):
        scale, zero_point = affine(low, high)
        assert scale > 0
        assert -128 <= zero_point <= 127


def _kinds(steps: Any) -> dict[str, str]:
    return output_error.kinds(graph.read(steps.reference))


def _error(steps: Any, calibrated_flatbuffer: bytes, tensors: list[np.ndarray]) -> np.ndarray:
    expected = activations.run(steps.reference, tensors)
    answers = activations.run(conversion.quantize_int8(calibrated_flatbuffer), tensors)
    return output_error.per_image(expected, answers, _kinds(steps))


def test_auto_is_not_worse_than_any_method_on_digits_that_it_never_saw(steps: Any, digits_folder: Path) -> None:
    choice = auto_ranges.choose_ranges(steps.reference, steps.calibrated, lambda: steps.tensors)
    assert choice.held_out == len(steps.tensors)
    unseen = [preprocess(file, InputSpec(width=32, height=32)) for file in sorted((digits_folder / "test").glob("*/*.png"))[::4]]
    seen = auto_ranges.observe(steps.reference, lambda: steps.tensors)
    own = _error(steps, choice.calibrated, unseen)
    for name in ("converter", "minmax", "mean", "percentile", "kl"):
        other = auto_ranges.choose_ranges(steps.reference, steps.calibrated, lambda: steps.tensors, method=name, seen=seen)
        difference = own - _error(steps, other.calibrated, unseen)
        assert difference.mean() < 0.0005 or statistics.mean_interval(difference)[0] < 0, name


def test_auto_stays_full_integer(steps: Any) -> None:
    choice = auto_ranges.choose_ranges(steps.reference, steps.calibrated, lambda: steps.tensors)
    made = conversion.quantize_int8(choice.calibrated)
    assert not graph_facts.float_ops(graph.read(made))
    assert graph_facts.op_counts(graph.read(made)) == graph_facts.op_counts(graph.read(steps.int8))


def test_the_fewer_the_images_the_nearer_is_what_is_expected_to_their_extremes() -> None:
    assert auto_ranges.expected_share(1) == auto_ranges.expected_share(4) == 1.0
    shares = [auto_ranges.expected_share(images) for images in (10, 20, 60, 200, 2000)]
    assert shares == sorted(shares, reverse=True)
    assert shares[3] == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("wanted", [0.07, 0.2, 0.45])
def test_a_curve_through_the_blends_finds_the_share_better_than_the_luckiest_of_them(wanted: float) -> None:
    """Errors that rise on both sides of the wanted share, each file with 3 % of rounding noise of its own: 100 networks."""
    rng = np.random.default_rng(0)

    def rise(share: float) -> float:
        return float(0.1 * (1 + 0.08 * np.log(share / wanted) ** 2))

    by_curve, by_luck = [], []
    for _ in range(100):
        image = rng.normal(1, 0.4, 128)
        errors = {s: rise(s) * (1 + rng.normal(0, 0.03)) * image * rng.normal(1, 0.2, 128) for s in ranges.SHARES}
        by_curve.append(rise(ranges.best_share(errors, 0.23)))
        by_luck.append(rise(min(errors, key=lambda share: errors[share].mean())))
    assert np.mean(by_curve) < np.mean(by_luck)
    assert np.mean(by_curve) < 1.03 * rise(wanted)


def test_ranges_that_are_written_over_are_the_converters_bit_for_bit(steps: Any) -> None:
    """What is measured is what is delivered: scales, zero points and answers, also where a zero point falls between two steps."""
    rng = np.random.default_rng(0)
    seen = auto_ranges.observe(steps.reference, lambda: steps.tensors[:4])
    # But softmax's, which is 1/256 and -128 whatever was seen.
    groups = [group for group in same_range.groups(seen.model) if not set(group.tensors) & set(seen.model.main.outputs)]
    edited = Int8File(steps.int8, steps.reference)
    for case in range(6):
        found: dict[str, tuple[float, float]] = {}
        for group in groups:
            high = float(rng.uniform(0.5, 8))
            # Symmetric: -0.5. Otherwise so that the exact zero point is a whole number and a half, from either end.
            low = (
                -high
                if case == 0
                else -high * (2 * int(rng.integers(1, 120)) + 1) / 100
                if case < 4
                else -float(rng.uniform(0, 8))
            )
            found |= {seen.model.tensors[index].name: (low, high) for index in group.tensors}
        edited.set_ranges(found)
        ours, theirs = edited.pack(), conversion.quantize_int8(calibrated.write_ranges(steps.calibrated, found))
        for one, other in zip(graph.read(ours).tensors, graph.read(theirs).tensors, strict=True):
            if one.quant is not None and other.quant is not None and one.dtype == "int8":
                np.testing.assert_array_equal(one.quant.zero_point, other.quant.zero_point, err_msg=f"{case} {one.name}")
                np.testing.assert_array_equal(one.quant.scale, other.quant.scale, err_msg=f"{case} {one.name}")
        answers = [activations.run(file, steps.tensors[:20]) for file in (ours, theirs)]
        for mine, converters in zip(*answers, strict=True):
            for name, values in mine.items():
                np.testing.assert_array_equal(values, converters[name])


def test_errors_that_say_nothing_leave_the_expected_share() -> None:
    rng = np.random.default_rng(1)
    shares = [ranges.best_share({s: rng.exponential(1, 16) for s in ranges.SHARES}, 0.3) for _ in range(50)]
    assert 0.15 < np.median(shares) < 0.6
    assert ranges.best_share({s: np.zeros(16) for s in ranges.SHARES}, 0.3) > 0.25


def test_noise_alone_hardly_ever_beats_the_blend() -> None:
    """Forty tries that are no better than the blend: the best of them is taken about as often as one try by one standard error."""
    rng, taken = np.random.default_rng(0), 0
    for _ in range(400):
        best = rng.normal(0, 1, 80)
        certainty = auto_ranges._certainty(40, 80)
        taken += any(output_error.better(best + rng.normal(0, 1, 80), best, certainty) for _ in range(40))
    assert taken / 400 < 0.22


def test_what_is_measured_is_not_blind_where_probabilities_are_saturated(
    steps: Any, louder: Callable[[bytes, float], bytes]
) -> None:
    """The same network, surer of everything by far: probabilities hardly tell two ranges apart any more, the measure does."""
    sure = louder(steps.reference, 30.0)
    tensors = steps.tensors[:24]
    made = []
    for share in (1.0, 0.05):
        seen = auto_ranges.observe(sure, lambda: tensors)
        choice = auto_ranges.choose_ranges(sure, sure, lambda: tensors, method=f"blend-{share:g}", seen=seen)
        made.append(conversion.quantize_int8(choice.calibrated))
    expected = activations.run(sure, tensors)
    plain = [output_error.per_image(expected, activations.run(file, tensors), _kinds(steps)) for file in made]
    found = unsaturated.measure(sure, tensors, _kinds(steps))
    ((name, way),) = found.compared.items()
    assert way == "logits" and found.temperatures[name] > 5.0
    # Half a step of the int8 softmax is all that is left where both answer 1.
    assert np.median(plain[0]) == np.median(plain[1]) <= 1 / 512
    assert np.median(found.error(made[1])) > 2 * np.median(found.error(made[0]))
    np.testing.assert_allclose(found.error(sure), 0.0, atol=1e-4)


def test_the_gain_is_that_of_the_finished_ranges_on_the_images_that_chose(steps: Any) -> None:
    choice = auto_ranges.choose_ranges(steps.reference, steps.calibrated, lambda: steps.tensors)
    chose = steps.tensors
    expected = activations.run(steps.reference, chose)
    assert choice.gain is not None
    for calibrated_flatbuffer, errors in ((choice.calibrated, choice.gain.chosen), (steps.calibrated, choice.gain.converter)):
        answers = activations.run(conversion.quantize_int8(calibrated_flatbuffer), chose)
        np.testing.assert_allclose(
            errors, output_error.per_image(expected, answers, output_error.kinds(graph.read(steps.reference))), atol=1e-6
        )
    assert choice.describe().startswith(f"ranges: {choice.method}; error against float {choice.gain.chosen.mean():.4f} (")


def test_a_difference_within_chance_is_said_to_be_one() -> None:
    rng = np.random.default_rng(0)
    converter = rng.random(16)
    clear, unclear = (Gain(chosen=converter - step, converter=converter, agreeing=15) for step in (0.01, rng.normal(0, 0.1, 16)))
    assert clear.describe().endswith(
        f"(plain converter {converter.mean():.4f}) on the 16 images that chose, the same class on 15"
    )
    assert f"(plain converter {converter.mean():.4f}: no difference beyond chance)" in unclear.describe()


def test_progress_reaches_its_total(steps: Any, capsys: pytest.CaptureFixture[str]) -> None:
    auto_ranges.choose_ranges(steps.reference, steps.calibrated, lambda: steps.tensors)
    ends = re.findall(r"choose the ranges(?: in parts)?: (\d+)/(\d+) done", capsys.readouterr().err)
    assert len(ends) == 2
    assert all(done == total for done, total in ends)


def test_odd_images_do_not_spoil_the_automatic_choice(steps: Any) -> None:
    """Noise and over-exposed pictures, one in twenty: the clean ones lose nothing against a calibration without them."""
    rng = np.random.default_rng(0)
    noise = [rng.uniform(-1, 1, steps.tensors[0].shape).astype(np.float32) for _ in range(2)]
    odd = [noise[0], np.ones_like(steps.tensors[0]), steps.tensors[2], noise[1], *steps.tensors[4:]]
    disturbed = conversion.calibrate(steps.reference, odd)
    choice = auto_ranges.choose_ranges(steps.reference, disturbed, lambda: odd)
    clean = steps.tensors[4:]
    expected = activations.run(steps.reference, clean)

    def error(flatbuffer: bytes) -> float:
        answers = activations.run(conversion.quantize_int8(flatbuffer), clean)
        return float(output_error.per_image(expected, answers, output_error.kinds(graph.read(steps.reference))).mean())

    assert error(choice.calibrated) < 1.25 * min(error(steps.calibrated), error(disturbed))


def test_few_images_are_said_to_be_few(steps: Any) -> None:
    choice = auto_ranges.choose_ranges(steps.reference, steps.calibrated, lambda: steps.tensors[:4])
    assert [finding.check for finding in choice.findings] == ["few_representative"]
    assert choice.held_out == 0
    assert choice.method == "auto: minmax"


def test_a_named_method_is_taken_as_it_is(steps: Any) -> None:
    choice = auto_ranges.choose_ranges(steps.reference, steps.calibrated, lambda: steps.tensors, method="mean")
    written = calibrated.read_ranges(choice.calibrated)
    for name, (low, high) in choice.ranges.items():
        assert written[name] == (float(np.float32(low)), float(np.float32(high)))
    assert (
        auto_ranges.choose_ranges(steps.reference, steps.calibrated, lambda: steps.tensors, method="converter").calibrated
        == steps.calibrated
    )
