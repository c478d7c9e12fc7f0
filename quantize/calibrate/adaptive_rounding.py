"""Adaptive rounding of weights: up or down, whichever keeps the op's output, given what its inputs are like.

Rounding each weight to the nearest step is best only if inputs were independent. Here the columns of a weight matrix are
rounded one after another, and the columns still to come take back the error: E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh,
"GPTQ", ICLR 2023,
on the objective of M. Nagel et al., "Up or down? Adaptive rounding for post-training quantization", ICML 2020:
``|| (W' - W) X ||^2``. No training, no extra op: the scales stay, only int8 values change.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from edge.artefact.graph import Op
from edge.runtime.interpreter import LoadedInterpreter, open_interpreter
from edge.runtime.model import Feed
from edge.runtime.pool import Pool, default_workers, ordered

from ..tflite.float_weights import FloatWeights
from ..tflite.int8_file import Int8File
from .activations import Tensors, infer
from .bias_correction import real_weights
from .output_error import Floats

COARSE = 1e-3  # 30 dB: one scale per channel is far better (about 40 dB) and has nothing to gain from another rounding

_DAMPING = 0.01  # of the mean diagonal, added to it: keeps directions that no image has from being used
_MOST_COLUMNS = 2400  # the second moments of a layer take columns^2
_BATCH_BYTES = 1 << 29  # of second moments held at a time
_PATCHES = 256  # of one image; more say nothing new


def round_adaptively(
    file: Int8File, reference: FloatWeights, images: Tensors, *, layers: int = 16, worse_than: float = COARSE
) -> int:
    """Edit the weights of at most ``layers`` ops, those that rounding hurts most, and return how many were edited.

    worse_than: relative squared rounding error of an op's weights from which it is worth it.

    images: gives the representative images (float32 ``(1, height, width, channels)``) whenever called.
    """
    worst = _worst(file, reference, worse_than)[:layers]
    done = 0
    while worst:
        batch: list[Op] = []
        taken = 0
        while worst and (not batch or taken + _columns(file, worst[0]) ** 2 * 8 <= _BATCH_BYTES):
            op = worst.pop(0)
            batch.append(op)
            taken += _columns(file, op) ** 2 * 8
        for op, moments in zip(batch, _second_moments(file, batch, images()), strict=True):
            rounded = round_columns(_matrix(reference.weights(file, op)), _row_scales(file, op), moments)
            file.set_weights(op, rounded.reshape(file.graph.tensors[op.inputs[1]].shape))
            done += 1
    return done


def round_columns(weights: Floats, scales: Floats, moments: Floats) -> NDArray[np.int8]:
    """Return int8 weights ``(out, columns)`` for real ones, with the least error on inputs of the given second moments.

    scales: ``(out, 1)``. moments: ``E[x x^T]``, ``(columns, columns)``, positive semidefinite.
    """
    columns = weights.shape[1]
    damped = moments + np.eye(columns) * max(_DAMPING * float(np.mean(np.diag(moments))), 1e-12)
    # The Cholesky factor of the inverse gives the updates of all columns at once (GPTQ, section 3.3).
    inverse = np.linalg.inv(damped)
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    left = weights.astype(np.float64).copy()
    rounded = np.zeros(weights.shape, np.int8)
    block = 128
    for start in range(0, columns, block):
        end = min(start + block, columns)
        errors = np.zeros((weights.shape[0], end - start))
        for column in range(start, end):
            steps = np.clip(np.rint(left[:, column : column + 1] / scales), -127, 127)
            rounded[:, column] = steps[:, 0]
            error = (left[:, column] - (steps * scales)[:, 0]) / upper[column, column]
            errors[:, column - start] = error
            left[:, column + 1 : end] -= np.outer(error, upper[column, column + 1 : end])
        left[:, end:] -= errors @ upper[start:end, end:]
    return rounded


def _worst(file: Int8File, reference: FloatWeights, worse_than: float) -> list[Op]:
    """Ops whose weights lose most by rounding, relative to what they are, worst first."""
    loss: dict[int, float] = {}
    for position, op in enumerate(file.weighted):
        if op.name == "DEPTHWISE_CONV_2D" or not reference.has(file, op) or _columns(file, op) > _MOST_COLUMNS:
            continue
        if file.graph.tensors[op.inputs[0]].shape[-1] != file.graph.tensors[op.inputs[1]].shape[-1]:
            continue
        real = reference.weights(file, op)
        loss[position] = float(np.square(real_weights(file, op) - real).sum() / max(float(np.square(real).sum()), 1e-30))
    coarse = [position for position in loss if loss[position] > worse_than]
    return [file.weighted[position] for position in sorted(coarse, key=lambda position: -loss[position])]


def _columns(file: Int8File, op: Op) -> int:
    return int(np.prod(file.graph.tensors[op.inputs[1]].shape[1:]))


def _matrix(weights: NDArray[np.float32]) -> Floats:
    return weights.reshape(weights.shape[0], -1).astype(np.float64)


def _row_scales(file: Int8File, op: Op) -> Floats:
    scale = file.scale(op.inputs[1]).astype(np.float64)
    return np.broadcast_to(scale, (file.graph.tensors[op.inputs[1]].shape[0],)).reshape(-1, 1)


def _second_moments(file: Int8File, ops: list[Op], tensors: Iterable[Feed]) -> list[Floats]:
    """``E[x x^T]`` of what each op's kernel sees, over images and positions."""
    data = file.pack()
    workers = default_workers(3 * len(data))
    pool = Pool(open_interpreter(data, threads=1, preserve=True) for _ in range(workers))

    def look(interpreter: LoadedInterpreter, tensor: Feed) -> list[NDArray[np.float32]]:
        infer(interpreter, tensor)
        return [_patches(file, op, interpreter.tensor(op.inputs[0])) for op in ops]

    sums = [np.zeros((_columns(file, op),) * 2) for op in ops]
    rows = [0] * len(ops)
    for found in ordered(lambda tensor: pool.use(lambda i: look(i, tensor)), tensors, workers):
        for position, patches in enumerate(found):
            sums[position] += (patches.T @ patches).astype(np.float64)
            rows[position] += len(patches)
    return [total / max(count, 1) for total, count in zip(sums, rows, strict=True)]


def _patches(file: Int8File, op: Op, quantized: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return what the kernel sees at (a sample of) the positions: float32 ``(positions, height * width * in)``."""
    index = op.inputs[0]
    values: NDArray[np.float32] = (quantized.astype(np.float32) - file.zero_point(index)) * file.scale(index)[0]
    shape = file.graph.tensors[op.inputs[1]].shape
    if op.name == "FULLY_CONNECTED":
        return values.reshape(-1, shape[-1])
    _, height, width, channels = shape
    options = op.options
    stride_h, stride_w = options["stride_h"], options["stride_w"]
    reach_h, reach_w = (height - 1) * options["dilation_h"] + 1, (width - 1) * options["dilation_w"] + 1
    if options["padding"] == 0:  # SAME
        values = np.pad(values[0], (_same(values.shape[1], stride_h, reach_h), _same(values.shape[2], stride_w, reach_w), (0, 0)))
    else:
        values = values[0]
    windows = np.lib.stride_tricks.sliding_window_view(values, (reach_h, reach_w), axis=(0, 1))
    windows = windows[::stride_h, ::stride_w, :, :: options["dilation_h"], :: options["dilation_w"]]
    flat = windows.transpose(0, 1, 3, 4, 2).reshape(-1, height * width * channels)
    return flat[:: max(1, len(flat) // _PATCHES)]


def _same(size: int, stride: int, reach: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2
