"""What kinds of cores do per cycle: what is fitted to published latencies, and what the hardware can do at most.

`benchmarks/latency_model.py` fits the constants, float and int8 apart, and predicts every published row from the other networks.
A fitted rate above its core's peak would be an error in the rows; a test holds each below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

FLOAT, INT8, INT16 = "float32", "int8", "int16"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreCost:
    """One kind of core at one kind of arithmetic: MACs and moved elements per cycle of one core, and what more cores add.

    ``compute_scaling`` and ``memory_scaling``: how many times the rate of one core 1, 2, 3 and 4 threads reach. ``spread``: nine in
    ten published measurements lie within expected / spread and expected x spread.
    """

    macs_per_cycle: float
    elements_per_cycle: float
    compute_scaling: tuple[float, ...]
    memory_scaling: tuple[float, ...]
    spread: float
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CorePeak:
    """What one core can do per cycle at most: MACs, and bytes of activations loaded."""

    macs_per_cycle: float
    bytes_per_cycle: float
    source: str


_CPUFP = "pigirons/cpufp at 93e165e"
_WIDENING = "no dot product: two SMULL/SMLAL and one SADALP make 16 MACs"
_LOADS_8 = "128-bit loads take two cycles (gemmlowp, neon-gemm-kernel-benchmark.cc)"
# Of loads nobody could open Arm's Software Optimization Guides.
_LOADS_16 = "one 128-bit load per cycle (from memory, no source opened)"
_LOADS_32 = "two 128-bit loads per cycle (from memory, no source opened)"
PEAKS: Mapping[tuple[str, str], CorePeak] = {
    ("Cortex-A53", FLOAT): CorePeak(
        macs_per_cycle=4.0, bytes_per_cycle=8.0, source=f"{_CPUFP}, RK3399: 11.26 GFLOPS at 1416 MHz; {_LOADS_8}"
    ),
    ("Cortex-A53", INT8): CorePeak(
        macs_per_cycle=16 / 3, bytes_per_cycle=8.0, source=f"{_WIDENING}, one instruction per cycle; {_LOADS_8}"
    ),
    ("Cortex-A57", FLOAT): CorePeak(
        macs_per_cycle=4.0, bytes_per_cycle=16.0, source=f"as the Cortex-A72, whose forerunner it is; {_LOADS_16}"
    ),
    ("Cortex-A57", INT8): CorePeak(macs_per_cycle=8.0, bytes_per_cycle=16.0, source=f"as the Cortex-A72; {_LOADS_16}"),
    ("Cortex-A72", FLOAT): CorePeak(
        macs_per_cycle=3.99, bytes_per_cycle=16.0, source=f"{_CPUFP}, BCM2711: 11.96 GFLOPS at 1500 MHz; {_LOADS_16}"
    ),
    ("Cortex-A72", INT8): CorePeak(
        macs_per_cycle=8.0, bytes_per_cycle=16.0, source=f"{_WIDENING}, multiplied on one pipe, added on the other; {_LOADS_16}"
    ),
    ("Cortex-A76", FLOAT): CorePeak(
        macs_per_cycle=7.99, bytes_per_cycle=32.0, source=f"{_CPUFP}, BCM2712: 38.37 GFLOPS at 2400 MHz; {_LOADS_32}"
    ),
    ("Cortex-A76", INT8): CorePeak(
        macs_per_cycle=31.97, bytes_per_cycle=32.0, source=f"{_CPUFP}, BCM2712: 153.48 GOPS (SDOT) at 2400 MHz; {_LOADS_32}"
    ),
}


def _scaled(cost: CoreCost, factor: float, spread: float, basis: str) -> CoreCost:
    return replace(
        cost,
        macs_per_cycle=cost.macs_per_cycle * factor,
        elements_per_cycle=cost.elements_per_cycle * factor,
        spread=spread,
        basis=basis,
    )


_FITTED = "fitted to published latencies of {} networks on {}"
_A53_FLOAT = CoreCost(
    macs_per_cycle=2.96,
    elements_per_cycle=0.101,
    compute_scaling=(1.0, 1.90, 2.48, 2.81),
    memory_scaling=(1.0, 1.57, 1.83, 1.70),
    spread=1.45,
    basis=_FITTED.format(20, "Cortex-A53 (Coral's benchmark page, XNNPACK's README, NobuoTsukamoto/benchmarks)"),
)
_A72_FLOAT = CoreCost(
    macs_per_cycle=3.20,
    elements_per_cycle=0.263,
    compute_scaling=(1.0, 1.59, 1.88, 1.87),
    memory_scaling=(1.0, 1.52, 1.70, 1.75),
    spread=1.3,
    basis=_FITTED.format(13, "Cortex-A72 (XNNPACK's README, OpenBenchmarking, NobuoTsukamoto/benchmarks)"),
)
# Of today's kernels: rows that ran on ruy's count as 1.35 times slower, which suits the rows of both kinds best.
_A72_INT8 = CoreCost(
    macs_per_cycle=5.68,
    elements_per_cycle=0.761,
    compute_scaling=(1.0, 1.85, 2.55, 3.12),
    memory_scaling=(1.0, 1.85, 2.55, 3.12),
    spread=1.35,
    basis=_FITTED.format(6, "Cortex-A72 (XNNPACK's README, Qengineering, NobuoTsukamoto/benchmarks), as XNNPACK's kernels"),
)
_A53_INT8 = replace(
    _scaled(_A72_INT8, 0.53, 1.35, "Cortex-A72's int8 rates (the same kernels) x 0.53, fitted to four networks on Cortex-A53"),
    compute_scaling=(1.0, 1.82, 2.55, 3.10),
    memory_scaling=(1.0, 1.82, 2.55, 3.10),
)
_A76_THREADS = "threads as ncnn's on the same cluster"
_A76_FLOAT = replace(
    _scaled(
        _A72_FLOAT,
        2.01,
        1.6,
        "Cortex-A72's float rates (the same kernels) x 2.01, fitted to four networks on a Pixel 4 (TensorFlow Lite's"
        f" measurement.md), {_A76_THREADS}; wide as all of them were timed on one telephone",
    ),
    compute_scaling=(1.0, 1.74, 2.32, 2.77),
    memory_scaling=(1.0, 1.67, 2.15, 2.51),
)
_A76_INT8 = CoreCost(
    macs_per_cycle=28.2,
    elements_per_cycle=0.511,
    compute_scaling=(1.0, 1.80, 2.46, 3.01),
    memory_scaling=(1.0, 1.70, 2.22, 2.62),
    spread=1.6,
    basis=_FITTED.format(9, "Cortex-A76 (Pixel 4: TensorFlow Lite's measurement.md, Halide's hannk; Pi 5: aallan), ")
    + _A76_THREADS,
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
