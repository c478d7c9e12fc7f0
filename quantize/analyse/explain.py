"""Where the accuracy of an int8 file goes: the ladder, the error of each op, and the sensitivity of each block.

explanation = quantize.analyse.explain("flowers.int8.tflite", reference="flowers.float32.tflite", images="test/")
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.artefact import blocks, container, graph
from edge.errors import ContractError

from ..calibrate import activations, output_error
from ..tflite.answers import check_names
from . import board_rung, ladder, op_errors, sensitivity
from .ladder import Rung, Runner
from .op_errors import OpError
from .paired import Pairing, Photos
from .sensitivity import Sensitivity

_OP_IMAGES = 32  # an op's error hardly changes with more
_SENSITIVITY_IMAGES = 64
_FEWER_IMAGES = 32  # where one takes long; the same images with and without a block tell small gains apart
_LARGE = 160 * 160  # pixels
_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """``ops`` in the order of the network; ``blocks`` too, then the single ops of the worst; both empty where left out.

    ``notes``: what could not be measured, and why.
    """

    images: int
    rungs: tuple[Rung, ...]
    ops: tuple[OpError, ...]
    blocks: tuple[Sensitivity, ...]
    refined: tuple[Sensitivity, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "images": self.images,
            "ladder": [rung.to_dict() for rung in self.rungs],
            "worst_step": ladder.worst(self.rungs).name,
            "ops": [op.to_dict() for op in self.ops],
            "blocks": [entry.to_dict() for entry in self.blocks],
            "refined": [entry.to_dict() for entry in self.refined],
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """Return it for people: the ladder, then the worst ops and blocks."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.images} images; each rung against the one before"
        yield f"{'':30}{'top-1':>8}{'drop':>9}  {'95 % interval':>18}{'lost/won':>10}{'agree':>8}{'error':>9}"
        for rung in self.rungs:
            yield f"{rung.name:30}" + _pairing(rung.step or rung.total, first=rung.step is None)
        yield f"{'last against first':30}" + _pairing(self.rungs[-1].total, first=False)
        yield f"largest step: {ladder.worst(self.rungs).name}"
        yield from (f"note: {note}" for note in self.notes)
        if self.ops:
            yield f"\nops with the lowest SQNR\n{'op':>5}  {'':22}{'SQNR dB':>8}{'cosine':>9}{'clipped':>9}{'used':>7}"
            for op in sorted(self.ops, key=lambda op: op.sqnr_db)[:_SHOWN]:
                yield f"{op.position:5}  {op.op:22}{op.sqnr_db:8.1f}{op.cosine:9.4f}{op.saturated:9.2%}{op.used:7.0%}"
        if self.blocks:
            yield f"\nblocks whose int8 costs most (error that goes away with the block in float)\n{'':40}{'gain':>9}{'+-':>9}"
            for entry in sorted((*self.blocks, *self.refined), key=lambda entry: -entry.gain)[:_SHOWN]:
                yield f"{entry.block.name:40}{entry.gain:9.4f}{1.96 * entry.se:9.4f}"


def explain(
    file: str | os.PathLike[str],
    *,
    reference: str | os.PathLike[str],
    images: str | os.PathLike[str],
    limit: int | None = None,
    keras: Runner | None = None,
    per_op: bool = True,
    per_block: bool = True,
    refine: int = 1,
    on: str | None = None,
    board_flags: Sequence[str] = (),
) -> Explanation:
    """Explain an int8 artefact against the float32 artefact of the same network.

    images: a folder or manifest; labels are used where there are any. limit: so many of them, evenly spread. keras: gives the
    original network's outputs on the images, for a rung of its own. refine: how many of the worst blocks to take apart op by op.
    on: a board (local, [user@]host[:port] or virtual:NAME) that makes the last rung; board_flags: more of ``validate --on``.
    Raises ContractError for files without contract or of different networks, and what reading them raises.
    """
    candidate, contract = _open(file)
    float32, other = _open(reference)
    if {o.name: o.kind for o in contract.outputs} != {o.name: o.kind for o in other.outputs} or contract.input != other.input:
        raise ContractError(f"{file} and {reference} are fed or read differently; explain compares variants of one network")
    model = graph.read(float32)
    check_names(model, other, str(reference))
    check_names(graph.read(candidate), contract, str(file))
    if any(tensor.dtype in ("int8", "int16", "float16") for tensor in model.tensors):
        raise ContractError(f"{reference}: not a float32 variant; make one with edgekit quantize --variants float32")
    photos = Photos.open(Path(images), contract, limit=limit)
    notes: list[str] = []
    rungs = ladder.climb(candidate, float32, photos, contract, keras=keras, notes=notes)
    if on is not None:
        rungs = (*rungs, board_rung.rung(on, file, reference, images, rungs[-1], limit=limit, flags=board_flags))
    ops: tuple[OpError, ...] = ()
    if per_op:
        ops = op_errors.op_errors(float32, candidate, photos.few(_OP_IMAGES))
    found: tuple[Sensitivity, ...] = ()
    single: tuple[Sensitivity, ...] = ()
    if per_block and _full_integer(candidate):
        large = contract.input.width * contract.input.height > _LARGE
        few = photos.few(_FEWER_IMAGES if large else _SENSITIVITY_IMAGES)
        answers = activations.run(float32, few.tensors)
        maker = sensitivity.MixedMaker(float32, candidate)
        compared = output_error.kinds_of(contract)
        found = sensitivity.sensitivities(maker, answers, few, compared, blocks.blocks(model))
        parts = sensitivity.refined(found, refine)
        single = sensitivity.sensitivities(maker, answers, few, compared, parts) if parts else ()
    return Explanation(images=len(photos), rungs=rungs, ops=ops, blocks=found, refined=single, notes=tuple(notes))


def _open(path: str | os.PathLike[str]) -> tuple[bytes, Any]:
    source = container.read(Path(path))
    if source.contract is None:
        raise ContractError(f"{path}: no contract says how to feed it; explain takes files made by edgekit quantize")
    return bytes(source.flatbuffer()), source.contract


def _full_integer(flatbuffer: bytes) -> bool:
    model = graph.read(flatbuffer)
    return any(tensor.dtype == "int8" and not tensor.is_constant for tensor in model.tensors)


def _pairing(pair: Pairing, *, first: bool) -> str:
    top1 = "-" if pair.top1 is None else f"{pair.top1:.2%}"
    agree = "-" if pair.agreement is None else f"{pair.agreement:.2%}"
    if first:
        return f"{top1:>8}"
    drop, interval, flips = "-", "-", "-"
    if pair.drop is not None and pair.ci95 is not None:
        drop, flips = f"{100 * pair.drop:+.2f}", f"{pair.lost}/{pair.won}"
        interval = f"{100 * pair.ci95[0]:+.2f} to {100 * pair.ci95[1]:+.2f}"
    error = pair.error if np.isfinite(pair.error) else float("nan")
    return f"{top1:>8}{drop:>9}  {interval:>18}{flips:>10}{agree:>8}{error:9.4f}"
