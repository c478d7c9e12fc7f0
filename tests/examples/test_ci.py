"""The GitHub action and the Dockerfile of examples/ci, as far as a machine without GitHub and Docker can run them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from edge.version import __version__

pytestmark = pytest.mark.converts

REPOSITORY = Path(__file__).resolve().parents[2]
ACTION: dict[str, Any] = yaml.safe_load((REPOSITORY / "examples" / "ci" / "action.yml").read_text(encoding="utf-8"))
DOCKERFILE = (REPOSITORY / "examples" / "ci" / "Dockerfile").read_text(encoding="utf-8")


def step(name: str) -> dict[str, Any]:
    (found,) = (each for each in ACTION["runs"]["steps"] if each.get("name") == name)
    return dict(found)


def run_step(name: str, inputs: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub does: bash with -e and pipefail, inputs in the environment, a file for the job's summary."""
    found = step(name)

    def value(text: str) -> str:
        return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda key: inputs[key[1]], text)

    given = {key: value(text) for key, text in found["env"].items()}
    binaries = folder / "bin"
    binaries.mkdir(exist_ok=True)
    (binaries / "edgekit").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m edge.cli "$@"\n')
    (binaries / "edgekit").chmod(0o755)
    environment = {
        **os.environ,
        **given,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "EDGEKIT_HOME": str(folder / "home"),
    }
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found["run"]]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("max_drop", "passes"), [("0.9", True), ("0.0001", False)])
def test_the_gate_of_a_pull_request(
    max_drop: str, passes: bool, artefacts: dict[str, Path], few_digits: Path, tmp_path: Path
) -> None:
    inputs = {
        "file": str(artefacts["int8"]),
        "reference": str(artefacts["float32"]),
        "images": str(few_digits / "test"),
        "max-drop": max_drop,
    }
    done = run_step("validate", inputs, tmp_path)
    assert (done.returncode == 0) is passes, done.stderr
    assert json.loads((tmp_path / "edgekit.json").read_text(encoding="utf-8"))["verdict"] == ("pass" if passes else "undecided")
    suite = ElementTree.parse(tmp_path / "edgekit.xml").getroot()
    assert (suite.find(".//failure") is None) is passes
    assert "int8" in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_an_input_is_no_command(tmp_path: Path) -> None:
    hostile = "$(touch stolen); `touch stolen`; touch stolen"
    done = run_step("validate", dict.fromkeys(ACTION["inputs"], hostile), tmp_path)
    assert done.returncode == 2 and not (tmp_path / "stolen").exists()


def test_the_action_pins_what_it_runs_and_installs_this_release() -> None:
    used = [each["uses"] for each in ACTION["runs"]["steps"] if "uses" in each]
    assert used and all(re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", name) for name in used)
    assert ACTION["inputs"]["package"]["default"] == f"edgekit=={__version__}"
    scripts = [each["run"] for each in ACTION["runs"]["steps"] if "run" in each]
    assert scripts and not any("${{" in script for script in scripts)


def test_the_image_has_all_that_the_package_is_made_of() -> None:
    copied = {name for line in re.findall(r"^COPY (.*) /src\S*$", DOCKERFILE, re.MULTILINE) for name in line.split()}
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert {"edge", "quantize", "devices", "pyproject.toml"} <= copied
    assert all((REPOSITORY / name).exists() for name in copied)
    for name in re.findall(r'^readme = "(.*)"|license-files = \["(.*)"\]', project, re.MULTILINE):
        assert "".join(name) in copied
    assert re.search(r"^USER edgekit$", DOCKERFILE, re.MULTILINE)
    last = re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)
    assert json.loads(last[-1]) == ["edgekit"]
