"""Where a smaller network can be fitted to its original: which layers, what they read, and what is missing behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quiet import import_tensorflow
from .channels import Narrowing, activation_of
from .flat import Flat, Step
from .program import Line, Program
from .structure import is_sum

_FITTED = frozenset({"Conv2D", "Dense", "SeparableConv2D"})
_HANDS_ON = frozenset({"Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "Identity"})
_SMALLEST_SLOPE = 1e-6


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Place:
    """A layer to be fitted, ``fitted``, and what is in front of line ``at`` of the program when it is.

    Where it feeds a sum, ``behind`` are the lines from it to the sum, ``wanted`` the original's sum. Where it reads fewer channels,
    ``twin`` is the original's line and ``outputs`` the channels of that which are left. ``norm``: what holds a shift where the layer
    has no bias: a batch normalisation behind it.
    """

    at: int
    fitted: Line
    behind: tuple[Line, ...]
    wanted: int
    twin: Line | None
    outputs: NDArray[np.int64] | None
    norm: Line | None

    @property
    def path(self) -> str:
        return self.fitted.step.path

    @property
    def layer(self) -> Any:
        return self.fitted.step.layer

    @property
    def takes_shift(self) -> bool:
        return bool(self.layer.use_bias) or self.norm is not None

    @property
    def needs(self) -> set[int]:
        """The values that it is fitted on, and those from which the lines behind it are computed again."""
        again = {value for line in self.behind for value in line.sources}
        mine = {*self.fitted.sources, self.wanted}
        return mine | again | ({self.behind[-1].results[0]} if self.behind else set())

    def again(self, state: dict[int, Any]) -> None:
        """Compute anew what is behind the layer."""
        values = dict(state)
        for line in (self.fitted, *self.behind) if self.behind else ():
            values.update(line.run(values))
        state.update({number: values[number] for number in state})

    def rows(self, state: Mapping[int, Any], photos: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the layer's inputs (photos, places, inputs) and what is missing behind it (photos, places, outputs)."""
        features = _features(self.layer, state[self.fitted.sources[0]][photos])
        if self.twin is None:
            have = state[self.behind[-1].results[0]][photos]
            want = _at(state[self.wanted][photos], have)
        else:
            have = _mixed(self.layer, features)
            layer = self.twin.step.layer
            want = _mixed(layer, _features(layer, state[self.wanted][photos]))
            want = _at(want if self.outputs is None else import_tensorflow().gather(want, self.outputs, axis=-1), have)
        return _flat(features), _flat(want - have)

    def take(self, weights: NDArray[np.float64], shift: NDArray[np.float64]) -> None:
        """Add ``weights`` (inputs, outputs) and ``shift`` (outputs,), as seen behind the layer, to it and to what holds its shift."""
        slope = np.ones(shift.shape)
        after_norm = slope
        for line in reversed(self.behind[:-1]):
            if self.norm is line:
                after_norm = slope
            slope = slope * _slope(line.step.layer)
        firm = np.abs(slope) > _SMALLEST_SLOPE
        divided = np.where(firm, 1.0 / np.where(firm, slope, 1.0), 0.0)
        kernel = _kernel(self.layer)
        kernel.assign(np.asarray(kernel) + (weights * divided).reshape(kernel.shape))
        if self.layer.use_bias:
            self.layer.bias.assign(np.asarray(self.layer.bias) + shift * divided)
        elif self.norm is not None:
            norm = self.norm.step.layer
            factor = 1.0 / after_norm if self.behind else _slope(norm)
            norm.beta.assign(np.asarray(norm.beta) + np.where(firm, shift * factor, 0.0))


def places(program: Program, after: Flat, narrowed: Mapping[str, Narrowing], ahead: Mapping[str, str]) -> list[Place]:
    """Return where the changed network ``after`` can be fitted, in the order of execution.

    narrowed: what is left of each layer, by its path. ahead: by the path of a sum, the original's sum that it has to stand for.
    """
    originals = {line.step.path: line for line in program.lines if not line.changed and line.step.alone}
    changed = {id(line.step): (at, line) for at, line in enumerate(program.lines) if line.changed}
    makers, users = after.makers(), after.users()
    found: dict[str, Place] = {}
    for step in after.steps:
        chain = [*linear_branch(step, makers, users), step]
        if len(chain) > 1 and step.path in originals and all(id(one) in changed for one in chain):
            lines = [changed[id(one)][1] for one in chain]
            found[chain[0].path] = Place(
                at=changed[id(step)][0] + 1,
                fitted=lines[0],
                behind=tuple(lines[1:]),
                wanted=originals[ahead.get(step.path, step.path)].results[0],
                twin=None,
                outputs=None,
                norm=next((line for line in lines[1:] if _is_shifting(line.step)), None),
            )
    for step in after.steps:
        path = step.path
        if path in found or path not in narrowed or path not in originals or not _can_be_fitted(step) or id(step) not in changed:
            continue
        twin = originals[path]
        if tuple(_kernel(step.layer).shape)[-2] == tuple(_kernel(twin.step.layer).shape)[-2]:
            continue  # it makes fewer channels and reads as many as before
        behind = users.get(step.results[0], [])
        norm = behind[0] if len(behind) == 1 and _is_shifting(behind[0]) and activation_of(step.layer) == "linear" else None
        found[path] = Place(
            at=changed[id(step)][0],
            fitted=changed[id(step)][1],
            behind=(),
            wanted=twin.sources[0],
            twin=twin,
            outputs=narrowed[path].outputs,
            norm=changed[id(norm)][1] if norm is not None else None,
        )
    return sorted(found.values(), key=lambda place: place.at)


