"""The file with a model's packed weights on a board: made by a deployment, shown, and gone with the rest."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devices.doctor.examine import examine
from devices.doctor.probe import BoardFacts
from devices.onboard.kept import Kept
from devices.rollout import deploy, packed_weights, releases
from devices.transport.local import LocalShell
from devices.transport.shell import Shell
from edge.runtime import interpreter
from tests.edge import wide

MIB = 1 << 20

needs_library = pytest.mark.skipif(interpreter.compiled_library() is None, reason="needs ai-edge-litert with its libLiteRt.so")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for a deployment; in memory where that is possible, as a disk's fsync is what takes the time."""
    with tempfile.TemporaryDirectory(
        prefix="edgekit test ", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    ) as folder:
        yield Path(folder) / "root"


@pytest.mark.thorough
@needs_library
def test_a_deployment_makes_it_before_the_switch_and_undeploying_removes_it(place: Path, tmp_path: Path) -> None:
    seen: list[bool] = []
    shell, weights = LocalShell(), place / "cache" / "weights"

    def report(said: str) -> None:
        seen.append((place / "current").exists())

    done = deploy.deploy(shell, wide.artefact(tmp_path / "wide.tflite"), deploy.Options(folder=str(place)), report)
    assert done.changed and done.selftest is not None and done.selftest["runtime"]["weight_cache"] is True
    assert not any(seen)
    (file,) = weights.glob("*.weights")
    status = releases.status(shell, folder=str(place))
    assert status.weight_cache_bytes >= file.stat().st_size - 4096
    assert f"{status.weight_cache_bytes >> 20} MiB of packed weights kept" in status.to_text()

    # What the board's own programs start finds the same file, and leaves nothing in the user's home.
    home = tmp_path / "home"
    home.mkdir()
    before = file.stat().st_ino, len(list(weights.iterdir()))
    command = [str(place / "current/env/bin/python"), "-m", "edge", "selftest", str(place / "current/model.tflite")]
    ran = subprocess.run(command, env={"HOME": str(home), "PATH": os.environ["PATH"]}, capture_output=True, text=True, cwd=home)
    assert ran.returncode == 0 and "weights from the cache" in ran.stdout
    assert before == (file.stat().st_ino, len(list(weights.iterdir()))) and not list(home.iterdir())

    assert releases.undeploy(shell, folder=str(place)) == ()
    assert not place.exists()


@needs_library
def test_every_board_answers_from_packed_weights_as_the_workstation_did(target: Any, shell: Shell, tmp_path: Path) -> None:
    folder = f"{target.there}/packed weights"
    done = deploy.deploy(shell, wide.artefact(tmp_path / "wide.tflite"), deploy.Options(folder=folder), lambda _: None)
    assert done.selftest is not None and done.selftest["runtime"]["weight_cache"] is True
    assert done.selftest["passed"] and done.selftest["exact"]
    assert releases.status(shell, folder=folder).weight_cache_bytes > 4 * MIB
    assert releases.undeploy(shell, folder=folder) == ()


def test_it_makes_way_on_a_full_disk_and_not_after_a_week(tmp_path: Path) -> None:
    weights = tmp_path / "cache" / "weights"
    weights.mkdir(parents=True)
    file = weights / f"{'a' * 64}.weights"
    file.write_bytes(bytes(MIB))
    os.utime(file, (0, 0))
    kept = Kept(tmp_path)
    kept.remove_unused()
    assert file.exists()
    kept.free(1 << 60)
    assert not file.exists()


def test_a_float_model_that_fits_with_it_is_not_refused() -> None:
    size, disk = 217 * MIB, 4096 * MIB
    with_it = packed_weights.memory_bytes(size, "ai-edge-litert 2.3.0", free_disk_bytes=disk)
    assert with_it < 382 * MIB  # what a board with 512 MB has left
    for runtime, free in (("tflite-runtime 2.14.0", disk), ("ai-edge-litert 2.3.0", 100 * MIB)):
        assert packed_weights.memory_bytes(size, runtime, free_disk_bytes=free) > 500 * MIB


def test_it_counts_on_the_disk_where_the_runtime_makes_one() -> None:
    assert 57 * MIB < packed_weights.disk_bytes(57 * MIB, "ai-edge-litert 2.3.0") < 64 * MIB
    assert packed_weights.disk_bytes(57 * MIB, "tflite-runtime 2.14.0") == 0
    assert packed_weights.disk_bytes(1 * MIB, "ai-edge-litert 2.3.0") == 0


@pytest.mark.parametrize(("said", "shown"), [("55000", True), ("", False), ("many", False)])
def test_doctor_shows_it(said: str, shown: bool) -> None:
    facts = BoardFacts(
        profile=None,
        model=None,
        arch="aarch64",
        os_name=None,
        python=None,
        glibc=None,
        memory_total_mib=None,
        memory_available_mib=None,
        disk_free_mib=None,
        answers={"weight_cache_kib": (said,)} if said else {},
    )
    assert ("53 MiB of weights kept" in examine("board", facts).to_text()) == shown
