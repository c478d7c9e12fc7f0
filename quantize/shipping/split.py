"""Which photos of --train choose, where a rescue has to choose: those of --test judge, and what has chosen by them is judged too well."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from edge.artefact import container
from edge.data.dataset import LabelledImages
from edge.data.image_list import ImageItem
from edge.errors import EdgeError
from edge.files import atomic_write_text

from .request import Request

_EACH = 5  # every fifth chooses: of each class about as many, as a folder is listed class by class


def write(request: Request) -> None:
    """Write the two lists of photos (``request.learning``, ``request.choosing``), and the class names where folders have said them."""
    listed = LabelledImages.open(request.train)
    learning: list[ImageItem] = []
    choosing: list[ImageItem] = []
    for number, item in enumerate(listed):
        (choosing if number % _EACH == _EACH - 1 else learning).append(item)
    for place, items in ((request.learning, learning), (request.choosing, choosing)):
        base = Path(place).parent
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["path", *(["label"] if listed.labelled else []), *listed.columns])
        for item in items:
            sources = ";".join(os.path.relpath(source, base) for source in item.sources)
            writer.writerow([sources, *([listed.label_text(item)] if listed.labelled else []), *item.targets])
        atomic_write_text(place, text.getvalue())
    if request.class_names is not None:
        atomic_write_text(request.class_names, "".join(f"{name}\n" for name in _names(request, listed)))


def _names(request: Request, listed: LabelledImages) -> tuple[str, ...]:
    """Return the class names that quantize has found, in the network's own order."""
    try:
        contract = container.read(request.made("float32")).contract
    except EdgeError:
        contract = None
    named = [output.labels for output in contract.outputs if output.labels] if contract is not None else []
    return tuple(named[0]) if len(named) == 1 else listed.labels
