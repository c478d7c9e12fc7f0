"""Predicts how long one run takes: on a board's CPU and on an Edge TPU. Every figure is an estimate with an interval and a basis.

CPU: ``MAC / (a x clock x scaling) + elements / (b x clock x scaling)``, summed over ops; ``a`` MACs and ``b`` moved activations
per cycle of one core, and what more threads add to each, are fitted to published measurements (`devices/predict/core_costs.py`;
`benchmarks/latency_model.py` refits them, leaving one network out at a time). No op is faster than its weights come from memory.
Edge TPU: ``t0 + (input + output) / link + max(MAC / rate, streamed weights / link)``, plus the CPU's time for ops that are
not mapped. Computing and streaming overlap: their sum overshoots Inception v4 by 20 %.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from ..boards.records import AcceleratorProfile, BoardProfile, CpuCluster
from ..op_list import Network, Op
from .core_costs import CORES, FLOAT, INT8, INT16, PEAKS, CoreCost
from .op_work import works


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


# Float activations with int8 weights against float: four networks in TensorFlow's model optimization guide, 0.72 to 1.03.
_HYBRID = 0.8
# int16 activations run on kernels without XNNPACK; nothing is published.
_INT16_FACTOR, _INT16_SPREAD = 2.5, 2.5
# Weights of networks that are larger do not stay in any board's caches between two runs.
_CACHED_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """How an Edge TPU is attached: start-up of a run, bytes per second, and the factor that the interval spans."""

    name: str
    start_ms: float
    bytes_per_s: float
    spread: float
    basis: str


EDGETPU_MACS_PER_S = 0.70e12  # sustained: Jorgitou98/EdgeTPU-QuantRL-Evaluation, 28.9 GMAC in 41.3 ms without streaming
_CSV = "google-coral/edgetpu benchmarks/reference"
# Spreads: nine in ten published rows lie inside, as predicted with these figures and as predicted from the other networks.
USB3_PC = Attachment(
    name="usb3-pc",
    start_ms=1.0,
    bytes_per_s=430e6,
    spread=1.5,
    basis=f"Coral's benchmark page, {_CSV} x86_64, 15 networks; wide as networks of narrow layers are slower than the law",
)
USB3_PI4 = Attachment(
    name="usb3-pi4",
    start_ms=2.8,
    bytes_per_s=267e6,
    spread=1.5,
    basis=f"{_CSV} rp4b; wide as it rests on 4 networks, and one of them streams",
)
USB2 = Attachment(
    name="usb2",
    start_ms=3.9,
    bytes_per_s=35e6,
    spread=1.95,
    basis=f"{_CSV} rp3b and rp3b+; wide as it rests on 4 networks, one of them streams, and without it the others are missed by a third",
)
PCIE_DEV_BOARD = Attachment(
    name="pcie-dev-board",
    start_ms=1.0,
    bytes_per_s=358e6,
    spread=1.65,
    basis=f"Coral's benchmark page, {_CSV} aarch64, 14 networks; wide as networks of narrow layers are slower than the law",
)
INTERNAL_USB2 = Attachment(
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


def link(board: BoardProfile, accelerator: AcceleratorProfile | None) -> Attachment | None:
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


def cpu(
    network: Network,
    board: BoardProfile,
    *,
    threads: int | None = None,
    only: Collection[int] | None = None,
    clock_mhz: int | None = None,
) -> Latency | None:
    """Return the latency of ``network`` (or of the ops in ``only``) on the CPU of ``board``; None where its CPU is not known.

    threads: default all of its fast cores, at most 4. clock_mhz: default the stock clock; a throttled board is another board.
    Neither the expected time nor the interval goes below `floor_ms`.
    """
    cluster = fast_cluster(board)
    if cluster is None or cluster.clock_mhz is None or (cluster.core, INT8) not in CORES:
        return None
    clock, threads = clock_mhz or cluster.clock_mhz, _threads(cluster, threads)
    bandwidth = _memory_bytes_per_ms(board) if network.weight_bytes > _CACHED_BYTES else None
    expected = low = high = 0.0
    used: dict[str, CoreCost] = {}
    for work in works(network, only):
        arithmetic = work.arithmetic
        cost = CORES[cluster.core, INT8 if arithmetic == INT16 else arithmetic]
        used[arithmetic] = cost
        ms = cpu_ms(work.macs, work.elements, cost, clock_mhz=clock, threads=threads) + work.cycles / (clock * 1e3)
        spread = cost.spread
        if arithmetic == INT16:
            ms, spread = ms * _INT16_FACTOR, _INT16_SPREAD
        elif work.is_hybrid:
            ms, spread = ms * _HYBRID, spread * 1.2
        if bandwidth is not None:
            ms = max(ms, work.weight_bytes / bandwidth)
        expected, low, high = expected + ms, low + ms / spread, high + ms * spread
    least = floor_ms(network, board, threads=threads, only=only, clock_mhz=clock) or 0.0
    basis = "; ".join(f"{name}: {cost.basis}" for name, cost in used.items()) or "no op"
    plural = "" if threads == 1 else "s"
    where = f"{threads} thread{plural} on {cluster.core} at {clock} MHz"
    return Latency(low=max(low, least), expected=max(expected, least), high=max(high, least), basis=f"estimate, {where}; {basis}")


def floor_ms(
    network: Network,
    board: BoardProfile,
    *,
    threads: int | None = None,
    only: Collection[int] | None = None,
    clock_mhz: int | None = None,
) -> float | None:
    """Return what no run on the CPU of ``board`` can be faster than; None where its CPU is not known.

    The larger of two: all MACs at the cores' peak rate (`core_costs.PEAKS`), and all weights once from memory at the highest rate
    that was measured on the board (where they are too large for its caches, and the rate is known).
    """
    cluster = fast_cluster(board)
    if cluster is None or cluster.clock_mhz is None or (cluster.core, INT8) not in PEAKS:
        return None
    per_ms = (clock_mhz or cluster.clock_mhz) * 1e3 * _threads(cluster, threads)
    ops = list(works(network, only))
    # int8 weights under float activations are multiplied as int8 (their activations are quantized on the way).
    compute = sum(
        work.macs / PEAKS[cluster.core, FLOAT if work.arithmetic == FLOAT and not work.is_hybrid else INT8].macs_per_cycle
        for work in ops
    )
    bandwidth = _memory_bytes_per_ms(board) if network.weight_bytes > _CACHED_BYTES else None
    memory = 0.0 if bandwidth is None else sum(work.weight_bytes for work in ops) / bandwidth
    return max(compute / per_ms, memory)


def _threads(cluster: CpuCluster, threads: int | None) -> int:
    return min(cluster.count, 4) if threads is None else min(threads, cluster.count)


def _memory_bytes_per_ms(board: BoardProfile) -> float | None:
    """The highest rate that was measured: a copied byte is read and written, a set one only written."""
    rates = [2 * board.memcpy_mb_s.value] if board.memcpy_mb_s else []
    rates += [board.memset_mb_s.value] if board.memset_mb_s else []
    return max(rates) * 1e3 if rates else None


def threads_used(board: BoardProfile, threads: int | None) -> int | None:
    """Return with how many threads `cpu` predicts when ``threads`` are asked for; None where the cores are not known."""
    cluster = fast_cluster(board)
    return None if cluster is None else _threads(cluster, threads)


def clocks_mhz(board: BoardProfile) -> tuple[int, ...]:
    """Return the clocks that the fast cores of ``board`` are sold with: the stock clock first."""
    cluster = fast_cluster(board)
    return tuple(clock for clock in (cluster.clock_mhz, cluster.boost_mhz) if clock) if cluster else ()


def edgetpu(
    network: Network,
    attached: Attachment,
    *,
    mapped: Collection[int],
    streamed: tuple[int, int, int],
    board: BoardProfile,
    subgraphs: int = 1,
    threads: int | None = None,
    clock_mhz: int | None = None,
) -> Latency | None:
    """Return the latency with the ops in ``mapped`` on the Edge TPU and the others on the CPU of ``board``.

    streamed: low, expected and high bytes of weights that cross the link at every run. None where ops stay on an unknown CPU.
    """
    on_tpu = [op for op in network.ops if op.index in mapped]
    io = _crossing_bytes(network, on_tpu)
    macs = sum(op.macs for op in on_tpu)
    times = [edgetpu_ms(macs, amount, io, attached, subgraphs=subgraphs) for amount in streamed]
    rest = [op.index for op in network.ops if op.index not in mapped]
    basis = f"estimate, Edge TPU over {attached.name}: {attached.basis}{_from_memory(attached, board)}"
    left = Latency(low=0.0, expected=0.0, high=0.0, basis="")
    if rest:
        on_cpu = cpu(network, board, threads=threads, only=frozenset(rest), clock_mhz=clock_mhz)
        if on_cpu is None:
            return None
        left, basis = on_cpu, f"{basis}; {len(rest)} op{'' if len(rest) == 1 else 's'} on the CPU ({on_cpu.basis})"
    return Latency(
        low=times[0] / attached.spread + left.low,
        expected=times[1] + left.expected,
        high=times[2] * attached.spread + left.high,
        basis=basis,
    )


def edgetpu_ms(macs: int, streamed_bytes: int, io_bytes: int, attached: Attachment, *, subgraphs: int = 1) -> float:
    """Return ``subgraphs x t0 + io / link + max(macs / rate, streamed / link)`` in milliseconds."""
    compute, stream = macs / EDGETPU_MACS_PER_S, streamed_bytes / attached.bytes_per_s
    return subgraphs * attached.start_ms + 1e3 * (io_bytes / attached.bytes_per_s + max(compute, stream))


def _from_memory(attached: Attachment, board: BoardProfile) -> str:
    """Return a warning where nobody has opened a source that says that the board has this link."""
    fact = board.pcie if attached.name.startswith("pcie") else board.usb
    return "; that this board has it is from memory" if fact is not None and fact.basis == "unopened" else ""


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


def cpu_ms(macs: float, elements: float, cost: CoreCost, *, clock_mhz: float, threads: int) -> float:
    """Return ``macs / (a x scaling) + elements / (b x scaling)`` over the clock, in milliseconds."""
    n = min(threads, len(cost.compute_scaling), len(cost.memory_scaling)) - 1
    computing = macs / (cost.macs_per_cycle * cost.compute_scaling[n])
    moving = elements / (cost.elements_per_cycle * cost.memory_scaling[n])
    return (computing + moving) / (clock_mhz * 1e3)


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
