"""The history of runs: what is recorded, what cannot be changed, and that a broken store stops nobody's work."""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.cli import main
from edge.history import record as run_record
from edge.history import recording
from edge.history.record import Artefact, Run
from edge.history.store import RunStore, StoreError, parse_since

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    return RunStore()


def a_run(**changes: Any) -> Run:
    run = Run(
        id=None,
        time="2026-11-20T10:00:00Z",
        command="benchmark",
        arguments=("benchmark", "flowers.int8.tflite"),
        exit_code=0,
        seconds=11.5,
        board=None,
        artefacts=(Artefact(role="candidate", file="out/flowers.int8.tflite", sha256="ab" * 32),),
        dataset_sha256=None,
        versions={"edgekit": "0.1.0"},
        host={"machine": "aarch64"},
        summary="p50 4.3 ms",
        report={"p50_ms": 4.3, "peak_memory_mib": 160.0},
    )
    return replace(run, **changes)


def test_a_record_comes_back_as_it_was(store: RunStore) -> None:
    number = store.add(a_run())
    assert number == 1
    assert store.get(1) == a_run(id=1)


def test_the_same_record_is_added_once(store: RunStore) -> None:
    assert store.add(a_run()) == 1
    assert store.add(a_run()) is None
    assert store.add(a_run(seconds=12.0)) == 2


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE runs SET summary = 'better' WHERE id = 1",
        "DELETE FROM runs",
        "INSERT OR REPLACE INTO runs SELECT id, digest, time, command, arguments, 1, seconds, board, artefacts, dataset_sha256,"
        " versions, host, summary, error, report FROM runs",
    ],
)
def test_nothing_recorded_can_be_changed(store: RunStore, statement: str) -> None:
    store.add(a_run())
    connection = sqlite3.connect(store.path)
    with pytest.raises(sqlite3.Error, match="never"):
        connection.execute(statement)
    connection.close()
    assert store.get(1) == a_run(id=1)


def test_runs_are_found_by_command_model_board_and_time(store: RunStore) -> None:
    store.add(a_run())
    store.add(a_run(command="check", board="pi-4b", time="2026-11-21T10:00:00Z"))
    other = Artefact(role="candidate", file="bot.int8.tflite", sha256="cd" * 32)
    store.add(a_run(artefacts=(other,), time="2026-11-22T10:00:00Z"))

    def numbers(**how: Any) -> list[int | None]:
        return [run.id for run in store.find(**how)]

    assert numbers() == [1, 2, 3]
    assert numbers(command="check") == [2]
    assert numbers(model="FLOWERS") == [1, 2]
    assert numbers(model="cdcd") == [3]
    assert numbers(board="pi") == [2]
    assert numbers(since=parse_since("2026-11-21")) == [2, 3]
    assert numbers(limit=1) == [3]


def test_a_number_that_is_not_there_is_an_error_in_one_line(store: RunStore) -> None:
    with pytest.raises(StoreError, match="no run has been recorded"):
        store.get(3)
    assert store.find() == []
    assert not store.path.exists()  # looking creates nothing
    store.add(a_run())
    with pytest.raises(StoreError, match="there is no run 3"):
        store.get(3)


