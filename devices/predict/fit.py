"""Puts the predictions together for one board: does the model fit, does it map, how fast will it be, and how sure is that."""

from __future__ import annotations

from dataclasses import dataclass

from ..boards.records import AcceleratorProfile, BoardProfile
from ..edgetpu import mapping
from ..edgetpu import memory as edgetpu_memory
from ..edgetpu.mapping import Prediction
from ..edgetpu.memory import OnChipMemory
from ..edgetpu.ops import NEWEST_RUNTIME
from ..findings import ERROR, INFO, WARNING, Finding
from ..op_list import Network
from . import interpreters, latency
from .footprint import MIB, Footprint, footprint, room
from .latency import Attachment, Latency

# MobileNet v2 at 1024 x 1024 compiles (its largest op moves 48 MiB), at 2048 x 1024 it does not (96 MiB): compiler 1.0,
# iwatake2222/EdgeTPU_Analysis. Later compilers have refused smaller ones; there is no known law.
MANY_ACTIVATIONS_BYTES = 64 * MIB
# Where ai-edge-litert has wheels, and with them the cache of packed weights.
_CACHING = frozenset({"aarch64", "x86_64"})
_OTHER_CLOCK = 1.1  # a higher clock of some revisions is worth a line from here on


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerOptions:
    """What would be given to ``edgetpu_compiler``: ``-m``, ``-a``, ``-n``; and what models before it have cached."""

    version: str = mapping.NEWEST_COMPILER
    min_runtime: int = NEWEST_RUNTIME
    all_subgraphs: bool = False
    segments: int = 1
    reserved_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TpuFit:
    """The model on an Edge TPU. ``link`` and ``latency`` are None where it cannot be attached or its host is unknown."""

    prediction: Prediction
    memory: OnChipMemory
    link: Attachment | None
    latency: Latency | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardFit:
    """The verdict on one board. ``fits`` is None where too little is known. ``latency`` is of the way that was asked for.

    ``cpu`` is with ``threads`` threads; ``boosted`` is the same at the higher clock that some revisions of the board run at (None
    where there is none, or the clock was given). ``cached``: whether the packed weights lie in a file there, not in private memory.
    """

    board: str
    accelerator: str | None
    fits: bool | None
    findings: tuple[Finding, ...]
    footprint: Footprint
    cached: bool
    room_bytes: tuple[int, int] | None
    cpu: Latency | None
    boosted: Latency | None
    threads: int | None
    tpu: TpuFit | None

    @property
    def latency(self) -> Latency | None:
        return self.cpu if self.tpu is None else self.tpu.latency


def uses_edgetpu(board: BoardProfile, accelerator: AcceleratorProfile | None) -> bool:
    """Whether an Edge TPU takes part: one that is attached, or the board's own."""
    return accelerator is not None or (board.edgetpu is not None and board.edgetpu.value is not None)


