"""Training images as a ``tf.data`` stream, through `edge.runtime.preprocess`: the same pixels that validation and the board see.

The order of an epoch and every random choice in it follow from (seed, epoch, image): a resumed run goes on with the same pictures.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.artefact.contract import Contract
from edge.data.dataset import LABEL_COLUMN, LabelledImages, shown
from edge.errors import ImageError
from edge.files import atomic_write_text, sha256_file
from edge.runtime.pool import ordered
from edge.runtime.preprocess import load_pixels, lookup_table, to_tensor
from edge.validation import targets

from ..errors import TrainingError
from ..quiet import import_tensorflow

AUGMENTATIONS = ("flip", "shift", "light")
CACHE_BYTES = 512 << 20
"""Decoded pixels that are kept between epochs; images beyond it are decoded again."""

_DECODERS = 2
_SHIFT = 0.1  # of the side
_LIGHT = 0.2  # of contrast, and of the full range in brightness

Batch = tuple[NDArray[np.float32], dict[str, NDArray[Any]], NDArray[np.int64]]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrainingImages:
    """``truth``: what is known about each image by output name (class ids, label flags or numbers); outputs without truth are absent."""

    images: LabelledImages
    contract: Contract
    truth: Mapping[str, NDArray[Any]]
    augment: tuple[str, ...] = ()
    seed: int = 0
    _pixels: dict[int, NDArray[np.uint8]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls,
        train: LabelledImages,
        contract: Contract,
        sizes: Sequence[int],
        *,
        augment: Sequence[str] = (),
        seed: int = 0,
    ) -> TrainingImages:
        """Read what ``train`` says about each output of ``contract``. sizes: number of values of each output.

        Raises TrainingError for an unknown augmentation, DatasetError for labels that do not fit.
        """
        unknown = [name for name in augment if name not in AUGMENTATIONS]
        if unknown:
            raise TrainingError(f"augmentation {shown(unknown)} is not known, expected some of {', '.join(AUGMENTATIONS)}")
        return cls(images=train, contract=contract, truth=read_truth(train, contract, sizes), augment=tuple(augment), seed=seed)

    def __len__(self) -> int:
        return len(self.images)

    def steps(self, batch_size: int) -> int:
        """Return the number of whole batches in an epoch, at least one."""
        return max(1, len(self) // batch_size)

    def stream(self, epoch: int, batch_size: int, *, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from number ``skip`` on: tensors ``(batch, H, W, C)``, truth by output, image numbers.

        Raises ImageError for a picture that cannot be read.
        """
        tf = import_tensorflow()
        height, width, channels = self.contract.input.height, self.contract.input.width, self.contract.input.channels
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self))
        size = min(batch_size, len(self))
        chosen = order[: self.steps(batch_size) * size][skip * size :]
        failure: list[ImageError] = []

        def generate() -> Iterator[tuple[NDArray[np.float32], int]]:
            try:
                # Threads decode ahead; their results come in order, so the stream does not depend on them.
                tensors = ordered(lambda number: self.tensor(int(number), epoch), chosen, _DECODERS)
                yield from zip(tensors, chosen, strict=True)
            except ImageError as error:
                failure.append(error)

        signature = (tf.TensorSpec((height, width, channels), tf.float32), tf.TensorSpec((), tf.int64))
        dataset = tf.data.Dataset.from_generator(generate, output_signature=signature).batch(size).prefetch(2)
        for tensors, numbers in dataset.as_numpy_iterator():
            if len(numbers) == size:
                yield tensors, {name: values[numbers] for name, values in self.truth.items()}, numbers
        if failure:
            raise failure[0]

    def in_order(self, batch_size: int) -> Iterator[NDArray[np.float32]]:
        """Yield all images once in the order of the dataset, never augmented: ``(up to batch_size, H, W, C)``."""
        table = lookup_table(self.contract.input)
        for start in range(0, len(self), batch_size):
            numbers = range(start, min(start + batch_size, len(self)))
            yield np.concatenate([to_tensor(self._load(number), table) for number in numbers])

    def class_weights(self, output: str, classes: int) -> NDArray[np.float32]:
        """Return a weight per class, inverse to how often it occurs and 1 on average over the images (``balanced``)."""
        counts = np.bincount(self.truth[output], minlength=classes).astype(np.float64)
        present = counts > 0
        weights = np.where(present, len(self) / (np.maximum(counts, 1.0) * max(1, present.sum())), 0.0)
        return weights.astype(np.float32)

    def tensor(self, number: int, epoch: int) -> NDArray[np.float32]:
        """Return image ``number`` as it is in an epoch: float32 ``(H, W, C)``, augmented."""
        pixels = self._load(number)
        if self.augment:
            pixels = augmented(pixels, self.augment, np.random.default_rng([self.seed, epoch, number]))
        tensor: NDArray[np.float32] = to_tensor(pixels, lookup_table(self.contract.input))[0]
        return tensor

    def _load(self, number: int) -> NDArray[np.uint8]:
        found = self._pixels.get(number)
        if found is not None:
            return found
        pixels = load_pixels(self.images.items[number].path, self.contract.input)
        if (len(self._pixels) + 1) * pixels.nbytes <= CACHE_BYTES:
            self._pixels[number] = pixels
        return pixels