def test_another_programs_database_is_left_alone(store: RunStore) -> None:
    store.path.parent.mkdir(parents=True)
    with sqlite3.connect(store.path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = store.path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        store.add(a_run())
    assert store.path.read_bytes() == before


def remembered(*argv: str) -> int:
    return main(list(argv), remember=True)


def test_a_command_leaves_its_whole_answer(tiny_int8_artefact: Path, store: RunStore, tmp_path: Path) -> None:
    out = tmp_path / "check.json"
    assert remembered("check", str(tiny_int8_artefact), "--board", "pi-4b", "--json", str(out)) == 0
    (run,) = store.find()
    assert (run.command, run.exit_code, run.board) == ("check", 0, "pi-4b")
    assert run.artefacts[0].file == str(tiny_int8_artefact)
    assert run.versions["edgekit"] and run.host["cores"] >= 1
    assert store.get(1).report == json.loads(out.read_text(encoding="utf-8"))


def test_a_validation_has_the_hashes_of_models_and_images(tiny_int8_artefact: Path, tiny_images: Path, store: RunStore) -> None:
    command = ("validate", str(tiny_int8_artefact), "--images", str(tiny_images), "--diagnose", "never")
    assert remembered(*command) == 0
    (run,) = store.find()
    assert run.dataset_sha256 is not None and len(run.dataset_sha256) == 64
    assert run.artefacts[0].sha256 is not None and len(run.artefacts[0].sha256) == 64
    assert run.summary.startswith("top-1 ")


def test_what_is_not_remembered(tiny_int8_artefact: Path, store: RunStore) -> None:
    file = str(tiny_int8_artefact)
    assert main(["check", file, "--board", "pi-4b"]) == 0  # as called by other programs and on boards
    assert remembered("check", file, "--board", "pi-4b", "--store", "none") == 0
    assert remembered("inspect", file) == 0
    assert remembered("check", "missing.tflite") == 2
    assert remembered("validate", "--plan", "--max-drop", "0.01") == 0
    assert not store.path.exists()


def test_the_module_as_it_runs_on_boards_creates_no_store(tiny_int8_artefact: Path, tmp_path: Path) -> None:
    environment = os.environ | {"EDGEKIT_HOME": str(tmp_path / "home"), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "edge", "selftest", str(tiny_int8_artefact)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*.sqlite")) == []
    asked = [*command, "--store", str(tmp_path / "asked.sqlite")]
    subprocess.run(asked, env=environment, capture_output=True, timeout=120, check=True)
    assert [run.command for run in RunStore(tmp_path / "asked.sqlite").find()] == ["selftest"]


def spoilt(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)


def a_folder(path: Path) -> None:
    path.mkdir(parents=True)


def home_is_a_file(path: Path) -> None:
    path.parent.write_text("not a folder", encoding="utf-8")


@pytest.mark.parametrize("damage", [spoilt, a_folder, home_is_a_file])
def test_a_broken_store_stops_nothing(
    damage: Callable[[Path], None], tiny_int8_artefact: Path, store: RunStore, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(store.path)
    assert remembered("selftest", str(tiny_int8_artefact)) == 0
    said = capsys.readouterr()
    assert "selftest: exact" in said.out
    next_step, warning = said.err.splitlines()
    assert next_step.startswith("next: ")
    assert warning.startswith("edgekit: warning: this run is not in the history: ")


def test_a_locked_store_stops_nothing(tiny_int8_artefact: Path, store: RunStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.add(a_run())
    holder = sqlite3.connect(store.path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert remembered("check", str(tiny_int8_artefact), "--board", "pi-4b") == 0
    assert "locked" in capsys.readouterr().err
    holder.close()
    assert remembered("check", str(tiny_int8_artefact), "--board", "pi-4b") == 0
    assert len(store.find()) == 2


def test_without_a_home_folder_the_work_is_done(tiny_int8_artefact: Path) -> None:
    script = (
        "import os, pathlib, sys; os.environ.pop('EDGEKIT_HOME', None); os.environ.pop('XDG_DATA_HOME', None)\n"
        "def gone(): raise RuntimeError('Could not determine home directory.')\n"
        "pathlib.Path.home = staticmethod(gone)\n"
        "from edge.cli import main\n"
        "sys.exit(main(sys.argv[1:], remember=True))"
    )
    command = [sys.executable, "-c", script, "selftest", str(tiny_int8_artefact)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "this run is not in the history: no place" in done.stderr


def test_classify_never_loads_the_store(tiny_int8_artefact: Path, tiny_images: Path) -> None:
    script = (
        "import sys; from edge.cli import main; main(sys.argv[1:], remember=True)\n"
        "print([name for name in ('sqlite3', 'edge.history.recording', 'edge.report') if name in sys.modules])"
    )
    image = next(tiny_images.rglob("*.png"))
    command = [sys.executable, "-c", script, "classify", str(tiny_int8_artefact), str(image)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_list_show_compare_and_import(
    store: RunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_int8_artefact: Path
) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    for board in ("pi-4b", "pi-5"):
        assert main(["check", str(tiny_int8_artefact), "--board", board, "--json", str(folder / f"{board}.json")]) == 0
    (folder / "other.json").write_text('{"something": "else"}', encoding="utf-8")
    (folder / "broken.json").write_text('{"p50_ms": NaN', encoding="utf-8")
    capsys.readouterr()
    assert main(["runs", "--import", str(folder)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("2 runs added") and len(said.err.splitlines()) == 2
    assert main(["runs", "--import", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("0 runs added")
    assert main(["runs", "--board", "pi-5"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 2 and "tiny.int8.tflite" in listed[1]
    assert main(["runs", "1", "--json", str(tmp_path / "one.json")]) == 0
    exported = run_record.parse((tmp_path / "one.json").read_text(encoding="utf-8"), time="", source="one.json")
    assert exported == (store.get(1),)
    capsys.readouterr()
    assert main(["runs", "1", "2"]) == 0
    assert "report.advice[1].instead_of_ms" in capsys.readouterr().out
    assert main(["runs", "7"]) == 2
    assert main(["runs", "--since", "yesterday"]) == 2


def test_no_change_is_calculated_between_figures_of_different_provenance(
    store: RunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = {
        **{"runs": 50, "threads": 4, "min_ms": 9.0, "p50_ms": 10.0, "p90_ms": 11.0, "p99_ms": 12.0, "peak_memory_mib": 30.0},
        **{"model_sha256": "ab" * 32, "host": {"processor": "a PC"}},
    }
    for name, more in (
        ("a", {}),
        ("b", {"p50_ms": 20.0}),
        ("c", {"p50_ms": 40.0, "board": {"profile": "pi-4b", "virtual": False}}),
        ("d", {"p50_ms": 80.0, "board": {"profile": "pi-4b", "virtual": True}}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps({**times, **more}), encoding="utf-8")
        assert main(["runs", "--import", str(tmp_path / f"{name}.json")]) == 0
    capsys.readouterr()
    for other, words, changes in ((2, "(a PC)", "x2"), (3, "(pi-4b)", "x4"), (4, "(pi-4b, emulated)", None)):
        assert main(["runs", "1", str(other)]) == 0
        said = capsys.readouterr().out
        assert words in said.splitlines()[1]
        assert (f"10 -> {10 * 2 ** (other - 1)}" in said) and ("of different provenance" in said) == (changes is None)
        assert ("  (+" in said) == (changes is not None) and (changes or "") in said
    assert [entry.summary.partition("; ")[2] for entry in store.find()] == ["", "", "", "of an emulation, no board's speed"]


def test_what_was_measured_here_for_a_board_says_so(store: RunStore, tmp_path: Path) -> None:
    report = {
        **{"candidate": {"top1": 0.9}, "drop": None, "verdict": None, "per_class": [], "images": 80, "model_sha256": "ab" * 32},
        **{
            "reference": None,
            "agreement": None,
            "max_drop": None,
            "images_to_decide": None,
            "findings": [],
            "lost": [],
            "won": [],
        },
        **{"measured_on": "this machine", "certificate": {"images": 20}, "board": {"profile": "pi-4b", "virtual": True}},
    }
    (tmp_path / "certified.json").write_text(json.dumps(report), encoding="utf-8")
    assert main(["runs", "--import", str(tmp_path / "certified.json")]) == 0
    (entry,) = store.find()
    assert entry.board == "pi-4b, emulated"
    assert entry.summary == "top-1 90.0% of 80 images; measured here, 20 images bit-equal there"


def test_a_sequential_validation_says_what_was_decided(store: RunStore, tmp_path: Path) -> None:
    report = {
        "verdict": "undecided",
        "images": 425,
        "drop": {"top1": 4 / 425, "flips_lost": 5, "flips_won": 1},
        "sequential": {"limit": 0.01, "alpha": 0.025, "power": 0.9, "estimates": "population", "log_likelihood_ratio": 0.1},
        "model_sha256": "ab" * 32,
        "board": {"profile": "pi-4b", "virtual": True},
    }
    (tmp_path / "sequential.json").write_text(json.dumps(report), encoding="utf-8")
    assert main(["runs", "--import", str(tmp_path / "sequential.json")]) == 0
    (entry,) = store.find()
    assert (entry.command, entry.board) == ("validate", "pi-4b, emulated")
    assert entry.summary == "undecided: 5 lost, 1 won of 425 images, sequential test, limit 1.00 points"


def test_each_board_of_a_fleet_has_its_own_exit_code(store: RunStore, first_of_a_fleet: dict[str, Any]) -> None:
    args = argparse.Namespace(report=first_of_a_fleet, store=None, targets=["pi@a", "pi@b"], file="flowers.int8.tflite")
    recording.record(args, ["deploy", "flowers.int8.tflite", "pi@a", "pi@b"], 3, seconds=1.0)
    found = {entry.board: (entry.exit_code, entry.summary, entry.artefacts[0].file) for entry in store.find()}
    assert found == {"pi@a": (0, "now current", "1-flowers"), "pi@b": (3, "failed", "flowers.int8.tflite")}


@pytest.fixture
def first_of_a_fleet() -> dict[str, Any]:
    """What a deployment to two boards reports, one of which cannot be reached."""
    done = {"target": "pi@a", "release": "1-flowers", "changed": True, "sha256": "ab" * 32, "error": None, "exit_code": 0}
    return {"boards": [done, {"target": "pi@b", "error": "pi@b: no route to host", "exit_code": 3}]}
