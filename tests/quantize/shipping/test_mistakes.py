"""What is wrong with a command line is told at once, one line each, before anything heavy is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from edge.cli import main
from tests.quantize import open_network


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name / "one.png")
    open_network.write(tmp_path / "net.keras")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["ship", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("edgekit: error: ") for line in lines)
    return [line.removeprefix("edgekit: error: ") for line in lines]


GOOD = ("net.keras", "--train", "train", "--test", "test")


def test_all_of_them_at_once(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(photos.rglob("*"))
    words = ["none.keras", "--train", "nowhere", "--test", "test/a", "--max-drop", "-1", "--max-ms", "0", "--certify", "0"]
    words += ["--variants", "int9", "--allow", "tuen", "--board", "a;b", "--profile", "pi-9", "--fit", "crop"]
    found = refused(capsys, *words)
    begins = ["how a picture is fed is only half said", "none.keras: no such file"]
    begins += ["--train nowhere: no such folder", "--test test/a: without labels", "--max-drop -1:"]
    begins += ["--max-ms 0:", "--certify 0:", "--variants int9: did you mean int8?", "--allow tuen: did you mean tune?"]
    begins += ["--board 'a;b' is no target", "--profile no board is called 'pi-9'"]
    assert [line[: len(begin)] for line, begin in zip(found, begins, strict=True)] == begins
    assert sorted(photos.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("net.keras", "--train", "train", "--test", "train"), "--train and --test share 2 photos (a/one.png, b/one.png)"),
        ((*GOOD, "--max-ms", "300"), "--max-ms 300: of which board?"),
        ((*GOOD, "--minutes", "0"), "--minutes 0: expected minutes above 0"),
        ((*GOOD, "--variants", "float32"), "--variants float32: float32 is what the others are compared with"),
        ((*GOOD, "--folder", "x", "--wheels", "train"), "--folder, --wheels: of use with a board only"),
        ((*GOOD, "--board", "local", "--wheels", "nowhere"), "--wheels nowhere: not there"),
        ((*GOOD, "--labels", "none.txt"), "none.txt: the labels cannot be read"),
        ((*GOOD, "--out", "net.keras"), "net.keras: cannot be written to"),
        (("train", "--train", "train", "--test", "test"), "train: a directory without saved_model.pb"),
        (("a.tflite", "--train", "train", "--test", "test"), "a.tflite: is a .tflite already"),
    ],
)
def test_each_says_what_to_do(words: tuple[str, ...], said: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.tflite").write_bytes(b"1234TFL3")
    (line,) = refused(capsys, *words)
    assert line.startswith(said)


def test_classes_that_the_network_never_saw(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "test/b").rename(photos / "test/c")
    (line,) = refused(capsys, *GOOD)
    assert line == "--test test: classes that --train has not: c; rename the folders, or give --labels FILE"


def test_mistakes_and_plans_load_no_tensorflow(photos: Path) -> None:
    code = (
        "import json, sys\nfrom edge.cli import main\n"
        f"codes = [main(['ship', *{GOOD!r}, '--dry-run']), main(['ship', *{GOOD!r}, '--certify', '0'])]\n"
        "print('found', json.dumps([codes, sorted({name.partition('.')[0] for name in sys.modules})]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    codes, modules = json.loads(done.stdout.rpartition("found ")[2])
    assert codes == [0, 2]
    assert {"tensorflow", "keras", "scipy", "ai_edge_litert"} & set(modules) == set()


def test_flags_of_the_model_go_to_each_step_as_they_were_typed(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "--mean=-1,127.5,0.1",
        "--scale",
        "2",
        "--input-shape",
        "75x80",
        "--no-antialias",
        "--name",
        "a name",
        "--background=-1",
    )
    assert main(["ship", *GOOD, "--dry-run", *words, "--input", "speed:scale=30", "--input", "age"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    for said in (
        "--mean=-1,127.5,0.1",
        "--scale 2",
        "--input-shape 75x80",
        "--no-antialias",
        "--name 'a name'",
        "--background=-1",
    ):
        assert f" {said}" in line
    assert "--input speed:scale=30 --input age" in line
    assert "--out a_name.shipped" in line
