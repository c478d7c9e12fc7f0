"""The user's own boards: what they may say, what each mistake says, and where they appear."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devices.boards import board_files, profiles
from devices.boards.detect import profile_name
from devices.boards.own_boards import parse
from devices.errors import BoardFileError
from edge.cli import main

TEXT = """\
[nanopi-m4]
title = "FriendlyElec NanoPi M4"
source = "https://wiki.friendlyelec.com"
soc = "RK3399"
arch = "aarch64"
cpu = [{core = "Cortex-A72", count = 2, clock_mhz = 1800}, {core = "Cortex-A53", count = 4, clock_mhz = 1400}]
dot_product = {value = false, source = "Armv8.0-A", basis = "derived"}
fp16_arithmetic = false
memory_mib = [2048, 4096]
memcpy_mb_s = 3700
memset_mb_s = 8000
usb = "4 x USB 3.0"
pcie = "none"
edgetpu = "none"
thermal = [{celsius = 95, effect = "throttled"}]
health = ["/sys/class/thermal/thermal_zone0/temp"]
device_tree = "friendlyelec,nanopi-m4"
systems = ["bookworm"]
"""


@pytest.fixture
def boards_file(tmp_path: Path) -> Path:
    path = tmp_path / "my boards.toml"
    path.write_text(TEXT)
    return path


def test_a_board_is_a_profile_like_any_other() -> None:
    (board,) = parse(TEXT, where="boards.toml")
    assert board.cpu is not None and [cluster.count for cluster in board.cpu.value] == [2, 4]
    assert board.cpu.value[0].boost_mhz is None
    assert board.dot_product is not None and (board.dot_product.basis, board.dot_product.source) == ("derived", "Armv8.0-A")
    assert board.pcie is not None and board.pcie.value is None  # it has none
    assert board.caches is None and board.memory_type is None  # nobody knows
    assert profiles.board("nanopi-m4", [board]) is board and profiles.find("nanopi-m4", [board]) is board
    assert profile_name("FriendlyElec NanoPi M4", "friendlyelec,nanopi-m4 rockchip,rk3399", [board]) == "nanopi-m4"
    assert board.soc is not None and board.soc.checked is None  # nobody wrote it down
    assert parse("", where="boards.toml") == ()


def test_the_day_of_a_source_and_several_names() -> None:
    text = TEXT.replace("[nanopi-m4]", "[nanopi-m4]\nchecked = 2026-11-28", 1)
    text = text.replace('basis = "derived"}', 'basis = "derived", checked = 2026-11-29}', 1)
    text = text.replace('"friendlyelec,nanopi-m4"', '["friendlyelec,nanopi-m4", "NanoPi M4"]', 1)
    (board,) = parse(text, where="boards.toml")
    assert board.soc is not None and board.soc.checked == "2026-11-28"
    assert board.dot_product is not None and board.dot_product.checked == "2026-11-29"
    assert profile_name("NanoPi M4 Rev 2.0", "", [board]) == "nanopi-m4"
    assert profile_name("NanoPi M4B", "friendlyelec,nanopi-m4 rockchip,rk3399", [board]) is None  # another board


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[nanopi-m4]", "[nanopi-m4", "no TOML"),
        ("[nanopi-m4]", "[NanoPi]", r"\[NanoPi\]: no name"),
        ("[nanopi-m4]", "[pi-4b]", "edgekit has a profile of that name"),
        ('title = "FriendlyElec NanoPi M4"', "", "needs a title"),
        ('title = "FriendlyElec NanoPi M4"', "title = 4", "title: expected a text"),
        ('source = "https://wiki.friendlyelec.com"', "", "soc has no source"),
        ("memcpy_mb_s = 3700", "memcpy = 3700", "'memcpy' is no fact of a board; known: .*memcpy_mb_s"),
        ("memcpy_mb_s = 3700", 'memcpy_mb_s = "3700"', "memcpy_mb_s: expected a whole number above 0, got '3700'"),
        ("memcpy_mb_s = 3700", "memcpy_mb_s = -1", "memcpy_mb_s: expected a whole number"),
        ("memory_mib = [2048, 4096]", "memory_mib = [4096, 2048]", "from the smallest to the largest"),
        ("memory_mib = [2048, 4096]", "memory_mib = 2048", "expected a list"),
        ("count = 2, ", "", "cpu: expected tables of core, count, clock_mhz, boost_mhz"),
        ("clock_mhz = 1800", "mhz = 1800", "cpu: expected tables of"),
        ('"derived"', '"guessed"', 'dot_product: expected value, source and basis = "verified", "derived" or "unopened"'),
        ("value = false", 'value = "no"', "dot_product: expected true or false"),
        ('["bookworm"]', '["bookwurm"]', "systems: expected some of .*bookworm"),
        ("celsius = 95", 'celsius = "95"', "thermal: expected degrees"),
        ('arch = "aarch64"', 'arch = ""', "arch: expected a text"),
        ("[nanopi-m4]", '[nanopi-m4]\nchecked = "yesterday"', "checked: expected a day such as 2026-11-30, got 'yesterday'"),
        ('device_tree = "friendlyelec,nanopi-m4"', "device_tree = 4", "device_tree: expected a list"),
    ],
)
def test_every_mistake_is_one_line_that_names_it(old: str, new: str, words: str) -> None:
    assert old in TEXT
    with pytest.raises(BoardFileError, match=words) as caught:
        parse(TEXT.replace(old, new, 1), where="boards.toml")
    assert str(caught.value).startswith("boards.toml: ") and "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_what_is_no_table() -> None:
    with pytest.raises(BoardFileError, match="expected a table for each board"):
        parse("targets = []", where="boards.toml")


def test_the_table_and_the_details_have_it(boards_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["boards", "--boards-file", str(boards_file)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("nanopi-m4")]
    assert "2x A72 1.8 GHz + 4x A53 1.4 GHz" in line and "2/4 GiB" in line and line.endswith("bookworm")
    assert main(["boards", "nanopi-m4", "--boards-file", str(boards_file)]) == 0
    assert "derived: Armv8.0-A" in capsys.readouterr().out
    assert main(["boards", "nanopi-m5", "--boards-file", str(boards_file)]) == 2
    assert "did you mean 'nanopi-m4'?" in capsys.readouterr().err


def test_the_default_place(
    boards_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    assert board_files.read() == ()
    (tmp_path / "home").mkdir()
    (tmp_path / "home/boards.toml").write_text(TEXT)
    assert main(["boards", "nanopi-m4"]) == 0
    monkeypatch.delenv("EDGEKIT_HOME")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert board_files.default_place() == tmp_path / "config/edgekit/boards.toml"
    assert main(["boards", "--boards-file", str(tmp_path / "missing.toml")]) == 2
    assert "no such file of boards" in capsys.readouterr().err
    boards_file.write_bytes(b"\xff")
    assert main(["boards", "--boards-file", str(boards_file)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_check_predicts_for_it(first: Path, boards_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--boards-file", str(boards_file), "--json", "-"]
    assert main(["check", str(first), "--board", "nanopi-m4", *flags]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["fits"] is True and report["latency_ms"]["expected"] > 0
    assert main(["check", str(first), *flags]) == 0
    assert "nanopi-m4" in [board["board"] for board in json.loads(capsys.readouterr().out)["boards"]]
    assert main(["check", str(first), "--board", "nanopi-m4"]) == 2


def test_the_memory_of_a_board_in_several_sizes(first: Path, boards_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def rooms(*flags: str) -> object:
        assert main(["check", str(first), "--board", "nanopi-m4", "--boards-file", str(boards_file), *flags, "--json", "-"]) == 0
        return json.loads(capsys.readouterr().out)["memory_mib"]

    assert rooms() != rooms("--memory", "4GiB") != rooms("--memory", "2G")
    for size, words in (("3GiB", "but with 2GiB, 4GiB"), ("much", "expected a size"), ("0G", "expected a size")):
        assert main(["check", str(first), "--board", "nanopi-m4", "--boards-file", str(boards_file), "--memory", size]) == 2
        assert words in capsys.readouterr().err
    assert main(["check", str(first), "--memory", "2GiB"]) == 2
    assert "--board" in capsys.readouterr().err
