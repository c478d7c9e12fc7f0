"""Which channels of a network hang together, and what is left of each layer's weights when some of them go.

Every channel of every value gets a number. A layer that treats channels one by one hands the numbers on; one that mixes them
(a convolution, a dense layer) makes new ones; a product ties those of its sides together; what is not known here pins what it touches,
as do sums and outputs. What nothing pins can go: its number is cut out of every kernel that makes, hands on or mixes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConversionError
from .flat import Flat, Step

Numbers = NDArray[np.int64]

MULTIPLE = 8
"""Channels that a kernel works on at a time. XNNPACK's int8 kernels for convolutions calculate 8 output channels together with NEON's
multiply-accumulate (Raspberry Pi 4) and 16 with its dot product (Raspberry Pi 5): ``nr`` in ``src/configs/gemm-config.c`` of
google/XNNPACK. The Edge TPU pads input channels to 4 and output channels to 64 (`devices.edgetpu.memory`)."""

_ELEMENTWISE = frozenset({
    *("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "silu", "swish", "gelu", "sigmoid", "hard_sigmoid", "hard_silu"),
    *("hard_swish", "tanh", "softplus", "softsign", "mish", "exponential"),
})  # fmt: skip
# Layers that treat each channel by itself and keep their number and order.
_HAND_ON = frozenset({
    *("ReLU", "LeakyReLU", "ELU", "PReLU", "Activation", "BatchNormalization", "DepthwiseConv2D", "Rescaling", "Reshape"),
    *("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "Identity", "ActivityRegularization"),
    *("MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D"),
    *("ZeroPadding2D", "Cropping2D", "UpSampling2D", "Resizing"),
})  # fmt: skip
_OPERATIONS = frozenset({
    *("Relu", "Relu6", "Silu", "HardSilu", "HardSigmoid", "Sigmoid", "Tanh", "Elu", "Gelu", "LeakyRelu", "Softplus", "Cast"),
    *("Add", "Multiply", "Subtract"),
})  # fmt: skip
_MIX = frozenset({"Conv2D", "Dense", "SeparableConv2D", "Conv2DTranspose"})
_PRODUCE = frozenset({"Conv2D", "SeparableConv2D"})


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Flow:
    """``of``: the number of each channel of each value, by the value; numbers that hang together are equal. ``pinned``: those that stay."""

    of: Mapping[int, Numbers]
    pinned: frozenset[int]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Group:
    """A convolution whose channels can go. ``numbers``: one for each. ``tied``: other layers that lose the same ones with it."""

    step: Step
    numbers: tuple[int, ...]
    tied: tuple[Step, ...]
    consumers: tuple[Step, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Narrowing:
    """What is left of a layer: positions of the input and output channels that stay."""

    inputs: Numbers
    outputs: Numbers

    def config(self, layer: Any, config: dict[str, Any]) -> dict[str, Any]:
        """Return the configuration of the narrower layer."""
        size = int(self.outputs.size)
        key = {"Conv2D": "filters", "SeparableConv2D": "filters", "Conv2DTranspose": "filters", "Dense": "units"}.get(
            type(layer).__name__
        )
        if type(layer).__name__ == "Reshape":
            return {**config, "target_shape": [*config["target_shape"][:-1], size]}
        return {**config, key: size} if key else config

    def weights(self, layer: Any, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Return ``arrays``, the weights of ``layer`` in its order, without the channels that go."""
        return [self._cut(layer, str(weight.name), array) for weight, array in zip(layer.weights, arrays, strict=True)]

    def _cut(self, layer: Any, name: str, array: NDArray[Any]) -> NDArray[Any]:
        kind = type(layer).__name__
        if kind == "DepthwiseConv2D" and name == "kernel" or name == "depthwise_kernel":
            return array[:, :, self.inputs]
        if name == "pointwise_kernel":
            multiplier = int(layer.depth_multiplier)
            spread = (self.inputs[:, None] * multiplier + np.arange(multiplier)).ravel()
            return array[:, :, spread][..., self.outputs]
        if name != "kernel":
            return array[..., self.outputs]
        if kind == "Conv2DTranspose":
            return array[:, :, self.outputs][..., self.inputs]
        return array[..., self.inputs, :][..., self.outputs]


