"""Predicts how long one run takes: on a board's CPU and on an Edge TPU. Every figure is an estimate with an interval and a basis.

CPU: ``(MAC / a + elements / b) / (clock x scaling(threads))``, summed over ops; ``a`` MACs and ``b`` moved activations
per cycle and core are fitted to published measurements (`benchmarks/latency_model.py` refits them, leaving one network out at a
time). Edge TPU: ``t0 + (input + output) / link + max(MAC / rate, streamed weights / link)``, plus the CPU's time for ops that are
not mapped. Computing and streaming overlap: their sum overshoots Inception v4 by 20 %.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from .network import Network, Op
from .records import AcceleratorProfile, BoardProfile, CpuCluster

FLOAT, INT8, INT16 = "float32", "int8", "int16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds of one run. ``basis`` says what the figure rests on, and why the interval is as wide as it is.

    refined: runs measured on the board went into it.
    """

    low: float
    expected: float
    high: float
    basis: str
    refined: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreCost:
    """One kind of core at one kind of arithmetic: MACs and moved elements per cycle, and the factor that the interval spans.

    ``spread``: nine in ten published measurements lie within expected / spread and expected x spread.
    """

    macs_per_cycle: float
    elements_per_cycle: float
    spread: float
    basis: str


_FITTED = "fitted to published latencies of {} networks on {}"
_A53_FLOAT = CoreCost(
    macs_per_cycle=2.75,
    elements_per_cycle=0.139,
    spread=1.25,
    basis=_FITTED.format(16, "Cortex-A53 (Coral's benchmark page, XNNPACK's README, NobuoTsukamoto/benchmarks)"),
)
_A72_FLOAT = CoreCost(
    macs_per_cycle=4.15,
    elements_per_cycle=0.195,
    spread=1.35,
    basis=_FITTED.format(8, "Cortex-A72 (XNNPACK's README, OpenBenchmarking, NobuoTsukamoto/benchmarks)"),
)
_A72_INT8 = CoreCost(
    macs_per_cycle=4.45,
    elements_per_cycle=0.482,
    spread=1.5,
    basis=_FITTED.format(6, "Cortex-A72 (XNNPACK's README, Qengineering, NobuoTsukamoto/benchmarks)"),
)


def _scaled(cost: CoreCost, factor: float, spread: float, basis: str) -> CoreCost:
    return replace(
        cost,
        macs_per_cycle=cost.macs_per_cycle * factor,
        elements_per_cycle=cost.elements_per_cycle * factor,
        spread=spread,
        basis=basis,
    )


