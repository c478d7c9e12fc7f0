"""Is the network fed what it was trained on? Its first batch normalisation remembers, and the images tell.

Training leaves the mean and variance of each channel behind the first convolution in the moving statistics of the batch
normalisation that follows. The same channels are measured on representative images, preprocessed by the contract, and compared by
the divergence of two normal distributions, averaged over channels, in nats:

    D = mean over channels of  (v + (m - M)^2) / 2V - 1/2 - ln(v / V) / 2

with m, v measured and M, V remembered. Measured on an InceptionResNetV2 trained on flower photos (32 filters), 64 photos each:
0.008 with the right contract, 0.004 to 0.06 with another crop, letterbox or resampling, 0.21 with red and blue swapped, 0.29 to
0.48 with a neighbouring range (0..1, -0.5..0.5, 0..2), above 7,000 with 0..255; 0.18 on photos of something else altogether. As
the last shows, a large D alone accuses the images as well; therefore the contract is blamed only when a usual other one fits far
better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.findings import ERROR, INFO, WARNING, Finding
from edge.artefact.contract import InputSpec
from edge.artefact.vocabulary import RECIPES
from edge.runtime.preprocess import lookup_table, to_tensor

from ..loading.input_chain import InputChain, follow
from ..quiet import import_tensorflow, quiet

SAMPLE = 32
"""Images looked at; with 16 the right contract gave 0.04 at most 0.06."""

SUSPECT, WRONG = 0.1, 0.25
"""Divergence (nats) from which another contract is looked for, and from which one that fits ten times better is an error."""

BETTER_TO_WARN, BETTER_TO_FAIL = 5.0, 10.0
FAR = 3.0

CHECK = "input_statistics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """``stated`` is D of the contract, ``best`` that of the best usual alternative, which ``alternative`` describes."""

    stated: float
    best: float
    alternative: str


def measure(model: Any, pixels: Sequence[NDArray[np.uint8]], spec: InputSpec) -> Divergence | None:
    """Return how well the contract and its usual alternatives fit the model's memory; None where the model has none.

    model: Keras model or None. pixels: uint8 ``(H, W, C)`` in the channel order of ``spec``.
    """
    chain = follow(model) if model is not None else InputChain()
    if chain.batch_norm is None or not pixels:
        return None
    sample = pixels[:: max(1, len(pixels) // SAMPLE)][:SAMPLE]
    stated = _divergence(chain, sample, spec, swapped=False)
    others = [(_divergence(chain, sample, other, swapped=swapped), said) for other, swapped, said in _alternatives(spec)]
    best, alternative = min(others)
    return Divergence(stated=stated, best=best, alternative=alternative)


def judge(divergence: Divergence | None) -> Finding | None:
    """Return the finding that a divergence amounts to, or None where contract, images and model agree."""
    if divergence is None:
        message = (
            "no batch normalisation was found right behind the model's first linear layers, so the pixel range was not checked"
            " against what the model was trained on"
        )
        return Finding(check=CHECK, severity=INFO, message=message)
    stated, best = divergence.stated, divergence.best
    figures = f"(divergence {stated:.3g} against {best:.3g} nats)"
    if stated >= WRONG and best * BETTER_TO_FAIL <= stated:
        message = f"the network was not trained on pixels like these: {divergence.alternative} fits it far better {figures}"
        return Finding(check=CHECK, severity=ERROR, message=f"{message}; check --preprocess and --color")
    if stated >= SUSPECT and best * BETTER_TO_WARN <= stated:
        message = f"{divergence.alternative} fits what the network was trained on better than the contract {figures}"
        return Finding(check=CHECK, severity=WARNING, message=f"{message}; check --preprocess and --color")
    if stated >= FAR:
        message = (
            f"these images are far from what the network was trained on (divergence {stated:.3g} nats), whatever the contract"
        )
        return Finding(check=CHECK, severity=WARNING, message=message)
    return None


def _alternatives(spec: InputSpec) -> Iterator[tuple[InputSpec, bool, str]]:
    """Yield (contract, whether red and blue are swapped, in words) for the usual mistakes, the contract itself left out."""
    for swapped in (False, True) if spec.channels == 3 else (False,):  # stacked frames would change places too
        for name, (mean, scale) in RECIPES.items():
            other = replace(spec, mean=(mean,) * spec.frame_channels, scale=(scale,) * spec.frame_channels)
            if not swapped and (other.mean, other.scale) == (spec.mean, spec.scale):
                continue
            colour = f", {'rgb' if spec.color == 'bgr' else 'bgr'} instead of {spec.color}" if swapped else ""
            yield other, swapped, f"the range of {name!r}{colour}"


def _divergence(chain: InputChain, pixels: Sequence[NDArray[np.uint8]], spec: InputSpec, *, swapped: bool) -> float:
    tf = import_tensorflow()
    remembered = np.asarray(chain.batch_norm.moving_mean.numpy(), np.float64)
    spread = np.asarray(chain.batch_norm.moving_variance.numpy(), np.float64) + float(chain.batch_norm.epsilon)
    total, squares, count = np.zeros_like(remembered), np.zeros_like(remembered), 0
    table = lookup_table(spec)
    for picture in pixels:
        with quiet():
            value = tf.constant(to_tensor(picture[:, :, ::-1] if swapped else picture, table))
            for step in chain.steps:
                value = step(value)
        flat = np.asarray(value.numpy(), np.float64).reshape(-1, remembered.size)
        total, squares, count = total + flat.sum(axis=0), squares + (flat**2).sum(axis=0), count + len(flat)
    mean = total / count
    variance = squares / count - mean**2 + float(chain.batch_norm.epsilon)
    return float(np.mean((variance + (mean - remembered) ** 2) / (2 * spread) - 0.5 - np.log(variance / spread) / 2))
