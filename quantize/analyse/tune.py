"""Mixed precision within an accuracy budget: the blocks that cost most in int8 stay in float, as few as the budget allows.

Every candidate is a real ``.tflite`` on real kernels. Blocks are ranked on one part of the validation images; whether a
candidate is within the budget is decided on the other part, by the bound of its interval.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from devices.predict import latency
from edge.artefact import blocks, graph, graph_facts
from edge.artefact.blocks import Block
from edge.artefact.contract import Contract
from edge.errors import UsageError
from edge.files import atomic_write_text, sha256_bytes
from edge.numbers import statistics
from edge.predict.op_list import network_of
from edge.progress import stage
from edge.runtime.interpreter import open_interpreter
from edge.validation.journal import cache_folder, key

from ..calibrate import activations, output_error
from ..calibrate.output_error import Outputs
from ..tflite import conversion
from .paired import Pairing, Photos, compare
from .sensitivity import MixedMaker, Sensitivity, sensitivities

INT8, INT16X8 = "int8", "int16x8"

_GATE_SHARE = 0.6  # of the validation images: the decision needs more of them than the ranking
_RANKING_IMAGES = 64
_TIMED_RUNS = 10
_LEAST_MS = 1e-3  # a block that costs nothing in float is not worth infinitely much

PredictMs = Callable[[bytes], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One file that was made and measured.

    ``in_float``: the blocks in float. ``search``: against float on the images of the search. ``gate``: on those that
    the search did not use; None where it was not put to the gate. ``ms``: of one image, predicted for the board or measured here.
    """

    name: str
    in_float: tuple[Block, ...]
    bytes: int
    ms: float
    search: Pairing
    gate: Pairing | None = None
    verdict: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        plain = {name: getattr(self, name) for name in ("name", "bytes", "ms", "verdict")}
        in_float = {"in_float": [block.name for block in self.in_float], "ops": [[b.first, b.last] for b in self.in_float]}
        return {**plain, **in_float, "search": self.search.to_dict(), "gate": None if self.gate is None else self.gate.to_dict()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tuned:
    """``chosen``: the first candidate that passed the gate, with ``flatbuffer``, the file that was measured; both None where none did.

    ``allowed``: how many candidates could have been put to the gate; together they pass beyond the budget in 2.5 % of searches at most.
    """

    candidates: tuple[Candidate, ...]
    ranking: tuple[Sensitivity, ...]
    chosen: Candidate | None
    flatbuffer: bytes | None
    max_drop: float
    allowed: int = 1

    @property
    def front(self) -> tuple[Candidate, ...]:
        """Candidates that no other beats in both milliseconds and output error."""
        return pareto(self.candidates)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "max_drop": self.max_drop,
            "allowed": self.allowed,
            "chosen": None if self.chosen is None else self.chosen.name,
            "verdict": statistics.PASS if self.chosen else self.candidates[-1].verdict,
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "front": [candidate.name for candidate in self.front],
            "ranking": [entry.to_dict() for entry in self.ranking],
        }

    def to_text(self) -> str:
        """Return it for people."""
        front = {candidate.name for candidate in self.front}
        lines = [f"{'':34}{'MiB':>7}{'ms':>8}{'error':>8}{'drop':>8}  {'interval (gate)':>22}  verdict"]
        for candidate in self.candidates:
            shown = candidate.gate or candidate.search
            drop = "-" if shown.drop is None else f"{100 * shown.drop:+.2f}"
            interval = (
                "-"
                if candidate.gate is None or candidate.gate.ci95 is None
                else "{:+.2f} to {:+.2f}".format(*(100 * end for end in candidate.gate.ci95))
            )
            mark = " *" if candidate.name in front else ""
            lines.append(
                f"{candidate.name + mark:34}{candidate.bytes / 2**20:7.1f}{candidate.ms:8.2f}{candidate.search.error:8.4f}"
                f"{drop:>8}  {interval:>22}  {candidate.verdict}"
            )
        front_said = ", then ".join(f"{c.name} ({c.ms:.2f} ms, {c.search.error:.4f})" for c in self.front)
        lines.append(f"* Pareto front of time and output error: {front_said}")
        lines.append(f"chosen: {self.chosen.name}" if self.chosen else "no candidate is proven to be within the budget")
        gate = self.candidates[-1].gate
        if self.chosen is None and gate is not None:
            lines.append(too_few(gate.images, self.max_drop, self.allowed))
        if self.allowed > 1:
            lines.append(
                f"intervals are of {confidence(self.allowed):.2%} each: with {self.allowed} candidates that could pass, 95 % hold for all"
                " together"
            )
        return "\n".join(line for line in lines if line)


