"""``--on TARGET``: the runtime's own commands on a board, here on this machine and over a real SSH server."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devices.doctor import probe
from devices.measure import images, remote
from edge.artefact import container
from edge.cli import main

Flags = list[str]


def facts(throttled: str | None) -> probe.BoardFacts:
    line = f"throttled\tthrottled={throttled}\n" if throttled else ""
    return probe.parse(f"probe\t1\nmachine\taarch64\n{line}done\t1\n", where="pi")


MEASURING = "measuring"  # a folder on a board that all tests of this module measure in: complete, and its cache grows
TESTED_AT_LENGTH = "test_a_virtual_board_from_nothing_to_a_validated_model does it on the emulated board, with more to look at"


@pytest.fixture
def on(target: Any) -> Flags:
    """The flags that name a board."""
    if not target.place(MEASURING).exists():
        target.copy(MEASURING).shell.close()
    return ["--on", *target.flags, "--folder", f"{target.there}/{MEASURING}"]


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[dict[str, Any], str]]:
    """Returns a function: run a command line, and return its report and what it said on stderr."""

    def run(*argv: str | Path, code: int = 0) -> tuple[dict[str, Any], str]:
        assert main([*map(str, argv), "--json", "-"]) == code
        said = capsys.readouterr()
        return json.loads(said.out), said.err

    return run


@pytest.mark.targets("local", "ssh", why=TESTED_AT_LENGTH)
def test_selftest(on: Flags, first: Path, answer: Any) -> None:
    report, _ = answer("selftest", first, *on)
    assert report["passed"] is True and report["board"]["virtual"] is False


def test_validate_there_is_validate_here(on: Flags, first: Path, second: Path, few_digits: Path, answer: Any) -> None:
    what = ["--images", few_digits / "test", "--limit", "30", "--reference", second, "--max-drop", "0.9"]
    there, said = answer("validate", first, *on, *what)
    here, _ = answer("validate", first, *what)
    for key in ("images", "candidate", "drop", "verdict", "dataset_sha256"):
        assert there[key] == here[key], key
    assert "30 of 30 images" in said or "30/30" in said
    assert there["reference"]["file"] == second.name and there["model"]["file"] == first.name


@pytest.mark.targets(
    "local", "ssh", why="the emulated board measures in one folder too, and test_a_manifest finds what was sent before"
)
def test_a_second_time_nothing_is_sent_again(
    target: Any, on: Flags, first: Path, second: Path, few_digits: Path, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["validate", first, *on, "--images", few_digits / "test", "--limit", "11", "--unlabelled", "--reference", second]
    cache = target.place(MEASURING) / "cache"
    (cache / "images-0123456789abcdef/cat").mkdir(parents=True)  # as earlier versions kept them
    answer(*command)
    assert not list(cache.glob("images-*"))
    listed: list[Path] = []
    listing = images.listed

    def counted(place: Path, limit: int | None, *, follow_links: bool = False) -> images.Listing:
        listed.append(place)
        return listing(place, limit, follow_links=follow_links)

    monkeypatch.setattr(images, "listed", counted)
    report, said = answer(*command)
    assert report["images"] == 11 and "sending" not in said
    assert listed == [few_digits / "test"]


@pytest.mark.targets("local", "ssh", why=TESTED_AT_LENGTH)
def test_bit_equality_with_this_machine(on: Flags, first: Path, few_digits: Path, answer: Any) -> None:
    report, _ = answer("validate", first, *on, "--images", few_digits / "test", "--limit", "30", "--reference", first)
    assert report["bit_equal"] is True and report["images"] == 30
    assert report["certificate"]["ops"] == report["certificate"]["ops_equal"] > 5
    other = ["--reference", first, "--kernels", "reference"]
    report, _ = answer("validate", first, *on, "--images", few_digits / "test", "--limit", "30", *other)
    assert report["runtime"]["kernels"] == "reference"


def test_a_manifest(on: Flags, first: Path, second: Path, few_digits: Path, tmp_path: Path, answer: Any) -> None:
    photos = tmp_path / "größe, and a comma"
    shutil.copytree(few_digits / "test", photos)
    manifest = tmp_path / "list.csv"
    names = sorted(path.relative_to(tmp_path).as_posix() for path in photos.rglob("*.png"))
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["note", "path", "label"], *(["x", name, name.split("/")[1]] for name in names)])
    what = ["--images", manifest, "--limit", "17", "--reference", second]
    there, _ = answer("validate", first, *on, *what)
    here, _ = answer("validate", first, *what)
    for key in ("images", "candidate", "drop", "dataset_sha256"):
        assert there[key] == here[key], key


def test_images_that_are_on_the_board(
    target: Any, on: Flags, first: Path, second: Path, few_digits: Path, tmp_path: Path, answer: Any
) -> None:
    name = "photos on the board"
    folder = target.place(name)
    shutil.copytree(few_digits / "test", folder, dirs_exist_ok=True)
    stored = tmp_path / "reference.npz"
    answer("outputs", second, "--images", folder, "--out", stored)
    what = ["--images", f"board:{target.there}/{name}", "--limit", "20"]
    there, said = answer("validate", first, *on, *what, "--reference", stored)
    here, _ = answer("validate", first, "--images", folder, "--limit", "20", "--reference", stored)
    assert (there["images"], there["drop"], there["dataset_sha256"]) == (20, here["drop"], here["dataset_sha256"])
    assert "sending" not in said
    assert main(["validate", str(first), *on, *what, "--reference", str(second)]) == 2  # its answers cannot be computed here


def test_labels_of_a_foreign_model(on: Flags, first: Path, few_digits: Path, tmp_path: Path, answer: Any) -> None:
    from edge.artefact import container

    foreign = tmp_path / "foreign.tflite"
    data = first.read_bytes()[: container.read(first).flatbuffer_bytes]
    # Our mark is what tells a foreign model from a damaged artefact.
    foreign.write_bytes(data.replace(b"edgekit", b"somekit").replace(b"TFLITE_METADATA", b"OTHERS_METADATA"))
    (tmp_path / "labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)))
    what = ["--images", few_digits / "test", "--limit", "20", "--preprocess", "inception", "--labels", tmp_path / "labels.txt"]
    here, _ = answer("validate", foreign, *what)
    there, _ = answer("validate", foreign, *on, *what)
    assert there["candidate"] == here["candidate"] and there["candidate"]["top1"] > 0.5


@pytest.mark.targets("local", why="the answer is written by this machine, whatever the target")
def test_the_answer_in_another_format(on: Flags, first: Path, few_digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(first), *on, "--images", str(few_digits / "test"), "--limit", "5", "--format", "md"]) == 0
    assert "| top-1 |" in capsys.readouterr().out


def test_a_delegate_is_a_library_of_the_board(on: Flags, first: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", str(first), *on, "--delegate", "/there/lib no.so"]) == 3
    assert "/there/lib no.so" in capsys.readouterr().err


@pytest.mark.targets("local", "ssh", why=TESTED_AT_LENGTH)
def test_a_certificate_measures_on_the_fast_machine(
    on: Flags, first: Path, second: Path, digits_folder: Path, answer: Any
) -> None:
    what = ["--images", digits_folder / "test", "--limit", "300", "--reference", second, "--max-drop", "0.5"]
    report, said = answer("validate", first, *on, *what, "--certify", "12")
    assert report["measured_on"] == "this machine" and report["images"] == 300 and report["verdict"] == "pass"
    assert report["certificate"]["images"] == 12 and report["certificate"]["carries_over"] is True
    assert "sending 12 of 12 images" in said or "sending" not in said
    # Floats may be added up in another order on another image: equal bits on some prove nothing.
    report, _ = answer("validate", second, *on, "--images", digits_folder / "test", "--limit", "30", "--certify", "5")
    assert report["measured_on"] == "the board" and report["certificate"]["carries_over"] is False


@pytest.mark.targets("local", "ssh", why="the comparison is this machine's; twice reference kernels emulated is a minute")
def test_a_board_with_other_kernels_is_found_out(
    on: Flags, first: Path, few_digits: Path, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The board runs reference kernels here."""
    from devices.measure.run import BoardRun

    there = BoardRun._there

    def with_reference_kernels(self: BoardRun) -> list[str]:
        return [*there(self), "--kernels", "reference"]

    monkeypatch.setattr(BoardRun, "_there", with_reference_kernels)
    report, _ = answer("validate", first, *on, "--images", few_digits / "test", "--certify", "5")
    assert report["measured_on"] == "this machine" and report["runtime"]["kernels"] == "reference"
    report, _ = answer("validate", first, *on, "--images", few_digits / "test", "--certify", "5", "--kernels", "optimized")
    found = report["certificate"]
    assert report["measured_on"] == "the board" and found["ops_equal"] < found["ops"]
    assert found["first_op"].startswith("CONV_2D 0")


