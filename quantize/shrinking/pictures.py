"""The photos of a search: what ranks, repairs and trains, what chooses, and the same photo for networks of two sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.artefact.contract import Contract
from edge.data.dataset import LabelledImages
from edge.errors import DatasetError

from ..qat.data import TrainingImages

CHOICE = 256
"""Photos that choose between candidates and between stages of training, at most; a fifth of all where there are few."""

FEWEST = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """``learning``: what blocks are ranked with, layers repaired with and networks trained with. ``choice``: none of those."""

    learning: LabelledImages
    choice: LabelledImages


def divide(images: LabelledImages) -> Parts:
    """Return the photos in two parts, each class in both with its share. Raises DatasetError for too few."""
    total = len(images)
    if total < FEWEST:
        raise DatasetError(f"{images.root}: {total} images, expected at least {FEWEST} to shrink with; some hundreds are better")
    count = min(CHOICE, total // 5)
    chosen = np.arange(count) * total // count
    rest = np.setdiff1d(np.arange(total), chosen)
    return Parts(learning=images.take(rest), choice=images.take(chosen))


def resized(contract: Contract, height: int, width: int) -> Contract:
    """Return ``contract`` with another input size."""
    return contract.replace(input=dataclasses.replace(contract.input, height=height, width=width))


def feed(images: LabelledImages, contract: Contract, *, augment: tuple[str, ...] = (), seed: int = 0) -> TrainingImages:
    """Return photos as the contract takes them; with the same seed those of two sizes are augmented alike."""
    return TrainingImages(images=images, contract=contract, truth={}, augment=augment, seed=seed)


def batches(images: LabelledImages, contract: Contract, size: int) -> Iterator[NDArray[np.float32]]:
    """Yield ``(<= size, height, width, channels)``, all photos once, in order."""
    return feed(images, contract).in_order(size)
