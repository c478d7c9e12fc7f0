"""Adaptive rounding against rounding to nearest, on the objective that it has and on a real network with coarse weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge.artefact import graph
from quantize.calibrate import activations, adaptive_rounding, output_error
from quantize.calibrate.adaptive_rounding import round_columns
from quantize.tflite import conversion
from quantize.tflite.float_weights import FloatWeights
from quantize.tflite.int8_file import Int8File


def test_correlated_inputs_are_rounded_better_than_to_nearest() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(4000, 8)) @ rng.normal(size=(8, 24)) + 0.05 * rng.normal(size=(4000, 24))
    weights, scales = rng.normal(size=(6, 24)), np.full((6, 1), 0.3)
    rounded = round_columns(weights, scales, inputs.T @ inputs / len(inputs))

    def error(steps: np.ndarray) -> float:
        return float(np.mean(((steps * scales - weights) @ inputs.T) ** 2))

    assert error(rounded) < 0.3 * error(np.rint(weights / scales))


def test_independent_inputs_are_rounded_to_nearest() -> None:
    weights = np.random.default_rng(1).normal(size=(5, 200))
    scales = np.full((5, 1), 0.05)
    np.testing.assert_array_equal(round_columns(weights, scales, np.eye(200)), np.rint(weights / scales))


def test_patches_are_what_the_convolution_sees(steps: Any) -> None:
    """Patches times weights plus bias is the convolution, for every convolution of the network: strides, SAME and VALID."""
    from edge.runtime.interpreter import open_interpreter

    file = Int8File(steps.int8)
    interpreter = open_interpreter(steps.int8, threads=1, preserve=True)
    activations.infer(interpreter, steps.tensors[0])
    checked = 0
    for op in file.weighted:
        output = file.graph.tensors[op.outputs[0]]
        patches = adaptive_rounding._patches(file, op, interpreter.tensor(op.inputs[0]))
        positions = int(np.prod(output.shape[:-1]))
        if len(patches) != positions:
            continue  # sampled
        bias = file.bias(op)
        assert bias is not None
        weights = file.weights(op).reshape(output.shape[-1], -1) * file.scale(op.inputs[1]).reshape(-1, 1)
        expected = patches @ weights.T + bias
        if op.options["activation"] == 1:
            expected = np.maximum(expected, 0.0)
        scale = float(file.scale(op.outputs[0])[0])
        found = (interpreter.tensor(op.outputs[0]).astype(np.float32) - file.zero_point(op.outputs[0])) * scale
        limits = [(end - file.zero_point(op.outputs[0])) * scale for end in (-128, 127)]
        np.testing.assert_allclose(found.reshape(expected.shape), np.clip(expected, limits[0], limits[1]), atol=1.01 * scale)
        checked += 1
    assert checked >= 4


def test_coarse_weights_of_a_network_gain(steps: Any) -> None:
    per_tensor = conversion.quantize_int8(steps.calibrated, per_channel=False)
    file = Int8File(per_tensor)
    weights = FloatWeights(steps.reference)
    edited = adaptive_rounding.round_adaptively(file, weights, lambda: steps.tensors[:12], layers=99, worse_than=0.0)
    assert edited == len(file.weighted)

    def error(int8: bytes) -> float:
        answers = activations.run(FloatWeights(steps.reference).with_weights_of(Int8File(int8)), steps.tensors)
        return float(
            output_error.per_image(
                activations.run(steps.reference, steps.tensors), answers, output_error.kinds(graph.read(steps.reference))
            ).mean()
        )

    assert error(file.pack()) < 0.8 * error(per_tensor)