def linear_branch(step: Step, makers: Mapping[int, Step], users: Mapping[int, Sequence[Step]]) -> list[Step]:
    """Return the steps from a linear layer to ``step``, a sum, without it; of two sides that have one, the later. None: an empty list."""
    found: list[list[Step]] = []
    for value in step.sources if is_sum(step) else ():
        chain: list[Step] = []
        while value in makers and len(users[value]) == 1:
            chain.insert(0, makers[value])
            if _can_be_fitted(chain[0]) and activation_of(chain[0].layer) == "linear":
                found.append(chain)
                break
            if not _is_affine(chain[0]):
                break
            value = chain[0].sources[0]
    return max(found, key=lambda chain: chain[0].results[0]) if found else []


def _can_be_fitted(step: Step) -> bool:
    last = getattr(step.layer, "data_format", "channels_last") == "channels_last"
    return step.kind in _FITTED and step.alone and getattr(step.layer, "groups", 1) == 1 and last


def _is_affine(step: Step) -> bool:
    if step.kind == "Activation":
        return activation_of(step.layer) == "linear"
    return step.alone and (step.kind in _HANDS_ON or step.kind in ("BatchNormalization", "Rescaling"))


def _is_shifting(step: Step) -> bool:
    return step.kind == "BatchNormalization" and step.alone and bool(step.layer.center)


def _slope(layer: Any) -> NDArray[np.float64]:
    """Return by how much the output of a layer of `_is_affine` grows with its input, per channel."""
    if type(layer).__name__ == "Rescaling":
        return np.asarray(layer.scale, np.float64)
    if type(layer).__name__ != "BatchNormalization":
        return np.ones(())
    spread: NDArray[np.float64] = np.sqrt(np.asarray(layer.moving_variance, np.float64) + layer.epsilon)
    return (np.asarray(layer.gamma, np.float64) if layer.scale else np.ones(())) / spread


def _kernel(layer: Any) -> Any:
    return layer.pointwise_kernel if type(layer).__name__ == "SeparableConv2D" else layer.kernel


def _features(layer: Any, value: Any) -> Any:
    """Return what the layer's kernel is multiplied with: at each place of its output, a row in the order of the kernel."""
    tf = import_tensorflow()
    if type(layer).__name__ == "Dense":
        return value
    strides, rates, padding = layer.strides, layer.dilation_rate, layer.padding
    if type(layer).__name__ == "SeparableConv2D":
        return tf.nn.depthwise_conv2d(
            value, tf.convert_to_tensor(layer.depthwise_kernel), [1, *strides, 1], padding.upper(), None, rates
        )
    if tuple(layer.kernel_size) == (1, 1) and tuple(strides) == (1, 1):
        return value
    return tf.image.extract_patches(value, [1, *layer.kernel_size, 1], [1, *strides, 1], [1, *rates, 1], padding.upper())


def _mixed(layer: Any, features: Any) -> Any:
    """Return what the layer makes of ``features``, before its activation."""
    tf = import_tensorflow()
    kernel = tf.convert_to_tensor(_kernel(layer))
    made = tf.tensordot(features, tf.reshape(kernel, (-1, kernel.shape[-1])), 1)
    return made + tf.convert_to_tensor(layer.bias) if layer.use_bias else made


def _at(value: Any, like: Any) -> Any:
    """Return a map at the size of another: that of a network for other pictures."""
    if len(value.shape) != 4 or value.shape[1:3] == like.shape[1:3]:
        return value
    return import_tensorflow().image.resize(value, like.shape[1:3], antialias=True)


def _flat(value: Any) -> NDArray[np.float32]:
    array = np.asarray(value, np.float32)
    return array.reshape(len(array), -1, array.shape[-1])
