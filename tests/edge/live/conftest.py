"""A folder of frames with a broken one among them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from edge.runtime.golden import pattern


@pytest.fixture
def frames_folder(tmp_path: Path) -> Path:
    """Four frames, of which the third is broken."""
    path = tmp_path / "frames"
    path.mkdir()
    for number, name in enumerate(("gradient", "rings", "noise-1", "noise-2")):
        Image.fromarray(pattern(name, 48, 64)).save(path / f"{number}.jpg")
    broken = path / "2.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    return path
