"""What a layer takes in int8, before there is a file, and which channels to take for it.

The law is that of `devices.predict.latency`: ``MAC / a + moved elements / b``.

For a board ``a`` and ``b`` are those of its cores. For this machine they are those of a core with dot products, and all of it is
scaled to the time that the original's file was measured to take here. Nothing but shapes is read: ranking thousands of channels
needs no file of each. What counts in the end is the real file's time (`quantize.shrinking.making`).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.boards.records import BoardProfile
from devices.predict import core_costs, latency
from edge.errors import UsageError

from .channels import MULTIPLE
from .flat import Step, flat
from .structure import Block, Channels

LEAST_SHARE = 0.25
"""Of a convolution's channels that stay."""

_HERE = "Cortex-A76"  # as this machine, it multiplies int8 with dot products: what is moved weighs the more
_CLOCK_HERE = 3000.0
_THREADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """One layer: its MACs, and the elements of its inputs and outputs. ``reads``: the channels that its weights read, 0 without weights."""

    name: str
    macs: float
    inputs: float
    outputs: float
    reads: int = 0

    def ms(self, law: Law, *, inside: float = 1.0, outside: float = 1.0) -> float:
        """Return milliseconds. inside, outside: shares of the input and the output channels that stay."""
        return law.ms(self.macs * inside * outside, self.inputs * inside + self.outputs * outside)


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """``ms_per_mac``, ``ms_per_element``: of one run. ``where``: what they hold for, in words."""

    ms_per_mac: float
    ms_per_element: float
    where: str

    @classmethod
    def of(cls, board: BoardProfile | None) -> Law:
        """Return the law of a board's fast cores, or of this machine up to a factor. Raises UsageError for cores that nobody measured."""
        cluster = None if board is None else latency.fast_cluster(board)
        core, clock, threads = (_HERE, _CLOCK_HERE, 1)
        if board is not None:
            if cluster is None or cluster.clock_mhz is None or (cluster.core, core_costs.INT8) not in core_costs.CORES:
                raise UsageError(f"no latency is known for the CPU of {board.name}; leave --board out to time candidates here")
            core, clock, threads = cluster.core, float(cluster.clock_mhz), min(cluster.count, _THREADS)
        cost = core_costs.CORES[core, core_costs.INT8]
        return cls(
            ms_per_mac=latency.cpu_ms(1.0, 0.0, cost, clock_mhz=clock, threads=threads),
            ms_per_element=latency.cpu_ms(0.0, 1.0, cost, clock_mhz=clock, threads=threads),
            where=board.name if board is not None else "this machine",
        )

    def ms(self, macs: float, elements: float) -> float:
        """Return milliseconds of so many MACs and moved elements."""
        return macs * self.ms_per_mac + elements * self.ms_per_element

    def scaled(self, factor: float) -> Law:
        """Return the law times ``factor``."""
        return Law(ms_per_mac=self.ms_per_mac * factor, ms_per_element=self.ms_per_element * factor, where=self.where)


def layers(model: Any) -> dict[str, LayerCost]:
    """Return what each layer takes, by path (`quantize.shrinking.flat`); those of nested networks too.

    Batch normalisation, activations and dropout take nothing: the converter folds them into the op before.
    """
    return {cost.name: cost for cost in map(_cost, flat(model).steps) if cost is not None}


def total(costs: Mapping[str, LayerCost], law: Law) -> float:
    """Return milliseconds of a whole network."""
    return sum(cost.ms(law) for cost in costs.values())


def macs(costs: Mapping[str, LayerCost]) -> int:
    """Return the multiply-accumulates of a whole network."""
    return round(sum(cost.macs for cost in costs.values()))


_FOLDED = {"BatchNormalization", "Activation", "ReLU", "LeakyReLU", "Dropout", "Reshape", "Flatten", "ZeroPadding2D", "Softmax"}


def _cost(step: Step) -> LayerCost | None:
    if step.kind in _FOLDED:
        return None
    inputs, outputs = (sum(_elements(step.shape(value)) for value in values) for values in (step.sources, step.results))
    kernel = getattr(step.layer, "kernel", None)
    reads = 0 if kernel is None or len(kernel.shape) < 2 else int(kernel.shape[-2])
    return LayerCost(name=step.path, macs=_macs(step), inputs=inputs, outputs=outputs, reads=reads)


