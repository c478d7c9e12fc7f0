"""The answers of a .tflite to a folder of images, stored as a reference (`edge.validation.reference`)."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..data.dataset import LabelledImages
from ..errors import ImageError
from ..runtime.extra_inputs import Columns, identity
from ..runtime.model import Model
from .reference import ReferenceWriter


def store(
    model: Model, images: LabelledImages, path: str | os.PathLike[str], advance: Callable[[], None] = lambda: None
) -> list[str]:
    """Write what ``model`` answers to every image and return the ids of those that cannot be read, which are left out.

    Raises OutputError if the place cannot be written to, DatasetError if no image could be read.
    """
    unreadable: list[str] = []
    columns = Columns.find(images, model.contract)
    with ReferenceWriter(path, model.contract) as writer:
        for item in images:
            try:
                data = item.read() if model.contract.input.frames else b""
                values = {} if columns is None else columns.values(item)
                writer.add(identity(data, item, columns), model.predict(data or None, **values))
            except (OSError, ImageError):
                unreadable.append(item.id)
            advance()
    return unreadable