# The same kernels without dot product run on both: the A53 does 0.51 to 0.61 of the A72's work per cycle on 4 networks.
_A53_INT8 = _scaled(_A72_INT8, 0.55, 1.55, "Cortex-A72's int8 figures x 0.55, as four networks measured on both show")
_A76_FLOAT = _scaled(
    _A72_FLOAT, 3.0, 1.6, "two SSD networks run 4.8 times faster on a Pi 5 than on a Pi 4 (aallan), 3.0 times per cycle"
)
_A76_INT8 = _scaled(
    _A72_INT8, 3.0, 1.9, "no published int8 latency on a Cortex-A76: taken as 3.0 times the Cortex-A72 per cycle, as in float"
)
_UNMEASURED = "no published latency on this core: taken from the Cortex-A72"
CORES: Mapping[tuple[str, str], CoreCost] = {
    ("Cortex-A53", FLOAT): _A53_FLOAT,
    ("Cortex-A53", INT8): _A53_INT8,
    ("Cortex-A72", FLOAT): _A72_FLOAT,
    ("Cortex-A72", INT8): _A72_INT8,
    ("Cortex-A76", FLOAT): _A76_FLOAT,
    ("Cortex-A76", INT8): _A76_INT8,
    ("Cortex-A57", FLOAT): _scaled(_A72_FLOAT, 0.9, 1.8, _UNMEASURED),
    ("Cortex-A57", INT8): _scaled(_A72_INT8, 0.9, 2.0, _UNMEASURED),
}
# How the rate grows with threads: SSDLite MobileNet v2 on a Pi 4 (NobuoTsukamoto/benchmarks). Float saturates the memory.
SCALING = {FLOAT: (1.0, 1.61, 1.88, 1.92), INT8: (1.0, 1.80, 2.42, 2.93)}
# Float activations with int8 weights against float: four networks in TensorFlow's model optimization guide, 0.72 to 1.03.
_HYBRID = 0.8
# int16 activations run on kernels without XNNPACK; nothing is published.
_INT16_FACTOR, _INT16_SPREAD = 2.5, 2.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How an Edge TPU is attached: start-up of a run, bytes per second, and the factor that the interval spans."""

    name: str
    start_ms: float
    bytes_per_s: float
    spread: float
    basis: str


EDGETPU_MACS_PER_S = 0.70e12  # sustained: Jorgitou98/EdgeTPU-QuantRL-Evaluation, 28.9 GMAC in 41.3 ms without streaming
_CSV = "google-coral/edgetpu benchmarks/reference"
# Spreads: nine in ten published rows lie inside, as predicted with these figures and as predicted from the other networks.
USB3_PC = Link(
    name="usb3-pc",
    start_ms=1.0,
    bytes_per_s=430e6,
    spread=1.5,
    basis=f"Coral's benchmark page, {_CSV} x86_64, 15 networks; wide as networks of narrow layers are slower than the law",
)
USB3_PI4 = Link(
    name="usb3-pi4",
    start_ms=2.8,
    bytes_per_s=267e6,
    spread=1.5,
    basis=f"{_CSV} rp4b; wide as it rests on 4 networks, and one of them streams",
)
USB2 = Link(
    name="usb2",
    start_ms=3.9,
    bytes_per_s=35e6,
    spread=1.95,
    basis=f"{_CSV} rp3b and rp3b+; wide as it rests on 4 networks, one of them streams, and without it the others are missed by a third",
)
PCIE_DEV_BOARD = Link(
    name="pcie-dev-board",
    start_ms=1.0,
    bytes_per_s=358e6,
    spread=1.65,
    basis=f"Coral's benchmark page, {_CSV} aarch64, 14 networks; wide as networks of narrow layers are slower than the law",
)
INTERNAL_USB2 = Link(
    name="internal-usb2",
    start_ms=12.0,
    bytes_per_s=26.5e6,
    spread=2.0,
    basis="google-coral/edgetpu#593; wide as it rests on 3 networks, of which each is missed by up to 85 % without the others",
)
USB3_OTHER = replace(
    USB3_PI4,
    name="usb3",
    bytes_per_s=330e6,
    spread=1.75,
    basis="wide: no measurement on this host, taken between the Pi 4 and a PC",
)
PCIE_OTHER = replace(
    PCIE_DEV_BOARD,
    name="pcie",
    start_ms=0.8,
    spread=1.75,
    basis="wide: no measurement on this host, taken from the Dev Board's PCIe",
)
LINKS = (USB3_PC, USB3_PI4, USB2, PCIE_DEV_BOARD, INTERNAL_USB2, USB3_OTHER, PCIE_OTHER)


def link(board: BoardProfile, accelerator: AcceleratorProfile | None) -> Link | None:
    """Return how ``accelerator`` (None: the board's own Edge TPU) hangs on ``board``; None if it cannot, or nobody knows."""
    if accelerator is None:
        own = board.edgetpu.value if board.edgetpu else None
        if own is None or board.unreachable:
            return None
        return PCIE_DEV_BOARD if own == "PCIe" else INTERNAL_USB2
    if "USB" in accelerator.link.value:
        if board.usb is None:
            return None
        if "3." not in board.usb.value:
            return USB2
        return USB3_PI4 if board.soc and "BCM2711" in board.soc.value else USB3_OTHER
    return PCIE_OTHER if board.pcie and board.pcie.value else None


def kind(op: Op) -> str:
    """Return the arithmetic of an op, by its activations."""
    if op.is_float:
        return FLOAT
    return INT16 if any(operand.dtype == "int16" for operand in op.outputs) else INT8


def cpu(
    network: Network, board: BoardProfile, *, threads: int | None = None, only: Collection[int] | None = None
) -> Latency | None:
    """Return the latency of ``network`` (or of the ops in ``only``) on the CPU of ``board``; None where its CPU is not known.

    threads: default all of its fast cores, at most 4. The stock clock counts: a throttled or overclocked board is another board.
    """
    cluster = fast_cluster(board)
    if cluster is None or cluster.clock_mhz is None or (cluster.core, INT8) not in CORES:
        return None
    threads = min(cluster.count, 4) if threads is None else min(threads, cluster.count)
    expected = low = high = 0.0
    used: dict[str, CoreCost] = {}
    for op in network.ops:
        if (only is not None and op.index not in only) or not op.activations:
            continue  # an op on constants alone (a float16 weight turned into float32) runs once, while loading
        arithmetic = kind(op)
        cost = CORES[cluster.core, INT8 if arithmetic == INT16 else arithmetic]
        used[arithmetic] = cost
        ms = cpu_ms(op.macs, op.moved_elements, cost, clock_mhz=cluster.clock_mhz, scale=scaling(arithmetic, threads))
        spread = cost.spread
        if arithmetic == INT16:
            ms, spread = ms * _INT16_FACTOR, _INT16_SPREAD
        elif arithmetic == FLOAT and any(operand.dtype == "int8" for operand in op.constants):
            ms, spread = ms * _HYBRID, spread * 1.2
        expected, low, high = expected + ms, low + ms / spread, high + ms * spread
    basis = "; ".join(f"{name}: {cost.basis}" for name, cost in used.items()) or "no op"
    plural = "" if threads == 1 else "s"
    where = f"{threads} thread{plural} on {cluster.core} at {cluster.clock_mhz} MHz"
    return Latency(low=low, expected=expected, high=high, basis=f"estimate, {where}; {basis}")


def edgetpu(
    network: Network,
    attached: Link,
    *,
    mapped: Collection[int],
    streamed: tuple[int, int, int],
    board: BoardProfile,
    subgraphs: int = 1,
) -> Latency | None:
    """Return the latency with the ops in ``mapped`` on the Edge TPU and the others on the CPU of ``board``.

    streamed: low, expected and high bytes of weights that cross the link at every run. None where ops stay on an unknown CPU.
    """
    on_tpu = [op for op in network.ops if op.index in mapped]
    io = _crossing_bytes(network, on_tpu)
    macs = sum(op.macs for op in on_tpu)
    times = [edgetpu_ms(macs, amount, io, attached, subgraphs=subgraphs) for amount in streamed]
    rest = [op.index for op in network.ops if op.index not in mapped]
    basis = f"estimate, Edge TPU over {attached.name}: {attached.basis}"
    left = Latency(low=0.0, expected=0.0, high=0.0, basis="")
    if rest:
        on_cpu = cpu(network, board, only=frozenset(rest))
        if on_cpu is None:
            return None
        left, basis = on_cpu, f"{basis}; {len(rest)} op{'' if len(rest) == 1 else 's'} on the CPU ({on_cpu.basis})"
    return Latency(
        low=times[0] / attached.spread + left.low,
        expected=times[1] + left.expected,
        high=times[2] * attached.spread + left.high,
        basis=basis,
    )


def edgetpu_ms(macs: int, streamed_bytes: int, io_bytes: int, attached: Link, *, subgraphs: int = 1) -> float:
    """Return ``subgraphs x t0 + io / link + max(macs / rate, streamed / link)`` in milliseconds."""
    compute, stream = macs / EDGETPU_MACS_PER_S, streamed_bytes / attached.bytes_per_s
    return subgraphs * attached.start_ms + 1e3 * (io_bytes / attached.bytes_per_s + max(compute, stream))


def fast_cluster(board: BoardProfile) -> CpuCluster | None:
    """Return the cores that inference runs on: the fastest of those that are known."""
    clusters = [cluster for cluster in (board.cpu.value if board.cpu else ()) if cluster.clock_mhz]
    return max(clusters, key=lambda cluster: cluster.clock_mhz or 0, default=None)


def calibrated(estimate: Latency, ratio: float, basis: str, *, spread: float | None = None) -> Latency:
    """Return ``estimate`` x ``ratio`` (a measured run over its estimate, on this board). The interval shrinks to its root.

    spread: the factor that the interval spans instead.
    """
    if spread is None:
        spread = math.sqrt(max(estimate.high / estimate.expected, estimate.expected / estimate.low)) if estimate.low > 0 else 1.5
    expected, basis = estimate.expected * ratio, f"{basis}; before: {estimate.basis}"
    return Latency(low=expected / spread, expected=expected, high=expected * spread, basis=basis, refined=True)


def cpu_ms(macs: float, elements: float, cost: CoreCost, *, clock_mhz: float, scale: float) -> float:
    """Return ``(macs / a + elements / b) / (clock x scale)`` in milliseconds."""
    return (macs / cost.macs_per_cycle + elements / cost.elements_per_cycle) / (clock_mhz * 1e3 * scale)


def scaling(arithmetic: str, threads: int) -> float:
    """Return how many times the rate of one core ``threads`` cores reach."""
    table = SCALING[FLOAT if arithmetic == FLOAT else INT8]
    return table[min(threads, len(table)) - 1]


def _crossing_bytes(network: Network, on_tpu: Iterable[Op]) -> int:
    """Bytes of activations that enter and leave the Edge TPU's ops."""
    ops = list(on_tpu)
    inside = {operand.index for op in ops for operand in op.outputs}
    entering = {operand.index: operand.bytes for op in ops for operand in op.activations if operand.index not in inside}
    own = {op.index for op in ops}
    wanted = {operand.index for op in network.ops if op.index not in own for operand in op.activations}
    wanted.update(operand.index for operand in network.outputs)
    leaving = {operand.index: operand.bytes for op in ops for operand in op.outputs if operand.index in wanted}
    return sum(entering.values()) + sum(leaving.values())
