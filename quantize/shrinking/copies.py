"""Copies of layers for a network that is built anew, and their weights: those of the originals, with what is folded into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..quiet import import_keras
from .channels import Narrowing
from .flat import Flat, Step
from .structure import SCALED

_LINEAR = frozenset({"Conv2D", "Dense"})


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Folds:
    """``scale_of``: by the id of a convolution, the residual scale that goes into its weights. ``sums``: ids of the layers that had it."""

    scale_of: Mapping[int, float]
    sums: frozenset[int]


def folds(network: Flat) -> Folds:
    """Find each ``CustomScaleLayer`` (``x + scale * up``) whose ``up`` is made by a linear layer for it alone."""
    makers, users = network.makers(), network.users()
    scale_of: dict[int, float] = {}
    sums: set[int] = set()
    for step in network.steps:
        if step.kind != SCALED or not step.alone:
            continue
        up = step.sources[1]
        maker = makers.get(up)
        if maker is not None and maker.alone and len(users[up]) == 1 and up not in network.outputs and is_linear(maker):
            scale_of[id(maker.layer)] = float(step.layer.get_config()["scale"])
            sums.add(id(step.layer))
    return Folds(scale_of=scale_of, sums=frozenset(sums))


def is_linear(step: Step) -> bool:
    """Whether ``step`` is a convolution or dense layer without activation of its own."""
    return step.kind in _LINEAR and getattr(step.layer.activation, "__name__", "") == "linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Makes one copy of each layer, however often it is asked for it, and fills them once the network is built."""

    folds: Folds
    narrowings: Mapping[int, Narrowing] = field(default_factory=dict)
    made: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    def of(self, layer: Any, name: str) -> Any:
        """Return the copy of ``layer``, called ``name`` when it is made now."""
        if id(layer) not in self.made:
            config = {**layer.get_config(), "name": name}
            if id(layer) in self.narrowings:
                config = self.narrowings[id(layer)].config(layer, config)
            # A Lambda's code is this process's own already.
            unsafe = {"safe_mode": False} if type(layer).__name__ == "Lambda" else {}
            self.made[id(layer)] = (layer, type(layer).from_config(config, **unsafe))
        return self.made[id(layer)][1]

    def plain_sum(self, layer: Any, sources: Sequence[Any], name: str) -> Any:
        """Return what a ``CustomScaleLayer`` makes of ``sources``, with layers that every Keras 3 has."""
        layers = import_keras().layers
        straight, branch = sources
        if id(layer) not in self.folds.sums:
            branch = layers.Rescaling(float(layer.get_config()["scale"]), name=f"{name}_scale")(branch)
        return layers.Add(name=name)([straight, branch])

    def fill(self) -> None:
        """Give each copy that was built the weights of its original. Raises ValueError where they do not fit."""
        for original, copy in self.made.values():
            if not getattr(copy, "weights", ()):
                continue
            scale = np.float32(self.folds.scale_of.get(id(original), 1.0))
            weights = original.get_weights()
            if id(original) in self.narrowings:
                weights = self.narrowings[id(original)].weights(original, weights)
            copy.set_weights([weight * scale for weight in weights] if scale != 1 else weights)
            if hasattr(copy, "finalize_state"):  # Normalization derives values from its weights
                copy.finalize_state()
