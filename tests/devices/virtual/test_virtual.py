"""Virtual boards: what can be checked anywhere, and one real emulated board from nothing to a deployed and validated model."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from devices.doctor import probe
from devices.errors import TargetError, VirtualBoardError
from devices.fleet import targets
from devices.rollout import releases
from devices.transport.ssh import SshShell
from devices.virtual import board_wheels, boards, fakes, host
from devices.virtual.locks import locked
from devices.virtual.models import ARCHITECTURES, MODELS, VirtualModel, architecture, model
from edge.cli import main


def quiet(_: str) -> None:
    pass


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc", "a/b", "-a", "a-", "A", "a b", "ä", "a" * 33, "a\n", "~"])
def test_names_that_could_lead_elsewhere_are_refused(name: str) -> None:
    for action in (boards.find, boards.stop, boards.remove, boards.start, boards.target):
        with pytest.raises(VirtualBoardError):
            action(name)
    with pytest.raises(VirtualBoardError):
        boards.create(name, board="pi-5", arch="arm64", report=quiet)


def test_boards_that_do_not_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path))
    assert boards.every() == ()
    with pytest.raises(VirtualBoardError, match="virtual create desk"):
        targets.open_shell("virtual:desk")
    with pytest.raises(TargetError):
        targets.parse("virtual:")
    assert main(["virtual", "list"]) == 0
    assert "no virtual boards yet" in capsys.readouterr().out
    with pytest.raises(VirtualBoardError, match="pi-zero"):
        boards.create("desk", board="pi-zero-2w", arch="arm64", report=quiet)
    with pytest.raises(VirtualBoardError, match="armhf"):
        boards.create("desk", board="pi-5", arch="riscv64", report=quiet)
    assert list(tmp_path.iterdir()) == []


def test_one_process_at_a_time_makes_a_template_or_a_board(tmp_path: Path) -> None:
    waits, entered = threading.Event(), threading.Event()

    def second() -> None:
        with locked(tmp_path / "cache" / ".lock", lambda _: waits.set()):
            entered.set()

    other = threading.Thread(target=second)
    with locked(tmp_path / "cache" / ".lock", quiet):
        other.start()
        assert waits.wait(60) and not entered.is_set()
    other.join(60)
    assert entered.is_set()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"board": "pi-5"}'])
def test_a_board_whose_record_is_damaged(
    text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path))
    folder = tmp_path / "virtual/desk"
    folder.mkdir(parents=True)
    (folder / "board.json").write_text(text)
    assert main(["virtual", "list"]) == 2
    assert "edgekit virtual remove desk" in capsys.readouterr().err
    assert main(["virtual", "remove", "desk"]) == 0
    assert not folder.exists()


def test_remove_stays_in_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("EDGEKIT_HOME", str(home))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (home / "virtual").mkdir(parents=True)
    (home / "virtual/desk").symlink_to(outside)
    with pytest.raises(VirtualBoardError, match="not a folder that edgekit made"):
        boards.remove("desk")
    (home / "virtual/desk").unlink()
    (home / "virtual/desk/rootfs").mkdir(parents=True)
    (home / "virtual/desk/rootfs/link").symlink_to(outside)
    boards.remove("desk")
    assert (outside / "precious").exists() and not (home / "virtual/desk").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_remove_refuses_what_is_mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path))
    inside = tmp_path / "virtual/desk/rootfs/proc"
    inside.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(inside)], check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        (inside / "precious").write_text("x")
        with pytest.raises(VirtualBoardError, match="umount"):
            boards.remove("desk")
        assert (inside / "precious").exists()
    finally:
        subprocess.run(["umount", str(inside)], check=True)
    boards.remove("desk")


def test_where_it_cannot_work_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(VirtualBoardError, match="Linux"):
        host.check(global_binfmt=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(host, "_which", lambda name: None if "qemu" in name else name)
    with pytest.raises(VirtualBoardError, match="apt-get install"):
        host.check(global_binfmt=False)
    monkeypatch.setattr(host, "_which", lambda name: name)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(VirtualBoardError, match="sudo"):
        host.check(global_binfmt=False)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(host, "kernel", lambda: (6, 1))
    with pytest.raises(VirtualBoardError, match="--global-binfmt"):
        host.check(global_binfmt=False)
    host.check(global_binfmt=True)


@pytest.mark.parametrize("emulated", MODELS, ids=lambda found: found.board)
def test_the_fakes_match_the_emulated_processor(emulated: VirtualModel, tmp_path: Path) -> None:
    found = model(emulated.board)
    fakes.write(tmp_path, found, architecture("arm64"))
    listed = (tmp_path / "cpuinfo").read_text()
    # What is listed is used by the runtime, and SIGILL where the processor does not have it.
    assert ("asimddp" in listed) == (found.cpu == "cortex-a76")
    assert listed.count("processor") == fakes.CORES
    assert found.cpu != "max"
    for name in ("possible", "present"):
        assert (tmp_path / f"sys/devices/system/cpu/{name}").read_text() == "0-3\n"
    compatible = (tmp_path / "sys/firmware/devicetree/base/compatible").read_text()
    assert probe.VIRTUAL_MARK in compatible


def test_every_architecture_is_complete() -> None:
    assert [found.debian for found in ARCHITECTURES] == ["arm64", "armhf"]


def wheel(folder: Path, name: str, files: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return folder


def test_wheels_for_a_board_are_checked_and_unpacked(tmp_path: Path) -> None:
    arm64, armhf = ARCHITECTURES
    name = "mine-1.0-cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64.whl"
    folder = wheel(
        tmp_path / "good", name, {"mine.py": "x = 1", "mine-1.0.data/scripts/run": "#!", "mine-1.0.data/purelib/p.py": ""}
    )
    wheel(folder, "pure-1.0-py2.py3-none-any.whl", {"pure/__init__.py": ""})
    found = board_wheels.find(folder, arm64)
    board_wheels.unpack(found, tmp_path / "root")
    site = tmp_path / "root/usr/local/lib/python3.11/dist-packages"
    assert sorted(path.relative_to(site).as_posix() for path in site.rglob("*.py")) == ["mine.py", "p.py", "pure/__init__.py"]
    with pytest.raises(VirtualBoardError, match="is for cp311 on .*aarch64, the board is cp311 on armv7l"):
        board_wheels.find(folder, armhf)
    for place, words in (
        (tmp_path / "missing", "no wheels"),
        (wheel(tmp_path / "bad", "mine.whl", {}), "not the name of a wheel"),
    ):
        with pytest.raises(VirtualBoardError, match=words):
            board_wheels.find(place, arm64)
    evil = wheel(tmp_path / "evil", "e-1-py3-none-any.whl", {"../../evil.py": ""})
    with pytest.raises(VirtualBoardError, match="cannot be unpacked"):
        board_wheels.unpack(board_wheels.find(evil, arm64), tmp_path / "root")
    assert not list(tmp_path.rglob("evil.py"))


@pytest.mark.virtual
def test_a_virtual_board_from_nothing_to_a_validated_model(
    virtual_board: str,
    virtual_deployment: dict[str, Any],
    small_artefacts: dict[str, Path],
    few_digits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = f"virtual:{virtual_board}"
    assert main(["doctor", where, "--json", str(tmp_path / "doctor.json")]) == 0
    board = json.loads((tmp_path / "doctor.json").read_text())["board"]
    assert (board["profile"], board["arch"], board["python"], board["glibc"]) == ("pi-5", "aarch64", [3, 11], [2, 36])
    deployed = virtual_deployment
    assert deployed["runtime"] == "ai-edge-litert"
    # Recorded on the workstation, replayed on ARM: the softmax may round to the neighbouring step there.
    assert deployed["selftest"]["promise"] == "within one quantization step"
    assert all(found["steps"] <= 1 for found in deployed["selftest"]["results"])
    assert deployed["selftest"]["machine"] == "aarch64"
    # As if it had been deployed to the folder that is meant where none is named.
    home = boards.folder_of(virtual_board) / "rootfs/home/pi"
    subprocess.run(["cp", "-al", str(home / "prepared"), str(home / ".edgekit")], check=True)
    artefact = str(small_artefacts["int8"])
    command = ["validate", artefact, "--on", where, "--images", str(few_digits / "test"), "--reference", artefact]
    assert main([*command, "--limit", "40", "--json", str(tmp_path / "validate.json")]) == 0
    said = capsys.readouterr().err
    assert "40/40 done\n" in said and "done in" not in said  # how long emulation takes is nobody's business
    report = json.loads((tmp_path / "validate.json").read_text())
    assert report["bit_equal"] is True and report["images"] == 40
    assert report["board"]["virtual"] is True and report["board"]["profile"] == "pi-5"
    assert "timing" not in report
    # All ops of the emulated ARM processor give this machine's bits, so this machine measures for it.
    assert report["certificate"]["ops_equal"] == report["certificate"]["ops"] > 5
    command = ["validate", artefact, "--on", where, "--images", str(few_digits / "test"), "--certify", "3"]
    assert main([*command, "--json", str(tmp_path / "certified.json")]) == 0
    certified = json.loads((tmp_path / "certified.json").read_text())
    assert certified["measured_on"] == "this machine" and certified["images"] == 80
    assert "aarch64" in certified["certificate"]["there"]
    assert main(["selftest", artefact, "--on", where]) == 0
    capsys.readouterr()
    assert main(["benchmark", artefact, "--on", where]) == 2
    assert "no speed" in capsys.readouterr().err
    shell = SshShell(boards.target(virtual_board))
    try:
        assert shell.run(["python3", "-c", "import mine"], timeout_s=60).stdout == "from the wheel\n"
        assert releases.status(shell).current == deployed["release"]
        assert releases.undeploy(shell) == ()
        assert shell.run(["ls", "-A", ".edgekit"], timeout_s=60, check=False).returncode != 0
    finally:
        shell.close()


@pytest.mark.virtual
def test_stopping_leaves_nothing_and_starting_goes_on(virtual_board: str) -> None:
    registry = Path("/proc/sys/fs/binfmt_misc")
    before = set(os.listdir(registry)) if registry.exists() else set()
    assert boards.stop(virtual_board) is True
    assert boards.stop(virtual_board) is False
    folder = str(boards.folder_of(virtual_board))
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        assert not any(folder in line for line in stream)
    assert (set(os.listdir(registry)) if registry.exists() else set()) == before
    with pytest.raises(VirtualBoardError, match="virtual start"):
        boards.target(virtual_board)
    assert boards.start(virtual_board).port is not None
    with pytest.raises(VirtualBoardError, match="stop it first"):
        boards.remove(virtual_board)
