"""What doctor says of the interpreter on a board, from the table of the releases that were checked."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from devices.boards import runtimes, wheels
from devices.doctor import examine, interpreters, probe

FACTS = "probe\t1\nmachine\tx86_64\nlibc\tglibc 2.36\npython\t3.11.2\npython_venv\tyes\n{}done\t1\n"
PINNED = next(pin.version for pin in wheels.pins() if pin.package == "ai-edge-litert")


def facts(*lines: str) -> probe.BoardFacts:
    return probe.parse(FACTS.format("".join(f"{line}\n" for line in lines)), where="board")


def told(*lines: str) -> list[tuple[str, str]]:
    found = interpreters.findings(facts(*lines))
    return [(finding.severity, finding.message) for finding in found]


def entry(**changes: Any) -> dict[str, Any]:
    row = {"package": "ai-edge-litert", "version": "9.0", "file": "a.tflite", "way": "Interpreter", "loads": True, "bits": True}
    return {**row, "ms_ratio": 1.0, "ms_ratio_ci95": [0.99, 1.01], "error": None, **changes}


def seen_of(*rows: dict[str, Any]) -> runtimes.Seen:
    table = {"date": "2026-12-01", "machine": "x86_64", "pinned": "2.3.0", "rows": rows}
    found = runtimes.seen("ai-edge-litert", "9.0", table=table)
    assert found is not None
    return found


def test_the_pinned_release_was_checked_and_is_without_fault() -> None:
    found = runtimes.seen("ai-edge-litert", PINNED)
    assert found is not None and found.faults == found.lacks == () and "the same bits" in found.text
    assert PINNED in runtimes.checked()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (entry(bits=False), "other bits than 2.3.0 answered"),
        (entry(ms_ratio=1.08, ms_ratio_ci95=[1.051, 1.1]), "1.08 times the time of 2.3.0"),
        (entry(loads=False, bits=None, ms_ratio=None, ms_ratio_ci95=None, error="ImportError: x"), "ImportError: x"),
        (entry(way="packed weights", bits=False), "other bits"),
    ],
)
def test_a_release_that_changes_a_bit_or_loses_speed_is_at_fault(row: dict[str, Any], words: str) -> None:
    found = seen_of(entry(file="b.tflite"), row)
    assert len(found.faults) == 1 and words in found.faults[0] and found.lacks == ()


def test_no_speed_is_lost_that_the_pinned_release_loses_against_itself() -> None:
    slow = entry(ms_ratio=1.3, ms_ratio_ci95=[1.2, 1.4])
    steady = entry(version="2.3.0", ms_ratio_ci95=[0.99, 1.01])
    shaky = entry(version="2.3.0", ms_ratio_ci95=[0.8, 1.2])
    assert seen_of(slow, steady).faults != () and seen_of(slow, shaky).faults == ()


def test_what_is_no_fault() -> None:
    shut = entry(way="packed weights", loads=False, bits=None, ms_ratio=None, ms_ratio_ci95=None, error="no function")
    of_others = entry(way="CompiledModel", bits=False, ms_ratio=2.0, ms_ratio_ci95=[1.9, 2.1])  # edgekit opens nothing that way
    found = seen_of(
        entry(ms_ratio=1.05, ms_ratio_ci95=[1.04, 1.06]), entry(bits=None), shut, {**shut, "file": "b.tflite"}, of_others
    )
    assert found.faults == () and found.lacks == ("no function",)
    assert found.text == "checked 2026-12-01 on x86_64: the same bits, 1.00 to 1.05 times the time of 2.3.0"


def test_what_runs_on_a_board_is_looked_up() -> None:
    deployed = (f"runtime\tai_edge_litert-{PINNED}", "has_ai_edge_litert\t0.1")
    assert told(*deployed) == [] and f"ai-edge-litert {PINNED} (deployed); checked" in interpreters.row(facts(*deployed))
    ((severity, message),) = told("has_ai_edge_litert\t99.1")
    assert severity == "note" and "99.1 (of the board's own Python) is not among the releases that were checked" in message
    assert told("runtime\ttflite_runtime-2.14.0") == [] == told("has_ai_edge_litert\tunknown") == told()
    assert interpreters.row(facts("runtime\ttflite_runtime-2.14.0")) == "tflite-runtime 2.14.0 (deployed)"
    assert interpreters.row(facts()).startswith("none yet")


def test_doctor_shows_it() -> None:
    diagnosis = examine.examine("board", facts("runtime\tai_edge_litert-99.1"))
    assert "interpreter: ai-edge-litert 99.1 (deployed); not among" in diagnosis.to_text()
    assert [finding["check"] for finding in diagnosis.to_dict()["findings"]].count("runtime") == 1


def test_the_probe_names_what_the_deployed_release_runs_on(prepared: Path, tmp_path: Path) -> None:
    (tmp_path / ".edgekit").symlink_to(prepared)
    script = Path(probe.__file__).with_name("probe.sh")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    said = subprocess.run(["/bin/sh", str(script)], env=environment, capture_output=True, text=True, check=True).stdout
    assert probe.parse(said, where="here").answers["runtime"] == (f"ai_edge_litert-{PINNED}",)


def test_the_board_guide_shows_all_releases_of_the_table() -> None:
    guide = (Path(__file__).parents[3] / "docs/boards.md").read_text(encoding="utf-8")
    assert all(f"\n| {version} | " in guide for version in runtimes.checked())
