"""Several boards at once: two SSH servers with homes of their own, and one address where there is nobody."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devices.doctor import probe
from devices.errors import DeviceError, TargetError
from devices.fleet import fleet
from devices.measure import shards
from devices.transport import session
from devices.transport.local import LocalShell
from devices.transport.session import Session
from edge.cli import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Two boards and what to say to reach them; ``nobody`` is a target where no server listens."""

    targets: tuple[str, str]
    nobody: str
    config: Path
    homes: tuple[Path, Path]

    def on(self, *targets: str) -> list[str]:
        words = [word for target in targets or self.targets for word in ("--on", target)]
        return [*words, "--folder", "board", "--ssh-config", str(self.config)]


@pytest.fixture(scope="session")
def boards(prepared: Path, serve: Callable[[Path | None], Any], tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    config = tmp_path_factory.mktemp("fleet") / "config"
    homes = (prepared.with_name("home-a"), prepared.with_name("home-b"))
    text = ""
    for name, home in zip("ab", homes, strict=True):
        home.mkdir()
        shutil.copytree(prepared, home / "board", symlinks=True, copy_function=os.link)
        (home / "board/lock").unlink()  # one file under two names is one lock
        server = serve(home)
        options = server.config.read_text().replace("\n", "\n  ")
        text += (
            f"Host {name}\n  HostKeyAlias [127.0.0.1]:{server.port}\n  HostName 127.0.0.1\n  Port {server.port}\n  {options}\n"
        )
    # Port 9 (discard) is refused on any machine that can run this.
    config.write_text(f"{text}Host nobody\n  HostName 127.0.0.1\n  Port 9\n")
    user = getpass.getuser()
    return Fleet(targets=(f"{user}@a", f"{user}@b"), nobody=f"{user}@nobody", config=config, homes=homes)


def test_deploying_to_an_inventory_with_one_board_that_is_not_there(
    boards: Fleet, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory = tmp_path / "boards.toml"
    inventory.write_text(f"targets = {json.dumps([boards.targets[0], boards.nobody, boards.targets[1]])}\n")
    flags = ["--folder", "board", "--ssh-config", str(boards.config), "--json", str(tmp_path / "all.json")]
    assert main(["deploy", str(first), f"@{inventory}", *flags]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["target", "release", "self-test", "runtime", "before"]
    assert [line.split()[0] for line in lines[1:3]] == list(boards.targets)
    assert lines[3].startswith(f"{boards.nobody}: error: the machine is there") and "2 of 3 boards done" in lines[4]
    told = json.loads((tmp_path / "all.json").read_text())["boards"]
    assert [one["target"] for one in told] == [boards.targets[0], boards.nobody, boards.targets[1]]
    assert [one["error"] is None for one in told] == [True, False, True]
    assert [one["exit_code"] for one in told] == [0, 3, 0]
    assert all((home / "board/current/model.tflite").exists() for home in boards.homes)


def test_one_table_of_validations_and_benchmarks(
    boards: Fleet, first: Path, second: Path, few_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["validate", str(first), *boards.on(), "--images", str(few_digits / "test"), "--limit", "20"]
    assert main([*command, "--reference", str(second), "--max-drop", "0.9"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["target", "board", "images", "top-1", "drop", "lost/won", "verdict"]
    one, other = (line.split()[-5:] for line in lines[1:3])
    assert one == other and one[0] == "20" and one[-1] == "pass"
    assert main(["benchmark", str(first), *boards.on(), "--runs", "3", "--seconds", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "p50 ms" in lines[0] and len(lines) == 4


def sharded(boards: Fleet, first: Path, second: Path, images: Path, *targets: str) -> tuple[int, list[str]]:
    command = ["validate", str(first), *boards.on(*targets), "--shard", "--images", str(images), "--reference", str(second)]
    return main([*command, "--max-drop", "0.9", "--json", "-"]), command


def test_a_validation_in_shares_is_the_whole_validation(
    boards: Fleet, first: Path, second: Path, few_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = sharded(boards, first, second, few_digits / "test")
    report = json.loads(capsys.readouterr().out)
    assert (
        main(
            [
                "validate",
                str(first),
                "--images",
                str(few_digits / "test"),
                "--reference",
                str(second),
                "--max-drop",
                "0.9",
                "--json",
                "-",
            ]
        )
        == code
        == 0
    )
    whole = json.loads(capsys.readouterr().out)
    for key in ("images", "drop", "agreement", "verdict", "model_sha256"):
        assert report[key] == whole[key], key
    assert report["candidate"]["top1"] == whole["candidate"]["top1"]
    assert [share["images"] for share in report["shares"]] == [40, 40]
    assert report["boards_compared"]["boards"] == 2 and report["boards_compared"]["ops"] > 5


def test_boards_with_different_interpreters_share_nothing(
    boards: Fleet, first: Path, second: Path, few_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {path: path.read_text() for path in boards.homes[1].glob("board/wheels/*/ai_edge_litert/__init__.py")}
    assert texts
    for path, text in texts.items():
        path.unlink()  # a link to the file of all boards here
        path.write_text(f'{text}\n__version__ = "0." + __version__\n')
    try:
        code, _ = sharded(boards, first, second, few_digits / "test")
    finally:
        for path, text in texts.items():
            path.write_text(text)
    said = capsys.readouterr().err
    assert code == 2 and f"{boards.targets[0]}: ai-edge-litert 2." in said and f"{boards.targets[1]}: ai-edge-litert 0.2." in said


def bits(answer: str = "1", ops: tuple[str, ...] = ("a", "b"), version: str = "2.3.0") -> dict[str, Any]:
    output = {"dtype": "int8", "sha256": answer, "values": None}
    return {
        "model_sha256": "m",
        "arithmetic": "float",
        "machine": "aarch64",
        "runtime": {"package": "ai-edge-litert", "version": version, "kernels": "optimized"},
        "images": [{"id": "a.png", "sha256": "x", "outputs": {"p": output}}],
        "ops": [{"index": i, "op": "ADD", "tensor": f"t{i}", "sha256": digest} for i, digest in enumerate(ops)],
    }


def test_shares_are_for_boards_that_give_the_same_bits() -> None:
    assert shards.same_bits({"a": bits(), "b": bits(), "c": bits()}) == {"boards": 3, "images": 1, "ops": 2}
    assert shards.same_bits({}) == {"boards": 0, "images": 0, "ops": 0}
    with pytest.raises(DeviceError, match=r"c does not give the bits of a: 1 of 1 images differ; leave"):
        shards.same_bits({"a": bits(), "b": bits(), "c": bits("2")})
    with pytest.raises(DeviceError, match=r"0 of 1 images differ; the first op that differs is ADD 1 \(t1\)"):
        shards.same_bits({"a": bits(), "b": bits(ops=("a", "c"))})
    with pytest.raises(DeviceError, match=r"a: ai-edge-litert 2\.3\.0.*b: ai-edge-litert 2\.2\.0"):
        shards.same_bits({"a": bits(), "b": bits(version="2.2.0")})


def test_a_board_that_fails_gives_its_share_to_the_others(
    boards: Fleet, first: Path, second: Path, few_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # One is not there at all, one is busy.
    with Session(LocalShell(), folder=str(boards.homes[1] / "board")):
        code, _ = sharded(boards, first, second, few_digits / "test", *boards.targets, boards.nobody)
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert code == 0 and report["images"] == 80 and len(report["shares"]) == 3
    assert f"{boards.nobody}: " in said.err and "another deployment is under way" in said.err
    with Session(LocalShell(), folder=str(boards.homes[0] / "board")):
        code, _ = main_code(boards, first, second, few_digits / "test")
    assert code == 3 and "none of the boards is left" in capsys.readouterr().err


@pytest.mark.targets("virtual", why="the boards of the other tests here are this machine")
def test_two_users_of_an_emulated_board_share_a_validation(
    target: Any, first: Path, second: Path, few_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two homes with a lock each: to a fleet, two boards."""
    system = target.here.parents[1]
    (system / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(target.here / ".ssh/authorized_keys", system / "root/.ssh/authorized_keys")
    os.chown(system / "root/.ssh/authorized_keys", 0, 0)
    for home in (system / "root", target.here):
        subprocess.run(["cp", "-al", str(target.here / "prepared"), str(home / "shared")], check=True)
        (home / "shared/lock").unlink()  # one file under two names is one lock
    config = tmp_path / "config"
    options = "".join(f"  {name} {value}\n" for name, value in target.reach.options)
    config.write_text(f"Host board\n  HostName {target.reach.host}\n  Port {target.reach.port}\n{options}")
    command = ["validate", str(first), "--on", "pi@board", "--on", "root@board", "--ssh-config", str(config), "--shard"]
    command += ["--folder", "shared", "--images", str(few_digits / "test"), "--reference", str(second), "--max-drop", "0.9"]
    assert main([*command, "--limit", "20", "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [share["images"] for share in report["shares"]] == [10, 10]
    assert all(share["board"]["virtual"] for share in report["shares"])
    assert report["boards_compared"]["boards"] == 2 and report["boards_compared"]["images"] == 5


def main_code(boards: Fleet, first: Path, second: Path, images: Path) -> tuple[int, list[str]]:
    return sharded(boards, first, second, images, boards.targets[0], boards.nobody)


def test_shares_are_for_equal_boards() -> None:
    def facts(model: str) -> probe.BoardFacts:
        return probe.parse(f"probe\t1\nmodel\t{model}\nmachine\taarch64\ndone\t1\n", where="pi")

    shards.equal({"a": facts("Raspberry Pi 5 Model B Rev 1.0"), "b": facts("Raspberry Pi 5 Model B Rev 1.1")})
    with pytest.raises(DeviceError, match="a: pi-5, aarch64; b: pi-4b, aarch64"):
        shards.equal({"a": facts("Raspberry Pi 5 Model B Rev 1.0"), "b": facts("Raspberry Pi 4 Model B Rev 1.4")})
    emulated = facts("Raspberry Pi 5 Model B Rev 1.0\ncompatible\tedgekit,virtual-board")
    assert emulated.virtual
    with pytest.raises(DeviceError, match="a: pi-5, aarch64; b: pi-5, aarch64, emulated"):
        shards.equal({"a": facts("Raspberry Pi 5 Model B Rev 1.0"), "b": emulated})


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--on", "local"], "two or more boards"),
        (["--on", "a", "--on", "b", "--sequential", "--max-drop", "0.1", "--reference", "r"], "leave --sequential"),
        (["--on", "a", "--on", "b", "--certify", "3"], "leave --sequential and --certify"),
        (["--on", "a", "--on", "a"], "named twice"),
    ],
)
def test_what_cannot_be_shared(
    first: Path, few_digits: Path, extra: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(first), "--shard", "--images", str(few_digits / "test"), *extra]) == 2
    assert words in capsys.readouterr().err


def test_inventories(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text('targets = ["pi@kitchen", "pi@garden:2222", "local"]\n')
    assert fleet.expand([f"@{path}", "virtual:desk"]) == ("pi@kitchen", "pi@garden:2222", "local", "virtual:desk")
    for text in ("targets = []", 'targets = "pi@kitchen"', "boards = []", "targets = [1]", "targets = ["):
        path.write_text(text)
        with pytest.raises(TargetError):
            fleet.expand([f"@{path}"])
    with pytest.raises(TargetError, match="named twice"):
        fleet.expand(["pi@kitchen", "pi@kitchen"])


def test_an_error_of_one_board_is_its_own() -> None:
    def work(shell: Any) -> str:
        if shell.name != "local":
            raise AssertionError("never reached")
        raise DeviceError("broken")

    (outcome,) = fleet.on_each(["local"], work)
    assert outcome.result is None and str(outcome.error) == "broken"


def test_what_nobody_foresaw_about_one_board_costs_the_others_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    found = fleet.on_each(["pi@one", "local", "pi@two"], lambda shell: {"local": "done"}[shell.name])
    assert [outcome.result for outcome in found] == [None, "done", None]
    assert [outcome.error.exit_code for outcome in found if outcome.error is not None] == [70, 70]
    assert "pi@two: a fault of edgekit (KeyError: 'pi@two')" in str(found[2].error)
    assert capsys.readouterr().err.count("Traceback") == 2
    with pytest.raises(KeyError):  # alone, it is what it is anywhere
        fleet.on_each(["pi@one"], lambda shell: {"local": "done"}[shell.name])


def test_an_interruption_waits_for_no_board() -> None:
    script = (
        "import os, signal, threading\n"
        "from devices.fleet import fleet\n"
        "started = threading.Barrier(2)\n"
        "def work(shell):\n"
        "    if started.wait() == 0:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    threading.Event().wait()\n"
        "fleet.on_each(['local', 'local'], work)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"


def test_who_holds_a_lock_may_be_a_number_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert session._user() == "user 54321"
