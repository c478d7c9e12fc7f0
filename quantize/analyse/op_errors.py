"""Float and int8 side by side on the same images: how far each op's result is off, and how its range is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.artefact import graph
from edge.numbers import metrics
from edge.runtime.interpreter import LoadedInterpreter, open_interpreter
from edge.runtime.pool import Pool, default_workers, ordered

from ..calibrate.activations import infer
from .paired import Photos


@dataclass(frozen=True, slots=True, kw_only=True)
class OpError:
    """What is left of one op's result in int8. The error is all that has come together up to here, not this op's alone.

    ``saturated``: share of values at an end of the range that means clipping (the lower end of a ReLU is zero and does not).
    ``used``: share of the 256 levels between the lowest and the highest value seen.
    """

    position: int
    op: str
    tensor: str
    sqnr_db: float
    cosine: float
    saturated: float
    used: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; an infinite SQNR (no error at all) as None."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {**fields, "sqnr_db": self.sqnr_db if np.isfinite(self.sqnr_db) else None}


_Sums = NDArray[np.float64]  # rows: ops; columns: signal, noise, product, candidate power, saturated, values, lowest, highest


def op_errors(reference: bytes, candidate: bytes, photos: Photos) -> tuple[OpError, ...]:
    """Return one entry for each op whose result both networks have under one name, in the order of the network."""
    pairs = _pairs(graph.read(reference), graph.read(candidate))
    workers = default_workers(3 * (len(reference) + len(candidate)))
    pool = Pool(
        (open_interpreter(reference, threads=1, preserve=True), open_interpreter(candidate, threads=1, preserve=True))
        for _ in range(workers)
    )

    def look(tensor: NDArray[np.float32]) -> _Sums:
        return pool.use(lambda both: _look(both, tensor, pairs))

    total: _Sums | None = None
    for sums in ordered(look, photos.tensors, workers):
        if total is None:
            total = sums
            continue
        lowest, highest = np.minimum(total[:, 6], sums[:, 6]), np.maximum(total[:, 7], sums[:, 7])
        total = total + sums
        total[:, 6], total[:, 7] = lowest, highest
    assert total is not None
    return tuple(_entry(pair, row) for pair, row in zip(pairs, total, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    position: int
    op: str
    name: str
    real: int
    quantized: int
    scale: float
    zero_point: int
    integer: bool


def _pairs(reference: graph.Graph, candidate: graph.Graph) -> tuple[_Pair, ...]:
    known = {reference.tensors[i].name: (op, i) for op in reference.ops for i in op.outputs}
    found = []
    for op in candidate.ops:
        for index in op.outputs:
            tensor = candidate.tensors[index]
            match = known.get(tensor.name)
            if match is None or tensor.shape != reference.tensors[match[1]].shape:
                continue
            integer = tensor.dtype in ("int8", "uint8", "int16") and tensor.quant is not None
            found.append(
                _Pair(
                    position=match[0].index,
                    op=op.name,
                    name=tensor.name,
                    real=match[1],
                    quantized=index,
                    scale=float(tensor.quant.scale[0]) if integer and tensor.quant else 1.0,
                    zero_point=int(tensor.quant.zero_point[0]) if integer and tensor.quant else 0,
                    integer=integer,
                )
            )
    return tuple(found)


def _look(both: tuple[LoadedInterpreter, LoadedInterpreter], tensor: NDArray[np.float32], pairs: tuple[_Pair, ...]) -> _Sums:
    for interpreter in both:
        infer(interpreter, tensor)
    rows = np.zeros((len(pairs), 8))
    for row, pair in zip(rows, pairs, strict=True):
        real, raw = both[0].tensor(pair.real).reshape(-1), both[1].tensor(pair.quantized).reshape(-1)
        found = (raw.astype(np.float32) - pair.zero_point) * np.float32(pair.scale)
        # float32 sums of up to a million squares keep four digits: plenty for decibels.
        row[:4] = np.dot(real, real), np.square(real - found).sum(), np.dot(real, found), np.dot(found, found)
        if pair.integer:
            limits = np.iinfo(raw.dtype)
            low, high = int(raw.min()), int(raw.max())
            ends = np.count_nonzero(raw == limits.max) if high == limits.max else 0
            if low == limits.min and pair.zero_point != limits.min:
                ends += np.count_nonzero(raw == limits.min)
            row[4:] = ends, raw.size, low, high
        else:
            row[5:] = raw.size, 0.0, 0.0
    return rows


def _entry(pair: _Pair, row: NDArray[np.float64]) -> OpError:
    signal, noise, product, power, saturated, values, low, high = (float(value) for value in row)
    length = np.sqrt(signal * power)
    return OpError(
        position=pair.position,
        op=pair.op,
        tensor=pair.name,
        sqnr_db=metrics.sqnr_db(signal, noise) if signal > 0 else (np.inf if noise == 0 else -np.inf),
        cosine=product / length if length > 0 else float(signal == power),
        saturated=saturated / max(values, 1.0),
        used=(high - low + 1) / 256 if pair.integer else 1.0,
    )