def tune(
    reference: bytes,
    int8: bytes,
    photos: Photos,
    contract: Contract,
    *,
    max_drop: float,
    integer_only: bool = False,
    predict_ms: PredictMs | None = None,
    board: str = "",
    state: Path | None = None,
) -> Tuned:
    """Search for the fastest file whose drop of top-1 is proven to be at most ``max_drop`` (a fraction).

    reference: float32 flatbuffer; int8: full-int8 flatbuffer of the same network, whose ranges all candidates share. photos:
    labelled; 3 in 5 decide and never rank. integer_only: no float islands (an Edge TPU sends all that follows one to the CPU), so
    that the int8 file passes or nothing does. predict_ms: for the board called ``board``; else one thread here is timed. state:
    where measurements are kept, so that an interrupted run goes on.

    Raises UsageError without labels or classes.
    """
    if not 0.0 < max_drop < 1.0:
        raise UsageError(f"max_drop is {max_drop}, expected a fraction above 0 and below 1 (0.01 is one point)")
    if photos.labels is None or not any(output.is_classes for output in contract.outputs):
        raise UsageError("tune decides by the drop of top-1: it needs an output with classes, and labelled validation images")
    gate, search = photos.split(_GATE_SHARE)
    run = _Run(reference, int8, search, gate, contract, max_drop, integer_only, predict_ms, board, state)
    with stage("int8 and float on the validation images"):
        tried = [run.candidate(INT8, ())]
    if tried[0].verdict == statistics.PASS or integer_only:
        return run.result(tried, ())
    ranking = run.ranking()
    chosen: tuple[Block, ...] = ()
    for count in _counts(len(ranking)):
        chosen = tuple(entry.block for entry in ranking[:count])
        with stage(f"{count} of {len(ranking)} blocks in float"):
            tried.append(run.candidate(f"int8, {count} block{'s' if count > 1 else ''} in float", chosen))
        if tried[-1].verdict == statistics.PASS:
            break
    if tried[-1].verdict != statistics.PASS:
        with stage("int16x8 (slow kernels on most machines)"):
            tried.append(run.candidate(INT16X8, ()))
    return run.result(tried, ranking)


def deciding(photos: Photos) -> int:
    """Return how many of the validation images decide."""
    return len(photos.split(_GATE_SHARE)[0])


def confidence(allowed: int) -> float:
    """Return the confidence of each interval where ``allowed`` candidates get the chance to pass: Bonferroni's share of the 5 %.

    How many could be tried, not how many were so far: shares of the 5 % that depend on when the search stops add up to more.
    """
    return 1 - (1 - statistics.CONFIDENCE) / allowed


def candidates_of(blocks_found: int, *, integer_only: bool = False) -> int:
    """Return how many candidates a search over so many blocks puts to the gate at most: int8, some with float, int16x8."""
    return 1 if integer_only else 2 + len(_counts(blocks_found))


def too_few(images: int, max_drop: float, allowed: int = 1) -> str:
    """Return the sentence that says that so many images cannot prove the budget for a file with float's answers, or "".

    allowed: as for ``confidence``. Only a file that happens to be better than float can pass with so few.
    """
    needed = images
    while statistics.paired_interval(0, 0, needed, confidence(allowed))[1] > max_drop:
        needed = math.ceil(needed * 1.01) + 1
    if needed == images:
        return ""
    photos = math.ceil(needed / _GATE_SHARE)
    return (
        f"{images} images decide, too few to prove a drop of at most {100 * max_drop:g} points for a file that answers just as float"
        f" does: give about {photos:,} labelled validation images, or a larger --max-drop"
    )


def refuse_islands(board: str) -> UsageError:
    """Return the error for an Edge TPU target whose int8 file is not within the budget."""
    return UsageError(
        f"{board} has an Edge TPU, which runs full-integer files only: float blocks would send everything after them to the CPU;"
        " the int8 file is not proven to be within the budget, so use edgekit qat, more validation images or a larger --max-drop"
    )


