"""Each single file that holds a board's folder together is lost, emptied, spoilt or replaced by a folder: what is whole stays usable."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devices.errors import NoReleaseError
from devices.onboard import main as board_main
from devices.onboard.disk import remove
from devices.onboard.releases import Releases
from devices.rollout import deploy, releases
from devices.transport.local import LocalShell
from edge.cli import main

HARMS = ("missing", "empty", "garbage", "folder")
OF_A_RELEASE = ("release.json", "live", "model.tflite", "env")
FILES = (
    *("edgekit.json", "lock", "current", ".current.new", "releases", "env", "wheels", "uploads", "cache", "log"),
    *(f"releases/{number}-*/{name}" for number in ("0001", "0002", "0003") for name in OF_A_RELEASE),
    *("releases/0001-*", "releases/0002-*", "releases/0003-*"),
    *("env/*", "env/*/complete.json", "env/*/wheels", "wheels/*", "wheels/*/complete.json"),
)
ARTEFACT = "uploads/" + "a" * 64 + ".part"


def quiet(_: str) -> None:
    pass


def put(artefact: Path, root: Path, **options: Any) -> deploy.Deployment:
    return deploy.deploy(LocalShell(), artefact, deploy.Options(folder=str(root), **options), quiet)


def harm(root: Path, pattern: str, how: str) -> Path:
    """Put something else in the place of a file, which is a link to those of other tests."""
    path = next(iter(root.glob(pattern)), root / pattern)
    remove(path)
    if how == "folder":
        path.mkdir()
        (path / "with").write_text("something in it")
    elif how != "missing":
        path.write_bytes(b"" if how == "empty" else b"\0garbage\xff{")
    return path


@pytest.fixture(scope="module")
def three(prepared: Path, first: Path, second: Path) -> Iterator[Path]:
    """A board with three releases of which the last is current. None is self-tested again: it is the folder that is looked at."""
    root = prepared.with_name("three")
    shutil.copytree(prepared, root, symlinks=True, copy_function=os.link)
    shutil.rmtree(root / "releases")
    (root / "current").unlink()
    for artefact in (first, second, first):
        assert put(artefact, root, selftest=False).changed
    shutil.rmtree(root / "cache", ignore_errors=True)
    for layer in (*root.glob("wheels/*/"), *root.glob("env/*/lib/")):  # nothing runs here: a few files are enough
        for path in layer.iterdir():
            if path.name != "complete.json":
                remove(path)
    yield root
    shutil.rmtree(root)


@pytest.fixture
def copy(three: Path) -> Iterator[Path]:
    root = three.with_name("one of three")
    shutil.copytree(three, root, symlinks=True, copy_function=os.link)
    yield root
    shutil.rmtree(root, ignore_errors=True)


def whole_ones(state: dict[str, Any]) -> list[str]:
    return [about["id"] for about in state["releases"] if about["damage"] is None]


@pytest.mark.parametrize("how", HARMS)
@pytest.mark.parametrize("pattern", FILES)
def test_the_board_goes_on(copy: Path, pattern: str, how: str) -> None:
    """The board's side of status, rollback, deploy and undeploy, in this process: that a whole release is there is all they need."""
    names = sorted(path.name for path in (copy / "releases").iterdir())
    (copy / "uploads").mkdir(exist_ok=True)
    harmed = harm(copy, pattern, how)
    board = Releases(copy)
    found = board.state()  # without the lock, as status asks
    assert found["ours"]
    assert found["current"] in (names[2], None)
    # Whatever one file is, the two releases that it does not belong to are there, and there is a way back.
    intact = [] if pattern == "releases" else [name for name in names if name not in harmed.parts]
    assert set(intact) <= {about["id"] for about in found["releases"]}
    os.close(board_main._take_lock(copy, "test"))
    board.heal()
    state = board.state()
    assert set(intact) <= set(whole_ones(state))
    assert (copy / "releases").is_dir() or not (copy / "releases").exists()
    if intact:
        back = state["previous"] or intact[0]  # with `current` lost, the user names it
        assert back in whole_ones(state) and back != state["current"]
        board.switch(back)
        assert board.state()["current"] == back
        assert (copy / "current/env").resolve().parent == copy.resolve() / "env"
    upload = copy / ARTEFACT
    upload.parent.mkdir(exist_ok=True)
    upload.write_bytes(b"model")
    key = next(iter(state["releases"]), {"environment": "key"}).get("environment", "key")
    new = board.stage(ARTEFACT.removeprefix("uploads/").removesuffix(".part"), {"bytes": 5, "environment": key})
    assert new["id"] not in names
    (copy / "releases" / new["id"] / "live").touch()  # its SHA-256 is none, so that switching to it would be refused
    board.prune(keep=3)
    assert board.remove_all() == {"left": []} and not copy.exists()


