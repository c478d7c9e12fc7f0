from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from devices.boards import profiles
from devices.errors import UnknownProfileError
from edge.cli import main


def output(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["boards", *argv]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_the_table_has_a_line_for_every_board_and_accelerator(capsys: pytest.CaptureFixture[str]) -> None:
    first_words = [line.split()[0] for line in output(capsys).splitlines() if line]
    for profile in profiles.PROFILES:
        assert first_words.count(profile.name) == 1


def test_the_table_says_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    lines = {line.split()[0]: line for line in output(capsys).splitlines() if line}
    assert lines["coral-dev-board-mini"].count("unknown") >= 3
    assert "unknown" not in lines["pi-4b"]
    assert lines["coral-dev-board-micro"].endswith("no: a microcontroller")
    assert lines["coral-dev-board"].endswith("no: Python below 3.11")
    assert lines["pi-zero-2w"].endswith("bookworm, trixie")


@pytest.mark.parametrize("name", [profile.name for profile in profiles.PROFILES])
def test_details_give_every_fact_with_its_source(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(output(capsys, name).split())
    profile = profiles.find(name)
    for field in profile.__dataclass_fields__:
        fact = getattr(profile, field)
        if fact is not None and hasattr(fact, "source"):
            basis = "from memory, no source opened" if fact.basis == "unopened" else fact.basis
            assert f"{basis}: {fact.source} (checked {fact.checked})" in text


def test_details_name_the_interpreter_wheels(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "pi-3b-plus")
    assert "ai-edge-litert 1.1.0 to 2.3.0 (aarch64)" in text
    assert "(checked 2026-11-30)" in text
    assert "tflite-runtime 2.14.0 (armv7l)" in text
    assert "60 °C: soft limit" in text


def test_an_absent_link_is_none_and_an_unknown_one_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    pi = output(capsys, "pi-3b-plus").splitlines()
    assert [line.split()[-1] for line in pi if line.startswith("PCIe:")] == ["none"]
    mini = output(capsys, "coral-dev-board-mini").splitlines()
    assert [line.split()[-1] for line in mini if line.startswith("PCIe:")] == ["unknown"]


def test_an_unreachable_board_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert "not reachable: a microcontroller" in output(capsys, "coral-dev-board-micro")


def test_json_on_standard_output_is_all_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(output(capsys, "pi-5", "--json", "-"))
    assert data["memory_mib"]["value"] == [1024, 2048, 4096, 8192, 16384]
    assert data["memory_mib"]["basis"] == "verified"
    assert data["memory_mib"]["checked"] == "2026-11-30" and data["memcpy_mb_s"]["checked"] == "2026-11-20"
    assert data["device_tree"]["value"] == ["Raspberry Pi 5 Model B", "raspberrypi,5-model-b"]
    assert [known["name"] for known in data["systems_known"]] == ["bookworm", "trixie", "noble", "resolute"]


def test_coral_is_at_its_end_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("coral-usb", "coral-m2", "coral-pcie", "coral-dev-board", "coral-dev-board-mini", "coral-dev-board-micro"):
        text = " ".join(output(capsys, name).split())
        assert "end of life: since July 2024; its runtime libedgetpu is archived since October 2025" in text
    (line,) = [line for line in output(capsys).split("\n\n") if line.startswith("end of life: ")]
    assert "coral-usb" in line and "pi-5" not in line


def test_what_edgekit_cannot_use_says_what_can(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Hailo-8 or Hailo-8L" in output(capsys)
    text = " ".join(output(capsys, "hailo-10h").split())
    assert "PCI 1e60:45c4" in text and "HailoRT" in text and "(checked 2026-11-30)" in text
    with pytest.raises(UnknownProfileError, match="edgekit cannot use Hailo-8 .*HailoRT.*known: coral-usb"):
        profiles.accelerator("hailo-8")


def test_json_file_holds_all_boards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new" / "boards.json"
    target.parent.mkdir()
    text = output(capsys, "--json", str(target))
    assert "pi-zero-2w" in text
    data = json.loads(target.read_text(encoding="utf-8"))
    assert len(data["boards"]) == len(profiles.BOARDS)
    assert len(data["accelerators"]) == len(profiles.ACCELERATORS)
    assert os.listdir(target.parent) == ["boards.json"]


def test_json_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["boards", "--json", str(tmp_path / "file" / "boards.json")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert "cannot be written" in captured.err


def test_a_misspelt_name_is_one_line_with_the_known_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["boards", "rasperry"]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert all(board.name in captured.err for board in profiles.BOARDS)