def _macs(step: Step) -> float:
    layer = step.layer
    places = math.prod(int(size or 1) for size in step.shape(step.results[0])[1:-1])
    kernels = [getattr(layer, name, None) for name in ("kernel", "depthwise_kernel", "pointwise_kernel")]
    sizes = [math.prod(kernel.shape) for kernel in kernels if kernel is not None]
    if getattr(layer, "kernel", None) is not None and hasattr(layer, "depthwise_kernel"):
        sizes = sizes[:1]  # one kernel by two names
    return float(places * sum(sizes))


def _elements(shape: tuple[int | None, ...]) -> float:
    return float(math.prod(int(size or 1) for size in shape[1:]))


def block_ms(blocks: Sequence[Block], costs: Mapping[str, LayerCost], law: Law) -> dict[str, float]:
    """Return the milliseconds that go with each block: its branch, and the sum."""
    return {
        block.name: sum(costs[name].ms(law) for name in dict.fromkeys((*block.inside, block.name)) if name in costs)
        for block in blocks
    }


class Widths:
    """Which channels go, the least damage for each millisecond first. ``saved_ms``: by what was taken so far."""

    def __init__(
        self, groups: Sequence[Channels], saliency: Mapping[str, NDArray[np.float64]], costs: Mapping[str, LayerCost], law: Law
    ) -> None:
        self._groups = {group.name: group for group in groups if group.name in costs}
        self._order = {name: np.argsort(saliency[name], kind="stable") for name in self._groups}
        self._saliency, self._costs, self._law = saliency, costs, law
        self._gone = dict.fromkeys(self._groups, 0)
        self._lost = dict.fromkeys(costs, 0)  # of the channels that a layer reads
        self.saved_ms = 0.0
        self.damage = 0.0
        self._heap = [(self._price(name), name) for name in self._groups if self._chunk(name)]
        heapq.heapify(self._heap)

    def save(self, ms: float) -> bool:
        """Take channels until ``ms`` are saved; return whether there were enough."""
        while self.saved_ms < ms and self._heap:
            price, name = heapq.heappop(self._heap)
            if not self._chunk(name):
                continue
            now = self._price(name)  # what others have taken since makes it save less
            if self._heap and now > self._heap[0][0] and now > price:
                heapq.heappush(self._heap, (now, name))
                continue
            self._take(name)
            if self._chunk(name):
                heapq.heappush(self._heap, (self._price(name), name))
        return self.saved_ms >= ms

    def kept(self) -> dict[str, tuple[int, ...]]:
        """Return the channels that stay, of each convolution that loses some."""
        return {name: tuple(sorted(int(i) for i in self._order[name][gone:])) for name, gone in self._gone.items() if gone}

    def _chunk(self, name: str) -> int:
        """Return how many channels go next: as many as leave a multiple of `MULTIPLE`, 0 where none may."""
        count, gone = self._groups[name].count, self._gone[name]
        left = count - gone
        chunk = left % MULTIPLE or MULTIPLE
        return chunk if left - chunk >= max(MULTIPLE, LEAST_SHARE * count) else 0

    def _price(self, name: str) -> float:
        chunk, gone = self._chunk(name), self._gone[name]
        damage = float(self._saliency[name][self._order[name][gone : gone + chunk]].sum())
        return damage / max(self._gain(name, chunk), 1e-12)

    def _gain(self, name: str, chunk: int) -> float:
        group = self._groups[name]
        before = self._layer_ms(name, 0, 0)
        gain = before - self._layer_ms(name, 0, chunk)
        for consumer in group.consumers:
            if consumer in self._costs:
                gain += self._layer_ms(consumer, 0, 0) - self._layer_ms(consumer, chunk, 0)
        return gain

    def _layer_ms(self, name: str, less_in: int, less_out: int) -> float:
        cost = self._costs[name]
        group = self._groups.get(name)
        out = 1.0 if group is None else 1.0 - (self._gone[name] + less_out) / group.count
        inside = 1.0 if not cost.reads else max(0.0, 1.0 - (self._lost[name] + less_in) / cost.reads)
        return cost.ms(self._law, inside=inside, outside=out)

    def _take(self, name: str) -> None:
        chunk, gone = self._chunk(name), self._gone[name]
        self.saved_ms += self._gain(name, chunk)
        self.damage += float(self._saliency[name][self._order[name][gone : gone + chunk]].sum())
        self._gone[name] += chunk
        for consumer in self._groups[name].consumers:
            if consumer in self._lost:
                self._lost[consumer] += chunk
