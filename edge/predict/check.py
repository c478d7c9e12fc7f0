"""``edge.check``: will this model fit this board, will it map to its Edge TPU, how fast will it be. All predicted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devices.boards import profiles
from devices.boards.records import AcceleratorProfile, BoardProfile
from devices.edgetpu import mapping
from devices.edgetpu import memory as edgetpu_memory
from devices.edgetpu.mapping import COMPILERS
from devices.edgetpu.ops import COMPILED
from devices.op_list import Network
from devices.predict import advice, fit, latency
from devices.predict.advice import Advice
from devices.predict.fit import BoardFit, CompilerOptions

from ..artefact import container
from ..errors import UsageError
from . import board_choice, refinement
from .op_list import network_of

ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """One model on one board or on all of them (``advice`` then is empty). ``macs`` to ``weight_bytes`` are the model's."""

    file: str
    model_sha256: str
    macs: int
    ops: int
    weight_bytes: int
    boards: tuple[BoardFit, ...]
    advice: tuple[Advice, ...]

    @property
    def fits(self) -> bool | None:
        """The verdict on the one board; of several, whether one fits."""
        verdicts = [board.fits for board in self.boards]
        return True if True in verdicts else None if None in verdicts else False


def check(
    path: str | os.PathLike[str],
    board: str | Sequence[str] = ALL,
    accelerator: str | None = None,
    *,
    threads: int | None = None,
    options: CompilerOptions | None = None,
    before: Sequence[str | os.PathLike[str]] = (),
    own: Sequence[BoardProfile] = (),
    memory_mib: int | None = None,
    clock_mhz: int | None = None,
) -> CheckReport:
    """Predict memory, Edge TPU mapping and latency of the model at ``path``.

    board: a name of ``edgekit boards``, several of them, or ``all``. accelerator: an Edge TPU attached to it. threads: of the CPU,
    default all cores up to 4. options: of the Edge TPU compiler. before: models compiled together with this one, which fill the cache
    first.
    own: the user's boards (`devices.boards.board_files.read`). memory_mib: of a board that comes in several sizes; default the smallest.
    clock_mhz: of the one board's CPU; default the one that a stored run was measured at, else the stock clock.

    A run measured on the board and stored (`refinement.learn`) refines the latency. Raises ArtefactError for a damaged file,
    UnknownProfileError for an unknown board or accelerator, UsageError for compiler options that make no sense.
    """
    options = _checked(options or CompilerOptions())
    names = tuple(dict.fromkeys([board] if isinstance(board, str) else board))
    everything = ALL in names
    if (everything or len(names) > 1) and memory_mib is not None:
        raise UsageError("--memory needs the one --board that has it")
    if (everything or len(names) > 1) and clock_mhz is not None:
        raise UsageError("--clock needs the one --board that runs at it")
    named = (board_choice.sized(profiles.board(name, own), memory_mib) for name in names if not everything)
    boards = (*profiles.BOARDS, *own) if everything else tuple(named)
    attached = profiles.accelerator(accelerator) if accelerator else None
    source = container.read(path)
    network = network_of(source.graph, source.path, file_bytes=source.file_bytes)
    if any(op.name == COMPILED for op in network.ops):
        raise UsageError(f"{source.path}: is compiled for the Edge TPU already; check the model that it was compiled from")
    if before:
        reserved = sum(_cached_bytes(other, options) for other in before)
        options = _with_reserved(options, reserved)
    known = refinement.load()

    def refine(changed: Network, found: BoardFit) -> BoardFit:
        # A changed network is another model, whatever it was made from.
        return refinement.apply(known, changed, found, model_sha256=source.model_sha256 if changed is network else "")

    clocks = {profile.name: refinement.clock_of(known, profile) for profile in (*profiles.BOARDS, *own)}
    if clock_mhz is not None:
        clocks[boards[0].name] = clock_mhz
    fits = tuple(
        refine(
            network,
            fit.on_board(network, profile, attached, options=options, threads=threads, clock_mhz=clocks[profile.name]),
        )
        for profile in boards
    )
    return CheckReport(
        file=str(source.path),
        model_sha256=source.model_sha256,
        macs=network.macs,
        ops=len(network.ops),
        weight_bytes=network.weight_bytes,
        boards=fits,
        advice=_advice(network, fits[0], boards[0], attached, options, refine, threads, clocks) if len(boards) == 1 else (),
    )


def _advice(
    network: Network,
    found: BoardFit,
    board: BoardProfile,
    attached: AcceleratorProfile | None,
    options: CompilerOptions,
    refine: advice.Refine,
    threads: int | None,
    clocks_mhz: Mapping[str, int | None],
) -> tuple[Advice, ...]:
    if board.unreachable:
        return ()
    others = tuple(other for other in profiles.BOARDS if not other.unreachable and latency.fast_cluster(other))
    return advice.advise(
        network,
        found,
        board,
        attached,
        others=others,
        options=options,
        refine=refine,
        threads=threads,
        clocks_mhz=clocks_mhz,
    )


def _checked(options: CompilerOptions) -> CompilerOptions:
    if options.version not in COMPILERS:
        raise UsageError(f"compiler version {options.version!r} is not known, expected one of {', '.join(COMPILERS)}")
    if options.segments < 1:
        raise UsageError(f"{options.segments} segments, expected 1 or more")
    return options


def _cached_bytes(path: str | os.PathLike[str], options: CompilerOptions) -> int:
    """Bytes that the model at ``path`` keeps on the chip when it comes first."""
    source = container.read(path)
    network = network_of(source.graph, Path(source.path))
    prediction = mapping.predict(network, compiler=options.version, min_runtime=options.min_runtime)
    mapped = frozenset(op.index for op in prediction.per_op if op.mapped)
    return edgetpu_memory.estimate(network, mapped).cached_bytes


def _with_reserved(options: CompilerOptions, reserved_bytes: int) -> CompilerOptions:
    return CompilerOptions(
        version=options.version,
        min_runtime=options.min_runtime,
        all_subgraphs=options.all_subgraphs,
        segments=options.segments,
        reserved_bytes=reserved_bytes,
    )