def on_board(
    network: Network,
    board: BoardProfile,
    accelerator: AcceleratorProfile | None = None,
    *,
    options: CompilerOptions | None = None,
    threads: int | None = None,
    clock_mhz: int | None = None,
) -> BoardFit:
    """Return the verdict on ``board``. accelerator: an Edge TPU attached to it; None: the board's own, else the CPU.

    threads, clock_mhz: of the CPU, default all fast cores (at most 4) at the stock clock.
    """
    way = _Way(threads=threads, clock_mhz=clock_mhz)
    tpu = _on_tpu(network, board, accelerator, options or CompilerOptions(), way) if uses_edgetpu(board, accelerator) else None
    mapped = frozenset(op.index for op in tpu.prediction.per_op if op.mapped) if tpu else frozenset[int]()
    need = footprint(network, mapped=mapped)
    space = room(board)
    cached = tpu is None and need.can_be_cached and board.arch is not None and board.arch.value in _CACHING
    cpu = None if board.unreachable else latency.cpu(network, board, threads=threads, clock_mhz=clock_mhz)
    clocks = latency.clocks_mhz(board)
    boosted = None
    if cpu is not None and clock_mhz is None and len(clocks) > 1 and clocks[1] > _OTHER_CLOCK * clocks[0]:
        boosted = latency.cpu(network, board, threads=threads, clock_mhz=clocks[1])
    findings = [
        *_op_findings(network),
        *_memory_findings(need, space, board, cached=cached),
        *(_tpu_findings(tpu, board, accelerator) if tpu else ()),
    ]
    if cpu is not None and boosted is not None:
        findings.append(_clock_finding(cpu, boosted, clocks))
    shown = cpu if tpu is None else tpu.latency
    if board.unreachable:
        findings.insert(0, Finding(check="board", severity=ERROR, message=board.unreachable))
    elif shown is None and (tpu is None or tpu.link is not None):
        what = "its processor" if board.cpu is None else "a latency on its cores"
        findings.append(Finding(check="latency", severity=INFO, message=f"no estimate of the latency: {what} is not known"))
    if any(finding.severity == ERROR for finding in findings):
        fits: bool | None = False
    else:
        fits = None if space is None else True
    return BoardFit(
        board=board.name,
        accelerator=accelerator.name if accelerator else None,
        fits=fits,
        findings=tuple(findings),
        footprint=need,
        cached=cached,
        room_bytes=space,
        cpu=cpu,
        boosted=boosted,
        threads=latency.threads_used(board, threads),
        tpu=tpu,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How the CPU runs."""

    threads: int | None
    clock_mhz: int | None


def _clock_finding(cpu: Latency, boosted: Latency, clocks: tuple[int, ...]) -> Finding:
    message = (
        f"some of these boards run at {clocks[1]} MHz, by revision and firmware: {boosted.expected:.3g} ms on the CPU there,"
        f" {cpu.expected:.3g} ms at {clocks[0]} MHz, which is predicted for; name the clock with --clock"
        " (it stands, in kHz, in /sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq)"
    )
    return Finding(check="clock", severity=INFO, message=message)


def _on_tpu(
    network: Network, board: BoardProfile, accelerator: AcceleratorProfile | None, options: CompilerOptions, way: _Way
) -> TpuFit:
    prediction = mapping.predict(
        network, compiler=options.version, min_runtime=options.min_runtime, all_subgraphs=options.all_subgraphs
    )
    mapped = frozenset(op.index for op in prediction.per_op if op.mapped)
    memory = edgetpu_memory.estimate(network, mapped, segments=options.segments, reserved_bytes=options.reserved_bytes)
    attached = latency.link(board, accelerator)
    estimate = None
    if attached is not None and mapped:
        estimate = latency.edgetpu(
            network,
            attached,
            mapped=mapped,
            streamed=(memory.streamed_low_bytes, memory.streamed_bytes, memory.streamed_high_bytes),
            board=board,
            subgraphs=max(1, prediction.subgraphs) * options.segments,
            threads=way.threads,
            clock_mhz=way.clock_mhz,
        )
    elif attached is not None:
        estimate = latency.cpu(network, board, threads=way.threads, clock_mhz=way.clock_mhz)
    return TpuFit(prediction=prediction, memory=memory, link=attached, latency=estimate)


def _op_findings(network: Network) -> list[Finding]:
    return [
        Finding(
            check="ops", severity=ERROR, message=f"op {op.index} is {op.name}, which no interpreter for boards has: {way_out}"
        )
        for op, way_out in interpreters.missing(network)
    ]


def _memory_findings(need: Footprint, space: tuple[int, int] | None, board: BoardProfile, *, cached: bool) -> list[Finding]:
    wanted = need.cached_bytes if cached else need.peak_bytes
    about = f"needs about {wanted // MIB} MiB"
    if space is None:
        return [Finding(check="memory", severity=WARNING, message=f"{about}; the board's memory is not known")]
    small, large = (size // MIB for size in space)
    if wanted > space[1]:
        message = f"{about}, and {max(0, large)} MiB are left beside the system on {board.title}"
        return [Finding(check="memory", severity=ERROR, message=message)]
    if wanted > space[0]:
        message = f"{about}: too much for the smallest version of {board.title} ({small} MiB left), not for the largest"
        return [Finding(check="memory", severity=WARNING, message=message)]
    findings = []
    if need.peak_bytes > space[0]:
        message = (
            f"fits with its packed weights in the runtime's cache only: {need.private_bytes // MIB} MiB of its own and"
            f" {need.packed_bytes // MIB} MiB from a file as large, which the disk has to have room for; without (--no-weight-cache,"
            f" tflite-runtime) it needs about {need.peak_bytes // MIB} of {small} MiB"
        )
        findings.append(Finding(check="memory", severity=WARNING, message=message))
    elif wanted > 0.6 * space[0]:
        message = f"{about} of {small} MiB beside a headless system: with a desktop or a camera it may be too much"
        findings.append(Finding(check="memory", severity=WARNING, message=message))
    return findings


def _tpu_findings(tpu: TpuFit, board: BoardProfile, accelerator: AcceleratorProfile | None) -> list[Finding]:
    findings: list[Finding] = []
    prediction, memory = tpu.prediction, tpu.memory
    chosen = board if accelerator is None else accelerator
    if chosen.end_of_life is not None:
        findings.append(
            Finding(check="end of life", severity=INFO, message=f"{chosen.title}: end of life {chosen.end_of_life.value}")
        )
    if tpu.link is None and accelerator is not None and not board.unreachable:
        message = f"{accelerator.title} needs {accelerator.link.value}, which {board.title} does not have"
        findings.append(Finding(check="link", severity=ERROR, message=message))
    if prediction.failure:
        message = f"edgetpu_compiler refuses the model: {prediction.failure}; {prediction.failure_way_out}"
        findings.append(Finding(check="mapping", severity=ERROR, message=message))
    elif not prediction.mapped:
        findings.append(Finding(check="mapping", severity=ERROR, message=f"no op maps to the Edge TPU: {_first(prediction)}"))
    elif prediction.cpu:
        stays = "stays" if prediction.cpu == 1 else "stay"
        message = f"{prediction.cpu} of {len(prediction.per_op)} ops {stays} on the CPU: {_first(prediction)}"
        findings.append(Finding(check="mapping", severity=WARNING, message=message))
    unproven = sorted({f"{op.op} version {op.version}" for op in prediction.per_op if op.mapped and not op.proven})
    if unproven:
        message = f"allowed by the rules, but not seen mapped in any public model: {', '.join(unproven)}"
        findings.append(Finding(check="mapping", severity=INFO, message=message))
    large = [op for op in prediction.per_op if op.doubt and op.proven]
    if large:
        rest = "" if len(large) == 1 else f" (and {len(large) - 1} more, --ops lists them)"
        message = (
            f"not sure that op {large[0].index} {large[0].op} maps: {large[0].doubt}{rest}; where the compiler stops, all behind stays on"
            " the CPU: use a smaller input, or compile to know"
        )
        findings.append(Finding(check="mapping", severity=WARNING, message=message))
    if memory.largest_activation_bytes > MANY_ACTIVATIONS_BYTES and prediction.mapped:
        message = (
            f"op {memory.largest_activation_op} moves {memory.largest_activation_bytes / MIB:.0f} MiB of activations: the compiler may"
            f" refuse the model ('Compilation failed due to large activation tensors in model'); use a smaller input"
        )
        findings.append(Finding(check="activations", severity=WARNING, message=message))
    if memory.streamed_bytes:
        message = (
            f"{memory.streamed_bytes / MIB:.1f} of {memory.weight_bytes / MIB:.1f} MiB of weights do not fit on the chip"
            f" and cross the link at every run"
        )
        findings.append(Finding(check="streaming", severity=WARNING, message=message))
    return findings


def _first(prediction: Prediction) -> str:
    op = prediction.first_rejected
    if op is None:
        return "no reason is known"
    way_out = f"; {op.way_out}" if op.way_out else ""
    return f"op {op.index} {op.op}: {op.detail}{way_out}"
