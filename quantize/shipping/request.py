"""What was asked for, and where its files go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devices.boards import target_names
from devices.errors import TargetError

RESCUES = ("tune", "qat", "shrink")
"""The commands that may help where post-training quantization is not enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One `edgekit ship`. Places are as they were typed.

    ``source``: the words that say what the model is (``--preprocess inception``). ``variants``: float32 is always among them. ``allow``:
    which of `RESCUES` may be done without asking. ``minutes``: of shrink. ``board``: a target, None for none. ``profile``: its name in
    `edgekit boards`, None to take what the board says. ``certify``: images whose bits are compared.
    """

    model: str
    train: str
    test: str
    out: str
    name: str
    source: tuple[str, ...] = ()
    labels: str | None = None
    variants: tuple[str, ...] = ("float32", "int8")
    max_drop: float = 0.01
    max_ms: float | None = None
    allow: tuple[str, ...] = ()
    minutes: float | None = None
    board: str | None = None
    profile: str | None = None
    folder: str | None = None
    ssh_config: str | None = None
    wheels: str | None = None
    certify: int = 50

    @property
    def emulated(self) -> bool:
        """Whether the board is named as an emulated one. What another target is, only it can tell."""
        try:
            return self.board is not None and target_names.read(self.board).kind == target_names.VIRTUAL
        except TargetError:
            return False

    @property
    def learning(self) -> str:
        """The list of those photos of ``train`` that a network learns from where others have to choose."""
        return self.place("split", "learn.csv")

    @property
    def choosing(self) -> str:
        """The list of the others."""
        return self.place("split", "choose.csv")

    @property
    def class_names(self) -> str | None:
        """The file of class names that the lists need where folders have said them; None where they are given, or in a list already."""
        return self.place("split", "labels.txt") if self.labels is None and Path(self.train).is_dir() else None

    def place(self, *parts: str) -> str:
        """Return a path below ``out``, written as ``out`` is."""
        return str(Path(self.out, *parts))

    def answer(self, step: str) -> str:
        """Return where a step's JSON goes."""
        return self.place("runs", f"{step.replace(' ', '.')}.json")

    def made(self, variant: str) -> str:
        """Return the file that `edgekit quantize` makes of a variant."""
        return self.place(f"{self.name}.{variant}.tflite")