def follow(network: Flat) -> Flow:
    """Number the channels of every value of ``network``."""
    return _Follower(network).flow()


def groups(network: Flat) -> list[Group]:
    """Return the convolutions whose channels can go, in the order of execution.

    Where a product ties several together (squeeze and excitation), the first convolution stands for all.
    """
    flow = follow(network)
    mixing = [step for step in network.steps if step.kind in _MIX]
    sets = {id(step): tuple(flow.of[step.results[0]].tolist()) for step in mixing}
    makers: dict[int, list[Step]] = {}
    for step in mixing:
        for number in set(sets[id(step)]):
            makers.setdefault(number, []).append(step)
    found: list[Group] = []
    done: set[int] = set()
    for step in mixing:
        numbers = sets[id(step)]
        if step.kind not in _PRODUCE or done & set(numbers) or flow.pinned & set(numbers) or len(set(numbers)) != len(numbers):
            continue
        tied = [other for other in {id(o): o for number in numbers for o in makers[number]}.values() if other is not step]
        if any(sets[id(other)] != numbers for other in tied):
            continue  # some channels of one with some of another
        consumers = tuple(other for other in mixing if set(flow.of[other.sources[0]].tolist()) & set(numbers))
        if consumers:
            done |= set(numbers)
            found.append(Group(step=step, numbers=numbers, tied=tuple(tied), consumers=consumers))
    return found


def gone(network: Flat, kept: Mapping[str, tuple[int, ...]], *, where: str) -> set[int]:
    """Return the numbers of the channels that are not ``kept``. Raises ConversionError for what cannot be kept or go."""
    found: set[int] = set()
    by_name = {group.step.path: group for group in groups(network)} if kept else {}
    for name, channels in kept.items():
        if name not in by_name:
            raise ConversionError(f"{where}: channels of {name!r} cannot go: it is no convolution that only linear layers read")
        numbers = by_name[name].numbers
        if not channels or list(channels) != sorted(set(channels)) or not 0 <= channels[0] <= channels[-1] < len(numbers):
            raise ConversionError(
                f"{where}: channels {list(channels)[:8]} to keep of {name!r}, expected at least one of 0..{len(numbers) - 1},"
                " ascending, each once"
            )
        found |= set(numbers) - {numbers[channel] for channel in channels}
    return found


def narrowings(network: Flat, gone: set[int]) -> dict[int, Narrowing]:
    """Return what is left of each layer, by its id, when the channels numbered ``gone`` go; layers that stay whole are not in it."""
    flow = follow(network)
    found: dict[int, Narrowing] = {}
    for step in network.steps:
        inputs, outputs = flow.of[step.sources[0]], flow.of[step.results[0]]
        left_in, left_out = (np.flatnonzero(~np.isin(side, list(gone))) for side in (inputs, outputs))
        if step.alone and (left_in.size < inputs.size or left_out.size < outputs.size):
            found[id(step.layer)] = Narrowing(inputs=left_in, outputs=left_out)
    return found


def rounded(count: int, share: float, multiple: int = MULTIPLE) -> int:
    """Return how many of ``count`` channels to keep: about ``share`` of them, a multiple of ``multiple`` or all.

    A kernel works on `MULTIPLE` channels at a time, so that what lies between two multiples saves nothing.
    """
    nearest: int = min([*range(multiple, count, multiple), count], key=lambda kept: abs(kept - count * share))
    return nearest


