"""The answers of a .tflite to a folder of images, stored as a reference (`edge.reference`)."""

from __future__ import annotations

import os
from collections.abc import Callable

from .dataset import LabelledImages
from .errors import ImageError
from .files import sha256_bytes
from .model import Model
from .reference import ReferenceWriter


def store(
    model: Model, images: LabelledImages, path: str | os.PathLike[str], advance: Callable[[], None] = lambda: None
) -> list[str]:
    """Write what ``model`` answers to every image and return the ids of those that cannot be read, which are left out.

    Raises OutputError if the place cannot be written to, DatasetError if no image could be read.
    """
    unreadable: list[str] = []
    with ReferenceWriter(path, model.contract) as writer:
        for item in images:
            try:
                data = item.path.read_bytes()
                writer.add(sha256_bytes(data), model.predict(data))
            except (OSError, ImageError):
                unreadable.append(item.id)
            advance()
    return unreadable
