"""Thousands of damaged pictures of every format: each is decoded or an ImageError; nothing escapes, crashes or hangs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.artefact import container
from edge.errors import ArtefactError, ImageError
from edge.runtime.images import open_rgb
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.thorough

DAMAGED = 6000


def test_no_damaged_picture_escapes() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.edge.image_fuzzing", "0", str(DAMAGED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["escaped"] == {}
    assert sum(found["outcomes"].values()) == DAMAGED
    for name in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"):
        assert found["outcomes"][f"{name} refused"] > 100
        assert found["outcomes"][f"{name} decoded"] > 20


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_among_the_pictures_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "picture.png")
    with pytest.raises(ImageError, match="is no file"):
        open_rgb(tmp_path / "picture.png")


def test_names_that_no_file_can_have_are_one_error() -> None:
    for name in ("a\0b.png", "x" * 5000, "\udcff\0"):
        with pytest.raises(ImageError, match="cannot be opened"):
            open_rgb(name)
        with pytest.raises(ArtefactError):
            container.read(name)
