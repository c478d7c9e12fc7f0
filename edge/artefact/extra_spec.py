"""What a contract says about an input beside the picture. A module of its own, as most models have none: see `edge.artefact.contract`.

Annotations are evaluated here, as in `edge.artefact.contract`, whose reader goes by them.
"""

import math
from dataclasses import dataclass

from .contract import MOST_VALUES, _check


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraInput:
    """An input beside the picture, such as a history of speeds: float values of ``shape`` (without batch axis).

    What is given are real quantities; the tensor gets ``(value - mean) / scale``. ``mean`` and ``scale`` have one entry, or one for
    each value of the last axis. ``meaning`` says in words, with unit and order, what the values are.
    """

    name: str
    shape: tuple[int, ...]
    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    meaning: str = ""

    def __post_init__(self) -> None:
        key = f"extra_inputs[{self.name}]"
        sizes = bool(self.shape) and all(1 <= size <= MOST_VALUES for size in self.shape)
        _check(sizes, f"{key}.shape", self.shape, "one size or more, each 1 or more")
        for name in ("mean", "scale"):
            values = getattr(self, name)
            fits = len(values) in (1, self.shape[-1]) and all(math.isfinite(v) for v in values)
            _check(fits, f"{key}.{name}", values, f"1 or {self.shape[-1]} finite numbers")
        _check(all(v != 0.0 for v in self.scale), f"{key}.scale", self.scale, "no zero")