def pareto(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates that no other beats in both ``ms`` and ``search.error``, fastest first."""
    best: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.ms, c.search.error)):
        if not best or candidate.search.error < best[-1].search.error:
            best.append(candidate)
    return tuple(best)


class _Run:
    """What the candidates share, and the measurements that an interrupted run left."""

    def __init__(
        self,
        reference: bytes,
        int8: bytes,
        search: Photos,
        gate: Photos,
        contract: Contract,
        max_drop: float,
        integer_only: bool,
        predict_ms: PredictMs | None,
        board: str,
        state: Path | None,
    ) -> None:
        self.maker = MixedMaker(reference, int8)
        self._reference, self._int8 = reference, int8
        self._search, self._gate = search, gate
        self._contract, self._max_drop = contract, max_drop
        self._predict_ms = predict_ms
        self._blocks = blocks.blocks(self.maker.model)
        self._allowed = candidates_of(len(self._blocks), integer_only=integer_only)
        self._last = int8
        self._float: dict[int, Outputs] = {}
        name = key("tune 4", sha256_bytes(reference), sha256_bytes(int8), search.ids, gate.ids, board, predict_ms is None)
        self._path = (state or cache_folder()) / f"{name[:32]}.tune.json"
        self._known: dict[str, Any] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def ranking(self) -> tuple[Sensitivity, ...]:
        """Blocks by gain for each millisecond that float costs. Some gain only together: those that gain nothing come last."""
        found = self._remembered_ranking()
        all_int8_ms = 0.0 if self._predict_ms is None else self._predict_ms(self._int8)
        return tuple(sorted(found, key=lambda entry: -entry.gain / self._cost(entry.block, all_int8_ms)))

    def candidate(self, name: str, in_float: tuple[Block, ...]) -> Candidate:
        """Make, measure and judge one file."""
        data = self._last = self._make(name, in_float)
        measured = sha256_bytes(data)  # what was measured before is known by the file's own bytes
        known = self._known.get(measured)
        if known is None:
            known = {"ms": self._ms(data)}
            for part, photos in (("search", self._search), ("gate", self._gate)):
                known[part] = self._flips(photos, data)
            self._known[measured] = known
            atomic_write_text(self._path, json.dumps(self._known))
        gate = _pairing(known["gate"])
        assert gate.lost is not None and gate.won is not None
        interval = statistics.paired_interval(gate.lost, gate.won, gate.images, confidence(self._allowed))
        return Candidate(
            name=name,
            in_float=in_float,
            bytes=len(data),
            ms=known["ms"],
            search=_pairing(known["search"]),
            gate=_pairing({**known["gate"], "ci95": interval}),
            verdict=statistics.verdict(interval, self._max_drop),
        )

    def result(self, tried: list[Candidate], ranking: tuple[Sensitivity, ...]) -> Tuned:
        """Return what was found; the chosen file is the one that was measured last."""
        last = tried[-1]
        passed = last.verdict == statistics.PASS
        return Tuned(
            candidates=tuple(tried),
            ranking=ranking,
            chosen=last if passed else None,
            flatbuffer=self._last if passed else None,
            max_drop=self._max_drop,
            allowed=self._allowed,
        )

    def _make(self, name: str, in_float: tuple[Block, ...]) -> bytes:
        if name == INT16X8:
            return conversion.quantize_int16x8(self.maker.calibrated)
        return self.maker.make(in_float) if in_float else self._int8

    def _remembered_ranking(self) -> tuple[Sensitivity, ...]:
        known = self._known.setdefault("ranking", {})
        missing = [group for group in self._blocks if group.id not in known]

        def remember(entry: Sensitivity, made: bytes) -> None:
            ms = None if self._predict_ms is None else self._predict_ms(made)
            known[entry.block.id] = {"gain": entry.gain, "se": entry.se, "ms": ms}
            atomic_write_text(self._path, json.dumps(self._known))

        if missing:
            few = self._search.few(_RANKING_IMAGES)
            answers = activations.run(self._reference, few.tensors)
            sensitivities(self.maker, answers, few, output_error.kinds_of(self._contract), missing, done=remember)
        return tuple(Sensitivity(block=g, gain=known[g.id]["gain"], se=known[g.id]["se"]) for g in self._blocks)

    def _cost(self, block: Block, all_int8_ms: float) -> float:
        """Milliseconds that the file takes longer with the block in float, its conversions to and fro included.

        Predicted for the board; without one to a common factor, by arithmetic: single blocks are too short to be timed.
        """
        ms = self._known["ranking"][block.id]["ms"]
        if ms is not None:
            return max(float(ms) - all_int8_ms, _LEAST_MS)
        model = self.maker.model
        return max(sum(graph_facts.op_macs(model.ops[i], model.tensors) for i in block.ops), 1) / 1e6

    def _ms(self, data: bytes) -> float:
        if self._predict_ms is not None:
            return self._predict_ms(data)
        interpreter = open_interpreter(data, threads=1)
        spent = []
        for _ in range(_TIMED_RUNS):
            started = time.perf_counter()
            interpreter.invoke()
            spent.append(1000 * (time.perf_counter() - started))
        return float(np.median(spent))

    def _flips(self, photos: Photos, data: bytes) -> dict[str, Any]:
        if id(photos) not in self._float:
            self._float[id(photos)] = activations.run(self._reference, photos.tensors)
        answers = activations.run(data, photos.tensors)
        return compare(self._float[id(photos)], answers, photos.labels, self._contract).to_dict()


def predictor(board: Any) -> PredictMs:
    """Return the function that predicts milliseconds on the CPU of ``board`` (a ``devices`` profile). Raises UsageError."""

    def predict(data: bytes) -> float:
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            path = Path(folder) / "candidate.tflite"
            path.write_bytes(data)
            found = latency.cpu(network_of(graph.read(data), path), board)
        if found is None:
            raise UsageError(f"no latency is known for the CPU of {board.name}; leave --board out to time candidates here")
        return found.expected

    return predict


def _pairing(fields: dict[str, Any]) -> Pairing:
    interval = fields["ci95"]
    return Pairing(**{**fields, "ci95": None if interval is None else (float(interval[0]), float(interval[1]))})


def _counts(total: int) -> list[int]:
    counts, count = [], 1
    while count < total:
        counts.append(count)
        count *= 2
    return [*counts, total] if total else []
