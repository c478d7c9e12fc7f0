"""A picture, and its files in every format."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge.artefact.contract import InputSpec
from edge.runtime.golden import pattern

Pixels = NDArray[np.uint8]


@pytest.fixture
def picture() -> Pixels:
    """A picture without symmetry, 40 high and 60 wide."""
    return pattern("gradient", 40, 60)


def encoded(pixels: Pixels | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, kind, **options)
    return stream.getvalue()


def input_spec(width: int = 60, height: int = 40, **fields: Any) -> InputSpec:
    return InputSpec(width=width, height=height, **fields)