class _Follower:
    """Walks the network once. ``parent``: a forest of numbers, whose roots stand for those that were tied."""

    def __init__(self, network: Flat) -> None:
        self.network = network
        self.parent: list[int] = []
        self.pinned: set[int] = set()
        self.of: dict[int, Numbers] = {}

    def flow(self) -> Flow:
        first = {value: step for step in reversed(self.network.steps) for value in step.sources}
        for value in self.network.inputs:
            self.of[value] = self._new(first[value].shape(value)[-1] if value in first else 0)
            self._pin(self.of[value])
        for step in self.network.steps:
            sources = [self.of[value] for value in step.sources]
            made = self._through(step, sources)
            if made is None:
                for source in sources:
                    self._pin(source)
                for value in step.results:
                    self.of[value] = self._new(step.shape(value)[-1])
                    self._pin(self.of[value])
            else:
                self.of[step.results[0]] = made
        for value in self.network.outputs:
            self._pin(self.of[value])
        roots = np.asarray([self._root(number) for number in range(len(self.parent))], np.int64)
        pinned = frozenset(int(roots[number]) for number in self.pinned)
        return Flow(of={value: roots[numbers] for value, numbers in self.of.items()}, pinned=pinned)

    def _through(self, step: Step, sources: list[Numbers]) -> Numbers | None:
        """Return the numbers of what ``step`` makes, or None where it is not known what becomes of them."""
        layer, kind, shape = step.layer, step.kind, tuple(step.call.results[0].shape)
        if len(step.results) != 1 or not sources or shape[-1] is None or (step.has_weights and not step.alone):
            return None
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            return None
        if kind in _MIX and getattr(layer, "groups", 1) == 1:
            made = self._new(shape[-1])  # a dense layer of a map works on its last axis, as a 1x1 convolution does
            if activation_of(layer) not in _ELEMENTWISE:
                self._pin(made)
            return made
        if kind == "Concatenate":
            same = layer.axis in (-1, len(shape) - 1)
            return np.concatenate(sources) if same else None
        if kind == "Multiply" and len(sources) == 2:
            if {source.size for source in sources} != {shape[-1]}:
                return None
            for one, other in zip(*(source.tolist() for source in sources), strict=True):
                self._tie(one, other)
            return sources[0]
        if kind == "Flatten":
            spatial = tuple(step.call.sources[0].shape)[1:-1]
            return None if None in spatial else np.tile(sources[0], int(np.prod(spatial, dtype=np.int64)))
        return self._handed_on(step, sources, shape)

    def _handed_on(self, step: Step, sources: list[Numbers], shape: tuple[Any, ...]) -> Numbers | None:
        layer, kind = step.layer, step.kind
        if len(sources) != 1:
            return None
        if not hasattr(layer, "get_weights"):  # an operation without a layer: with a number, or by itself
            others = [value for value in step.call.operands() if value is not step.call.sources[0] and value is not None]
            plain = kind in _OPERATIONS and all(np.ndim(value) == 0 for value in others if kind != "Cast")
            return sources[0] if plain and shape[-1] == sources[0].size else None
        if kind not in _HAND_ON or activation_of(layer) not in _ELEMENTWISE:
            return None
        if kind == "DepthwiseConv2D":
            return np.repeat(sources[0], layer.depth_multiplier)
        axis = getattr(layer, "axis", -1)
        if kind == "BatchNormalization" and axis not in (-1, len(shape) - 1):
            return None
        if kind == "Rescaling" and (np.size(layer.scale) != 1 or np.size(layer.offset) != 1):
            return None
        if kind == "Reshape" and any(size != 1 for size in shape[1:-1]):
            return None
        return sources[0] if shape[-1] == sources[0].size else None

    def _new(self, count: int | None) -> Numbers:
        first = len(self.parent)
        self.parent.extend(range(first, first + (count or 0)))
        return np.arange(first, len(self.parent), dtype=np.int64)

    def _pin(self, numbers: Numbers) -> None:
        self.pinned.update(numbers.tolist())

    def _root(self, number: int) -> int:
        while self.parent[number] != number:
            self.parent[number] = self.parent[self.parent[number]]
            number = self.parent[number]
        return number

    def _tie(self, one: int, other: int) -> None:
        self.parent[self._root(other)] = self._root(one)


def activation_of(layer: Any) -> str:
    """Return the name of a layer's own activation function, "linear" without one."""
    return str(getattr(getattr(layer, "activation", None), "__name__", "linear"))
