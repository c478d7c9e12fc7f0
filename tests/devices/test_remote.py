"""``--on TARGET``: the runtime's own commands on a board, here over a real SSH server on this machine."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from devices import images, probe, remote
from devices.errors import DeviceError
from edge.cli import main


def facts(throttled: str | None) -> probe.BoardFacts:
    line = f"throttled\tthrottled={throttled}\n" if throttled else ""
    return probe.parse(f"probe\t1\nmachine\taarch64\n{line}done\t1\n", where="pi")


def test_selftest_and_validate_over_ssh(
    sshd: Any, small_artefacts: dict[str, Path], few_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = ["--on", f"{sshd.user}@127.0.0.1:{sshd.port}", "--ssh-config", str(sshd.config), "--folder", str(tmp_path / "board")]
    int8, float32 = str(small_artefacts["int8"]), str(small_artefacts["float32"])
    assert main(["selftest", int8, *board, "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is True and report["board"]["virtual"] is False
    command = ["validate", int8, *board, "--images", str(few_digits / "test"), "--limit", "30"]
    assert main([*command, "--reference", float32, "--max-drop", "0.9", "--json", str(tmp_path / "there.json")]) == 0
    said = capsys.readouterr()
    assert "small.int8.tflite against small.float32.tflite, 30 images" in said.out
    assert "30 of 30 images" in said.err
    there = json.loads((tmp_path / "there.json").read_text())
    here = ["validate", int8, "--images", str(few_digits / "test"), "--limit", "30", "--reference", float32, "--max-drop", "0.9"]
    assert main([*here, "--json", str(tmp_path / "here.json")]) == 0
    alike = json.loads((tmp_path / "here.json").read_text())
    for key in ("images", "candidate", "drop", "verdict", "dataset_sha256"):
        assert there[key] == alike[key], key
    capsys.readouterr()
    assert main([*command, "--reference", int8]) == 0  # the same images: nothing is sent again
    said = capsys.readouterr()
    assert "bit-equal: on all 30 images" in said.out and "sending" not in said.err


def test_a_sequential_verdict(
    small_artefacts: dict[str, Path], digits_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["validate", str(small_artefacts["int8"]), "--on", "local", "--folder", str(tmp_path / "board"), "--sequential"]
    command += ["--images", str(digits_folder / "test"), "--reference", str(small_artefacts["float32"])]
    assert main([*command, "--max-drop", "0.1", "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["verdict"] == "pass" and report["images"] < 797
    assert report["sequential"]["estimates"] == "population"
    capsys.readouterr()
    assert main(command) == 2  # without a limit there is nothing to decide
    assert "--max-drop" in capsys.readouterr().err


def test_benchmark_on_this_machine(small_artefacts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["benchmark", str(small_artefacts["int8"]), "--on", "local", "--folder", str(tmp_path / "board"), "--runs", "3"]
    assert main([*command, "--seconds", "0", "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["quotable"] is True and report["runs"] >= 3


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


def test_bit_equality_is_only_claimed_for_all_bits() -> None:
    same = {"agreement": 1.0, "probability_shift": 0.0, "images": 5, "runtime": {"package": "ai-edge-litert", "version": "2.3.0"}}
    assert remote.bit_equal(same)[0] is True
    for change in ({"agreement": 0.8}, {"probability_shift": 1e-9}, {"probability_shift": None}):
        assert remote.bit_equal({**same, **change})[0] is False


def request(argv: list[str], **fields: object) -> remote.Request:
    known = {
        "images": None,
        "reference": None,
        "limit": None,
        "folder": ".edgekit",
        "wheels": None,
        "labels": None,
        "delegate": None,
    }
    return remote.read(argparse.Namespace(argv=argv, **{**known, **fields}))


def test_what_is_passed_on_and_what_is_not(small_artefacts: dict[str, Path]) -> None:
    file = str(small_artefacts["int8"])
    argv = ["validate", "--on", "pi", file, "--images", "d", "--json", "-", "--max-drop", "0.01", "--limit=7", "--threads", "2"]
    found = request(argv, file=file, images="d", limit=7, max_drop=0.01)
    assert found.flags == ("--threads", "2", "--max-drop", "0.01")
    assert (found.verb, found.limit, found.images) == ("validate", 7, "d")
    for wrong, fields in (
        (["validate", file, "--on", "pi"], {}),
        (["validate", file, "--on", "pi", "--im", "d"], {"images": "d"}),
        (["validate", file, "--on", "pi", "--images", "d"], {"images": "d", "labels": Path("labels.txt")}),
    ):
        with pytest.raises(DeviceError):
            request(wrong, file=file, **fields)


def test_images_are_chosen_as_validate_chooses_them(few_digits: Path, tmp_path: Path) -> None:
    from edge.dataset import LabelledImages

    for limit in (None, 1, 7, 79, 1000):
        dataset = LabelledImages.open(few_digits / "test")
        dataset = dataset if limit is None else dataset.subset(limit)
        assert images.listed(few_digits / "test", limit) == tuple(item.id for item in dataset)
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DeviceError):
            images.listed(place, None)
