"""The wheel as a board gets it: built here, installed with its base dependencies only, and used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.wheel,
    pytest.mark.skipif(os.environ.get("EDGEKIT_OFFLINE") == "1", reason="EDGEKIT_OFFLINE=1: no package registry here"),
]


def call(*command: str | Path, folder: Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command in ``folder``, away from the repository, so that nothing of it can be imported by accident."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")}
    result = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert result.returncode == expect, f"{command}\n{result.stdout}\n{result.stderr}"
    return result


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    call(sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", *options, REPOSITORY, folder=folder)
    return next(folder.glob("edgekit-*.whl"))


@pytest.fixture(scope="module")
def board(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` folder of a clean virtual environment with the wheel and its base dependencies."""
    home = tmp_path_factory.mktemp("board") / "venv"
    venv.create(home, with_pip=True)
    call(home / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check", wheel, folder=home)
    return home / "bin"


def test_three_packages_each_typed(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    packages = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert packages == {"edge", "quantize", "devices"}
    assert {f"{package}/py.typed" for package in packages} <= set(names)


def test_data_files_and_licence_are_in_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "edge/artefact/contract.schema.json" in names
    assert {f"edge/report/page.{suffix}" for suffix in ("html", "css", "js")} <= set(names)
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert not [name for name in names if name.endswith((".pyc", ".tflite", ".keras"))]


def test_base_dependencies_only(board: Path) -> None:
    listing = json.loads(call(board / "python", "-m", "pip", "list", "--format", "json", folder=board).stdout)
    installed = {package["name"].lower().replace("_", "-") for package in listing}
    assert {"edgekit", "numpy", "pillow"} <= installed
    assert not installed & {"tensorflow", "keras", "tf-keras", "scipy", "scikit-learn", "h5py", "matplotlib"}
    call(board / "python", "-m", "pip", "check", folder=board)
    refused = call(board / "python", "-c", "import tensorflow", folder=board, expect=1)
    assert "ModuleNotFoundError: No module named 'tensorflow'" in refused.stderr


def test_classify_there(board: Path, artefacts: dict[str, Path], few_digits: Path, tmp_path: Path) -> None:
    images = sorted((few_digits / "test" / "7").iterdir())[:2]
    result = call(board / "edgekit", "classify", artefacts["int8"], *images, "--json", "answers.json", folder=tmp_path)
    assert str(images[0].name) in result.stdout
    assert "tensorflow" not in result.stderr.lower()
    assert json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))


def test_validate_there(board: Path, artefacts: dict[str, Path], few_digits: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = (board / "edgekit", "validate", artefacts["int8"], "--reference", artefacts["float32"])
    call(*command, "--images", few_digits / "test", "--json", report, folder=tmp_path)
    data = json.loads(report.read_text(encoding="utf-8"))
    assert data["images"] == 80
    assert 0.5 < data["candidate"]["top1"] <= 1.0
    assert data["runtime"]["package"] in ("ai-edge-litert", "tflite-runtime")
    low, high = data["drop"]["ci95"]
    assert low <= data["drop"]["top1"] <= high


def test_selftest_there(board: Path, artefacts: dict[str, Path], tmp_path: Path) -> None:
    call(board / "edgekit", "selftest", artefacts["int8"], folder=tmp_path)


def test_a_workstation_command_names_the_extra(board: Path, trained_network: Path, tmp_path: Path) -> None:
    command = (board / "edgekit", "quantize", trained_network, "--preprocess", "inception", "--variants", "float32")
    result = call(*command, "--out", tmp_path, folder=tmp_path, expect=2)
    assert len(result.stderr.strip().splitlines()) == 1
    assert "pip install 'edgekit[quantize]'" in result.stderr


def test_help_and_boards_there(board: Path, tmp_path: Path) -> None:
    assert "quantize" in call(board / "edgekit", "--help", folder=tmp_path).stdout
    assert "pi-zero-2w" in call(board / "edgekit", "boards", folder=tmp_path).stdout