def test_a_sequential_verdict(on: Flags, first: Path, second: Path, digits_folder: Path, answer: Any, tmp_path: Path) -> None:
    command = ["validate", first, *on, "--sequential", "--images", digits_folder / "test", "--reference", second]
    report, said = answer(*command, "--max-drop", "0.1")
    assert report["verdict"] == "pass" and report["images"] < 200
    assert report["sequential"]["estimates"] == "population"
    source = container.read(first)
    assert (report["model_sha256"], report["model"]["file"]) == (source.model_sha256, first.name)
    assert report["reference"]["kind"] == "stored outputs" and report["dataset"]["path"] == str(digits_folder / "test")
    assert "797 images at most" in said
    assert main([str(word) for word in command]) == 2  # without a limit there is nothing to decide


@pytest.mark.targets("local", "ssh", why="an emulated board has no speed, and refuses")
def test_benchmark(on: Flags, first: Path, answer: Any) -> None:
    report, _ = answer("benchmark", first, *on, "--runs", "3", "--seconds", "0", "--sweep-threads")
    assert report["runs"] >= 3 and report["sweep"][0]["threads"] == 1
    assert report["quotable"] is (not report["not_quotable_because"])
    report, said = answer("benchmark", first, *on, "--soak", "0.2s")
    assert report["soak"]["windows"] and "p50" in said


