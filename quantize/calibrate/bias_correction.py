"""Bias correction: rounding the weights of a channel shifts its mean; the int32 bias takes the shift back.

M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-free quantization through weight equalization and bias
correction", ICCV 2019, section 4.2, with the means measured on the representative images. Only the shift that an op makes itself
is corrected (``dW E[x]``): correcting the whole difference of the means would push every value of a channel to make up for the
few that its range clips, which measurably hurts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge.artefact.graph import Op
from edge.artefact.tensors import dequantize
from edge.runtime.interpreter import LoadedInterpreter, open_interpreter
from edge.runtime.model import Feed
from edge.runtime.pool import Pool, default_workers, ordered

from ..tflite.float_weights import FloatWeights
from ..tflite.int8_file import Int8File, bias_index
from .activations import infer


def correct_biases(file: Int8File, reference: FloatWeights, tensors: Iterable[Feed]) -> int:
    """Edit the biases of ``file`` and return how many ops were corrected.

    tensors: representative images, float32 ``(1, height, width, channels)``. Ops without bias, or without a counterpart in the
    float network, stay.
    """
    ops = [op for op in file.weighted if bias_index(op) is not None and reference.has(file, op)]
    means = input_means(file, tuple(dict.fromkeys(op.inputs[0] for op in ops)), tensors)
    for op in ops:
        bias = file.bias(op)
        assert bias is not None
        file.set_bias(op, bias - _shift(file, reference, op, means[op.inputs[0]]))
    return len(ops)


def input_means(file: Int8File, wanted: Sequence[int], tensors: Iterable[Feed]) -> dict[int, NDArray[np.float64]]:
    """Return the mean of each channel of int8 tensors over the images and all positions, as real values."""
    data = file.pack()
    workers = default_workers(3 * len(data))
    pool = Pool(open_interpreter(data, threads=1, preserve=True) for _ in range(workers))

    def look(interpreter: LoadedInterpreter, tensor: Feed) -> list[NDArray[np.float64]]:
        infer(interpreter, tensor)
        found = []
        for index in wanted:
            values = interpreter.tensor(index)
            found.append(values.reshape(-1, values.shape[-1]).mean(axis=0, dtype=np.float64))
        return found

    total = [np.zeros(1) for _ in wanted]
    images = 0
    for means in ordered(lambda tensor: pool.use(lambda i: look(i, tensor)), tensors, workers):
        total = [a + b for a, b in zip(total, means, strict=True)]
        images += 1
    return {
        index: (sums / max(images, 1) - file.zero_point(index)) * float(file.scale(index)[0])
        for index, sums in zip(wanted, total, strict=True)
    }


def real_weights(file: Int8File, op: Op) -> NDArray[np.float32]:
    """Return the weights of ``op`` as the int8 kernel means them."""
    params = file.graph.tensors[op.inputs[1]].quant
    assert params is not None
    return dequantize(file.weights(op), params)


def _shift(file: Int8File, reference: FloatWeights, op: Op, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    difference = (real_weights(file, op) - reference.weights(file, op)).astype(np.float64)
    if op.name == "DEPTHWISE_CONV_2D":
        sums = difference.sum(axis=(0, 1, 2))
        return np.asarray(sums * np.repeat(mean, sums.size // mean.size))
    # A grouped convolution's weights see a part of the channels only; such ops have no simple mean and are left alone.
    if difference.shape[-1] != mean.size:
        return np.zeros(difference.shape[0])
    taps = difference.reshape(difference.shape[0], -1, difference.shape[-1]).sum(axis=1)
    return np.asarray(taps @ mean)
