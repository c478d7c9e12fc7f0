"""Environments that a card has damaged: told from verdicts, named file by file, made anew by the next deployment."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devices.errors import BoardRefusedError
from devices.rollout import deploy, payload, releases
from devices.rollout.selftests import SelftestNotRunError, selftest
from devices.transport.session import Session
from edge.cli import main


def quiet(_: str) -> None:
    pass


def put(board: Any, artefact: Path, **options: Any) -> deploy.Deployment:
    return deploy.deploy(board.shell, artefact, deploy.Options(folder=board.there, **options), quiet)


def replace(path: Path, data: bytes | None) -> None:
    """Put other bytes in the place of a file, or remove it. Never in place: the files of a board are links to those of all boards."""
    path.unlink()
    if data is not None:
        path.write_bytes(data)


def cut_short(path: Path) -> None:
    replace(path, path.read_bytes()[:4096])


def zeroed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    start = len(data) // 5
    data[start : start + (64 << 10)] = bytes(64 << 10)
    replace(path, bytes(data))


def lost(path: Path) -> None:
    replace(path, None)


NUMPY = "wheels/*/numpy/_core/_multiarray_umath*.so"
SITE = "env/*/lib/python3*/site-packages"
DAMAGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "64 KiB of a library": (NUMPY, zeroed),
    "a library cut short": (NUMPY, cut_short),
    "a library lost": (NUMPY, lost),
    "a source changed": ("wheels/*/numpy/__init__.py", lambda path: replace(path, b"1 +")),
    "our own source emptied": (f"{SITE}/edge/runtime/golden.py", lambda path: replace(path, b"")),
    "no way to the wheels": (f"{SITE}/*.pth", lost),
    "no Python": ("env/*/bin/python", lost),
}


@pytest.mark.targets(
    "local", "ssh", why="what differs is the board's own Python and card, and the last test of this file has them"
)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_environment_gives_no_verdict_and_is_named_file_by_file(board: Any, damage: str) -> None:
    if board.target.name == "ssh" and damage not in ("64 KiB of a library", "no Python"):
        pytest.skip("over SSH a program that crashes and one that cannot be started are enough")
    pattern, harm = DAMAGES[damage]
    path = next(board.here.glob(pattern))
    layer, _, *rest = path.relative_to(board.here).parts
    harm(path)
    with Session(board.shell, folder=board.there) as session:
        key = session.ask("state")["releases"][0]["environment"]
        with pytest.raises(SelftestNotRunError, match="could not run there.*status --verify") as none:
            selftest(session, key, f"{board.there}/current/model.tflite", quiet)
    assert none.value.exit_code == 3
    assert releases.status(board.shell, folder=board.there).is_good  # it does not read every file
    found = releases.status(board.shell, folder=board.there, verify=True)
    assert not found.is_good and found.differing is not None
    (said,) = found.differing
    assert f"1 file in {layer} not as sent ({'/'.join(rest)}" in said and said.endswith("deploy the file of one of them again")
    assert f"PROBLEM: {said}" in found.to_text()


@pytest.mark.targets("ssh", why="it takes three self-tests; what is current already is mended on the other targets, below")
def test_deploy_makes_anew_what_stops_a_self_test_and_keeps_the_releases(board: Any, second: Path) -> None:
    lost(next(board.here.glob(f"{SITE}/edge/runtime/golden.py")))
    wheels = next(board.here.glob(NUMPY)).stat().st_ino
    done = put(board, second)
    assert (done.changed, done.mended) == (True, True) and done.selftest is not None
    assert next(board.here.glob(NUMPY)).stat().st_ino == wheels  # that layer was whole
    assert releases.status(board.shell, folder=board.there, verify=True).differing == ()
    assert releases.rollback(board.shell, quiet, folder=board.there) == (done.release, done.previous)


@pytest.mark.targets(
    "local", why="unpacking the wheels takes seconds, and is the same over SSH; the last test of this file is emulated"
)
def test_deploy_of_what_is_current_compares_even_what_answers(
    board: Any, first: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(next(board.here.glob("wheels/*/numpy/ma/extras.py")), b"never imported")
    replace(next(board.here.glob("wheels/*/PIL/TiffTags.py")), b"")
    where = [*board.target.flags, "--folder", board.there]
    assert main(["status", *where]) == 0
    assert main(["status", "--verify", *where]) == 1
    assert "2 files in wheels not as sent (PIL/TiffTags.py, numpy/ma/extras.py)" in capsys.readouterr().out
    assert main(["deploy", str(first), *where]) == 0
    assert "environment was damaged and is made anew" in capsys.readouterr().out
    assert main(["status", "--verify", *where]) == 0
    assert "every file of every release and of its environment is as it was sent" in capsys.readouterr().out


@pytest.mark.targets("local", why="it is what Python does with its own files, the same everywhere")
def test_bytecode_that_is_damaged_is_made_again(board: Any, first: Path) -> None:
    put(board, first)
    damaged = list(board.here.glob(f"{SITE}/edge/runtime/__pycache__/golden.*.pyc"))
    assert damaged
    for path in damaged:
        replace(path, path.read_bytes()[:200])
    done = put(board, first)
    assert not done.changed and done.mended and done.selftest is not None


@pytest.mark.targets("local", why="what is wrong is the file, wherever it is run")
def test_a_model_that_cannot_be_run_is_not_blamed_on_the_environment(board: Any, tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(b"\0\0\0\0TFL3 and then nothing of the sort")
    with pytest.raises(SelftestNotRunError, match="are as they were sent, so look at the model: edgekit check FILE"):
        put(board, tmp_path / "a.tflite")


@pytest.mark.targets("local", why="the same files and the same code everywhere")
def test_a_layer_that_was_being_replaced_is_put_in_its_place_or_removed(board: Any) -> None:
    """Every state in which a power cut can leave the two renames."""
    (place,) = (board.here / "env").iterdir()
    new, old = place.with_name(f".{place.name}.new"), place.with_name(f".{place.name}.old")

    def look() -> list[str]:
        with Session(board.shell, folder=board.there):
            pass  # it heals
        return [path.name for path in (board.here / "env").iterdir()]

    shutil.copytree(place, new, symlinks=True)
    (new / "mine").touch()
    (new / "complete.json").rename(new / "later.json")
    assert look() == [place.name] and not (place / "mine").exists()  # it was not whole
    shutil.copytree(place, new, symlinks=True)
    (new / "mine").touch()
    place.rename(old)
    assert look() == [place.name] and (place / "mine").exists()
    shutil.copytree(place, old, symlinks=True)
    assert look() == [place.name] and (place / "mine").exists()
    place.rename(old)
    assert look() == [place.name]


@pytest.mark.targets("local", why="what is sent is the same, wherever it goes")
def test_a_change_of_edgekit_sends_its_own_files_only(
    board: Any, second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, int] = {}
    upload = Session.upload

    def counted(session: Session, path: Path, sha256: str, **more: Any) -> str:
        sent[path.name] = path.stat().st_size
        return upload(session, path, sha256, **more)

    monkeypatch.setattr(Session, "upload", counted)
    (before,) = (board.here / "env").iterdir()
    with zipfile.ZipFile(io.BytesIO(payload.pack())) as whole, zipfile.ZipFile(tmp_path / "changed.zip", "w") as changed:
        for entry in whole.infolist():
            changed.writestr(entry, whole.read(entry) + (b"\n# changed\n" if entry.filename == "edge/runtime/golden.py" else b""))
    monkeypatch.setattr(payload, "pack", (tmp_path / "changed.zip").read_bytes)
    put(board, second, selftest=False)
    assert set(sent) == {"edgekit.zip", second.name} and sent["edgekit.zip"] < 2 << 20
    assert len(list((board.here / "env").iterdir())) == 2 and len(list((board.here / "wheels").iterdir())) == 1
    # Each release goes on with the files that it came with, and both share the wheels.
    for release, is_changed in (("current", True), ("releases/0001-*", False)):
        python = next(board.here.glob(f"{release}/env/bin/python"))
        command = [str(python), "-c", "import edge.runtime.golden, numpy; print(edge.runtime.golden.__file__)"]
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        said = subprocess.run(command, cwd="/", env=clean, check=True, capture_output=True, text=True).stdout
        assert Path(said.strip()).read_text().endswith("# changed\n") == is_changed


@pytest.mark.targets("local", why="it is this machine that tells a verdict from none")
def test_a_program_that_is_not_there_gives_no_verdict_either(board: Any, first: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost(next(board.here.glob(f"{SITE}/edge/__main__.py")))  # Python then ends with 1
    assert main(["selftest", str(first), "--on", "local", "--folder", board.there]) == 3
    assert "selftest gave no report there (code 1): " in (told := capsys.readouterr().err) and "edgekit deploy compares" in told


@pytest.mark.targets("local", why="where the files lie is the same everywhere")
def test_a_board_of_an_older_edgekit_goes_on_and_gets_the_new_layout(board: Any, first: Path, second: Path) -> None:
    (place,) = (board.here / "env").iterdir()
    (wheels,) = (board.here / "wheels").iterdir()
    site = next(place.glob("lib/python3*/site-packages"))
    for entry in wheels.iterdir():
        if entry.name != "complete.json":
            subprocess.run(["cp", "-al", str(entry), str(site)], check=True)
    lost(next(site.glob("*.pth")))
    lost(place / "wheels")
    about = json.loads((place / "complete.json").read_text())
    replace(place / "complete.json", json.dumps({name: about[name] for name in ("runtime", "python")}).encode())
    place.rename(place.with_name("older"))
    (release,) = (board.here / "releases").iterdir()
    record = json.loads((release / "release.json").read_text())
    replace(release / "release.json", json.dumps({**record, "environment": "older"}).encode())
    lost(release / "env")
    (release / "env").symlink_to("../../env/older")
    assert releases.status(board.shell, folder=board.there).is_good
    (said,) = releases.status(board.shell, folder=board.there, verify=True).differing or ()
    assert "an older edgekit made it" in said
    done = put(board, second, selftest=False)
    assert done.previous == release.name and (board.here / "env/older").exists()
    assert releases.rollback(board.shell, quiet, folder=board.there)[1] == release.name  # its samples pass
    lost(next(board.here.glob("env/older/lib/python3*/site-packages/edge/runtime/golden.py")))
    assert releases.rollback(board.shell, quiet, folder=board.there, to=done.release)[1] == done.release
    with pytest.raises(BoardRefusedError, match="this one makes another: deploy the file of 0001-"):
        releases.rollback(board.shell, quiet, folder=board.there)
    put(board, first, keep=1, selftest=False)
    assert put(board, second, keep=1, selftest=False).removed
    assert not (board.here / "env/older").exists()


@pytest.mark.targets("virtual", why="the others have each of its steps alone")
def test_the_card_of_an_emulated_board_damages_a_source_and_takes_rights(board: Any, first: Path) -> None:
    source = next(board.here.glob(f"{SITE}/edge/runtime/golden.py"))
    replace(source, b"1 +")
    board.target.give(source)
    next(board.here.glob("env/*/bin")).chmod(0o600)  # which stops a user who is not root
    found = releases.status(board.shell, folder=board.there, verify=True)
    assert found.problem is None and found.differing is not None
    assert len(found.differing) == 1 and "files in env not as sent (bin/" in found.differing[0]
    done = put(board, first)
    assert not done.changed and done.mended and done.selftest is not None
    assert os.listdir(board.here / "env") == [source.relative_to(board.here).parts[1]]


@pytest.mark.targets("local", why="it is said here, before any board is asked")
def test_a_file_without_golden_samples_is_refused_before_anything_is_sent(
    board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.tflite").write_bytes(b"\0\0\0\0TFL3 and then no contract")
    assert main(["deploy", str(tmp_path / "a.tflite"), "local", "--folder", str(tmp_path / "board")]) == 2
    said = capsys.readouterr().err
    assert "no contract with golden samples travels with it" in said and "--skip-selftest" in said
    assert not (tmp_path / "board").exists()