@pytest.mark.targets("local", why="an emulated board is not measured, and sshd does not hand our path on")
@pytest.mark.usefixtures("power_chip")
def test_energy_of_a_board(on: Flags, first: Path, answer: Any) -> None:
    report, _ = answer("benchmark", first, *on, "--seconds", "1.5")
    assert report["energy"]["meter"] == "vcgencmd pmic_read_adc" and report["energy"]["load_w"] == pytest.approx(1.6)
    for energy, told in ((report["energy"], True), (None, False)):
        row = remote.BoardReport(
            target="local", verb="benchmark", exit_code=0, text="", report={**report, "energy": energy}
        ).row()
        assert ("J a run" in row) is told


@pytest.mark.targets("local", "ssh", why="an emulated board is not measured")
def test_where_the_time_goes_on_a_board(on: Flags, first: Path, answer: Any) -> None:
    report, _ = answer("benchmark", first, *on, "--runs", "2", "--seconds", "0", "--per-op")
    ops = container.read(first).graph.ops
    assert [(op["index"], op["op"]) for op in report["per_op"]["ops"]] == [(op.index, op.name) for op in ops]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("0x0", "0x0", True),
        ("0x50000", "0x50000", True),  # of an earlier time
        ("0x0", "0x50000", False),  # came up meanwhile
        ("0x0", "0x4", False),
        ("0x1", "0x50000", False),
        (None, None, True),
    ],
)
def test_a_run_that_was_throttled_is_not_the_boards_speed(before: str | None, after: str | None, expected: bool) -> None:
    good, reason = remote.quotable(facts(before), facts(after))
    assert good is expected
    assert bool(reason) is not expected
