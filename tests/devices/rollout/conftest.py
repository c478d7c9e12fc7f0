"""Deploying in one line, and a deployed folder of this machine for each test."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devices.errors import BoardBusyError
from devices.rollout import deploy
from devices.transport.shell import Shell


def quiet(_: str) -> None:
    pass


def put(shell: Shell, artefact: Path, root: Path | str, **options: Any) -> deploy.Deployment:
    return deploy.deploy(shell, artefact, deploy.Options(folder=str(root), **options), quiet)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def current(root: Path) -> str:
    return sha256(root / "current/model.tflite")


def everything(root: Path) -> set[str]:
    """All files but those that Python itself makes beside its sources."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if "__pycache__" not in path.parts}


@pytest.fixture
def root(prepared: Path) -> Iterator[Path]:
    """A copy of it for one test. The files are links: what is written in place would show in the next test."""
    copy = prepared.with_name("it's $HOME; größe")
    shutil.copytree(prepared, copy, symlinks=True, copy_function=os.link)
    yield copy
    shutil.rmtree(copy, ignore_errors=True)


def put_when_free(shell: Shell, artefact: Path, root: Path | str) -> None:
    for _ in range(100):
        try:
            assert put(shell, artefact, root, selftest=False).changed
            return
        except BoardBusyError:
            subprocess.run([sys.executable, "-c", "pass"], check=True)  # let the other side see the end of its input
    pytest.fail("the lock stayed")
