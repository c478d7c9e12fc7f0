"""The small network on its way into training: bridged, with its tensors, its exporter and first ranges."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantize
from quantize.qat import bridge
from quantize.qat import tensors as qat_tensors

LABELS = [str(digit) for digit in range(10)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """The small network bridged, its tensors, its exporter, first ranges and representative images."""

    source: Any
    network: Any
    places: qat_tensors.Places
    exporter: Any
    table: Any
    images: list[np.ndarray]


def prepare(source: Any, images: list[np.ndarray]) -> Prepared:
    from quantize.qat import export as qat_export
    from quantize.qat.ranges import RangeTable

    network = bridge.bridge(source.model).network
    exporter = qat_export.Exporter(source, network, qat_tensors.find(network), lambda: iter(images))
    places = exporter.places
    table = RangeTable(places)
    taps = [qat_export.tap(network, [place.layer for place in places.observed], image) for image in images]
    table.set_observed(
        {name: (min(float(t[name].min()) for t in taps), max(float(t[name].max()) for t in taps)) for name in taps[0]}
    )
    return Prepared(source=source, network=network, places=places, exporter=exporter, table=table, images=images)


@pytest.fixture(scope="module")
def prepared(small_network: Any, digits_folder: Path) -> Prepared:
    source = quantize.load(small_network, name="small", preprocess="inception", labels=LABELS)
    photos = quantize.RepresentativeDataset.from_folder(digits_folder / "train", count=40, contract=source.contract)
    return prepare(source, [tensor for tensor in photos.tensors() if isinstance(tensor, np.ndarray)])
