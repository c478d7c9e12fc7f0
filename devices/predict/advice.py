"""What would help: every line is the same prediction made once more for a changed model or another way to run it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..boards.records import AcceleratorProfile, BoardProfile
from ..edgetpu.mapping import NOT_QUANTIZED
from ..edgetpu.ops import ONE_SUBGRAPH
from ..op_list import Network
from .fit import BoardFit, CompilerOptions, on_board
from .footprint import MIB
from .latency import Latency
from .resize import as_int8, resized, side

SIZES = (299, 224, 160, 128)
# Worth a line: below three quarters of the time.
_WORTH = 0.75
_MOST_ACCELERATORS = 12


Refine = Callable[[Network, BoardFit], BoardFit]
Predict = Callable[..., BoardFit]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One change. Milliseconds are predictions; None where there is none. ``cost`` is what the change takes or gives up."""

    change: str
    expected_ms: float | None
    instead_of_ms: float | None
    cost: str


def advise(
    network: Network,
    fit: BoardFit,
    board: BoardProfile,
    accelerator: AcceleratorProfile | None,
    *,
    others: tuple[BoardProfile, ...] = (),
    options: CompilerOptions | None = None,
    refine: Refine | None = None,
    threads: int | None = None,
    clocks_mhz: Mapping[str, int | None] | None = None,
) -> tuple[Advice, ...]:
    """Return what would help ``network`` on ``board``, which got ``fit``. others: boards to compare with.

    threads: what ``fit`` was predicted with; the others are, too. clocks_mhz: of the boards (by name) whose clock is known.
    refine: what was done to ``fit`` after the prediction (a measurement applied), to be done to every other one as well.
    """
    options = options or CompilerOptions()

    def predict(changed: Network, on: BoardProfile, options: CompilerOptions = options) -> BoardFit:
        attached = accelerator if on.name == board.name else None
        clock = (clocks_mhz or {}).get(on.name)
        found = on_board(changed, on, attached, options=options, threads=threads, clock_mhz=clock)
        return refine(changed, found) if refine else found

    found = [
        *_remedies(fit),
        *_integer(network, fit, board, predict),
        *_cpu_instead(fit),
        *_several(network, fit, board, options, predict),
        *_smaller(network, fit, board, predict),
        *_other_boards(network, fit, others, predict),
    ]
    return tuple(found)


def _now(fit: BoardFit) -> float | None:
    return fit.latency.expected if fit.latency else None


def _unlike(now: Latency | None, then: Latency | None) -> str:
    """Return what to add where a time that measured runs refined is compared with one that none did, or the other way round."""
    if now is None or then is None or now.refined == then.refined:
        return ""
    one, other = ("now", "then") if now.refined else ("then", "now")
    return f"; the time {one} is refined by measured runs and the time {other} is not: measure both"


def _remedies(fit: BoardFit) -> Iterator[Advice]:
    """The op that sends others to the CPU, and the way out. Of a model that is not quantized, `_integer` says more."""
    if fit.tpu is None or not fit.tpu.prediction.cpu or fit.tpu.prediction.failure == NOT_QUANTIZED:
        return
    prediction = fit.tpu.prediction
    first = prediction.first_rejected
    if prediction.failure:
        yield Advice(change=prediction.failure_way_out, expected_ms=None, instead_of_ms=_now(fit), cost="a new conversion")
    elif first is not None and first.way_out:
        behind = sum(op.reason == ONE_SUBGRAPH for op in prediction.per_op)
        note = f" (ops behind it that stay on the CPU with it: {behind})" if behind else ""
        yield Advice(
            change=f"{first.op}: {first.way_out}{note}", expected_ms=None, instead_of_ms=_now(fit), cost="a new conversion"
        )


def _integer(network: Network, fit: BoardFit, board: BoardProfile, predict: Predict) -> Iterator[Advice]:
    if not any(op.is_float and op.macs for op in network.ops):
        return
    integer = as_int8(network)
    then = predict(integer, board)
    saved = fit.footprint.peak_bytes - then.footprint.peak_bytes
    gain = f", {saved / MIB:.0f} MiB less memory" if saved > 0 else ""
    yield Advice(
        change=f"full-integer quantization (int8){gain}",
        expected_ms=_now(then),
        instead_of_ms=_now(fit),
        cost=f"needs representative images; check the accuracy with edgekit validate{_unlike(fit.latency, then.latency)}",
    )


def _cpu_instead(fit: BoardFit) -> Iterator[Advice]:
    if fit.tpu is None or fit.tpu.latency is None or fit.cpu is None:
        return
    if fit.cpu.expected < fit.tpu.latency.expected:
        why = "which waits for its weights" if fit.tpu.memory.streamed_bytes else "which takes longer to start than to compute"
        yield Advice(
            change=f"the board's CPU instead of the Edge TPU, {why}",
            expected_ms=fit.cpu.expected,
            instead_of_ms=fit.tpu.latency.expected,
            cost=f"all cores are busy, and the board gets warmer{_unlike(fit.tpu.latency, fit.cpu)}",
        )


def _several(
    network: Network, fit: BoardFit, board: BoardProfile, options: CompilerOptions, predict: Predict
) -> Iterator[Advice]:
    """The fewest Edge TPUs whose memories hold all weights."""
    if fit.tpu is None or not fit.tpu.memory.streamed_bytes or fit.tpu.link is None or fit.tpu.latency is None:
        return
    for count in range(options.segments + 1, _MOST_ACCELERATORS + 1):
        then = predict(network, board, replace(options, segments=count))
        if then.tpu is None or then.tpu.memory.streamed_bytes:
            continue
        yield Advice(
            change=f"{count} Edge TPUs in a pipeline (edgetpu_compiler -n {count}): all weights stay on the chips",
            expected_ms=_now(then),
            instead_of_ms=fit.tpu.latency.expected,
            cost=f"{count - 1} more accelerators, one link each; the passage between them is not counted",
        )
        return


def _smaller(network: Network, fit: BoardFit, board: BoardProfile, predict: Predict) -> Iterator[Advice]:
    now, pixels = _now(fit), side(network)
    if now is None or pixels is None:
        return
    for size in SIZES:
        smaller = resized(network, size) if size < pixels else None
        then = _now(predict(smaller, board)) if smaller is not None else None
        if then is not None:
            yield Advice(
                change=f"input of {size} x {size} instead of {pixels} x {pixels}",
                expected_ms=then,
                instead_of_ms=now,
                cost="train or fine-tune at that size; accuracy falls" if then < _WORTH * now else "hardly faster: not worth it",
            )


def _other_boards(network: Network, fit: BoardFit, others: tuple[BoardProfile, ...], predict: Predict) -> Iterator[Advice]:
    now = _now(fit)
    faster = []
    for board in others:
        then = predict(network, board)
        expected = _now(then)
        if board.name != fit.board and then.fits and expected is not None and (now is None or expected < _WORTH * now):
            faster.append((expected, board.title, f"another board{_unlike(fit.latency, then.latency)}"))
    for expected, title, cost in sorted(faster)[:2]:
        yield Advice(change=title, expected_ms=expected, instead_of_ms=now, cost=cost)
