"""Options of quantization-aware training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import TrainingError
from ..tflite import conversion

RATE = 1e-5
DISTILLING_RATE = 1e-6
"""Where the float network is the aim, training starts beside it: what is left is rounding, and larger steps only follow its noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QatConfig:
    """All defaults suit fine-tuning a trained network.

    ``learning_rate``: the highest, of Adam; None takes RATE, or DISTILLING_RATE where everything is learned from the float network.
    ``freeze_from``: share of the run (0..1) after which batch norm statistics and ranges stand still; None takes a half, or 0 where
    everything is learned from the float network, which answers with its own statistics. ``patience``: epochs without a better int8
    file before stopping early. ``distill``: learn from the float network's answers; None does so where there are no labels.
    ``balanced``: classes weigh alike however many images they have. ``loss_weights``: of each output by name, 1 where absent.
    ``augment``: some of ``data.AUGMENTATIONS``. ``unlabelled``: ignore the labels of the training images. ``representative``: how
    many of them set the first ranges. ``sparsity``: share of each kernel's weights set to zero and kept there. ``clusters``: distinct
    values per kernel, or None. ``io`` and ``per_channel`` as in ``PtqConfig``. ``float_control``: train the float network as long too,
    and quantize it afterwards, to tell what fake quantization gains from what fine-tuning alone does.
    """

    epochs: int = 5
    learning_rate: float | None = None
    batch_size: int = 16
    distill: bool | None = None
    balanced: bool = False
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    augment: tuple[str, ...] = ()
    freeze_from: float | None = None
    patience: int = 5
    unlabelled: bool = False
    representative: int = 200
    io: str = "int8"
    per_channel: bool = True
    sparsity: float = 0.0
    clusters: int | None = None
    float_control: bool = False
    golden_samples: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        checks = (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("learning_rate", self.learning_rate is None or 0.0 < self.learning_rate <= 1.0, "above 0, at most 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("freeze_from", self.freeze_from is None or 0.0 <= self.freeze_from <= 1.0, "a share from 0 to 1"),
            ("patience", self.patience >= 1, "at least 1"),
            ("representative", self.representative >= 1, "at least 1"),
            ("sparsity", 0.0 <= self.sparsity < 1.0, "a share from 0, below 1"),
            ("clusters", self.clusters is None or 2 <= self.clusters <= 256, "2 to 256"),
            ("io", self.io in conversion.IO_TYPES, f"one of {', '.join(conversion.IO_TYPES)}"),
            ("loss_weights", all(math.isfinite(w) and w >= 0 for w in self.loss_weights.values()), "finite weights from 0"),
        )
        for name, fits, expected in checks:
            if not fits:
                raise TrainingError(f"{name} is {getattr(self, name)!r}, expected {expected}")
        if self.sparsity and self.clusters is not None:
            raise TrainingError(
                "sparsity and clusters together are not supported: a cluster's mean would fill the zeros; choose one"
            )

    def rate(self, *, labelled: bool) -> float:
        """Return the highest learning rate. labelled: whether any output learns from labels."""
        if self.learning_rate is not None:
            return self.learning_rate
        return RATE if labelled else DISTILLING_RATE

    def frozen_share(self, *, labelled: bool) -> float:
        """Return the share of the run after which statistics and ranges stand still. labelled: as in ``rate``."""
        if self.freeze_from is not None:
            return self.freeze_from
        return 0.5 if labelled else 0.0
