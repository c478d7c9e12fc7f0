"""``--on TARGET``: the runtime's own commands on a board, here on this machine and over a real SSH server."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devices.doctor import probe
from devices.errors import DeviceError
from devices.measure import certificate, images, remote
from devices.measure.request import Request, read
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
    same = {"agreement": 1.0, "probability_shift": 0.0, "images": 5}
    found = certificate.compare(fingerprint(), fingerprint(), where="pi")
    assert remote.bit_equal(same, found) is True
    for change in ({"agreement": 0.8}, {"probability_shift": 1e-9}, {"probability_shift": None}):
        assert remote.bit_equal({**same, **change}, found) is False
    assert remote.bit_equal(same, dataclasses.replace(found, equal=1)) is False


def fingerprint(
    *values: str, ops: tuple[str, ...] = ("a", "b"), arithmetic: str = "integer", dtype: str = "int8"
) -> dict[str, Any]:
    """A made-up fingerprint of two images; ``values`` are the encoded values of the second."""
    import numpy as np

    from edge.runtime.golden import encode

    one = {"dtype": dtype, "sha256": "1", "values": encode(np.array([1, 2, 3], dtype))}
    two = {"dtype": dtype, "sha256": values[0] if values else "2", "values": values[0] if values else one["values"]}
    return {
        "model_sha256": "m",
        "arithmetic": arithmetic,
        "machine": "aarch64",
        "runtime": {"package": "ai-edge-litert", "version": "2.3.0", "kernels": "optimized"},
        "images": [
            {"id": "a.png", "sha256": "x", "outputs": {"p": one}},
            {"id": "b.png", "sha256": "y", "outputs": {"p": two}},
        ],
        "ops": [{"index": i, "op": "ADD", "tensor": f"t{i}", "sha256": digest} for i, digest in enumerate(ops)],
    }


def test_what_a_certificate_says() -> None:
    import numpy as np

    from edge.runtime.golden import encode

    mine = fingerprint()
    equal = certificate.compare(mine, fingerprint(), where="pi")
    assert equal.carries_over and "holds there" in equal.to_text()
    other = certificate.compare(mine, fingerprint(encode(np.array([1, -3, 4], np.int8)), ops=("a", "c")), where="pi")
    assert (other.equal, other.values, other.values_different, other.steps) == (1, 6, 2, 5)
    assert other.first_op == "ADD 1 (t1)" and not other.bit_equal
    assert "1 of 2 images differ, 2 of 6 values by at most 5 quantization steps" in other.to_text()
    # Equal outputs alone prove nothing: an op in between differs, floats, or nothing could be looked at in between.
    for there in (fingerprint(ops=("a", "c")), fingerprint(ops=())):
        found = certificate.compare(mine, there, where="pi")
        assert found.bit_equal and not found.carries_over and "no proof" in found.to_text()
    floats = certificate.compare(fingerprint(arithmetic="float"), fingerprint(arithmetic="float"), where="pi")
    assert not floats.carries_over and "floats" in floats.to_text()
    assert json.loads(json.dumps(other.to_dict()))["carries_over"] is False


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "another"},
        {"images": []},
        {"images": "text"},
        {"images": [{"id": "a.png", "sha256": "x"}]},
        {"images": [{"id": "a.png", "sha256": "z", "outputs": {}}, {"id": "b.png", "sha256": "y", "outputs": {}}]},
        {"ops": None},
        {"runtime": None},
    ],
)
def test_a_fingerprint_that_cannot_be_compared(change: dict[str, Any]) -> None:
    with pytest.raises(DeviceError, match="pi: its fingerprint cannot be compared"):
        certificate.compare(fingerprint(), {**fingerprint(), **change}, where="pi")
    for values in ("no base64!", "AAAA", ""):
        with pytest.raises(DeviceError, match="cannot be compared"):
            certificate.compare(fingerprint(), fingerprint(values), where="pi")


def request(argv: list[str], **fields: object) -> Request:
    return read(argparse.Namespace(argv=argv, **{"folder": ".edgekit", **fields}))


def test_what_is_passed_on_and_what_is_not(first: Path, tmp_path: Path) -> None:
    file = str(first)
    argv = ["validate", "--on", "pi", file, "--images", "d", "--json", "-", "--max-drop", "0.01", "--limit=7", "--threads", "2"]
    found = request(argv, file=file, images="d", limit=7, max_drop=0.01)
    assert found.flags == ("--threads", "2")
    assert (found.verb, found.limit, found.images, found.max_drop) == ("validate", 7, "d", 0.01)
    for wrong, fields in (
        (["validate", file, "--on", "pi"], {}),
        (["validate", file, "--on", "pi", "--im", "d"], {"images": "d"}),
        (["validate", file, "--on", "pi", "--images", "d"], {"images": "d", "labels": tmp_path / "labels.txt"}),
        (["validate", file, "--images", "d", "--max-drop", "1"], {"images": "d", "max_drop": 1.0}),
        (["validate", file, "--images", "board:d", "--certify", "5"], {"images": "board:d", "certify": 5}),
        (["validate", file, "--images", "d", "--certify", "0"], {"images": "d", "certify": 0}),
    ):
        with pytest.raises(DeviceError):
            request(wrong, file=file, **fields)


def test_images_are_chosen_as_validate_chooses_them(few_digits: Path, tmp_path: Path) -> None:
    from edge.data.dataset import LabelledImages

    for limit in (None, 1, 7, 79, 1000):
        dataset = LabelledImages.open(few_digits / "test")
        dataset = dataset if limit is None else dataset.subset(limit)
        assert images.listed(few_digits / "test", limit).names == tuple(item.id for item in dataset)
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DeviceError):
            images.listed(place, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\n/etc/passwd,1\n", "names no image"),
        ("path,label\n../a.png,1\n", "names no image"),
        ("path,label\nmissing.png,1\n", "no image missing.png"),
        ("path,label\na.png,1\na.png,2\n", "twice"),
        ("path,label\n", "a header and no rows"),
        ("", "empty; expected a header"),
        ('path\n"a', "cannot be read"),
    ],
)
def test_a_manifest_that_cannot_be_sent(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DeviceError, match=words):
        images.listed(tmp_path / "list.csv", None)


def test_a_manifest_of_a_spreadsheet_is_sent_as_it_is_read_here(tmp_path: Path) -> None:
    from edge.data.dataset import LabelledImages

    (tmp_path / "my photos").mkdir()
    names = ("my photos/u\u0308 1.jfif", "2.TIF", "3.gif")
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    lists = {
        "semi.csv": "name;class\nmy photos\\\u00fc 1.jfif;a\n2.TIF;b\n3.gif;a\n".encode("utf-16"),
        "tab.csv": "id\tfile\tlabel\n1\tmy photos/\u00fc 1.jfif\ta\n2\t2.TIF\tb\n3\t3.gif\ta\n".encode(),
        "caffe.txt": "my photos/\u00fc 1.jfif 0\n2.TIF 1\n3.gif 0\n".encode(),
        "swapped.csv": "a,my photos/\u00fc 1.jfif\nb,2.TIF\na,3.gif\n".encode(),
    }
    for name, data in lists.items():
        (tmp_path / name).write_bytes(data)
        here = LabelledImages.open(tmp_path / name)
        listing = images.listed(tmp_path / name, None)
        there = LabelledImages.open(listing.copy_to(tmp_path / f"sent {name}"))
        assert listing.names == tuple(item.id for item in here) == tuple(item.id for item in there), name
        assert [there.label_text(item) for item in there] == [here.label_text(item) for item in here] != ["", "", ""]


def test_what_is_not_sent_is_named(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.tif", "c.heic", "d.avif", "e.psd", "f.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "._a.jpg").write_bytes(b"x")
    listing = images.listed(tmp_path, None)
    assert listing.names == ("a.jpg", "b.tif")
    assert listing.warning().startswith(
        "3 pictures are of kinds that are not sent to a board, and left out: c.heic, d.avif, e.psd;"
    )
    (tmp_path / "linked").symlink_to(tmp_path)
    with pytest.raises(DeviceError, match="would go round for ever"):
        images.listed(tmp_path, None)


def test_linked_folders_are_sent_where_validate_reads_them(tmp_path: Path) -> None:
    from edge.data.dataset import LabelledImages
    from edge.errors import DatasetError

    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a.png").write_bytes(b"x")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat").symlink_to(tmp_path / "store")
    words = "leads out of the dataset .*; allow it with --follow-links"
    with pytest.raises(DatasetError, match=words):
        LabelledImages.open(tmp_path / "photos")
    with pytest.raises(DeviceError, match=words):
        images.listed(tmp_path / "photos", None)
    listing = images.listed(tmp_path / "photos", None, follow_links=True)
    assert listing.names == ("cat/a.png",)
    assert (listing.copy_to(tmp_path / "sent") / "cat" / "a.png").read_bytes() == b"x"


def test_a_row_with_several_frames(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "3.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "list.csv").write_text("path,steering\n1.png;2.png,0.5\n2.png; 3.png,0.25\n")
    listing = images.listed(tmp_path / "list.csv", None)
    assert (listing.names, listing.files) == (("1.png;2.png", "2.png; 3.png"), ("1.png", "2.png", "3.png"))
    assert listing.only(listing.names[1:]).files == ("2.png", "3.png")


def test_a_manifest_without_a_header_and_a_part_of_it(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "list.csv").write_text('b.png,"two, three"\na.png,one\n')
    listing = images.listed(tmp_path / "list.csv", None)
    assert listing.names == ("a.png", "b.png") and listing.header is None
    copied = listing.only(["b.png"]).copy_to(tmp_path / "copy")
    assert copied.read_text() == 'b.png,"two, three"\n'
    assert sorted(path.name for path in copied.parent.iterdir()) == sorted(["b.png", copied.name])
