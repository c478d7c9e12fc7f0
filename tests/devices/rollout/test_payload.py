"""What is sent to a board is enough for everything that a board runs, and no more."""

from __future__ import annotations

import io
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from devices.rollout import payload

COMMANDS = ("inspect", "relabel", "classify", "watch", "validate", "compare", "benchmark", "throughput", "selftest", "outputs")


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sent")
    with zipfile.ZipFile(io.BytesIO(payload.pack())) as archive:
        archive.extractall(folder)
    return folder


def there(sent: Path, program: str) -> str:
    """What a program prints that finds the payload, the interpreter, NumPy and Pillow, and no other edgekit."""
    start = f"import sys; sys.path[:0] = {[str(sent), sysconfig.get_paths()['purelib']]!r}\n"
    command = [sys.executable, "-I", "-S", "-c", start + program]
    done = subprocess.run(command, cwd=sent, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_in_it_can_be_imported_from_it_alone(sent: Path) -> None:
    files = [path.relative_to(sent).with_suffix("") for path in sent.rglob("*.py") if path.stem != "__main__"]
    modules = sorted(".".join(path.parts).removesuffix(".__init__") for path in files)
    assert {"edge.live.watch", "edge.commands.fingerprint", "edge.validation.merging", "devices.boards.throttling"} <= set(
        modules
    )
    program = f"import importlib\nfor name in {modules!r}: importlib.import_module(name)\n"
    program += "print({name.partition('.')[0] for name in sys.modules} & {'quantize', 'tensorflow'})\n"
    program += "import edge, devices; print(edge.__file__, devices.__file__)"
    nothing, places = there(sent, program).splitlines()
    assert nothing == "set()"
    assert places == f"{sent / 'edge/__init__.py'} {sent / 'devices/__init__.py'}"


def test_its_commands_are_those_of_a_board(sent: Path) -> None:
    program = "from edge.cli import COMMANDS, build_parser\nprint(*COMMANDS)\nfor name in COMMANDS: build_parser(name)"
    assert set(there(sent, program).split()) == set(COMMANDS)


def test_reports_history_and_predictions_stay_here(sent: Path) -> None:
    rooms = {path.parent.relative_to(sent).as_posix() for path in sent.rglob("*.py")}
    assert rooms == {"edge", "devices", "devices/boards", *(f"edge/{room}" for room in payload.ROOMS)}


def test_a_job_summary_is_left_to_the_workstation(sent: Path) -> None:
    program = "import os; os.environ['GITHUB_STEP_SUMMARY'] = 'summary.md'\n"
    program += "from edge.commands.validate import text_of; print(text_of('text', {}, 'as it is'))"
    assert there(sent, program) == "as it is\n"
    assert not (sent / "summary.md").exists()


def test_the_payload_is_the_runtime_and_the_same_every_time() -> None:
    packed = payload.pack()
    assert packed == payload.pack()
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        names = archive.namelist()
    assert "edge/__main__.py" in names and "edge/runtime/interpreter.py" in names
    assert not any("__pycache__" in name or name.startswith("quantize") for name in names)
    assert payload.version().count(".") == 2
