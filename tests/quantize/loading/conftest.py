"""Small networks as TF-slim writes them, for what reads, refuses and rewrites them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import slim_graph
from benchmarks.slim_graph import Recipe
from edge.artefact.contract import InputSpec
from edge.runtime.preprocess import preprocess
from quantize.loading.slim import source as slim_source

# Not square, so that no two axes can be mixed up; the map before the auxiliary head is 8 x 7, its last convolution 2 x 1.
SMALL = Recipe(height=155, width=139, thinner=8, blocks=(2, 2, 1), classes=1001)


@pytest.fixture(scope="session")
def slim_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("slim")


@pytest.fixture(scope="session")
def frozen(slim_folder: Path) -> Path:
    path = slim_folder / "small.pb"
    slim_graph.write_frozen(SMALL, path)
    return path


@pytest.fixture(scope="session")
def checkpoint(slim_folder: Path) -> Path:
    prefix = slim_folder / "both.ckpt"
    slim_graph.write_checkpoint(dataclasses.replace(SMALL, full=True), prefix)
    return prefix


@pytest.fixture(scope="session")
def imported(frozen: Path) -> slim_source.Imported:
    return slim_source.load(frozen)


@pytest.fixture(scope="session")
def photographs() -> list[np.ndarray]:
    """The two photographs that come with scikit-learn."""
    from sklearn.datasets import load_sample_images

    return list(load_sample_images().images)


def altered(frozen: Path, change: Any) -> bytes:
    """Return the graph after ``change(node, graph)`` for each node."""
    from quantize.quiet import import_tensorflow

    graph = import_tensorflow().compat.v1.GraphDef.FromString(frozen.read_bytes())
    for node in list(graph.node):
        change(node, graph)
    return bytes(graph.SerializeToString())


def predictions(model: Any, spec: InputSpec, picture: np.ndarray) -> np.ndarray:
    answers: np.ndarray = np.asarray(model(preprocess(picture, spec), training=False))
    return answers.reshape(-1)
