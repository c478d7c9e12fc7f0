"""Reference outputs: what the trained network itself answers, stored once, so that validating needs no TensorFlow afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge.data.dataset import LabelledImages
from edge.errors import ImageError
from edge.progress import Progress
from edge.runtime.extra_inputs import Columns, identity
from edge.runtime.preprocess import preprocess
from edge.validation.reference import ReferenceOutputs, ReferenceWriter

from .quiet import import_tensorflow, quiet

if TYPE_CHECKING:
    from .loading.source import Source

_BATCH = 16  # images at once: about twice the throughput of one at a time on two cores


def reference_outputs(source: Source, images: str | Path | LabelledImages, out: str | Path) -> ReferenceOutputs:
    """Run ``source`` on every image of a folder or manifest and store its outputs in ``out`` (``.npz``).

    Each answer is keyed by the image's content and the preprocessing, so the file serves any dataset that holds the same images,
    and ``edge.validate(..., reference=out)`` finds them. An unreadable image is left out: validation lists it, as it cannot read
    it either. Raises DatasetError for a folder without images and OutputError if ``out`` cannot be written.
    """
    dataset = images if isinstance(images, LabelledImages) else LabelledImages.open(images, unlabelled=True)
    tf = import_tensorflow()
    # A SavedModel's own signature may be for one image only; a Keras model takes any number.
    size = 1 if source.model is None else _BATCH
    columns = Columns.find(dataset, source.contract)
    signature = [tf.TensorSpec([None if size > 1 else 1, *shape], tf.float32) for shape in source.input_shapes]
    with quiet():
        function = tf.function(source.function, input_signature=signature, autograph=False).get_concrete_function()
    with ReferenceWriter(out, source.contract) as writer, Progress(len(dataset), "reference outputs") as progress:
        for hashes, tensors in _batches(dataset, source, columns, size):
            answers = {name: array.numpy() for name, array in function(*map(tf.constant, tensors)).items()}
            for row, sha256 in enumerate(hashes):
                writer.add(sha256, {name: array[row] for name, array in answers.items()})
            progress.advance(len(hashes))
    return ReferenceOutputs.open(out)


def _batches(
    dataset: LabelledImages, source: Source, columns: Columns | None, size: int
) -> Iterator[tuple[list[str], list[np.ndarray]]]:
    """Yield the hashes and the preprocessed tensors ``(<= size, height, width, channels)`` of the readable images.

    The tensors of the other inputs follow, where the network has them.
    """
    hashes: list[str] = []
    rows: list[tuple[np.ndarray, ...]] = []
    spec = source.contract.input
    for item in dataset:
        try:
            data = item.read() if spec.frames else b""
            picture = (preprocess(data, spec),) if spec.frames else ()
        except (OSError, ImageError):
            continue
        extra = () if columns is None else columns.tensors(item, (None,) * len(columns.inputs))
        rows.append((*picture, *extra))
        hashes.append(identity(data, item, columns))
        if len(hashes) == size:
            yield hashes, [np.concatenate(each) for each in zip(*rows, strict=True)]
            hashes, rows = [], []
    if hashes:
        yield hashes, [np.concatenate(each) for each in zip(*rows, strict=True)]
