"""The command, and measurements for it to learn from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.artefact import container
from edge.cli import main


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Calibrations of this machine's user stay out of the tests, and the tests' out of theirs."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, object]]:
    code = main(["check", *argv, "--json", "-"])
    return code, json.loads(capsys.readouterr().out)


def bench(path: Path, model: Path, p50_ms: float, **more: object) -> str:
    """Write what ``edgekit benchmark --json`` writes, as far as it matters."""
    data = {"p50_ms": p50_ms, "model_sha256": container.read(model).model_sha256, **more}
    path.write_text(json.dumps(data))
    return str(path)
