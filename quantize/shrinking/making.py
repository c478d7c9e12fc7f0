"""A cut becomes a network, and the network a real int8 file whose time and answers count. Importing this module imports TensorFlow."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.files import atomic_write
from edge.progress import stage
from edge.runtime.interpreter import open_interpreter

from .. import ptq
from ..calibrate import activations
from ..calibrate.representative import RepresentativeDataset
from ..loading.source import Source
from ..qat.data import write_list
from ..tflite import conversion
from . import cost, networks, pictures, repair, surgery
from .answers import Judge
from .config import ShrinkConfig
from .distil import Look, look_at
from .pictures import Parts
from .surgery import Cut

REPAIR = 192
"""Photos that layers are repaired with: some thousands of places each, for some hundreds of unknowns."""

QUICK = 64
"""Representative images of a candidate's file; that of the chosen network has all that are asked for."""

ORIGINAL = "original.int8.flatbuffer"
"""The original's file, kept for a run that goes on."""

_LEARNING = "learning.csv"
_TIMED = 15
_BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One cut, repaired and measured. ``ms``, ``bytes``, ``int8``: of its int8 file. ``look``: of the float network.

    ``speedup``: the original's int8 milliseconds over these. ``cut``: what goes. ``wanted``: the speedup that it was made for.
    """

    name: str
    cut: Cut
    wanted: float
    macs: int
    look: Look
    ms: float
    speedup: float
    bytes: int
    int8: Look

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        plain = {key: getattr(self, key) for key in ("name", "wanted", "macs", "ms", "speedup", "bytes")}
        return {**plain, "cut": cut_to_dict(self.cut), "look": self.look.to_dict(), "int8": self.int8.to_dict()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Candidate:
        """Return what ``to_dict`` made plain."""
        looks = {key: Look(**plain[key]) for key in ("look", "int8")}
        return cls(**{**plain, **looks, "cut": cut_from_dict(plain["cut"])})


class Workshop:
    """What all candidates are made with, in the folder ``work``.

    ``listing``: a manifest of the photos that learn. ``expected``: the original's answers to the photos that choose.
    ``file_seconds``: what a file takes to make.
    """

    def __init__(
        self,
        source: Source,
        parts: Parts,
        judge: Judge,
        config: ShrinkConfig,
        work: Path,
        predict: Callable[[bytes], float] | None,
    ) -> None:
        self.source, self.parts, self.judge, self.config = source, parts, judge, config
        self._predict, kept = predict, work / ORIGINAL
        self.listing = write_list(parts.learning, work / _LEARNING)
        self.expected = networks.answers(source, pictures.batches(parts.choice, source.contract, _BATCH))
        began = time.monotonic()
        with stage("the original in int8, to compare with"):
            if not kept.exists():
                atomic_write(kept, self.int8(source))
            self._original = kept.read_bytes()
        self.file_seconds = time.monotonic() - began
        self.bytes = len(self._original)
        self.ms = self._predict(self._original) if self._predict is not None else _alone(self._original)
        self.float_look = self.look(source)
        self.int8_look = self.look_int8(source, self._original)

    def network(self, cut: Cut) -> Source:
        """Return the network without what ``cut`` names, repaired in closed form."""
        shrunk = networks.with_model(self.source, surgery.apply(self.source.model, cut))
        learning = self.parts.learning.subset(REPAIR)
        pairs = zip(
            pictures.batches(learning, self.source.contract, _BATCH),
            pictures.batches(learning, shrunk.contract, _BATCH),
            strict=True,
        )
        repair.least_squares(self.source.model, shrunk.model, cut, pairs)
        return shrunk

    def look(self, shrunk: Source) -> Look:
        """Return how a float network answers the photos that choose."""
        found = networks.answers(shrunk, pictures.batches(self.parts.choice, shrunk.contract, _BATCH))
        return look_at(self.judge, found, self.expected, self.source)

    def look_int8(self, shrunk: Source, flatbuffer: bytes) -> Look:
        """Return how an int8 file answers them, on the kernels that a board has."""
        photos = (batch for batch in pictures.batches(self.parts.choice, shrunk.contract, 1))
        answers = activations.run(flatbuffer, photos)
        found = {name: np.stack([answer[name] for answer in answers]) for name in self.source.output_names}
        found = {name: values.reshape(self.expected[name].shape) for name, values in found.items()}
        return look_at(self.judge, found, self.expected, self.source)

    def int8(self, shrunk: Source) -> bytes:
        """Return the int8 flatbuffer of a network, with float32 input and outputs.

        Raises CalibrationError where the photos are fed otherwise than the network was trained.
        """
        few = RepresentativeDataset.open(self.listing, source=shrunk, count=QUICK, seed=self.config.seed)
        with tempfile.TemporaryDirectory(prefix="edgekit-") as directory:
            conversion.export_saved_model(shrunk, Path(directory))
            reference = conversion.convert_float(Path(directory), "float32")
        calibrated = conversion.calibrate(reference, few.tensors())
        return ptq.int8(shrunk, reference, calibrated, few, ptq.PtqConfig(io="float32")).flatbuffer

    def measured(self, name: str, cut: Cut, wanted: float, shrunk: Source, look: Look) -> Candidate:
        """Make the int8 file of a network and measure it."""
        with stage(f"{name}: int8 file"):
            flatbuffer = self.int8(shrunk)
        ms = self.ms_of(flatbuffer)
        return Candidate(
            name=name,
            cut=cut,
            wanted=wanted,
            macs=cost.macs(cost.layers(shrunk.model)),
            look=look,
            ms=ms,
            speedup=self.ms / ms,
            bytes=len(flatbuffer),
            int8=self.look_int8(shrunk, flatbuffer),
        )

    def ms_of(self, flatbuffer: bytes) -> float:
        """Return milliseconds of a picture: predicted for the board, or the original's times the measured ratio of the two here.

        They take turns, so that whatever else this machine does slows both down.
        """
        if self._predict is not None:
            return self._predict(flatbuffer)
        runs = _turns([self._original, flatbuffer])
        return self.ms * float(np.median(runs[1] / runs[0]))


def cut_to_dict(cut: Cut) -> dict[str, Any]:
    """Return a cut as plain data."""
    return {
        "blocks": sorted(cut.blocks),
        "kept": {name: list(kept) for name, kept in cut.kept.items()},
        "size": None if cut.size is None else list(cut.size),
    }


def cut_from_dict(plain: dict[str, Any]) -> Cut:
    """Return what ``cut_to_dict`` made plain."""
    size = plain["size"]
    kept = {name: tuple(numbers) for name, numbers in plain["kept"].items()}
    return Cut(blocks=frozenset(plain["blocks"]), kept=kept, size=None if size is None else (int(size[0]), int(size[1])))


def _alone(flatbuffer: bytes) -> float:
    return float(np.median(_turns([flatbuffer])[0]))


def _turns(flatbuffers: list[bytes]) -> np.ndarray:
    """Return the milliseconds of each run of each file, ``(files, runs)``, one thread, in turns."""
    interpreters = [open_interpreter(flatbuffer, threads=1) for flatbuffer in flatbuffers]
    for interpreter in interpreters:
        interpreter.invoke()
    spent = np.zeros((len(flatbuffers), _TIMED))
    for run in range(_TIMED):
        for number, interpreter in enumerate(interpreters):
            started = time.perf_counter()
            interpreter.invoke()
            spent[number, run] = 1000 * (time.perf_counter() - started)
    return spent