def augmented(pixels: NDArray[np.uint8], names: Sequence[str], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a changed copy of uint8 ``(H, W, C)``: mirrored, moved by up to a tenth of a side, or lit differently."""
    if "flip" in names and rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if "shift" in names:
        height, width = pixels.shape[:2]
        down, right = (int(round(rng.uniform(-_SHIFT, _SHIFT) * side)) for side in (height, width))
        rows = np.clip(np.arange(height) + down, 0, height - 1)
        columns = np.clip(np.arange(width) + right, 0, width - 1)
        pixels = pixels[rows][:, columns]
    if "light" in names:
        contrast, brightness = 1.0 + rng.uniform(-_LIGHT, _LIGHT), 255 * rng.uniform(-_LIGHT, _LIGHT) / 2
        pixels = np.clip(np.rint((pixels.astype(np.float32) - 127.5) * contrast + 127.5 + brightness), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels)


def read_truth(images: LabelledImages, contract: Contract, sizes: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Return what a dataset says about each output, by name; outputs about which it says nothing are left out."""
    headline = next((output.name for output in contract.outputs if output.is_classes), None)
    only = len(contract.outputs) == 1
    truth: dict[str, NDArray[Any] | None] = {}
    for output, size in zip(contract.outputs, sizes, strict=True):
        if output.is_classes:
            truth[output.name] = targets.class_ids(images, output, size, headline=output.name == headline)
        elif output.kind == "multilabel":
            truth[output.name] = targets.label_truth(images, output, size, only=only)
        elif output.kind == "regression":
            numbers = targets.numbers(images, output, size, only=only)
            truth[output.name] = None if numbers is None else numbers.astype(np.float32)
    return {name: values for name, values in truth.items() if values is not None}


def write_list(images: LabelledImages, path: Path) -> Path:
    """Write a manifest of ``images`` to ``path``, beside which their paths hold, and return it."""
    labelled = LABEL_COLUMN not in images.columns
    head = ["path", *([LABEL_COLUMN] if labelled else []), *images.columns]
    rows = [
        [
            os.path.relpath(item.path, path.parent),
            *([images.label_text(item) or "all"] if labelled else []),
            *item.targets,
        ]
        for item in images
    ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    atomic_write_text(path, text.getvalue())
    return path


def check_apart(train: LabelledImages, validation: LabelledImages) -> None:
    """Raise TrainingError if a training image is among the validation images, compared by content."""
    by_size: dict[int, list[Path]] = {}
    for item in validation:
        by_size.setdefault(item.path.stat().st_size, []).append(item.path)
    hashes = {}
    both = []
    for item in train:
        same_size = by_size.get(item.path.stat().st_size, [])
        if not same_size:
            continue
        hashes.update({path: sha256_file(path) for path in same_size if path not in hashes})
        if sha256_file(item.path) in {hashes[path] for path in same_size}:
            both.append(item.id)
    if both:
        raise TrainingError(
            f"{len(both)} training images are validation images too ({shown(both)}); an accuracy on them proves nothing: remove them"
        )