@pytest.mark.parametrize(
    ("pattern", "how", "said"),
    [
        ("releases/0003-*/release.json", "empty", "the current release is damaged (its record release.json is lost)"),
        ("releases/0003-*/model.tflite", "missing", "the current release is damaged (its file model.tflite is missing)"),
        ("current", "missing", "no release is current"),
        ("env/*/complete.json", "empty", "environment is gone, or its record complete.json is"),
        ("releases/0002-*/release.json", "missing", ""),
    ],
)
def test_status_tells_and_rollback_and_deploy_go_on(
    copy: Path, first: Path, second: Path, pattern: str, how: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = sorted(path.name for path in (copy / "releases").iterdir())
    harmed = harm(copy, pattern, how)
    where = ["local", "--folder", str(copy)]
    assert main(["status", *where]) == (1 if said else 0)
    told = capsys.readouterr().out
    assert all(name in told for name in names)
    assert said in told and ("PROBLEM" in told) == bool(said)
    damaged_before = names[1] in harmed.parts
    assert ("DAMAGED: its record release.json is lost; the next edgekit deploy removes it" in told) == damaged_before
    if pattern == "current":
        assert main(["rollback", *where]) == 2
        assert "choose one: edgekit rollback --to RELEASE" in capsys.readouterr().err
        assert main(["rollback", *where, "--to", "0001"]) == 0
    else:
        assert main(["rollback", *where]) == 0
    back = names[0] if damaged_before or pattern == "current" else names[1]
    assert releases.status(LocalShell(), folder=str(copy)).current == back
    done = put(first if back == names[1] else second, copy, selftest=False)
    status = releases.status(LocalShell(), folder=str(copy))
    assert done.changed and status.is_good and not any(release.damage for release in status.releases)
    assert main(["undeploy", *where]) == 0
    assert not copy.exists()


def test_going_back_to_a_release_by_name(copy: Path, second: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = sorted(path.name for path in (copy / "releases").iterdir())
    where = ["local", "--folder", str(copy)]
    assert main(["rollback", *where, "--to", names[0]]) == 0
    assert f"{names[0]} is the current release again (was {names[2]})" in capsys.readouterr().out
    assert main(["rollback", *where, "--to", "0003"]) == 0
    assert f"{names[2]} is the current release again (was {names[0]})" in capsys.readouterr().out
    assert main(["rollback", *where, "--to", "0003"]) == 0
    assert "is the current release already; nothing was changed" in capsys.readouterr().out
    for to, words in (
        ("000", f"'000' is the beginning of {names[0]} "),
        ("7", "no release is called '7' or begins so; there are"),
        ("", "no release is called"),
        ("../../etc", "no release is called"),
    ):
        assert main(["rollback", *where, "--to", to]) == 2
        told = capsys.readouterr().err
        assert words in told and all(name in told for name in names)
    harm(copy, f"releases/{names[0]}/model.tflite", "empty")
    assert main(["rollback", *where, "--to", names[0]]) == 2
    told = capsys.readouterr().err
    assert "cannot be used: its file model.tflite has 0 bytes" in told and f"whole are {names[1]}" in told
    assert os.readlink(copy / "current") == f"releases/{names[2]}"
    model = copy / "releases" / names[1] / "model.tflite"
    spoilt = model.read_bytes()[:-1] + b"?"
    model.unlink()
    model.write_bytes(spoilt)  # of the same size: only reading it tells
    assert main(["status", *where]) == 0 and main(["status", "--verify", *where]) == 1
    assert f"the model of {names[1]} ({second.name}) is not as it was sent" in capsys.readouterr().out
    assert main(["rollback", *where, "--to", names[1]]) == 3
    assert "is not as it was sent, the card has damaged it; deploy that file again" in capsys.readouterr().err
    with pytest.raises(NoReleaseError, match="nothing is deployed there"):
        releases.rollback(LocalShell(), quiet, folder=str(copy.with_name("nothing")), to="0001")
    remove(copy.with_name("nothing"))
