"""One ship of the small network, made once and copied for each test that goes on from there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.cli import main
from tests.quantize.shipping.words import SHIP


@pytest.fixture(scope="session")
def first_ship(small_network: Any, digits_folder: Path, once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A folder with the network, the photos, and what the first ``edgekit ship`` without a board has left and said."""

    def make(folder: Path) -> None:
        small_network.save(folder / "small.keras")
        shutil.copytree(digits_folder, folder / "photos")
        before = Path.cwd()
        os.chdir(folder)
        try:
            code = main([*SHIP, "--json", "shipped.json"])
        finally:
            os.chdir(before)
        assert code == 0

    return once("first-ship", make)


@pytest.fixture
def shipped(first_ship: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ``first_ship`` of the test's own, which is the current directory."""
    place = tmp_path / "own"
    shutil.copytree(first_ship, place)  # with the times of the files, which are what photos are known by
    monkeypatch.chdir(place)
    return place
