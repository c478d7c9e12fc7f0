from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devices import own_python
from edge.runtime.isolation import Prober
from edge.system import child
from edge.system.child import Child, ChildDiedError

REPOSITORY = Path(__file__).resolve().parents[3]
# What a file in the working directory does when it is imported: it leaves a mark, and ends the process.
_TRAP = "import os\nopen({mark!r}, 'a').write(__name__ + '\\n')\nos._exit(7)\n"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with a file of every standard module's name, and of the packages that edgekit imports."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    names = {*sys.stdlib_module_names, "numpy", "PIL", "edge", "quantize", "devices", "tensorflow", "ai_edge_litert"}
    for name in names - {"__main__"}:
        (folder / f"{name}.py").write_text(_TRAP.format(mark=str(tmp_path / "mark")))
    return folder


def _from(folder: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in ``folder``, with modules that were found before the folder was entered, as the console script finds them."""
    start = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); sys.path.remove('')\n"
    variables = {**os.environ, "PYTHONSAFEPATH": "", **environment}
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, '')\n{start}{code}"],
        cwd=folder.parent,
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("path", ["", "here", "relative"])
def test_no_file_in_the_working_directory_is_imported(
    path: str, hostile: Path, tiny_int8_flatbuffer: bytes, tmp_path: Path
) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(tiny_int8_flatbuffer)
    code = (
        "import os, sys, json, subprocess, selectors, signal, tempfile\n"
        "from edge.runtime.isolation import Prober\n"
        f"os.chdir({str(hostile)!r})\n"
        f"sys.path.extend({dict(here=[str(hostile)], relative=['', '.']).get(path, [])!r})\n"
        "with Prober() as prober:\n"
        f"    print(json.dumps(prober.try_file({str(model)!r})))\n"
    )
    done = _from(hostile, code, PYTHONPATH={"": "", "here": str(hostile.parent), "relative": ""}[path])
    assert not (tmp_path / "mark").exists(), (tmp_path / "mark").read_text()
    assert done.stdout.strip() == json.dumps(None), done.stderr


def test_every_process_of_ours_is_started_that_way(hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line itself: a module is found where edgekit lies, whatever lies around."""
    monkeypatch.chdir(hostile)
    line = child.command("edge.runtime.isolation", "1")
    line[3] = line[3].replace("serve(*sys.argv[1:])", "import edge, selectors, numpy; print(edge.__file__)")
    environment = {**os.environ, "PYTHONPATH": str(hostile), "PYTHONSTARTUP": str(hostile / "os.py")}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == str(REPOSITORY / "edge" / "__init__.py"), done.stderr
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("command", [child.module_command, own_python.command])
def test_modules_that_run_as_programs_are_found_that_way_too(
    command: Callable[..., list[str]], hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hostile)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    done = subprocess.run(command("edge", "boards", "--help"), capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.startswith("usage: "), done.stderr
    assert not (tmp_path / "mark").exists()


def test_no_module_starts_a_python_of_its_own() -> None:
    places = [
        str(path.relative_to(REPOSITORY))
        for package in ("edge", "quantize", "devices")
        for path in (REPOSITORY / package).rglob("*.py")
        if "sys.executable" in path.read_text(encoding="utf-8")
    ]
    assert [
        place for place in places if place not in ("edge/system/child.py", "devices/own_python.py", "devices/transport/local.py")
    ] == []


def test_a_process_that_dies_is_named_and_started_again(tmp_path: Path) -> None:
    with Child("edge.runtime.isolation", "30", keep_stderr=True) as process:
        with pytest.raises(ChildDiedError) as died:
            process.ask({"not": "what it understands"})
        assert died.value.how == "exit code 1"
        assert died.value.said.endswith("KeyError: 'delegate'")
        answer, _ = process.ask({"path": str(tmp_path / "none.tflite"), "delegate": None})
        assert answer["problem"]
        assert process.starts == 2


def test_one_that_does_not_answer_in_time_is_ended(tiny_int8_flatbuffer: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_int8_flatbuffer)
    with Prober(timeout_s=0.0) as prober:
        assert prober.try_file(path) == "it does not finish its first run within 0 s"
