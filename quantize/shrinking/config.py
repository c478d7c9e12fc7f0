"""Options of shrinking, and what is refused before any work."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge.errors import UsageError

from ..qat.data import AUGMENTATIONS
from ..tflite import conversion

MOST_SPEEDUP = 20.0
"""More than that no network was seen to bear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrinkConfig:
    """What the smaller network has to be, and how long that may take.

    ``max_drop``: what may be lost, a fraction of top-1 (of labels that are all right, for independent labels), or for a network of
    numbers the mean absolute error in the numbers' own unit. ``speedup``: how many times faster in int8. ``max_ms``: milliseconds of one
    picture; predicted for ``board`` where one is named, else measured here with one thread. Without either, the fastest that
    ``max_drop`` is expected to allow. ``input_sizes``: heights of smaller inputs to try too. ``minutes``: of the whole run; the
    training takes what the search leaves of them. ``training``: False stops after the repair in closed form. ``steps``: an end of
    training before the clock's. ``images``: how many photos are ranked with. ``batch_size``: None chooses by the input size.
    ``representative``, ``io``: of the int8 file, as in ``PtqConfig``.
    """

    max_drop: float = 0.01
    speedup: float | None = None
    max_ms: float | None = None
    board: str = ""
    input_sizes: tuple[int, ...] = ()
    minutes: float = 30.0
    training: bool = True
    learning_rate: float = 1e-4
    batch_size: int | None = None
    augment: tuple[str, ...] = AUGMENTATIONS
    steps: int | None = None
    images: int = 64
    representative: int = 200
    io: str = "int8"
    seed: int = 0

    def __post_init__(self) -> None:
        checks = (
            ("max_drop", 0.0 < self.max_drop < math.inf, "a number above 0 (0.01 is one point of top-1)"),
            ("speedup", self.speedup is None or 1.0 < self.speedup <= MOST_SPEEDUP, f"above 1, at most {MOST_SPEEDUP:g}"),
            ("max_ms", self.max_ms is None or 0.0 < self.max_ms < math.inf, "a number above 0"),
            ("input_sizes", all(size >= 8 for size in self.input_sizes), "heights of at least 8 pixels"),
            ("minutes", 0.0 < self.minutes < math.inf, "a number above 0"),
            ("learning_rate", 0.0 < self.learning_rate <= 1.0, "above 0, at most 1"),
            ("batch_size", self.batch_size is None or self.batch_size >= 1, "at least 1"),
            ("augment", set(self.augment) <= set(AUGMENTATIONS), f"some of {', '.join(AUGMENTATIONS)}"),
            ("steps", self.steps is None or self.steps >= 1, "at least 1"),
            ("images", self.images >= 1, "at least 1"),
            ("representative", self.representative >= 1, "at least 1"),
            ("io", self.io in conversion.IO_TYPES, f"one of {', '.join(conversion.IO_TYPES)}"),
        )
        for name, fits, expected in checks:
            if not fits:
                raise UsageError(f"{name} is {getattr(self, name)!r}, expected {expected}")
        if self.speedup is not None and self.max_ms is not None:
            raise UsageError("speedup and max_ms are two budgets of one thing: give one of them")

    def batch(self, height: int, width: int) -> int:
        """Return how many photos are trained with at once: 16 at 96 x 96, fewer of larger ones, so that memory stays the same.

        The activations of a large network with their gradients take some 60 MiB for each photo of 96 x 96, and ten times that at 299.
        """
        return self.batch_size or max(2, min(16, round(16 * 160 * 160 / (height * width))))
